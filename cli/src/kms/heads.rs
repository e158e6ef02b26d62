//! Whether the members of a KMS have one history.

use kms_rules::heads::{self, SignedHead};
use protocol::digest::Sha256Digest;
use protocol::kms::StatusResponse;

use super::ceremony::{extends, fetch};
use super::channel::Calls;
use super::memory::Head;
use crate::failure::{Failure, Hint as _, Outcome};

/// How the members' ledgers end, by their signatures: the ledger of the member that was asked
/// contains each of them, unless that member is behind it.
///
/// # Errors
/// If a head is not signed, or two members have two histories.
pub fn agreeing(
    kms: &mut impl Calls,
    status: &StatusResponse,
    key_provider_id: Sha256Digest,
) -> Outcome<Vec<SignedHead>> {
    const HINT: &str = "sign nothing for this KMS: ask each member, and compare their ledgers";
    let verify = |head| heads::verify(head, &key_provider_id).hint("the members' heads", HINT);
    let heads = status.heads.iter().map(verify).collect::<Outcome<Vec<_>>>()?;
    let hash = status.head.as_slice().try_into().map(Sha256Digest);
    let hash = hash.hint("the head that the KMS states", HINT)?;
    let stated = Head { entries: status.entries, hash };
    let behind = || heads.iter().filter(|head| head.entries <= stated.entries);
    let least = behind().map(|head| head.entries).min().unwrap_or(stated.entries);
    let lines = fetch(kms, least, stated.entries)?;
    for SignedHead { member, entries, hash } in behind() {
        let theirs = Head { entries: *entries, hash: *hash };
        let after = usize::try_from(*entries - least).unwrap_or(usize::MAX);
        extends(Some(theirs), stated, lines.get(after..).unwrap_or_default()).map_err(|error| {
            let what = format!("the member {member} signed another history: {error}");
            Failure::new(what, HINT)
        })?;
    }
    Ok(heads)
}

#[cfg(test)]
mod tests {
    use attestation::signatures::SigningKey;
    use protocol::kms::{LedgerRequest, LedgerResponse, MemberHead, signed_head};
    use protocol::prpc::{self, Arguments, Encoding, Message};

    use super::*;

    const ID: Sha256Digest = Sha256Digest([9; 32]);

    /// A member that gives its ledger out, a page of two entries at a time, and how often it was
    /// asked.
    struct Ledger(Vec<String>, usize);

    impl Calls for Ledger {
        fn call<A: Message, R: Message>(&mut self, _: &str, asked: &A) -> Outcome<R> {
            let asked = prpc::encode(asked, Encoding::Protobuf);
            let LedgerRequest { from } =
                Arguments::Body(Encoding::Protobuf, &asked).decode().unwrap();
            self.1 += 1;
            let behind = self.0[usize::try_from(from).unwrap()..].iter();
            let entries = behind.take(2).cloned().collect();
            let total = self.0.len() as u64;
            let page = prpc::encode(&LedgerResponse { entries, total }, Encoding::Protobuf);
            Ok(Arguments::Body(Encoding::Protobuf, &page).decode().unwrap())
        }
    }

    fn ledger(versions: &[u64]) -> Ledger {
        let mut previous = Sha256Digest::ZERO;
        let line = |(index, version): (usize, &u64)| {
            let text = format!(
                r#"{{"index":{index},"previous":"{previous}","time_secs":1,"kind":{{"list_set":{{"version":{version},"envelope":""}}}}}}"#
            );
            previous = Sha256Digest::of(text.as_bytes());
            text
        };
        Ledger(versions.iter().enumerate().map(line).collect(), 0)
    }

    /// The word of a member for its ledger.
    fn word(member: u8, ledger: &Ledger) -> MemberHead {
        let key = SigningKey::from_seed(&[member; 32]);
        let (entries, line) = (ledger.0.len() as u64, ledger.0.last().unwrap());
        let head = Sha256Digest::of(line.as_bytes());
        MemberHead {
            member: key.signer().key().0.to_vec(),
            entries,
            head: head.0.to_vec(),
            signature: key.sign(&signed_head(&ID, entries, &head)).to_vec(),
        }
    }

    #[test]
    fn members_with_two_histories_are_told_from_one_that_is_behind() {
        let mut asked = ledger(&[1, 2, 3]);
        let mut compared = |others: &[MemberHead]| {
            let own = word(1, &asked);
            let heads = [std::slice::from_ref(&own), others].concat();
            let status =
                StatusResponse { entries: 3, head: own.head, heads, ..StatusResponse::default() };
            agreeing(&mut asked, &status, ID)
        };
        let [behind, ahead] = [word(2, &ledger(&[1, 2])), word(3, &ledger(&[1, 2, 3, 4]))];
        assert_eq!(compared(&[behind.clone(), ahead]).unwrap().len(), 3);
        for fork in [ledger(&[1, 7]), ledger(&[1, 2, 7])] {
            let refused = compared(&[behind.clone(), word(3, &fork)]).unwrap_err().to_string();
            assert!(refused.contains("signed another history"), "{refused}");
        }
        let unsigned = MemberHead { signature: vec![0; 64], ..behind };
        assert!(compared(&[unsigned]).unwrap_err().to_string().contains("not signed"));
    }
    #[test]
    fn however_many_are_behind_the_end_of_the_ledger_is_fetched_once() {
        let versions = [1, 2, 3, 4, 5];
        let mut asked = ledger(&versions);
        let head = word(1, &asked).head;
        let ends = [1, 3, 4, 2, 5];
        let heads = ends.map(|end| word(end, &ledger(&versions[..end.into()]))).to_vec();
        let status = StatusResponse { entries: 5, head, heads, ..StatusResponse::default() };
        assert_eq!(agreeing(&mut asked, &status, ID).unwrap().len(), 5);
        assert_eq!(asked.1, 2, "four entries in pages of two");
    }
}
