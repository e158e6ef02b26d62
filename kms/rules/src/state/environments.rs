//! Which environment of an app counts: one that a signer of the policy signed for this very app and
//! measured file, and none older than the last.
//!
//! Anybody can seal an environment, the host too, and can keep an old one; so the signature is
//! checked before the counter is looked at, and the counter is kept before the guest may use the
//! environment.

use attestation::signatures::Signer;
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::environment::{Header, Suite};
use protocol::kms::AcceptEnvVersionRequest;
use protocol::rule::unless;

use super::State;
use super::guests::{first, reasons, recorded, who};
use crate::guest::Guest;
use crate::ledger::{Entry, EnvironmentAccepted, Kind};
use crate::refused::Refused;

/// The environment of an app that was accepted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Environment {
    /// Its counter.
    pub counter: u64,
    /// SHA-256 of its encryption.
    pub digest: Sha256Digest,
}

impl Environment {
    /// Whether this one may be used after `last`: it is newer, or the same once more.
    pub(super) fn may_follow(&self, last: &Self) -> bool {
        self.counter > last.counter || self == last
    }
}

/// Lets a guest use an environment.
///
/// # Errors
/// If the guest would get no keys, or got none yet; if no signer of the policy signed the
/// environment for its app and file; or if it is older than the last one, or another one under its
/// counter.
pub fn accept_environment(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    request: &AcceptEnvVersionRequest,
    clock_secs: u64,
) -> Result<Entry, Refused> {
    first(reasons(state, guest, member, clock_secs))?;
    recorded(state, guest)?;
    let (environment, signer) = signed(state, guest, request)?;
    if let Some(last) = state.environments.get(&guest.app_id) {
        let (found, accepted) = (environment.counter, last.counter);
        unless(found >= accepted, || Refused::EnvironmentOlder { found, accepted })?;
        unless(environment.may_follow(last), || Refused::EnvironmentOther(found))?;
    }
    let Environment { counter, digest } = environment;
    let accepted = EnvironmentAccepted { who: who(guest)?, counter, digest, signer };
    Ok(state.next(Kind::EnvironmentAccepted(accepted), clock_secs))
}

/// The environment that is asked for, and its signer, whom the policy names.
fn signed(
    state: &State,
    guest: &Guest,
    request: &AcceptEnvVersionRequest,
) -> Result<(Environment, Ed25519Key), Refused> {
    let suite = u16::try_from(request.suite).ok().and_then(Suite::from_code);
    let suite = suite.ok_or(Refused::EnvironmentField("suite is unknown, expected 1"))?;
    let digest: &[u8; 32] = field(&request.digest, "digest has not 32 bytes")?;
    let signer: &[u8; 32] = field(&request.signer, "signer has not 32 bytes")?;
    let signature: &[u8; 64] = field(&request.signature, "signature has not 64 bytes")?;
    let (digest, signer) = (Sha256Digest(*digest), Ed25519Key(*signer));
    let Guest { app_id, compose_hash, .. } = *guest;
    let app = state.policy().and_then(|policy| policy.app(&app_id));
    let (_, app) = app.ok_or(Refused::AppUnknown { app_id })?;
    unless(app.env_signers.contains(&signer), || Refused::EnvironmentSigner(signer))?;
    let header = Header { suite, app_id, compose_hash, counter: request.counter };
    let key = Signer::from_key(&signer).map_err(|_| Refused::EnvironmentSigner(signer))?;
    let signed = key.signed(&header.signed_bytes(&digest), signature);
    unless(signed, || Refused::EnvironmentSignature(signer))?;
    Ok((Environment { counter: request.counter, digest }, signer))
}

fn field<'a, const N: usize>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8; N], Refused> {
    bytes.try_into().map_err(|_| Refused::EnvironmentField(what))
}

#[cfg(test)]
mod tests {
    use attestation::signatures::SigningKey;
    use protocol::digest::{AppId, ComposeHash, InstanceId};

    use super::*;
    use crate::fixtures::{APP, FILES, Kms, MEMBER, NOW, guest, policy_file};
    use crate::ledger::Fault;

    fn signer() -> SigningKey {
        SigningKey::from_seed(&[0x11; 32])
    }

    /// A KMS whose policy names the signer, and which gave the guest its keys.
    fn kms() -> Kms {
        let mut file = policy_file(1);
        file.apps[0].env_signers = vec![signer().signer().key()];
        let mut kms = Kms::with_policy(&file);
        kms.release(&guest()).unwrap();
        kms
    }

    fn header(counter: u64) -> Header {
        let suite = Suite::X25519Sha256Aes256Gcm;
        Header { suite, app_id: APP, compose_hash: FILES[0], counter }
    }

    fn request(header: Header, digest: u8, key: &SigningKey) -> AcceptEnvVersionRequest {
        let digest = Sha256Digest([digest; 32]);
        AcceptEnvVersionRequest {
            counter: header.counter,
            suite: 1,
            digest: digest.0.to_vec(),
            signer: key.signer().key().0.to_vec(),
            signature: key.sign(&header.signed_bytes(&digest)).to_vec(),
        }
    }

    fn accept(kms: &mut Kms, request: &AcceptEnvVersionRequest) -> Result<(), Refused> {
        kms.append(accept_environment(&kms.state, &guest(), &MEMBER, request, NOW)?);
        Ok(())
    }

    #[test]
    fn an_environment_is_accepted_again_and_none_that_is_older() {
        let mut kms = kms();
        let of = |counter, digest| request(header(counter), digest, &signer());
        accept(&mut kms, &of(7, 1)).unwrap();
        accept(&mut kms, &of(7, 1)).unwrap();
        assert_eq!(accept(&mut kms, &of(7, 2)), Err(Refused::EnvironmentOther(7)));
        accept(&mut kms, &of(9, 3)).unwrap();
        let older = Refused::EnvironmentOlder { found: 7, accepted: 9 };
        assert_eq!(accept(&mut kms, &of(7, 1)), Err(older));
        let again = State::replay(&kms.entries).unwrap();
        assert_eq!(again, kms.state);
        assert_eq!(again.environments()[&APP].counter, 9);
    }

    #[test]
    fn a_signature_for_another_app_file_counter_or_encryption_is_none() {
        let mut kms = kms();
        let good = request(header(7), 1, &signer());
        let refused = Err(Refused::EnvironmentSignature(signer().signer().key()));
        for other in [
            Header { app_id: AppId([1; 20]), ..header(7) },
            Header { compose_hash: FILES[1], ..header(7) },
            Header { compose_hash: ComposeHash([9; 32]), ..header(7) },
        ] {
            assert_eq!(accept(&mut kms, &request(other, 1, &signer())), refused);
        }
        let later = AcceptEnvVersionRequest { counter: 8, ..good.clone() };
        assert_eq!(accept(&mut kms, &later), refused);
        let swapped = AcceptEnvVersionRequest { digest: vec![2; 32], ..good.clone() };
        assert_eq!(accept(&mut kms, &swapped), refused);
        // A refused version counts for nothing.
        accept(&mut kms, &request(header(1), 1, &signer())).unwrap();
        for cut in [
            AcceptEnvVersionRequest { suite: 2, ..good.clone() },
            AcceptEnvVersionRequest { suite: 0x1_0001, ..good.clone() },
            AcceptEnvVersionRequest { digest: vec![1; 31], ..good.clone() },
            AcceptEnvVersionRequest { signer: Vec::new(), ..good.clone() },
            AcceptEnvVersionRequest { signature: vec![0; 65], ..good },
        ] {
            let refused = accept(&mut kms, &cut).unwrap_err();
            assert!(matches!(refused, Refused::EnvironmentField(_)), "{refused}");
        }
    }

    #[test]
    fn an_environment_that_the_host_sealed_is_refused_and_so_is_any_without_a_listed_signer() {
        let host = SigningKey::from_seed(&[0x66; 32]);
        let refused = accept(&mut kms(), &request(header(7), 1, &host));
        assert_eq!(refused, Err(Refused::EnvironmentSigner(host.signer().key())));
        let mut unnamed = Kms::serving();
        unnamed.release(&guest()).unwrap();
        let refused = accept(&mut unnamed, &request(header(7), 1, &signer()));
        assert_eq!(refused, Err(Refused::EnvironmentSigner(signer().signer().key())));
    }

    #[test]
    fn only_a_guest_that_boots_and_has_its_keys_may_ask() {
        let kms = kms();
        let request = request(header(7), 1, &signer());
        let ask = |kms: &Kms, guest: &Guest| {
            accept_environment(&kms.state, guest, &MEMBER, &request, NOW).unwrap_err()
        };
        assert_eq!(ask(&kms, &Guest { ready: true, ..guest() }), Refused::Ready);
        let other = Guest { instance_id: None, ..guest() };
        assert!(matches!(ask(&kms, &other), Refused::TooManyInstances { .. }));
        let mut file = policy_file(1);
        file.apps[0].env_signers = vec![signer().signer().key()];
        assert_eq!(ask(&Kms::with_policy(&file), &guest()), Refused::InstanceUnknown);
    }

    #[test]
    fn a_ledger_in_which_an_environment_goes_back_or_has_no_signer_is_refused() {
        let mut kms = kms();
        accept(&mut kms, &request(header(7), 1, &signer())).unwrap();
        let last = kms.entries.last().unwrap().clone();
        let after = |change: &dyn Fn(&mut EnvironmentAccepted)| {
            let mut entry = Entry { index: kms.state.entries(), ..last.clone() };
            entry.previous = kms.state.head();
            let Kind::EnvironmentAccepted(accepted) = &mut entry.kind else { panic!("the last") };
            change(accepted);
            kms.state.clone().apply(&entry).map_err(|error| error.what)
        };
        assert_eq!(after(&|_| {}), Ok(()));
        let changes: [fn(&mut EnvironmentAccepted); 4] = [
            |accepted| accepted.counter = 6,
            |accepted| accepted.digest = Sha256Digest([9; 32]),
            |accepted| accepted.signer = Ed25519Key([9; 32]),
            |accepted| accepted.who.instance_id = Some(InstanceId([1; 20])),
        ];
        for change in changes {
            assert!(matches!(after(&|accepted| change(accepted)), Err(Fault::Rule(_))));
        }
    }
}
