//! Plain text of Pads looked for outside the sandbox: in all that the guest ever wrote to its disk,
//! decrypted with the key that its KMS derives, and in all that the host has of both machines.
//!
//! The test has the share of the KMS's only owner, which is the root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kms_rules::derivation::Root;
use protocol::digest::{AppId, InstanceId};
use protocol::identity::SEED_BYTES;
use serde_json::Value;
use tests::dstyx::User;
use tests::http;
use tests::served_disk::{BLOCK_BYTES, Block};
use tests::xts::Xts;
use zeroize::Zeroizing;

use crate::notes::KMS;
use crate::pad_scene::{Scene, TIMEOUT};

/// What stands before the secret of an owner's share: form, threshold and owner.
const SHARE_HEAD: [u8; 3] = [1, 1, 1];

/// Marks in the form in which they are looked for: as they are, and as the text of their bytes.
pub struct Marks(Vec<Vec<u8>>);

impl Marks {
    /// Of these texts.
    pub fn of(texts: &[&str]) -> Self {
        Self(
            texts
                .iter()
                .flat_map(|text| [text.as_bytes().to_vec(), hex::encode(text).into()])
                .collect(),
        )
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|mark| {
            let mut rest = bytes;
            // Blocks are many, and most have not even the first byte's neighbours.
            while let Some(at) = rest.iter().position(|byte| *byte == mark[0]) {
                if rest[at..].starts_with(mark) {
                    return true;
                }
                rest = &rest[at + 1..];
            }
            false
        })
    }

    /// As the service that searches the guest takes them: no log of the request has them.
    fn backwards(&self) -> String {
        let backwards =
            |mark: &Vec<u8>| hex::encode(mark.iter().rev().copied().collect::<Vec<_>>());
        self.0.iter().map(backwards).collect::<Vec<_>>().join("&")
    }
}

/// The blocks of these that have a mark, as they are or once they are decrypted.
pub fn on_the_disk(scene: &Scene, written: &[(u64, Block)], marks: &Marks) -> Vec<u64> {
    let xts = Xts::new(&disk_key(&scene.owner.0, scene.name));
    let plain = |(at, block): &(u64, Block)| {
        assert_eq!(block.len(), BLOCK_BYTES);
        let is_marked = marks.are_in(block) || marks.are_in(&xts.decrypt(*at, block));
        is_marked.then_some(*at)
    };
    written.iter().filter_map(plain).collect()
}

/// Files of the host that have a mark: what it has of the guest and of its KMS, and what the
/// parties handed to each other.
pub fn on_the_host(scene: &Scene, marks: &Marks) -> Vec<PathBuf> {
    let user = &scene.owner.0;
    let mut files = Vec::new();
    for machine in [scene.name, KMS] {
        for directory in [user.machine(machine), user.kept(machine)] {
            below(&directory, &mut files);
        }
    }
    for needed in ["console.log", "status.img"] {
        assert!(files.iter().any(|file| file.ends_with(needed)), "no {needed} is searched");
    }
    below(&scene.path(""), &mut files);
    let mut search = Command::new("grep");
    search.env("LC_ALL", "C").args([
        "--files-with-matches",
        "--text",
        "--fixed-strings",
        "--no-messages",
    ]);
    for mark in &marks.0 {
        search.arg("-e").arg(OsStr::from_bytes(mark));
    }
    let found = search.arg("--").args(&files).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// What a privileged service of the guest finds in files, in the kernel's log, and in arguments and
/// environments of processes.
pub fn in_the_guest(service: &str, marks: &Marks) -> Vec<String> {
    let path = format!("/find?{}", marks.backwards());
    let (status, report) = http::send(service, "GET", &path, b"", TIMEOUT).unwrap();
    assert_eq!(status, 200);
    let report: Value = serde_json::from_slice(&report).unwrap();
    let (files, log) = (report["looked_at"].as_u64(), report["log"].as_u64());
    assert!(files > Some(20) && log > Some(0), "little is searched: {report}");
    assert_eq!(report["core_pattern"], false, "the kernel may write core files");
    serde_json::from_value(report["found"].clone()).unwrap()
}

fn below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            below(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

/// The key of a machine's data disk.
fn disk_key(user: &User, name: &str) -> [u8; 64] {
    let record = user.record(name);
    let app_id = AppId::from_hex(record["app_id"].as_str().unwrap()).unwrap();
    let mut seed = [0; SEED_BYTES];
    hex::decode_to_slice(record["instance_id_seed"].as_str().unwrap(), &mut seed).unwrap();
    *root(user).disk_key(&app_id, Some(&InstanceId::derive(&seed, &app_id)))
}

/// The root of a user's own KMS.
fn root(user: &User) -> Root {
    let data = user.kept(KMS);
    let kept = data.ancestors().nth(2).unwrap().join("kms");
    let share = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path().join("share.json"));
    let share = fs::read(share.into_iter().next().unwrap()).unwrap();
    let share: Value = serde_json::from_slice(&share).unwrap();
    let share = hex::decode(share["share"].as_str().unwrap()).unwrap();
    let secret = share.strip_prefix(&SHARE_HEAD).expect("the share of one owner of one");
    Root::from_bytes(Zeroizing::new(secret.try_into().unwrap()))
}
