//! Pads in a guest: a service of the app has a program run on a Pad whose key a KMS keeps.
//!
//! One custodian keeps its numbers with the KMS; the owner of the program may ask for their mean
//! once an hour. All commands are those of their users.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use protocol::channel::Role;
use protocol::digest::Sha256Digest;
use protocol::image::Flavour;
use protocol::pad_calls::{Drawn, Outcome, OutputKind, Party, Program, RunLimits, RunRequest};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::dstyx::Answer;
use tests::images::Image;
use tests::registry::Registry;
use tests::{app, http, lab};

use crate::notes::{Owner, cut_power};
use crate::policy::set_policy;
use crate::step;

/// The machine.
pub const NAME: &str = "promise-pads";
/// How long the app's programs may take to listen.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a run may take in an emulated guest, which compiles its engine and program.
const RUN_WITHIN: Duration = Duration::from_secs(600);
/// The custodian's numbers, and their mean.
const NUMBERS: (&str, &str) = ("1\n2\n3.5\n5.5\n", "3.000");
/// Who may read them, by which program, and how often.
const POLICY: &str = r#"
engine = { file = "share.wasm" }
input_id = "numbers"

[custodians]
b = { file = "b.custodian" }

[programs]
mean = { file = "mean.wasm" }

[[program]]
rule = "PROGRAM_IN"
programs = ["mean"]

[[program]]
rule = "AUTH_USER"
owners = ["b"]

[[program]]
rule = "RATE_LIMIT"
quota = "7a1f0c3d5b9e48a2b6d4e8f0123c5a79"
limits = { b = "1 per hour" }

[[output]]
rule = "PLAIN_RESULT"
schema = "number"
max_bytes = 32
"#;

/// The guest and its parties.
struct Scene<'a> {
    owner: &'a Owner,
    directory: TempDir,
    /// `HOST:PORT` of each service, in the order of the compose file.
    runs: String,
    quotes: String,
    without: String,
}

/// A run that the policy allows gives its result; one above the quota, one of nobody and one of
/// another app's key give none. A service that is not named has no socket, and no container has a
/// quote in the middleware's name.
pub fn are_run_on_by_the_service_that_is_named() {
    let owner = Owner::default();
    let registry = step("pads: images", || Registry::of(&[Image::Python]));
    let scene = step("pads: boot, with a KMS", || Scene::start(&owner, &registry));
    step("pads: the other services", || scene.others_have_nothing());
    step("pads: a custodian", || scene.a_custodian_pushes_a_key());
    step("pads: runs", || scene.runs());
    cut_power(&owner.0, NAME);
}

impl<'a> Scene<'a> {
    fn start(owner: &'a Owner, registry: &Registry) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = lab::checkout().join("tests/vectors/apps/pads/.");
        let copied = Command::new("cp").arg("-r").args([&source, directory.path()]).status();
        assert!(copied.unwrap().success());
        app::pin(&directory.path().join("docker-compose.yml"), registry);
        let path = directory.path().display().to_string();
        let mut arguments = vec!["up", &path, "--emulate", "--name", NAME];
        // With two that are emulated, programs have no clock but the kernel.
        arguments.extend(["--vcpus", "2", "--memory", "2048", "--disk-gib", "1"]);
        let mirror = registry.url();
        arguments.extend(["--registry-mirror", &mirror]);
        let up = owner.0.dstyx(arguments);
        assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
        let measured = fs::read_to_string(directory.path().join("app-compose.json")).unwrap();
        assert!(measured.contains(r#""pad_services":["runs"]"#), "{measured}");
        let [runs, quotes, without] = addresses(&up);
        Self { owner, directory, runs, quotes, without }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// `dstyx pad WORDS` in the directory.
    fn pad(&self, words: &str) -> Answer {
        let words = std::iter::once("pad").chain(words.split_whitespace());
        self.owner.0.dstyx_in(self.directory.path(), words)
    }

    fn does(&self, words: &str) -> Answer {
        let answer = self.pad(words);
        assert_eq!(answer.code, 0, "dstyx pad {words}: {answer:#?}");
        answer
    }

    /// A call on the socket.
    fn call(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        http::send(&self.runs, method, path, body, RUN_WITHIN).unwrap()
    }

    fn others_have_nothing(&self) {
        let (status, text) = http::send(&self.without, "POST", "/draw", b"", TIMEOUT).unwrap();
        assert_eq!(status, 502, "{}", String::from_utf8_lossy(&text));
        let mut report_data = Role::Pads.quoting().unwrap().tag().to_vec();
        report_data.resize(64, 7);
        let body = json!({ "report_data": hex::encode(report_data) }).to_string();
        let ask = |path| http::send(&self.quotes, "POST", path, body.as_bytes(), TIMEOUT).unwrap();
        for path in ["/GetQuote?json", "/Attest?json"] {
            let (status, text) = ask(path);
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(status == 400 && text.contains("is reserved"), "{path}: {status} {text}");
        }
    }

    fn a_custodian_pushes_a_key(&self) {
        for name in ["share", "mean"] {
            let bytes = image::pads::component(lab::builder(), lab::checkout(), name).unwrap();
            fs::write(self.path(&format!("{name}.wasm")), bytes).unwrap();
        }
        fs::write(self.path("numbers"), NUMBERS.0).unwrap();
        fs::write(self.path("policy.toml"), POLICY).unwrap();
        for name in ["a", "b"] {
            self.does(&format!("keygen {name}.key"));
            self.does(&format!(
                "enrol-file {name}.custodian --key {name}.key --out {name}.enrolment"
            ));
        }
        let public: Value = serde_json::from_slice(&self.read("a.custodian")).unwrap();
        set_policy(&self.owner.0, self.directory.path(), |policy| {
            policy["pad_custodians"] = public["members"].clone();
        });
        self.does("enrol a.enrolment --key a.key");
        for pad in ["numbers", "elsewhere"] {
            let pack = "pack numbers --policy policy.toml --custodian a.key";
            self.does(&format!("{pack} --out {pad}.pad"));
        }
        let image = lab::image(Flavour::Dev).display().to_string();
        self.does(&format!(
            "push numbers.pad.key --key a.key --image {image} --app app-compose.json"
        ));
        // The key of the other Pad is for guests of another app.
        self.does(&format!(
            "push elsewhere.pad.key --key a.key --image {image} --app app-compose.json --app-id {}",
            "07".repeat(20)
        ));
    }

    fn runs(&self) {
        let files = ["share.wasm", "mean.wasm", "numbers.pad", "elsewhere.pad"];
        for name in files {
            let bytes = self.read(name);
            let path = format!("/files/{}", Sha256Digest::of(&bytes));
            let (status, text) = self.call("PUT", &path, &bytes);
            assert_eq!(status, 201, "{name}: {}", String::from_utf8_lossy(&text));
        }
        let (status, _) = self.call("PUT", &format!("/files/{}", Sha256Digest::ZERO), b"other");
        assert_eq!(status, 400, "a file is named by its own digest");
        let (status, listed) = self.call("GET", "/files", b"");
        let listed: Value = serde_json::from_slice(&listed).unwrap();
        assert_eq!((status, listed.as_array().unwrap().len()), (200, files.len()));

        self.calls_that_are_none_are_refused();
        let unowned = step("pads: a run of nobody", || self.run("numbers.pad", false));
        assert_refused(&unowned, "AUTH_USER");
        let elsewhere = step("pads: a key for another app", || self.run("elsewhere.pad", true));
        assert_refused(&elsewhere, "app-not-granted");
        let allowed = step("pads: an allowed run", || self.run("numbers.pad", true));
        assert_eq!((&allowed.ended, &allowed.refusals), (&None, &vec![]), "{allowed:#?}");
        let [result] = allowed.outputs[..] else { panic!("{allowed:#?}") };
        assert_eq!(result.kind, OutputKind::Result);
        let (status, sealed) = self.call("GET", &format!("/files/{}", result.sha256), b"");
        assert_eq!((status, sealed.len() as u64), (200, result.bytes));
        fs::write(self.path("result.sealed"), sealed).unwrap();
        let run = hex::encode(&allowed.run);
        let opened =
            self.does(&format!("result result.sealed --run {run} --owner b.key --out result"));
        assert_eq!(opened.text("/text"), NUMBERS.1);
        let (status, again) = self.call("GET", &format!("/runs/{run}"), b"");
        let again: Outcome = serde_json::from_slice(&again).unwrap();
        assert_eq!((status, again), (200, allowed));
        let used_up = step("pads: a run above the quota", || self.run("numbers.pad", true));
        assert_refused(&used_up, "RATE_LIMIT");
        self.the_custodian_reads_of_it();
    }

    /// Each with its status and its reason, and the service goes on.
    fn calls_that_are_none_are_refused(&self) {
        let good = serde_json::to_value(self.request(&[7; 16], "numbers.pad", Vec::new())).unwrap();
        let absent = Sha256Digest::ZERO.to_string();
        let changed = |key: &str, value: Value| {
            let mut document = good.clone();
            document[key] = value;
            ("/run", document)
        };
        let update = json!({
            "run": "07".repeat(16), "engines": [], "pad": absent, "policies": ["00"], "signed": "",
            "party": good["parties"][0],
        });
        let rows = [
            (changed("plan", json!(1)), 400, "unknown field"),
            (changed("run", json!("07")), 400, "run: found 1"),
            (changed("limits", json!({ "wall_millis": 600_001 })), 400, "limits.wall_millis"),
            (changed("parties", json!(vec![&good["parties"][0]; 65])), 400, "parties: found 65"),
            (changed("pads", json!([absent])), 404, "has no file"),
            (changed("program", json!("service:without")), 404, "no program of a service"),
            (changed("limits", json!({ "proposals": 65 })), 400, "limits.proposals"),
            (("/update", update), 400, "policies: "),
            (("/nowhere", Value::Null), 404, "nothing is here"),
        ];
        for ((path, document), expected, reason) in rows {
            let (status, text) = self.call("POST", path, document.to_string().as_bytes());
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(status == expected && text.contains(reason), "{reason}: {status} {text}");
            assert!(text.contains("\"hint\""), "{text}");
        }
        let (status, _) = self.call("GET", &format!("/runs/{}", "07".repeat(16)), b"");
        assert_eq!(status, 404, "a run that never began");
        let outcome = self.outcome(&self.request(&[7; 16], "numbers.pad", Vec::new()));
        assert_refused(&outcome, "run");
    }

    /// A run of the mean, signed by B or by nobody.
    fn run(&self, pad: &str, is_signed: bool) -> Outcome {
        let (status, drawn) = self.call("POST", "/draw", b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&drawn));
        let drawn: Drawn = serde_json::from_slice(&drawn).unwrap();
        let signed = match is_signed {
            false => Vec::new(),
            true => {
                let [run, exporter] = [&drawn.run, &drawn.exporter].map(hex::encode);
                let out = format!("{run}.signed");
                self.does(&format!(
                    "sign mean.wasm --pad {pad} --run {run} --exporter {exporter} --owner b.key --out {out}"
                ));
                self.read(&out)
            }
        };
        self.outcome(&self.request(&drawn.run, pad, signed))
    }

    fn request(&self, run: &[u8], pad: &str, signed: Vec<u8>) -> RunRequest {
        let file = |name: &str| Sha256Digest::of(&self.read(name));
        let party = |name: &str| Party { enrolment: self.read(name), address: None };
        RunRequest {
            run: run.to_vec(),
            program: Program::File(file("mean.wasm")),
            engines: vec![file("share.wasm")],
            pads: vec![file(pad)],
            plain: Vec::new(),
            signed,
            parties: ["a.enrolment", "b.enrolment"].map(party).into(),
            limits: RunLimits { proposals: Some(1), ..RunLimits::default() },
        }
    }

    fn outcome(&self, request: &RunRequest) -> Outcome {
        let (status, outcome) = self.call("POST", "/run", &serde_json::to_vec(request).unwrap());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&outcome));
        serde_json::from_slice(&outcome).unwrap()
    }

    /// The delegator's decisions and the records of the runs.
    fn the_custodian_reads_of_it(&self) {
        self.does("audit audit.jsonl --key a.key");
        let audit = String::from_utf8(self.read("audit.jsonl")).unwrap();
        for kind in ["pad_keys_released", "quotas_spent", "audit_head_given"] {
            assert!(audit.contains(kind), "no {kind}: {audit}");
        }
    }
}

fn assert_refused(outcome: &Outcome, reason: &str) {
    assert!(outcome.outputs.is_empty(), "{outcome:#?}");
    let text = format!("{:?} {:?}", outcome.ended, outcome.refusals);
    assert!(text.contains(reason), "{reason}: {outcome:#?}");
}

/// Where the three services answer, once they do.
fn addresses(up: &Answer) -> [String; 3] {
    let addresses: Vec<String> = up.addresses().map(str::to_owned).collect();
    let begun = Instant::now();
    for address in &addresses {
        while http::send(address, "GET", "/files", b"", TIMEOUT).is_err() {
            assert!(begun.elapsed() < TIMEOUT, "{address} does not answer: {up:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    addresses.try_into().unwrap()
}
