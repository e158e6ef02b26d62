//! Frames there and back, and frames that are none.

use pad_run::frames::{HEAD_BYTES, body_bytes, decode, encode};
use proptest::prelude::*;

use super::*;
use crate::delegator::{QuotaUse, SealedRecord};
use crate::world::{A, DELEGATOR, OTHER, SHARE, TRAINER, id, pad, policy, training};

fn again<F: Frame>(frame: &F) -> Vec<u8> {
    let bytes = encode(frame);
    let (head, body) = bytes.split_first_chunk().unwrap();
    let read = decode::<F>(*head, body).unwrap();
    for cut in 0..body.len() {
        let mut shorter = *head;
        shorter[1..].copy_from_slice(&(cut as u32).to_le_bytes());
        assert!(decode::<F>(shorter, &body[..cut]).is_err(), "{cut}");
    }
    encode(&read).to_vec()
}

fn commands() -> Vec<Command> {
    let cache = Cache { path: "/cache".into(), key: Zeroizing::new([7; 32]) };
    let submitted = Submitted {
        id: RunId([1; 16]),
        exporter: [2; 32],
        now: 3,
        limits: Limits::default(),
        engines: 2,
        pads: 3,
        plain: Some(Zeroizing::new(vec![4; 5])),
        signed: Some(vec![6]),
        parties: vec![(vec![7; 8], "https://delegator.example".into())],
    };
    let key = DataKey::from_bytes(Zeroizing::new([9; 32]));
    vec![
        Command::Begin(None),
        Command::Begin(Some(cache)),
        Command::Draw(10),
        Command::Update(Box::new(Replacement {
            run: submitted.clone(),
            contents: Contents::default(),
            signed: vec![1, 2],
        })),
        Command::Submit(Box::new(submitted)),
        Command::Keys(vec![ReleasedKey { key, from: DELEGATOR }]),
        Command::Done,
        Command::Denied(Denied::Pad { index: 3, reason: "engine".into() }),
        Command::Denied(Denied::Use { index: 0 }),
        Command::Denied(Denied::Failed("away".into())),
    ]
}

fn reports() -> Vec<Report> {
    let stored = pad(A, vec![policy(&training(60))], 1, b"data");
    let wanted = WantedPad { digest: stored.digest, metadata: stored.sealed().claimed().clone() };
    let quota = QuotaUse { account: [1; 16], owner: id(A), uses: 2, period_secs: 3 };
    let record = SealedRecord { custodian: id(A), key_provider_id: DELEGATOR, bytes: vec![1, 2] };
    vec![
        Report::Begun(Vec::new()),
        Report::Begun(vec!["a cgroup of its own".into()]),
        Report::Drawn(RunId([1; 16])),
        Report::Update(Box::new(KeyOfUpdate {
            run: RunId([1; 16]),
            old: wanted.clone(),
            key_id: KeyId::new(b"key").unwrap(),
            key: Zeroizing::new([5; 32]),
            signed: vec![3],
        })),
        Report::Keys(KeyRequest {
            run: RunId([1; 16]),
            program: TRAINER,
            owner: Some(id(A)),
            engines: vec![OTHER, SHARE],
            pads: vec![wanted],
        }),
        Report::Spend(
            RunId([1; 16]),
            vec![Spend { key_provider_id: DELEGATOR, engine: SHARE, custodian: id(A), quota }],
        ),
        Report::Keep(Box::new(KeyToKeep {
            run: RunId([1; 16]),
            pad_id: PadId::generate().unwrap(),
            key_id: KeyId::new(b"key").unwrap(),
            key: Zeroizing::new([5; 32]),
            custodian: id(A),
            key_provider_id: DELEGATOR,
            engines: vec![SHARE],
            parents: vec![stored.digest],
        })),
        Report::Audit(AuditEntry {
            run: RunId([1; 16]),
            sequence: 2,
            previous: OTHER,
            head: SHARE,
            records: vec![record],
        }),
        Report::Pad(7),
        Report::Plain(8),
        Report::Part(Zeroizing::new(vec![1])),
        Report::Refusal("no".into()),
        Report::Ended(Ok(())),
        Report::Ended(Err("the program trapped".into())),
    ]
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    for command in commands() {
        assert_eq!(again(&command), *encode(&command));
    }
    for report in reports() {
        // A shorter part is a part.
        if !matches!(report, Report::Part(_)) {
            assert_eq!(again(&report), *encode(&report));
        }
    }
}

#[test]
fn a_reason_is_cut_between_characters() {
    let long = "é".repeat(MAX_REASON_BYTES);
    let bytes = encode(&Report::Refusal(long));
    let (head, body) = bytes.split_first_chunk().unwrap();
    let Ok(Report::Refusal(read)) = decode(*head, body) else { panic!("a refusal") };
    assert_eq!(read.len(), MAX_REASON_BYTES);
}

#[test]
fn lengths_and_counts_are_not_believed() {
    let head = |kind: u8, length: u32| {
        let mut head = [kind; HEAD_BYTES];
        head[1..].copy_from_slice(&length.to_le_bytes());
        head
    };
    for kind in 0..=u8::MAX {
        assert!(body_bytes::<Command>(head(kind, u32::MAX)).is_err());
        assert!(body_bytes::<Report>(head(kind, u32::MAX)).is_err());
    }
    let many = u32::MAX.to_le_bytes();
    let keys = decode::<Command>(head(KEYS, 4), &many);
    assert!(matches!(keys, Err(FrameError::Budget { field: "keys", .. })));
}

proptest! {
    #[test]
    fn what_is_read_has_one_spelling(
        kind in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut head = [kind; HEAD_BYTES];
        head[1..].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let bytes = [&head[..], &body].concat();
        if let Ok(command) = decode::<Command>(head, &body) {
            prop_assert_eq!(&encode(&command)[..], &bytes[..]);
        }
        if let Ok(report) = decode::<Report>(head, &body) {
            prop_assert_eq!(&encode(&report)[..], &bytes[..]);
        }
    }
}
