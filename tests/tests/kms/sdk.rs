//! dstack's SDKs with keys: every call for a key, a certificate or a signature, from containers; a
//! sealed variable, of which the host finds nothing; and envelopes for another app.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tests::dstyx::Answer;
use tests::images::Image;
use tests::registry::Registry;
use tests::{app, http, lab};

use crate::envelopes::{Envelope, Recipient, shown};
use crate::notes::{Owner, cut_power};
use crate::{search, step};

/// The machine.
pub const NAME: &str = "promise-sdk-keys";
/// Images that the registry must have.
pub const IMAGES: &[Image] = &[Image::PythonSdk, Image::NodeSdk];
/// How long the programs may take for all their calls.
const TIMEOUT: Duration = Duration::from_secs(240);

/// A program on an SDK.
#[derive(Clone)]
struct Program {
    address: String,
    /// What each call gave.
    calls: Value,
}

/// Boots the app with the KMS of `owner`. Returns the envelopes that its SDKs made for `recipient`.
pub fn calls_have_keys(owner: &Owner, registry: &Registry, recipient: &Recipient) -> [Envelope; 2] {
    let directory = tempfile::tempdir().unwrap();
    let source = lab::checkout().join("tests/vectors/apps");
    for from in [source.join("keys/."), source.join("counter/sdk")] {
        let copied = Command::new("cp").arg("-r").arg(from).arg(directory.path()).status().unwrap();
        assert!(copied.success());
    }
    app::pin(&directory.path().join("docker-compose.yml"), registry);
    let secret = hex::encode(Sha256::digest(directory.path().as_os_str().as_encoded_bytes()));
    let up = step("sdk: boot, with a KMS", || start(owner, registry, directory.path(), &secret));
    let programs = step("sdk: all calls", || programs(&up));
    assert_eq!(shown(&up), hex::encode(Sha256::digest(&secret)));
    have_keys(&programs);
    let envelopes = step("sdk: envelopes", || envelopes(owner, recipient, &programs));
    let key = digits(&programs[0].calls["key"]["ok"]["key"]);
    step("sdk: searches", || {
        the_host_finds_nothing(owner, &secret, &key);
        search::finds_nothing(&up, &secret, &key);
    });
    cut_power(&owner.0, NAME);
    envelopes
}

fn start(owner: &Owner, registry: &Registry, directory: &Path, secret: &str) -> Answer {
    let kept = tempfile::tempdir().unwrap();
    let variables = kept.path().join("secret.env");
    fs::write(&variables, format!("SEALED={secret}\n")).unwrap();
    let [directory, variables] = [directory, &variables].map(|path| path.display().to_string());
    let mut arguments = vec!["up", &directory, "--emulate", "--name", NAME];
    arguments.extend(["--vcpus", "1", "--memory", "2048", "--disk-gib", "2"]);
    let mirror = registry.url();
    arguments.extend(["--secret-env-file", &variables, "--registry-mirror", &mirror]);
    arguments.push("--danger-privileged");
    let up = owner.0.dstyx(arguments);
    assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
    up
}

/// The programs on the SDKs for Python and for JavaScript.
fn programs(up: &Answer) -> [Program; 2] {
    let started = Instant::now();
    loop {
        let programs = up.addresses().filter_map(|address| {
            let calls: Value = serde_json::from_slice(&http::get(address, "/").ok()?).ok()?;
            let program = Program { address: address.to_owned(), calls };
            program.calls["info"].is_object().then_some(program)
        });
        let (python, node): (Vec<_>, Vec<_>) =
            programs.partition(|program| program.calls["async info"].is_object());
        if let ([python], [node]) = (&python[..], &node[..]) {
            return [python.clone(), node.clone()];
        }
        assert!(started.elapsed() < TIMEOUT, "the SDKs' programs do not answer: {up:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Each SDK's envelope for another app.
fn envelopes(owner: &Owner, recipient: &Recipient, programs: &[Program; 2]) -> [Envelope; 2] {
    let root = &programs[0].calls["root"]["ok"];
    let value = |program: &Program| hex::encode(Sha256::digest(&program.address));
    programs
        .each_ref()
        .map(|program| recipient.envelope(owner, &program.address, root, value(program)))
}

/// Neither the variable nor a key of the app lies in what the host has of the machine, and the
/// search finds what does.
fn the_host_finds_nothing(owner: &Owner, secret: &str, key: &str) {
    let machine = owner.0.machine(NAME);
    let process = Path::new("/proc").join(owner.0.qemu(NAME).to_string());
    let mut places = vec![process.join("cmdline"), process.join("environ")];
    for directory in [&machine, &owner.0.kept(NAME)] {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        places.extend(entries.filter(|path| path.is_file()));
    }
    let holding = |marker: &[u8]| -> String {
        // The search is line by line: what has no line end in it is found.
        let piece = marker.split(|byte| *byte == b'\n').max_by_key(|piece| piece.len()).unwrap();
        let pattern: String = piece.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let mut search = Command::new("grep");
        search.env("LC_ALL", "C").args(["-laP", &pattern]).args(&places);
        let found = search.output().unwrap();
        assert!(found.stderr.is_empty(), "{}", String::from_utf8_lossy(&found.stderr));
        String::from_utf8(found.stdout).unwrap()
    };
    assert!(places.iter().any(|path| path.ends_with("data.img")), "{places:?}");
    assert_ne!(holding(NAME.as_bytes()), "", "the search finds nothing in {places:?}");
    assert_eq!(holding(secret.as_bytes()), "");
    assert_eq!(holding(key.as_bytes()), "");
    assert_eq!(holding(&hex::decode(key).unwrap()), "");
}

fn have_keys(programs: &[Program; 2]) {
    for Program { calls, .. } in programs {
        for call in ["key", "tls key", "sign", "legacy key"] {
            assert!(calls[call]["ok"].is_object(), "{call}: {}", calls[call]);
            assert!(calls[call]["ok"]["error"].is_null(), "{call}: {}", calls[call]);
        }
        let provider = &calls["info"]["ok"]["key_provider_info"];
        assert!(provider.as_str().unwrap().contains(r#""name":"kms""#), "{provider}");
    }
    // Both SDKs get the same key for one path and purpose.
    let [python, node] =
        programs.each_ref().map(|program| digits(&program.calls["key"]["ok"]["key"]));
    assert_eq!((python.len(), &python), (64, &node));
}

/// Bytes as an SDK shows them: hexadecimal digits, or an object with a byte a place.
fn digits(key: &Value) -> String {
    match key {
        Value::String(text) => text.trim_start_matches("0x").to_owned(),
        Value::Object(bytes) => {
            let mut places: Vec<(usize, u64)> = bytes
                .iter()
                .map(|(place, byte)| (place.parse().unwrap(), byte.as_u64().unwrap()))
                .collect();
            places.sort_unstable();
            places.into_iter().map(|(_, byte)| format!("{byte:02x}")).collect()
        }
        other => panic!("no key: {other}"),
    }
}
