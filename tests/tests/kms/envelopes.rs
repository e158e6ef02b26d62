//! dstack's envelopes: its SDKs make them in containers, with the key that the KMS gives anybody,
//! and they reach an app whose measured file takes them with a word of danger.

use std::fs;
use std::path::Path;

use protocol::digest::{AppId, ComposeHash};
use protocol::kms::PUBLIC_PORT;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tests::app::App;
use tests::dstyx::{Answer, write_app};
use tests::registry::Registry;
use tests::{http, lab};

use crate::notes::{KMS, Owner};

/// The machine.
pub const NAME: &str = "promise-rows";
/// The variable that the app allows.
const VARIABLE: &str = "SEALED";
/// Where a guest reaches its host.
const HOST_IN_GUEST: &str = "10.0.2.2";

/// An app that takes dstack's envelopes.
pub struct Recipient {
    directory: TempDir,
    app_id: AppId,
}

/// What an SDK made for it.
pub struct Envelope {
    value: String,
    hex: String,
}

impl Recipient {
    /// An app of the KMS of `owner`, which need not have run.
    pub fn new(owner: &Owner, registry: &Registry) -> Self {
        let id = owner.0.dstyx(["kms", "init"]).text("/key_provider_id").to_owned();
        let settings = [
            ("key_provider", json!("kms")),
            ("key_provider_id", json!(id)),
            ("allowed_envs", json!([VARIABLE])),
            ("danger_unsigned_env", json!(true)),
            ("env_envelope", json!("dstack")),
        ];
        let source = lab::checkout().join("tests/vectors/apps/rows");
        let app = App::new(&source, NAME, registry, &settings);
        let directory = tempfile::tempdir().unwrap();
        write_app(directory.path(), &app.compose, &app.app_compose);
        let app_id = AppId::from_compose_hash(&ComposeHash::of(&app.app_compose));
        Self { directory, app_id }
    }

    /// Asks the program behind a link for an envelope with the value. `root` is the KMS's key, as
    /// the keys of another app tell it.
    pub fn envelope(&self, owner: &Owner, program: &str, root: &Value, value: String) -> Envelope {
        let port = &owner.0.record(KMS)["ports"][PUBLIC_PORT.to_string()];
        let kms = format!("https://{HOST_IN_GUEST}:{port}");
        let app = self.app_id;
        let query = format!("kms={kms}&app={app}&name={VARIABLE}&value={value}");
        let answer = http::get(program, &format!("/envelope?{query}")).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        // The SDK has verified who signed the app's key.
        assert!(root.is_string() && answer["signer"] == *root, "{answer} is not of {root}");
        Envelope { value, hex: answer["envelope"].as_str().unwrap().to_owned() }
    }

    /// Boots the app with an envelope, by this QEMU: its container has the value.
    pub fn starts(
        &self,
        owner: &Owner,
        registry: &Registry,
        envelope: &Envelope,
        qemu: &Path,
    ) -> Answer {
        let directory = self.directory.path().display().to_string();
        let file = self.directory.path().join("envelope");
        fs::write(&file, &envelope.hex).unwrap();
        let [file, qemu] = [file.as_path(), qemu].map(|path| path.display().to_string());
        let mut arguments = vec!["up", &directory, "--emulate", "--name", NAME];
        arguments.extend(["--vcpus", "1", "--memory", "1024", "--disk-gib", "1"]);
        arguments.extend(["--qemu", &qemu]);
        let mirror = registry.url();
        arguments.extend(["--encrypted-env", &file, "--registry-mirror", &mirror]);
        let up = owner.0.dstyx(arguments);
        assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
        assert_eq!(shown(&up), hex::encode(Sha256::digest(&envelope.value)));
        up
    }
}

/// The digest of the variable, as its container has it.
pub fn shown(up: &Answer) -> String {
    let mut answers = up.addresses().filter_map(|address| {
        let body = String::from_utf8(http::get(address, "/").ok()?).ok()?;
        body.strip_prefix("sealed ").map(str::to_owned)
    });
    answers.next().unwrap_or_else(|| panic!("no digest: {up:#?}"))
}
