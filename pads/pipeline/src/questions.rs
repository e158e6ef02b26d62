//! A run's questions as messages to key delegators, and their answers in the run's order.
//!
//! A run asks about Pads of several custodians, who may have several delegators; a message is for
//! one. Whoever has channels to them sends the messages and proves who answers. A message that is
//! sent again, because its answer was lost, has the same number and counts once.

use std::collections::BTreeMap;

use pad_format::run::RunId;
use pad_format::{CustodianId, DataKey, PadDigest};
use protocol::derivation::length_prefixed;
use protocol::digest::Sha256Digest;
use protocol::kms::{
    AuditHeadRequest, AuditRecord, FetchKeysRequest, FetchKeysResponse, KeepRequest,
    MAX_PADS_A_CALL, PadKeyName, QUOTA_STATUS, QuotaUse as QuotaMessage, SpendRequest,
    UpdateRequest,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::conversation::{KeyOfUpdate, KeyToKeep};
use crate::delegator::{AuditEntry, Denied, KeyRequest, ReleasedKey, Spend, WantedPad};

/// First field of what a message's number is the hash of.
const LABEL: &[u8] = b"dstyx-pad-question-1";

/// A message for one delegator.
#[derive(Debug, Clone, PartialEq)]
pub struct To<T> {
    /// The delegator, which has to prove that it is this one.
    pub key_provider_id: Sha256Digest,
    /// What the message asks about, by its places in the run's question.
    pub asks: Vec<usize>,
    /// The message.
    pub message: T,
}

/// What one run asks.
#[derive(Debug, Clone)]
pub struct Questions {
    run: RunId,
    messages: u64,
    pads: Vec<Known>,
}

/// A Pad whose key was asked for.
#[derive(Debug, Clone)]
struct Known {
    digest: PadDigest,
    custodian: CustodianId,
    name: PadKeyName,
    delegator: Sha256Digest,
}

impl Known {
    fn of(wanted: &WantedPad) -> Self {
        let metadata = &wanted.metadata;
        let name = PadKeyName {
            custodian: metadata.custodian.0.0.to_vec(),
            key_id: metadata.crypto.key_id.as_bytes().to_vec(),
            pad_id: metadata.pad_id.uuid().as_bytes().to_vec(),
        };
        let (digest, custodian) = (wanted.digest, metadata.custodian);
        Self { digest, custodian, name, delegator: metadata.delegator.key_provider_id }
    }
}

impl Questions {
    /// Those of a run that asked nothing yet.
    pub fn of(run: RunId) -> Self {
        Self { run, messages: 0, pads: Vec::new() }
    }

    /// Asks for keys.
    pub fn keys(&mut self, request: &KeyRequest) -> Vec<To<FetchKeysRequest>> {
        self.pads = request.pads.iter().map(Known::of).collect();
        let all = self.pads.iter().enumerate().map(|(index, pad)| (pad.delegator, index));
        let parts = parts(all.collect());
        let message = |(key_provider_id, asks): (Sha256Digest, Vec<usize>)| {
            let pads = asks.iter().filter_map(|index| self.pads.get(*index));
            let message = FetchKeysRequest {
                request_id: next(&self.run, &mut self.messages),
                pads: pads.map(|pad| pad.name.clone()).collect(),
                engines: request.engines.iter().map(|engine| engine.0.to_vec()).collect(),
                program: request.program.0.to_vec(),
                owner: request.owner.map(|owner| owner.0.0.to_vec()).unwrap_or_default(),
            };
            To { key_provider_id, asks, message }
        };
        parts.into_iter().map(message).collect()
    }

    /// Asks to count uses.
    ///
    /// # Errors
    /// If a use is of a custodian of whom the run has no Pad at that delegator.
    pub fn spend(&mut self, uses: &[Spend]) -> Result<Vec<To<SpendRequest>>, Denied> {
        let all = uses.iter().enumerate().map(|(index, spend)| (spend.key_provider_id, index));
        let mut questions = Vec::new();
        for (key_provider_id, asks) in parts(all.collect()) {
            let uses = asks.iter().filter_map(|index| uses.get(*index));
            let uses = uses.map(|spend| self.quota(spend)).collect::<Result<_, _>>()?;
            let request_id = next(&self.run, &mut self.messages);
            let message = SpendRequest { request_id, uses };
            questions.push(To { key_provider_id, asks, message });
        }
        Ok(questions)
    }

    fn quota(&self, spend: &Spend) -> Result<QuotaMessage, Denied> {
        let pad = self.pad_of(&spend.custodian, &spend.key_provider_id)?;
        Ok(QuotaMessage {
            pad: Some(pad.name.clone()),
            account: spend.quota.account.to_vec(),
            owner: spend.quota.owner.0.0.to_vec(),
            uses: spend.quota.uses,
            period_secs: spend.quota.period_secs,
            engine: spend.engine.0.to_vec(),
        })
    }

    /// Asks to keep a key; `enrolment` is that of the new Pad's custodian. Whoever holds the
    /// message clears its key.
    pub fn keep(&self, new: &KeyToKeep, enrolment: Vec<u8>) -> To<KeepRequest> {
        let key_provider_id = new.key_provider_id;
        let here =
            |pad: &&Known| pad.delegator == key_provider_id && new.parents.contains(&pad.digest);
        let parents = self.pads.iter().filter(here).map(|pad| pad.name.clone()).collect();
        let name = PadKeyName {
            custodian: new.custodian.0.0.to_vec(),
            key_id: new.key_id.as_bytes().to_vec(),
            pad_id: new.pad_id.uuid().as_bytes().to_vec(),
        };
        let engines = new.engines.iter().map(|engine| engine.0.to_vec()).collect();
        let (pad, key) = (Some(name), new.key.to_vec());
        let message = KeepRequest { pad, key, engines, parents, enrolment };
        To { key_provider_id, asks: vec![0], message }
    }

    /// Asks to put the new key of a Pad with other policies in the place of its old one. Whoever
    /// holds the message clears its key.
    pub fn update(&self, new: &KeyOfUpdate) -> To<UpdateRequest> {
        let Known { name, delegator, .. } = Known::of(&new.old);
        let message = UpdateRequest {
            pad: Some(name),
            key_id: new.key_id.as_bytes().to_vec(),
            key: new.key.to_vec(),
            update: new.signed.clone(),
        };
        To { key_provider_id: delegator, asks: vec![0], message }
    }

    /// Gives an entry of the audit record away, to each delegator what is for its custodians.
    ///
    /// # Errors
    /// If a record is for a custodian of whom the run has no Pad at that delegator.
    pub fn audit(&self, entry: &AuditEntry) -> Result<Vec<To<AuditHeadRequest>>, Denied> {
        let all = entry.records.iter().enumerate();
        let all = all.map(|(index, record)| (record.key_provider_id, index)).collect();
        let mut questions = Vec::new();
        for (key_provider_id, asks) in parts(all) {
            let mut records = Vec::new();
            for record in asks.iter().filter_map(|index| entry.records.get(*index)) {
                let pad = self.pad_of(&record.custodian, &key_provider_id)?;
                let (pad, sealed) = (Some(pad.name.clone()), record.bytes.clone());
                records.push(AuditRecord { pad, sealed });
            }
            let message = AuditHeadRequest {
                run: entry.run.0.to_vec(),
                head: entry.head.0.to_vec(),
                records,
                sequence: entry.sequence,
                previous: entry.previous.0.to_vec(),
            };
            questions.push(To { key_provider_id, asks, message });
        }
        Ok(questions)
    }

    fn pad_of(&self, custodian: &CustodianId, delegator: &Sha256Digest) -> Result<&Known, Denied> {
        let mut pads = self.pads.iter();
        let pad = pads.find(|pad| pad.custodian == *custodian && pad.delegator == *delegator);
        pad.ok_or_else(|| {
            Denied::Failed(format!(
                "the run has no Pad of {custodian} at the delegator {delegator}"
            ))
        })
    }
}

impl To<FetchKeysRequest> {
    /// Puts the keys of an answer in their places; the answer is cleared.
    ///
    /// # Errors
    /// If it has not one key of 32 bytes for each Pad.
    pub fn answered(
        &self,
        mut answer: FetchKeysResponse,
        keys: &mut [Option<ReleasedKey>],
    ) -> Result<(), Denied> {
        let wrong = || Denied::Failed("the delegator gave other keys than were asked for".into());
        let mut put = || {
            if answer.keys.len() != self.asks.len() {
                return Err(wrong());
            }
            for (index, key) in self.asks.iter().zip(&answer.keys) {
                let key = Zeroizing::new(key.as_slice().try_into().map_err(|_| wrong())?);
                let (key, from) = (DataKey::from_bytes(key), self.key_provider_id);
                *keys.get_mut(*index).ok_or_else(wrong)? = Some(ReleasedKey { key, from });
            }
            Ok(())
        };
        let outcome = put();
        answer.keys.iter_mut().for_each(|key| key.zeroize());
        outcome
    }

    /// What a refusal says to the run.
    pub fn denied(&self, text: &str) -> Denied {
        match self.asks[..] {
            [index] => Denied::Pad { index, reason: text.to_owned() },
            _ => Denied::Failed(text.to_owned()),
        }
    }
}

impl To<SpendRequest> {
    /// What a refusal with this HTTP status says to the run.
    pub fn denied(&self, status: u16, text: &str) -> Denied {
        match self.asks[..] {
            [index] if status == QUOTA_STATUS => Denied::Use { index },
            _ => Denied::Failed(text.to_owned()),
        }
    }
}

/// The number of the next message.
fn next(run: &RunId, messages: &mut u64) -> Vec<u8> {
    *messages += 1;
    let fields: [&[u8]; 3] = [LABEL, &run.0, &messages.to_le_bytes()];
    Sha256Digest::of(&length_prefixed(&fields)).0[..16].to_vec()
}

/// What is for each delegator, in parts of one message.
fn parts(all: Vec<(Sha256Digest, usize)>) -> Vec<(Sha256Digest, Vec<usize>)> {
    let mut each: BTreeMap<Sha256Digest, Vec<usize>> = BTreeMap::new();
    for (delegator, index) in all {
        each.entry(delegator).or_default().push(index);
    }
    let cut = |(delegator, indices): (Sha256Digest, Vec<usize>)| {
        let cut = indices.chunks(MAX_PADS_A_CALL).map(<[usize]>::to_vec).collect::<Vec<_>>();
        cut.into_iter().map(move |part| (delegator, part))
    };
    each.into_iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use pad_format::PadId;
    use pad_format::cipher::Algorithm;
    use pad_format::metadata::{ChunkSize, CryptoInfo, Delegator, KeyId, Metadata, Salt, Uri};

    use super::*;
    use crate::delegator::{QuotaUse, SealedRecord};

    const RUN: RunId = RunId([3; 16]);
    const ENGINE: Sha256Digest = Sha256Digest([0xe1; 32]);

    fn id(byte: u8) -> Sha256Digest {
        Sha256Digest([byte; 32])
    }

    /// A Pad of a custodian at a delegator.
    fn wanted(number: u16, custodian: u8, delegator: u8) -> WantedPad {
        let digest = PadDigest(Sha256Digest::of(&number.to_le_bytes()));
        let metadata = Metadata {
            pad_id: PadId::generate().unwrap(),
            custodian: CustodianId(id(custodian)),
            delegator: Delegator {
                key_provider_id: id(delegator),
                uri: Uri::new("unknown").unwrap(),
            },
            crypto: CryptoInfo {
                algorithm: Algorithm::Aes256Gcm,
                key_id: KeyId::new(&number.to_le_bytes()).unwrap(),
                salt: Salt([0; 32]),
                chunk: ChunkSize::default(),
            },
        };
        WantedPad { digest, metadata }
    }

    fn request(pads: Vec<WantedPad>) -> KeyRequest {
        let (program, owner) = (id(9), Some(CustodianId(id(8))));
        KeyRequest { run: RUN, program, owner, engines: vec![ENGINE], pads }
    }

    fn asked(pads: Vec<WantedPad>) -> (Questions, Vec<To<FetchKeysRequest>>) {
        let mut questions = Questions::of(RUN);
        let keys = questions.keys(&request(pads));
        (questions, keys)
    }

    fn spend(custodian: u8, delegator: u8) -> Spend {
        let owner = CustodianId(id(8));
        let quota = QuotaUse { account: [7; 16], owner, uses: 10, period_secs: 60 };
        let custodian = CustodianId(id(custodian));
        Spend { key_provider_id: id(delegator), engine: ENGINE, custodian, quota }
    }

    #[test]
    fn each_delegator_is_asked_for_its_own_keys_which_come_back_in_the_run_s_order() {
        let pads = vec![wanted(1, 1, 0xd2), wanted(2, 2, 0xd1), wanted(3, 3, 0xd2)];
        let (_, messages) = asked(pads.clone());
        let [first, second] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((first.key_provider_id, &first.asks[..]), (id(0xd1), &[1][..]));
        assert_eq!((second.key_provider_id, &second.asks[..]), (id(0xd2), &[0, 2][..]));
        assert_eq!(second.message.pads[1].key_id, 3u16.to_le_bytes());
        assert_eq!(second.message.engines, [ENGINE.0.to_vec()]);
        assert_ne!(first.message.request_id, second.message.request_id);
        assert_eq!(asked(pads).1, messages, "sent again, they have the same numbers");

        let mut keys: Vec<Option<ReleasedKey>> = (0..3).map(|_| None).collect();
        let answer = |keys: &[u8]| FetchKeysResponse {
            keys: keys.iter().map(|byte| vec![*byte; 32]).collect(),
            expires_secs: 0,
        };
        first.answered(answer(&[20]), &mut keys).unwrap();
        assert!(second.answered(answer(&[10]), &mut keys).is_err(), "a key is missing");
        second.answered(answer(&[10, 30]), &mut keys).unwrap();
        let keys: Vec<_> = keys.into_iter().flatten().collect();
        let found: Vec<_> = keys.iter().map(|key| (key.key.as_bytes()[0], key.from)).collect();
        assert_eq!(found, [(10, id(0xd2)), (20, id(0xd1)), (30, id(0xd2))]);
        let short = FetchKeysResponse { keys: vec![vec![1; 31]], expires_secs: 0 };
        assert!(first.answered(short, &mut [None, None]).is_err());
        assert_eq!(first.denied("no"), Denied::Pad { index: 1, reason: "no".into() });
        assert_eq!(second.denied("no"), Denied::Failed("no".into()));
    }

    #[test]
    fn a_run_of_many_pads_asks_several_times() {
        let pads = (0..600).map(|number| wanted(number, 1, 0xd1)).collect();
        let (_, messages) = asked(pads);
        let sizes: Vec<_> = messages.iter().map(|message| message.message.pads.len()).collect();
        assert_eq!(sizes, [256, 256, 88]);
        assert_eq!(messages[2].asks[0], 512);
    }

    #[test]
    fn uses_are_counted_where_the_custodian_s_keys_are_under_a_pad_of_the_run() {
        let (mut questions, fetched) = asked(vec![wanted(1, 1, 0xd1), wanted(2, 2, 0xd2)]);
        let messages = questions.spend(&[spend(2, 0xd2), spend(1, 0xd1)]).unwrap();
        let [first, second] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((first.key_provider_id, &first.asks[..]), (id(0xd1), &[1][..]));
        assert_eq!(first.message.uses[0].pad, Some(fetched[0].message.pads[0].clone()));
        assert_eq!(first.message.uses[0].engine, ENGINE.0);
        assert_ne!(first.message.request_id, fetched[0].message.request_id);
        assert_eq!(second.denied(QUOTA_STATUS, ""), Denied::Use { index: 0 });
        assert_eq!(second.denied(403, "no"), Denied::Failed("no".into()));
        assert!(questions.spend(&[spend(3, 0xd1)]).is_err(), "no Pad of it");
        assert!(questions.spend(&[spend(1, 0xd2)]).is_err(), "at another delegator");
    }

    #[test]
    fn a_new_key_names_the_parents_that_its_delegator_knows() {
        let pads = vec![wanted(1, 1, 0xd1), wanted(2, 2, 0xd2), wanted(3, 3, 0xd1)];
        let (questions, _) = asked(pads.clone());
        let new = KeyToKeep {
            run: RUN,
            pad_id: PadId::generate().unwrap(),
            key_id: KeyId::new(b"new").unwrap(),
            key: Zeroizing::new([5; 32]),
            custodian: CustodianId(id(4)),
            key_provider_id: id(0xd1),
            engines: vec![ENGINE],
            parents: pads[..2].iter().map(|pad| pad.digest).collect(),
        };
        let To { key_provider_id, message, .. } = questions.keep(&new, vec![1]);
        assert_eq!((key_provider_id, &message.key), (id(0xd1), &vec![5; 32]));
        let [parent] = &message.parents[..] else { panic!("{message:?}") };
        assert_eq!(parent.key_id, 1u16.to_le_bytes());
        assert_eq!((message.engines, message.enrolment), (vec![ENGINE.0.to_vec()], vec![1]));
    }

    #[test]
    fn the_new_key_of_a_pad_goes_where_its_old_one_is() {
        let old = wanted(1, 1, 0xd1);
        let new = KeyOfUpdate {
            run: RUN,
            old: old.clone(),
            key_id: KeyId::new(b"new").unwrap(),
            key: Zeroizing::new([5; 32]),
            signed: vec![6],
        };
        let To { key_provider_id, message, .. } = Questions::of(RUN).update(&new);
        assert_eq!((key_provider_id, message.pad), (id(0xd1), Some(Known::of(&old).name)));
        assert_eq!((&message.key_id[..], &message.key[..]), (&b"new"[..], &[5; 32][..]));
        assert_eq!(message.update, [6]);
    }

    #[test]
    fn each_delegator_gets_what_is_sealed_for_its_custodians() {
        let (questions, _) = asked(vec![wanted(1, 1, 0xd1), wanted(2, 2, 0xd2)]);
        let record = |custodian, delegator| SealedRecord {
            custodian: CustodianId(id(custodian)),
            key_provider_id: id(delegator),
            bytes: vec![custodian; 40],
        };
        let records = vec![record(1, 0xd1), record(2, 0xd2)];
        let (previous, head) = (id(5), id(6));
        let entry = AuditEntry { run: RUN, sequence: 2, previous, head, records };
        let messages = questions.audit(&entry).unwrap();
        assert_eq!(messages.len(), 2);
        let AuditHeadRequest { run, head, records, sequence, .. } = &messages[1].message;
        assert_eq!((&run[..], &head[..], *sequence), (&[3; 16][..], &[6; 32][..], 2));
        assert_eq!(records[0].sealed, [2; 40]);
        let strange = AuditEntry { records: vec![record(3, 0xd1)], ..entry };
        assert!(questions.audit(&strange).is_err());
    }
}
