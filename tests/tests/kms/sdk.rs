//! dstack's SDKs with keys: every call for a key, a certificate or a signature, from containers, in
//! two boots of one instance; and a sealed variable, of which the host finds nothing.

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

use crate::notes::Owner;
use crate::search;

/// The machine.
const NAME: &str = "promise-sdk-keys";
/// Images that the registry must have.
const IMAGES: [Image; 2] = [Image::PythonSdk, Image::NodeSdk];
/// How long the programs may take for all their calls.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Boots the app twice with the KMS of `owner`.
pub fn calls_have_keys(owner: &Owner) {
    let registry = Registry::of(&IMAGES);
    let directory = tempfile::tempdir().unwrap();
    let source = lab::checkout().join("tests/vectors/apps");
    for from in [source.join("keys/."), source.join("counter/sdk")] {
        let copied = Command::new("cp").arg("-r").arg(from).arg(directory.path()).status().unwrap();
        assert!(copied.success());
    }
    app::pin(&directory.path().join("docker-compose.yml"), &registry);
    let path = directory.path().display().to_string();
    let secret = hex::encode(Sha256::digest(directory.path().as_os_str().as_encoded_bytes()));
    let variables = tempfile::tempdir().unwrap();
    let variables = variables.path().join("secret.env");
    fs::write(&variables, format!("SEALED={secret}\n")).unwrap();
    let variables = variables.display().to_string();
    let boot = || {
        let fixed = ["up", &path, "--emulate", "--name", NAME, "--vcpus", "1", "--memory", "2048"];
        let registry = registry.url();
        let fixed = fixed.into_iter().chain([
            "--disk-gib",
            "2",
            "--secret-env-file",
            &variables,
            "--danger-privileged",
        ]);
        let up = owner.0.dstyx(fixed.chain(["--registry-mirror", &registry]));
        assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
        let programs = programs(&up);
        assert_eq!(sealed(&up), hex::encode(Sha256::digest(&secret)));
        (up, programs)
    };
    let (up, first) = boot();
    have_keys(&first);
    let key = digits(&first[0]["key"]["ok"]["key"]);
    the_host_finds_nothing(owner, &secret, &key);
    search::finds_nothing(&up, &secret, &key);
    owner.0.dstyx(["down", NAME]);
    let (_, second) = boot();
    owner.0.dstyx(["down", NAME, "--volumes"]);
    for program in 0..2 {
        for call in ["key", "sign"] {
            let [first, second] = [&first, &second].map(|boot| &boot[program][call]["ok"]);
            assert_eq!(first, second, "{call} is another one after a reboot");
        }
    }
}

/// What the programs on the SDKs for Python and for JavaScript got.
fn programs(up: &Answer) -> [Value; 2] {
    let started = Instant::now();
    loop {
        let documents = up.addresses().filter_map(|address| {
            serde_json::from_slice::<Value>(&http::get(address, "/").ok()?).ok()
        });
        let (python, node): (Vec<_>, Vec<_>) =
            documents.partition(|document| !document["async info"].is_null());
        if let ([python], [node]) = (&python[..], &node[..]) {
            return [python.clone(), node.clone()];
        }
        assert!(started.elapsed() < TIMEOUT, "the SDKs' programs do not answer: {up:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The digest of the sealed variable, as its container has it.
fn sealed(up: &Answer) -> String {
    let mut answers = up.addresses().filter_map(|address| {
        let body = String::from_utf8(http::get(address, "/").ok()?).ok()?;
        body.strip_prefix("sealed ").map(str::to_owned)
    });
    answers.next().unwrap_or_else(|| panic!("no digest: {up:#?}"))
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

fn have_keys(programs: &[Value; 2]) {
    for calls in programs {
        for call in ["key", "tls key", "sign", "legacy key"] {
            assert!(calls[call]["ok"].is_object(), "{call}: {}", calls[call]);
            assert!(calls[call]["ok"]["error"].is_null(), "{call}: {}", calls[call]);
        }
        let provider = &calls["info"]["ok"]["key_provider_info"];
        assert!(provider.as_str().unwrap().contains(r#""name":"kms""#), "{provider}");
    }
    // Both SDKs get the same key for one path and purpose.
    let [python, node] = programs.each_ref().map(|calls| digits(&calls["key"]["ok"]["key"]));
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
