//! Chunks of Pads, sealed and opened on one core, beside OpenSSL's AES-256-GCM on the same core.
//!
//! The peer seals as many bytes as a chunk has, with associated data, a nonce and a tag each, as
//! `openssl speed -aead` does: in place and always the same ones, which a cache has. Ours are
//! written from a megabyte of memory, and read from a Pad in memory.

use std::hint::black_box;
use std::io::{self, Cursor, Write};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use pad_format::cipher::Algorithm;
use pad_format::contents::Name;
use pad_format::metadata::{ChunkSize, Delegator, KeyId, Uri};
use pad_format::reader::SealedPad;
use pad_format::{Contents, Custodian, DataKey, Packing, PadId, PadWriter, Policy};
use protocol::digest::{Ed25519Key, Sha256Digest};
use tests::lab;

use super::keys::on_one_core;
use super::row;

/// The group of inputs.lock that has the peer.
const GROUP: &str = "build";
/// Bytes that are written at once, and those of a Pad that is read.
const PIECE: usize = 1 << 20;
/// Rounds, each of both.
const ROUNDS: usize = 5;
/// How long ours works in a round; the peer has whole seconds.
const BURST: Duration = Duration::from_secs(1);

/// Prints both rows.
pub fn sealing() {
    on_one_core(|| {
        let contents = contents();
        let pad = packed(&contents, PIECE);
        let rounds = (0..ROUNDS)
            .map(|_| [(seal(&contents), openssl(&[])), (open(&pad), openssl(&["-decrypt"]))]);
        let rounds: Vec<_> = rounds.collect();
        for (side, figure) in ["sealed", "opened"].into_iter().enumerate() {
            let of = |rate: fn(&(f64, f64)) -> f64| {
                let mut rates: Vec<_> = rounds.iter().map(|round| rate(&round[side])).collect();
                rates.sort_by(f64::total_cmp);
                rates
            };
            let (ours, theirs) = (of(|pair| pair.0), of(|pair| pair.1));
            let middle = ROUNDS / 2;
            row(
                &format!("data of a Pad {figure}, chunks of 64 KiB, one core"),
                &shown(&ours),
                &format!("OpenSSL {}, AES-256-GCM: {}", version(), shown(&theirs)),
                Some(ours[middle] / theirs[middle]),
                "≥ 0.70x",
            );
        }
    });
}

/// The median, and from which to which.
fn shown(rates: &[f64]) -> String {
    let (least, most) = (rates[0], rates[rates.len() - 1]);
    format!("{:.1} GB/s ({least:.1} to {most:.1})", rates[rates.len() / 2])
}

fn contents() -> Contents {
    let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
    let policy = Policy {
        policy_type: "2f0b1e8c-93a4-4a0e-8f0d-6c1d1f9b7a55".parse().unwrap(),
        engine: Sha256Digest([1; 32]),
        input_id: Name::new("records").unwrap(),
        input_constraint: vec![1],
        program_constraint: vec![2],
        output_constraint: vec![3],
    };
    Contents {
        policy_version: 1,
        custodian: Custodian::single(Ed25519Key(key.to_bytes())),
        policies: vec![policy],
        attributes: Vec::new(),
    }
}

fn key() -> DataKey {
    DataKey::from_bytes(zeroize::Zeroizing::new([7; 32]))
}

fn writer<W: Write>(out: W, contents: &Contents) -> PadWriter<W> {
    let uri = Uri::new("https://delegator.example").unwrap();
    let packing = Packing {
        pad_id: PadId::generate().unwrap(),
        delegator: Delegator { key_provider_id: Sha256Digest([1; 32]), uri },
        algorithm: Algorithm::Aes256Gcm,
        key_id: KeyId::new(b"key").unwrap(),
        chunk: ChunkSize::default(),
        contents,
    };
    PadWriter::new(out, &packing, &key()).unwrap()
}

fn packed(contents: &Contents, bytes: usize) -> Vec<u8> {
    let mut writer = writer(Vec::new(), contents);
    writer.write(&vec![1; bytes]).unwrap();
    writer.finish().unwrap().0
}

/// Gigabytes a second.
fn rate(mut work: impl FnMut()) -> f64 {
    let (begun, mut done) = (Instant::now(), 0_u64);
    while begun.elapsed() < BURST {
        work();
        done += PIECE as u64;
    }
    done as f64 / begun.elapsed().as_secs_f64() / 1e9
}

fn seal(contents: &Contents) -> f64 {
    let piece = vec![1; PIECE];
    let mut writer = writer(io::sink(), contents);
    rate(|| writer.write(&piece).unwrap())
}

fn open(pad: &[u8]) -> f64 {
    let sealed = SealedPad::read(Cursor::new(pad)).unwrap();
    let mut reader = sealed.open(&key()).unwrap().into_data().unwrap();
    let mut data = vec![0; PIECE];
    rate(|| {
        assert_eq!(reader.read_at(0, &mut data).unwrap(), PIECE);
        black_box(&data);
    })
}

/// The rate of the peer, from the last line of its machine-readable report.
fn openssl(options: &[&str]) -> f64 {
    let root = lab::builder().root(GROUP).unwrap().path;
    let mut speed = lab::tool(&root, "usr/bin/openssl");
    speed.args(["speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", "65536", "-aead"]);
    let output = speed.args(options).args(["-evp", "aes-256-gcm"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().rfind(|line| line.starts_with("+F:"));
    let rate = line.and_then(|line| line.rsplit(':').next()?.parse::<f64>().ok());
    rate.unwrap_or_else(|| panic!("{output:?}")) / 1e9
}

fn version() -> String {
    let root = lab::builder().root(GROUP).unwrap().path;
    let output = lab::tool(&root, "usr/bin/openssl").arg("version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).unwrap_or_default().to_owned()
}
