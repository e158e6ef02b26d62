//! `pad-runner` and its supervisor: whole runs, with real programs and engines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write as _};
use std::path::Path;

use ed25519_dalek::{Signer as _, SigningKey};
use pad_format::cipher::Algorithm;
use pad_format::contents::{Name, Origin};
use pad_format::custodian::Signatures;
use pad_format::enrolment::Enrolment;
use pad_format::metadata::{ChunkSize, Delegator as NamedDelegator, KeyId, Uri};
use pad_format::reader::SealedPad;
use pad_format::run::{Run, RunId};
use pad_format::sealed::{self, Purpose, ResultSecret};
use pad_format::update::Update;
use pad_format::{Contents, Custodian, DataKey, Packing, PadDigest, PadId, PadWriter, Policy};
use pad_pipeline::Delegator;
use pad_pipeline::delegator::{
    AuditEntry, Denied, KeyRequest, NewKey, ReleasedKey, Spend, UpdatedKey,
};
use pad_pipeline::output::result_subject;
use pad_rules::{
    Constraints, InputRule, OutputRule, ProgramDigest, ProgramRule, Schema, SharePolicy,
};
use pad_run::Limits;
use pad_runner::component;
use pad_supervisor::{Job, Outcome, Output, Place, Replacement, Settings, Supervisor};
use protocol::digest::{Ed25519Key, Sha256Digest};
use zeroize::Zeroizing;

use crate::{built, inference, programs};

pub const NOW: u64 = 1_800_000_000;
const DELEGATOR: Sha256Digest = Sha256Digest([0xde; 32]);
const ADDRESS: &str = "https://delegator.example";

/// Adds every Pad, and proposes the data of the first one: as a result in plain.
pub const PLAIN: &str = r#"(func (export "run") (param i32 i32)
  (local $i i32)
  (loop $more
    (call $add (local.get $i))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (call $pads))))
  (if (i32.eqz (call $check)) (then (return)))
  (call $open)
  (call $read (i32.const 0) (i64.const 0) (i32.const 7) (i32.const 0))
  (drop (call $output (i32.load (i32.const 0)) (i32.load (i32.const 4)))))"#;
/// Makes a Pad of the first one's custodian, which is its plain input, with its policies.
pub const COPY: &str = r#"(func (export "run") (param $plain i32) (param i32)
  (call $opened)
  (call $read (i32.const 0) (i64.const 0) (i32.const 7) (i32.const 0))
  (call $describe (i32.const 0) (i32.const 8))
  (drop (call $propose (i32.const 1)
    (call $word (local.get $plain)) (call $word (i32.add (local.get $plain) (i32.const 8)))
    (call $word (i32.add (local.get $plain) (i32.const 16)))
    (call $word (i32.add (local.get $plain) (i32.const 24)))
    (i32.load (i32.const 8)) (i32.load (i32.const 12)) (i32.const 0) (i32.const 0)
    (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
(func $word (param $at i32) (result i64)
  (local $i i32) (local $word i64)
  (loop $more
    (local.set $word (i64.or (i64.shl (local.get $word) (i64.const 8))
      (i64.load8_u (i32.add (local.get $at) (local.get $i)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (i32.const 8))))
  (local.get $word))"#;
/// Reads all of the first Pad, which has no byte, and proposes it as a result in plain.
const EMPTY: &str = r#"(func (export "run") (param i32 i32)
  (call $opened)
  (if (i64.ne (call $size (i32.const 0)) (i64.const 0)) (then (unreachable)))
  (call $read (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0))
  (if (i32.load (i32.const 4)) (then (unreachable)))
  (drop (call $output (i32.load (i32.const 0)) (i32.load (i32.const 4)))))"#;
/// An engine that refuses outputs.
const NO_OUTPUT: &str = r#"(func (export "check-output") (param i32) (result i32)
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store16 (i32.const 20) (i32.const 32))
  (i32.const 0))"#;

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub fn custodian() -> Custodian {
    Custodian::single(Ed25519Key(signing_key().verifying_key().to_bytes()))
}

fn sign(message: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    signatures.add(custodian().members()[0], signing_key().sign(message).to_bytes());
    signatures
}

pub fn secret() -> ResultSecret {
    ResultSecret::from_bytes(Zeroizing::new([9; 32]))
}

fn enrolment() -> Vec<u8> {
    let enrolment = Enrolment {
        custodian: custodian(),
        key_provider_id: DELEGATOR,
        version: 1,
        result_key: secret().public(),
    };
    let signatures = sign(&enrolment.signed_bytes());
    enrolment.signed(signatures).to_bytes()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room");
    file
}

/// The keys of all Pads, and what was asked for.
#[derive(Default, Clone)]
pub struct Keys {
    pub keys: BTreeMap<PadDigest, [u8; 32]>,
    pub kept: Vec<[u8; 32]>,
    asked: Vec<&'static str>,
    is_away: bool,
    /// Engines that a Pad's custodian named with its key; any if there is no entry.
    named: BTreeMap<PadDigest, Vec<Sha256Digest>>,
}

impl Keys {
    fn asked(&mut self, step: &'static str) -> Result<(), Denied> {
        self.asked.push(step);
        if self.is_away { Err(Denied::Failed("no route".into())) } else { Ok(()) }
    }
}

impl Delegator for Keys {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        self.asked("keys")?;
        let key = |(index, wanted): (usize, &pad_pipeline::delegator::WantedPad)| {
            let key = self.keys.get(&wanted.digest);
            let key = key.ok_or(Denied::Pad { index, reason: "unknown".into() })?;
            let named = self.named.get(&wanted.digest);
            if named.is_some_and(|named| !request.engines.iter().all(|one| named.contains(one))) {
                return Err(Denied::Pad { index, reason: "an engine is not named".into() });
            }
            let key = DataKey::from_bytes(Zeroizing::new(*key));
            Ok(ReleasedKey { key, from: DELEGATOR })
        };
        request.pads.iter().enumerate().map(key).collect()
    }

    fn spend(&mut self, _: RunId, _: &[Spend]) -> Result<(), Denied> {
        self.asked("spend")
    }

    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied> {
        self.asked("keep")?;
        self.kept.push(*new.key.as_bytes());
        Ok(())
    }

    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied> {
        assert!(entry.records.len() <= 1);
        self.asked("audit")
    }

    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        self.asked("update")?;
        assert!(self.keys.remove(&new.old.digest).is_some());
        self.kept.push(*new.key.as_bytes());
        Ok(())
    }
}

/// A Pad whose one policy is of this engine.
pub fn pad(engine: &[u8], data: &[u8], keys: &mut Keys) -> Vec<u8> {
    let constraints = Constraints { input: vec![1], program: vec![2], output: vec![3] };
    pad_under(engine, constraints, data, keys)
}

/// A Pad with one policy of these constraints.
fn pad_under(engine: &[u8], constraints: Constraints, data: &[u8], keys: &mut Keys) -> Vec<u8> {
    let policy = Policy {
        policy_type: "2f0b1e8c-93a4-4a0e-8f0d-6c1d1f9b7a55".parse().expect("a UUID"),
        engine: Sha256Digest(component::digest(engine)),
        input_id: Name::new("records").expect("a name"),
        input_constraint: constraints.input,
        program_constraint: constraints.program,
        output_constraint: constraints.output,
    };
    let contents = Contents {
        policy_version: 1,
        custodian: custodian(),
        policies: vec![policy],
        attributes: vec![],
    };
    let key = DataKey::generate().expect("randomness");
    let packing = Packing {
        pad_id: PadId::generate().expect("randomness"),
        delegator: NamedDelegator {
            key_provider_id: DELEGATOR,
            uri: Uri::new(ADDRESS).expect("an address"),
        },
        algorithm: Algorithm::Aes256Gcm,
        key_id: KeyId::new(b"key").expect("an id"),
        chunk: ChunkSize::default(),
        contents: &contents,
    };
    let mut writer = PadWriter::new(Vec::new(), &packing, &key).expect("contents");
    writer.write(data).expect("room");
    let (bytes, digest) = writer.finish().expect("room");
    keys.keys.insert(digest, *key.as_bytes());
    bytes
}

fn supervisor() -> Supervisor {
    let runner = Path::new(env!("CARGO_BIN_EXE_pad-runner"));
    Supervisor::start(Settings { runner, cache: None, place: Place::Local }).expect("started")
}

/// A run with one engine.
pub fn job(run: RunId, program: &[u8], engine: &[u8], pads: &[Vec<u8>], plain: &[u8]) -> Job {
    let digest = |pad: &Vec<u8>| SealedPad::read(Cursor::new(pad)).expect("a Pad").digest();
    let stated = Run {
        id: run,
        exporter: [4; 32],
        program: Sha256Digest(component::digest(program)),
        pads: pads.iter().map(digest).collect(),
        plain_input: Some(Sha256Digest::of(plain)),
    };
    let signatures = sign(&stated.signed_bytes(&custodian().id(), NOW + 60));
    Job {
        run,
        exporter: [4; 32],
        now: NOW,
        program: file(program),
        engines: vec![file(engine)],
        pads: pads.iter().map(|pad| file(pad)).collect(),
        plain: Some(Zeroizing::new(plain.to_vec())),
        signed: Some(stated.signed(custodian(), NOW + 60, signatures).to_bytes()),
        parties: vec![(enrolment(), ADDRESS.to_owned())],
        limits: Limits { memory_bytes: 16 << 20, data_bytes: 1 << 20, ..Limits::default() },
    }
}

/// Other constraints for a Pad, on which its owner agrees.
pub fn replacement(run: RunId, engine: &[u8], pad: &[u8], key: [u8; 32], out: File) -> Replacement {
    let sealed = SealedPad::read(Cursor::new(pad)).expect("a Pad");
    let opened = sealed.open(&DataKey::from_bytes(Zeroizing::new(key))).expect("its key");
    let mut contents = opened.contents().clone();
    contents.policies[0].output_constraint = vec![9; 9];
    let update = Update {
        pad_id: opened.metadata().pad_id,
        policies: contents.policies_digest(),
        version: 2,
    };
    let signatures = sign(&update.signed_bytes(&custodian().id()));
    Replacement {
        run,
        now: NOW,
        engines: vec![file(engine)],
        pad: file(pad),
        out,
        policies: contents.policies.clone(),
        signed: update.signed(vec![(custodian(), signatures)]).to_bytes(),
        party: (enrolment(), ADDRESS.to_owned()),
    }
}

fn refused(outcome: &Outcome, text: &str) {
    assert_eq!(outcome.outputs, []);
    assert!(outcome.refusals.iter().any(|refusal| refusal.contains(text)), "{outcome:?}");
}

#[test]
fn a_result_in_plain_comes_out_sealed_for_the_owner_and_a_run_is_taken_once() {
    let (program, engine) = (programs::consumer(PLAIN), programs::engine(""));
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    let pads = vec![pad(&engine, b"of A, a", &mut keys)];
    let run = supervisor.draw(NOW).expect("an id");
    let first = job(run, &program, &engine, &pads, b"item");
    let outcome = supervisor.run(first, &mut keys).expect("a conversation");
    assert_eq!((&outcome.ended, &outcome.refusals[..]), (&Ok(()), &[][..]));
    let [Output::Plain(sealed)] = &outcome.outputs[..] else { panic!("{outcome:?}") };
    let about = result_subject(&run.0, &custodian().id());
    let plain = sealed::open(&secret(), Purpose::Result, &about, sealed).expect("for the owner");
    assert_eq!(*plain, b"of A, a");
    assert_eq!(keys.asked, ["keys", "audit"]);
    let again = job(run, &program, &engine, &pads, b"item");
    let outcome = supervisor.run(again, &mut keys).expect("a conversation");
    assert!(outcome.ended.is_err());
    refused(&outcome, "run id");
}

#[test]
fn a_pad_without_data_is_read_as_any_other() {
    let (program, engine) = (programs::consumer(EMPTY), programs::engine(""));
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    let pads = vec![pad(&engine, b"", &mut keys)];
    let run = supervisor.draw(NOW).expect("an id");
    let job = job(run, &program, &engine, &pads, b"item");
    let outcome = supervisor.run(job, &mut keys).expect("a conversation");
    assert_eq!((&outcome.ended, &outcome.refusals[..]), (&Ok(()), &[][..]));
    let [Output::Plain(sealed)] = &outcome.outputs[..] else { panic!("{outcome:?}") };
    let about = result_subject(&run.0, &custodian().id());
    let plain = sealed::open(&secret(), Purpose::Result, &about, sealed).expect("for the owner");
    assert!(plain.is_empty());
}

#[test]
fn a_program_has_the_helper_only_where_every_pad_s_policy_grants_it() {
    let (program, engine) = (built::component("infer"), built::component("share"));
    let policy = |helper: Option<&str>| {
        let listed = ProgramRule::ProgramIn(vec![ProgramDigest(component::digest(&program))]);
        let helper = helper.map(|helper| ProgramRule::HelperIn(vec![helper.to_owned()]));
        SharePolicy {
            input: vec![InputRule::PlainInput { max_bytes: 100 }],
            program: std::iter::once(listed).chain(helper).collect(),
            output: vec![OutputRule::PlainResult { schema: Schema::Any, max_bytes: 1 << 20 }],
        }
    };
    let (model, input, plain) = inference::smallest();
    for (of_model, of_input, allowed) in [
        (Some("onnx"), Some("onnx"), true),
        (Some("onnx"), None, false),
        (None, Some("onnx"), false),
        (Some("onnx"), Some("other"), false),
    ] {
        let (mut supervisor, mut keys) = (supervisor(), Keys::default());
        let pads: Vec<_> = [(of_model, &model), (of_input, &input)]
            .map(|(helper, data)| {
                pad_under(&engine, policy(helper).to_constraints(), data, &mut keys)
            })
            .into();
        let run = supervisor.draw(NOW).expect("an id");
        let job = job(run, &program, &engine, &pads, plain.as_bytes());
        let outcome = supervisor.run(job, &mut keys).expect("a conversation");
        match allowed {
            true => assert!(matches!(&outcome.outputs[..], [Output::Plain(_)]), "{outcome:?}"),
            false => refused(&outcome, "HELPER_IN"),
        }
    }
}

#[test]
fn a_new_pad_comes_out_under_a_key_that_its_delegator_has() {
    let (program, engine) = (programs::consumer(COPY), programs::engine(""));
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    let pads = vec![pad(&engine, b"records", &mut keys)];
    let run = supervisor.draw(NOW).expect("an id");
    let job = job(run, &program, &engine, &pads, &custodian().id().0.0);
    let outcome = supervisor.run(job, &mut keys).expect("a conversation");
    assert_eq!((&outcome.ended, &outcome.refusals[..]), (&Ok(()), &[][..]));
    let [Output::Pad(bytes)] = &outcome.outputs[..] else { panic!("{outcome:?}") };
    assert_eq!(keys.asked, ["keys", "audit", "keep"]);
    let sealed = SealedPad::read(Cursor::new(bytes)).expect("a Pad");
    let opened = sealed.open(&DataKey::from_bytes(Zeroizing::new(keys.kept[0]))).expect("its key");
    assert_eq!(opened.contents().policies[0].program_constraint, [2]);
    assert!(
        opened
            .contents()
            .attributes
            .iter()
            .all(|attribute| { matches!(attribute.origin, Origin::Program(_)) })
    );
    let mut data = opened.into_data().expect("data");
    let mut read = [0; 7];
    data.read_at(0, &mut read).expect("whole");
    assert_eq!(&read, b"records");
}

#[test]
fn what_is_refused_does_not_come_out_and_the_next_run_works() {
    let (program, engine) = (programs::consumer(PLAIN), programs::engine(NO_OUTPUT));
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    let pads = vec![pad(&engine, b"records", &mut keys)];
    let mut go = |keys: &mut Keys, change: fn(&mut Job)| {
        let run = supervisor.draw(NOW).expect("an id");
        let mut job = job(run, &program, &engine, &pads, b"item");
        change(&mut job);
        supervisor.run(job, keys).expect("a conversation")
    };
    refused(&go(&mut keys, |_| {}), "PLAIN_RESULT");
    keys.is_away = true;
    refused(&go(&mut keys, |_| {}), "no route");
    keys.is_away = false;
    refused(&go(&mut keys, |job| job.exporter = [5; 32]), "connection");
    refused(&go(&mut keys, |job| job.plain = None), "plain input");
    refused(&go(&mut keys, |job| job.parties.clear()), "no enrolment");
    refused(&go(&mut keys, |job| job.engines.clear()), "not stated");
    let not_begun: [(fn(&mut Job), &str); 5] = [
        (|job| job.pads[0] = file(b"no Pad"), "a submitted Pad"),
        (|job| job.engines[0] = file(b"\0asm\x01\0\0\0"), "the engine"),
        (|job| job.program = file(b"#!/bin/sh"), "the program"),
        (|job| job.program = File::open("/dev/zero").expect("there"), "not a regular file"),
        (|job| job.signed = Some(vec![0]), "a submitted document"),
    ];
    for (change, reason) in not_begun {
        let outcome = go(&mut keys, change);
        let ended = outcome.ended.expect_err("not begun");
        assert!(ended.contains(reason), "{ended}");
        assert_eq!((outcome.outputs.len(), outcome.refusals.len()), (0, 0));
    }
    keys.keys.clear();
    refused(&go(&mut keys, |_| {}), "not released");
}

#[test]
fn an_engine_of_one_owner_is_in_no_run_with_a_pad_whose_owner_does_not_name_it() {
    // Both say yes; the second reads what is proposed, which may be of the other's Pad.
    let curious = r#"(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
      (func (export "check-output") (param i32) (result i32)
        (call $read (i64.const 0) (i32.const 7) (i32.const 0)) (call $yes))"#;
    let (program, ours) = (programs::consumer(PLAIN), programs::engine(""));
    let theirs = programs::engine(curious);
    let digest = |engine: &[u8]| Sha256Digest(component::digest(engine));
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    let pads = vec![pad(&ours, b"records", &mut keys), pad(&theirs, b"nothing", &mut keys)];
    let first = SealedPad::read(Cursor::new(&pads[0])).expect("a Pad").digest();
    let mut go = |keys: &mut Keys, engines: &[&Vec<u8>]| {
        let run = supervisor.draw(NOW).expect("an id");
        let mut job = job(run, &program, &ours, &pads, b"item");
        job.engines = engines.iter().map(|engine| file(engine)).collect();
        supervisor.run(job, keys).expect("a conversation")
    };
    keys.named.insert(first, vec![digest(&ours)]);
    refused(&go(&mut keys, &[&ours, &theirs]), "an engine is not named");
    refused(&go(&mut keys, &[&ours]), "not stated");
    keys.named.insert(first, vec![digest(&ours), digest(&theirs)]);
    let outcome = go(&mut keys, &[&ours, &theirs]);
    assert_eq!((outcome.outputs.len(), &outcome.refusals[..]), (1, &[][..]), "{outcome:?}");
}

#[test]
fn what_a_refusal_says_depends_on_no_data() {
    let no_output = programs::engine(NO_OUTPUT);
    let traps_by_data = r#"(func (export "run") (param i32 i32)
      (call $opened)
      (call $read (i32.const 0) (i64.const 0) (i32.const 7) (i32.const 0))
      (if (i32.eq (i32.load8_u (i32.load (i32.const 0))) (i32.const 97)) (then (unreachable)))
      (drop (i32.load (i32.const -4))))"#;
    let mut supervisor = supervisor();
    for text in [PLAIN, traps_by_data] {
        let program = programs::consumer(text);
        let mut said = |data: &[u8]| {
            let mut keys = Keys::default();
            let pads = vec![pad(&no_output, data, &mut keys)];
            let run = supervisor.draw(NOW).expect("an id");
            let job = job(run, &program, &no_output, &pads, b"item");
            let outcome = supervisor.run(job, &mut keys).expect("a conversation");
            assert_eq!(outcome.outputs, []);
            // A Pad's id is random.
            let id = SealedPad::read(Cursor::new(&pads[0])).expect("a Pad").claimed().pad_id;
            let refusals = outcome.refusals.iter();
            let refusals = refusals.map(|refusal| refusal.replace(&id.to_string(), "this"));
            (outcome.ended, refusals.collect::<Vec<_>>(), keys.asked)
        };
        let first = said(b"a secret");
        assert!(first.0.is_err() || !first.1.is_empty(), "{first:?}");
        assert_eq!(first, said(b"other data"));
        assert_eq!(first, said(&[0xff; 300_000]));
    }
}

#[test]
fn runs_at_the_same_time_have_nothing_of_each_other() {
    let (program, engine) = (programs::consumer(PLAIN), programs::engine(""));
    std::thread::scope(|scope| {
        let runs = [b"of A, a", b"of B, b", b"of C, c"].map(|data| {
            let (program, engine) = (&program, &engine);
            scope.spawn(move || {
                let (mut supervisor, mut keys) = (supervisor(), Keys::default());
                let pads = vec![pad(engine, data, &mut keys)];
                for _ in 0..3 {
                    let run = supervisor.draw(NOW).expect("an id");
                    let job = job(run, program, engine, &pads, b"item");
                    let outcome = supervisor.run(job, &mut keys).expect("a conversation");
                    let [Output::Plain(sealed)] = &outcome.outputs[..] else {
                        panic!("{outcome:?}")
                    };
                    let about = result_subject(&run.0, &custodian().id());
                    let plain = sealed::open(&secret(), Purpose::Result, &about, sealed);
                    assert_eq!(**plain.expect("for the owner"), *data);
                }
            })
        });
        runs.into_iter().for_each(|run| run.join().expect("no panic"));
    });
}

#[test]
fn many_pads_are_passed_in_several_messages() {
    let program = programs::consumer(PLAIN);
    let engine = programs::engine(r#"(memory (export "memory") 64)"#);
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    let pads: Vec<_> = (0..450).map(|_| pad(&engine, b"records", &mut keys)).collect();
    let run = supervisor.draw(NOW).expect("an id");
    // The engine answers about one Pad, so all together are refused.
    let job = job(run, &program, &engine, &pads, b"item");
    let outcome = supervisor.run(job, &mut keys).expect("a conversation");
    refused(&outcome, "gave 1 answers, expected 450");
}

#[test]
fn the_policies_of_a_pad_are_replaced_if_its_engine_agrees() {
    let no_update = r#"(func (export "check-update") (param i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store16 (i32.const 20) (i32.const 40))
      (i32.const 16))"#;
    let (mut supervisor, mut keys) = (supervisor(), Keys::default());
    for (text, expected) in [("", None), (no_update, Some("UPDATE_BY"))] {
        let engine = programs::engine(text);
        let old = pad(&engine, b"records", &mut keys);
        let key = keys.keys.values().next().copied().expect("one");
        let out = tempfile::tempfile().expect("a file");
        let run = supervisor.draw(NOW).expect("an id");
        let replacement = replacement(run, &engine, &old, key, out.try_clone().expect("a copy"));
        let outcome = supervisor.update(replacement, &mut keys).expect("a conversation");
        match expected {
            Some(rule) => {
                assert!(outcome.ended.is_err());
                refused(&outcome, rule);
                assert_eq!(out.metadata().expect("known").len(), 0);
            }
            None => {
                assert_eq!(outcome.ended, Ok(()), "{outcome:?}");
                assert_eq!(keys.asked, ["keys", "audit", "update"]);
                let key = DataKey::from_bytes(Zeroizing::new(keys.kept[0]));
                let new = SealedPad::read(out).expect("a Pad").open(&key).expect("its key");
                assert_eq!(new.contents().policies[0].output_constraint, [9; 9]);
                assert_eq!(new.into_data().expect("data").data_bytes(), 7);
            }
        }
        keys = Keys::default();
    }
}
