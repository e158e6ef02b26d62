//! The test vectors of `docs/pad-format.md`: made here, in the repository for others, and read by a
//! second reader in Python (`tests/tests/promises/pad_vectors.rs`).
//!
//! `DSTYX_WRITE_VECTORS=1 cargo test -p pad-format vectors` writes the file anew.

use std::io::Cursor;
use std::path::Path;
use std::{env, fs};

use pad_cbor::Writer;
use protocol::digest::Sha256Digest;
use serde_json::{Value as Json, json};

use crate::contents::{Attribute, Contents, Name, Origin, Value};
use crate::custodian::Custodian;
use crate::enrolment::{Enrolment, ResultKey, SignedEnrolment};
use crate::fixtures::{self, contents, data_key, joint, key, run, sign, signed_run};
use crate::keys::DataKey;
use crate::metadata::{ChunkSize, Metadata};
use crate::reader::{PadError, SealedPad};
use crate::run::{RunError, SignedRun};
use crate::update::{SignedUpdate, Update};
use crate::uuid::PadId;
use crate::writer::PadWriter;

const NOW: u64 = 1_800_000_000;

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/pads/vectors.json")
}

/// Data of which no two positions near each other have the same bytes.
fn data(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number * 7 + number / 256) as u8).collect()
}

fn pad(metadata: Metadata, contents: &[u8], data: &[u8]) -> Vec<u8> {
    let mut writer = PadWriter::begin(Vec::new(), metadata, contents, &data_key()).unwrap();
    writer.write(data).unwrap();
    writer.finish().unwrap().0
}

fn good(data: &[u8]) -> Vec<u8> {
    let metadata = fixtures::metadata();
    pad(metadata.clone(), &contents().to_bytes(&metadata).unwrap(), data)
}

/// A Pad whose sealed contents are these bytes, whatever they are.
fn with_contents(bytes: &[u8]) -> Vec<u8> {
    pad(fixtures::metadata(), bytes, b"data")
}

fn encoded() -> Vec<u8> {
    contents().to_bytes(&fixtures::metadata()).unwrap()
}

/// Vectors that open, by name, each with its data.
fn opening() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let metadata = fixtures::metadata();
    let mut large = metadata.clone();
    large.crypto.chunk = ChunkSize::default();
    let mut single = Contents { custodian: Custodian::single(key(4)), ..contents() };
    let pad_id = PadId::new("0b0c4a5e-9f5d-4c3a-a1b2-0102030405ff".parse().unwrap()).unwrap();
    let owner = single.custodian.id();
    let name = |text| Name::new(text).unwrap();
    let signed = |text, value: Value| {
        let message = value.signed_bytes(&name(text), &pad_id, &owner);
        Attribute { name: name(text), value, origin: Origin::Custodian(sign(&[4], &message)) }
    };
    single.attributes = vec![
        signed("a.bytes", Value::Bytes(vec![0, 255])),
        signed("b_largest", Value::Integer(u64::MAX)),
        signed("c-text", Value::Text("hôpital B".into())),
    ];
    single.policies.push(single.policies[0].clone());
    single.policy_version = 300;
    let of_single = Metadata { pad_id, custodian: owner, ..metadata.clone() };
    let mut bare = contents();
    bare.attributes.clear();
    let all = |metadata: Metadata, contents: &Contents, data: Vec<u8>| {
        let bytes = contents.to_bytes(&metadata).unwrap();
        (pad(metadata, &bytes, &data), data)
    };
    [
        ("no data", all(metadata.clone(), &contents(), vec![])),
        ("one byte", all(metadata.clone(), &contents(), data(1))),
        ("one whole chunk", all(metadata.clone(), &contents(), data(256))),
        ("two whole chunks", all(metadata.clone(), &contents(), data(512))),
        ("three chunks", all(metadata.clone(), &contents(), data(600))),
        ("chunks of 64 KiB", all(large, &contents(), data(600))),
        ("no attributes", all(metadata, &bare, data(20))),
        ("a single custodian, two policies", all(of_single, &single, data(20))),
    ]
    .into_iter()
    .map(|(name, (pad, data))| (name, pad, data))
    .collect()
}

/// Vectors that are refused, by name, each with the part that is wrong.
fn refused() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = good(&data(600));
    let data_at = good.len() - 600 - 3 * 16;
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let chunk =
        |index: usize| &good[data_at + index * 272..good.len().min(data_at + (index + 1) * 272)];
    let head = &good[..data_at];
    let mut other = fixtures::metadata();
    other.crypto.salt.0[0] ^= 1;
    let other = pad(other.clone(), &contents().to_bytes(&other).unwrap(), &data(600));
    let spliced = [head, &other[data_at..data_at + 272], chunk(1), chunk(2)].concat();
    let metadata_bytes = usize::from(good[10]) + 256 * usize::from(good[11]);
    let policies_at = 16 + metadata_bytes + 32;
    let whole = self::good(&data(512));
    vec![
        ("other first bytes", changed(0, b'd'), "layout"),
        ("version 2", changed(8, 2), "layout"),
        ("sealed policies of 4 GiB", changed(15, 0xff), "layout"),
        ("metadata of 64 KiB", changed(11, 0xff), "layout"),
        ("cut inside its metadata", good[..40].to_vec(), "truncated"),
        ("cut inside its policies", good[..data_at - 1].to_vec(), "truncated"),
        ("without data", head.to_vec(), "layout"),
        ("metadata of one pair less", changed(16, 0xa3), "metadata"),
        ("another pad id", changed(19, good[19] ^ 1), "key"),
        ("another key commitment", changed(16 + metadata_bytes, !good[16 + metadata_bytes]), "key"),
        ("changed policies", changed(policies_at, !good[policies_at]), "policies"),
        ("changed first chunk", changed(data_at, !good[data_at]), "chunk"),
        ("changed tag of the last chunk", changed(good.len() - 1, !good[good.len() - 1]), "chunk"),
        ("last chunk dropped", [head, chunk(0), chunk(1)].concat(), "chunk"),
        ("first chunk dropped", [head, chunk(1), chunk(2)].concat(), "chunk"),
        ("chunks exchanged", [head, chunk(1), chunk(0), chunk(2)].concat(), "chunk"),
        ("a chunk repeated", [head, chunk(0), chunk(0), chunk(1), chunk(2)].concat(), "chunk"),
        ("first chunk of another sealing", spliced, "chunk"),
        ("a byte behind the end", [&good[..], &[0]].concat(), "chunk"),
        ("16 bytes behind the end", [&good[..], &[0; 16]].concat(), "chunk"),
        ("an empty chunk behind whole ones", [&whole[..], &[0; 16]].concat(), "layout"),
    ]
}

/// Vectors whose sealed contents no writer makes; whoever has the data key can seal them.
fn wrong_contents() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = encoded();
    // `a4 01 01 02`: four pairs, the first is `1: 1`.
    assert_eq!(good[..4], [0xa4, 1, 1, 2]);
    let longer = [&[0xa4, 1, 0x18, 1][..], &good[3..]].concat();
    let indefinite = [&[0xbf][..], &good[1..], &[0xff]].concat();
    let unknown = [&[0xa5][..], &good[1..], &[5, 0]].concat();
    let twice = [&[0xa5, 1, 1][..], &good[1..]].concat();
    let of = |change: fn(&mut Contents)| {
        let mut contents = contents();
        change(&mut contents);
        let mut writer = Writer::new();
        contents.write(&mut writer);
        with_contents(&writer.finish())
    };
    let other_pad: fn(&mut Contents) = |contents| {
        let Attribute { name, value, origin } = &mut contents.attributes[0];
        let other = PadId::new("00000000-0000-4000-8000-000000000000".parse().unwrap()).unwrap();
        let message = value.signed_bytes(name, &other, &joint().id());
        *origin = Origin::Custodian(sign(&[1, 2], &message));
    };
    vec![
        ("contents: a number in a longer form", with_contents(&longer), "contents"),
        ("contents: a map of indefinite length", with_contents(&indefinite), "contents"),
        ("contents: an unknown key", with_contents(&unknown), "contents"),
        ("contents: a key twice", with_contents(&twice), "contents"),
        ("contents: a byte behind them", with_contents(&[&good[..], &[0]].concat()), "contents"),
        ("contents: cut", with_contents(&good[..good.len() - 1]), "contents"),
        ("contents: no policy", of(|contents| contents.policies.clear()), "contents"),
        ("contents: policy version 0", of(|contents| contents.policy_version = 0), "contents"),
        (
            "contents: attributes out of order",
            of(|contents| contents.attributes.swap(0, 1)),
            "contents",
        ),
        (
            "contents: an attribute twice",
            of(|contents| contents.attributes.push(contents.attributes[1].clone())),
            "contents",
        ),
        (
            "contents: another value than the custodian signed",
            of(|contents| contents.attributes[0].value = Value::Integer(1_000_000)),
            "contents",
        ),
        ("contents: an attribute signed for another Pad", of(other_pad), "contents"),
        (
            "contents: another custodian than the metadata's",
            of(|contents| contents.custodian = Custodian::single(key(9))),
            "contents",
        ),
    ]
}

/// The part that a refusal names, as vectors spell it.
fn part(error: &PadError) -> &'static str {
    match error {
        PadError::Truncated(_) => "truncated",
        PadError::Layout(_) => "layout",
        PadError::Metadata(_) => "metadata",
        PadError::Key => "key",
        PadError::Policies => "policies",
        PadError::Contents(_) => "contents",
        PadError::Chunk { .. } => "chunk",
        PadError::Io(_) | PadError::Refused => "none",
    }
}

fn outcome(
    pad: &[u8],
    key: &DataKey,
) -> Result<(Metadata, Contents, Sha256Digest, Vec<u8>), PadError> {
    let pad = SealedPad::read(Cursor::new(pad))?.open(key)?;
    let (metadata, contents, digest) =
        (pad.metadata().clone(), pad.contents().clone(), pad.digest());
    let mut reader = pad.into_data()?;
    let mut data = vec![0; usize::try_from(reader.data_bytes()).unwrap()];
    reader.read_at(0, &mut data)?;
    Ok((metadata, contents, digest.0, data))
}

fn opens(name: &str, pad: &[u8]) -> Json {
    let (metadata, contents, digest, data) = outcome(pad, &data_key()).unwrap();
    let policy = |policy: &crate::Policy| {
        json!({
            "type": policy.policy_type.to_string(),
            "engine": policy.engine,
            "input_id": policy.input_id.as_str(),
            "input": hex::encode(&policy.input_constraint),
            "program": hex::encode(&policy.program_constraint),
            "output": hex::encode(&policy.output_constraint),
        })
    };
    let attribute = |attribute: &Attribute| {
        let value = match &attribute.value {
            Value::Integer(number) => json!({ "integer": number.to_string() }),
            Value::Text(text) => json!({ "text": text }),
            Value::Bytes(bytes) => json!({ "bytes": hex::encode(bytes) }),
        };
        let made_by = match &attribute.origin {
            Origin::Custodian(_) => json!("custodian"),
            Origin::Program(program) => json!(program),
        };
        json!({ "name": attribute.name.as_str(), "value": value, "made_by": made_by })
    };
    json!({
        "name": name,
        "data_key": hex::encode(data_key().as_bytes()),
        "pad": hex::encode(pad),
        "expect": "opens",
        "pad_id": metadata.pad_id.to_string(),
        "custodian": metadata.custodian.0,
        "custodian_shown": metadata.custodian.shown().to_string(),
        "key_provider_id": metadata.delegator.key_provider_id,
        "uri": metadata.delegator.uri.as_str(),
        "key_id": hex::encode(metadata.crypto.key_id.as_bytes()),
        "chunk_bytes": metadata.crypto.chunk.bytes(),
        "policy_version": contents.policy_version,
        "policies": contents.policies.iter().map(policy).collect::<Json>(),
        "policies_digest": contents.policies_digest(),
        "attributes": contents.attributes.iter().map(attribute).collect::<Json>(),
        "digest": digest,
        "data": hex::encode(data),
    })
}

fn pads() -> Vec<Json> {
    let mut pads: Vec<Json> = opening().iter().map(|(name, pad, _)| opens(name, pad)).collect();
    for (name, pad, expect) in refused().into_iter().chain(wrong_contents()) {
        let key = hex::encode(data_key().as_bytes());
        pads.push(
            json!({ "name": name, "data_key": key, "pad": hex::encode(pad), "expect": expect }),
        );
    }
    let pad = hex::encode(good(b"data"));
    let other = hex::encode([0x43; 32]);
    pads.push(
        json!({ "name": "another data key", "data_key": other, "pad": pad, "expect": "key" }),
    );
    pads
}

fn custodians() -> Json {
    let one = |custodian: &Custodian| {
        json!({
            "threshold": custodian.threshold(),
            "members": custodian.members(),
            "id": custodian.id().0,
            "shown": custodian.id().shown().to_string(),
        })
    };
    [Custodian::single(key(1)), joint()].iter().map(one).collect()
}

fn enrolment() -> SignedEnrolment {
    let key_provider_id = Sha256Digest([0xde; 32]);
    let result_key = ResultKey([0xab; 32]);
    let enrolment = Enrolment { custodian: joint(), key_provider_id, version: 1, result_key };
    let signatures = sign(&[1, 3], &enrolment.signed_bytes());
    enrolment.signed(signatures)
}

fn update() -> Update {
    Update { pad_id: fixtures::pad_id(), policies: contents().policies_digest(), version: 2 }
}

/// Those who agree on it, in the order of their ids.
fn owners() -> [Custodian; 2] {
    let mut owners = [joint(), Custodian::single(key(4))];
    owners.sort_by_key(Custodian::id);
    owners
}

fn signed_update() -> SignedUpdate {
    let approvals = owners().map(|owner| {
        let signers: &[u8] = if owner == joint() { &[1, 2] } else { &[4] };
        let signatures = sign(signers, &update().signed_bytes(&owner.id()));
        (owner, signatures)
    });
    update().signed(approvals.into())
}

fn document() -> Json {
    let owners = owners();
    let signed = signed_run(&joint(), &[1, 2], NOW + 60);
    let forged = signed_run(&Custodian::single(key(1)), &[1], NOW + 60).to_bytes();
    // The last byte is the signature's.
    let forged = [&forged[..forged.len() - 1], &[forged[forged.len() - 1] ^ 1]].concat();
    let run = run();
    json!({
        "pads": pads(),
        "custodians": custodians(),
        "enrolment": {
            "signed": hex::encode(enrolment().to_bytes()),
            "custodian": joint().id().0,
            "key_provider_id": Sha256Digest([0xde; 32]),
            "version": 1,
            "result_key": hex::encode([0xab; 32]),
        },
        "update": {
            "pad_id": update().pad_id.to_string(),
            "policies": update().policies,
            "version": update().version,
            "owners": owners.iter().map(|owner| owner.id().0).collect::<Vec<_>>(),
            "signed": hex::encode(signed_update().to_bytes()),
        },
        "run": {
            "id": hex::encode(run.id.0),
            "exporter": hex::encode(run.exporter),
            "program": run.program,
            "pads": run.pads.iter().map(|pad| pad.0).collect::<Vec<_>>(),
            "plain_input": run.plain_input,
            "now": NOW,
            "owner": joint().id().0,
            "signed": hex::encode(signed.to_bytes()),
            "not_by_its_owner": hex::encode(forged),
            "expired": hex::encode(signed_run(&joint(), &[1, 2], NOW - 1).to_bytes()),
        },
    })
}

#[test]
fn the_vectors_are_what_this_code_makes() {
    let made = document();
    if env::var_os("DSTYX_WRITE_VECTORS").is_some() {
        fs::create_dir_all(path().parent().unwrap()).unwrap();
        fs::write(path(), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let there: Json = serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
    assert!(there == made, "other vectors; read how to write them anew at the top of this file");
}

#[test]
fn every_vector_has_its_outcome() {
    for (name, pad, data) in opening() {
        assert_eq!(outcome(&pad, &data_key()).unwrap().3, data, "{name}");
    }
    for (name, pad, expect) in refused().into_iter().chain(wrong_contents()) {
        let error = outcome(&pad, &data_key()).err().unwrap_or_else(|| panic!("{name} opens"));
        assert_eq!(part(&error), expect, "{name}: {error}");
    }
}

#[test]
fn documents_of_the_vectors_are_read() {
    let document = document();
    let bytes =
        |path: &str| hex::decode(document.pointer(path).unwrap().as_str().unwrap()).unwrap();
    let read = SignedEnrolment::parse(&bytes("/enrolment/signed")).unwrap();
    assert_eq!(read.verify(&joint().id()).unwrap().enrolment().version, 1);
    let owners = owners().map(|owner| owner.id());
    let read = SignedUpdate::parse(&bytes("/update/signed")).unwrap();
    assert_eq!(read.verify(&update(), 1).unwrap().ids(), owners);
    let verified = |path| SignedRun::parse(&bytes(path)).unwrap().verify(&run(), NOW);
    assert_eq!(verified("/run/signed").unwrap().id(), joint().id());
    assert!(matches!(verified("/run/not_by_its_owner"), Err(RunError::Signature(_))));
    assert!(matches!(verified("/run/expired"), Err(RunError::Expired { .. })));
}
