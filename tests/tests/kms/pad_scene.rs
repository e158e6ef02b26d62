//! A guest whose service has programs run on Pads, with its parties: what the trials of Pads share.
//!
//! The guest's disk is served by the test, which sees all that was ever written to it. Commands are
//! those of their users.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use protocol::digest::Sha256Digest;
use protocol::pad_calls::{Drawn, FileInfo, Outcome, Party, Program, RunLimits, RunRequest};
use serde_json::Value;
use tempfile::TempDir;
use tests::dice::Dice;
use tests::dstyx::Answer;
use tests::images::Image;
use tests::registry::Registry;
use tests::{http, lab, served_disk};

use crate::notes::Owner;
use crate::policy::set_policy;
use crate::served::Served;

/// How long the app's programs may take to listen.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a run may take in an emulated guest, which compiles its engine and program.
const RUN_WITHIN: Duration = Duration::from_secs(600);
/// Bytes of the guest's disk.
const DISK_BYTES: u64 = 1 << 30;

/// The guest and its parties.
pub struct Scene {
    /// Who has the KMS and the guest.
    pub owner: Owner,
    /// The guest's machine.
    pub name: &'static str,
    directory: TempDir,
    /// What custodians have in plain.
    plain: TempDir,
    registry: Registry,
    disk: Option<Served>,
    /// The moment of the disk from which on runs may have written to it.
    since: usize,
    /// `HOST:PORT` of each service, in the order of the compose file.
    addresses: Vec<String>,
}

/// A run that is asked for; files are named as in the scene's directory.
pub struct Asked<'a> {
    /// A file, or `service:NAME` of a program whose file is `NAME.wasm`.
    pub program: &'a str,
    /// In their order.
    pub pads: &'a [&'a str],
    /// A file with the plain input.
    pub plain: Option<&'a str>,
    /// Whether its owner B signs it.
    pub is_signed: bool,
    /// Enrolments, each perhaps with the address of a delegator.
    pub parties: &'a [(&'a str, Option<&'a str>)],
}

/// Of custodian A and owner B, who are with the guest's own KMS.
pub const PARTIES: &[(&str, Option<&str>)] = &[("a.enrolment", None), ("b.enrolment", None)];

impl Scene {
    /// An app of the directories `sources` below `tests/vectors/apps`, the last of which has the
    /// compose file; its service `mean` is the program of that name.
    pub fn new(name: &'static str, sources: &[&str]) -> Self {
        let [directory, plain] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for source in sources {
            let source = lab::checkout().join("tests/vectors/apps").join(source).join(".");
            let mut copy = Command::new("cp");
            copy.arg("-r").args([source.as_path(), directory.path()]);
            assert!(copy.status().unwrap().success());
        }
        let scene = Self {
            owner: Owner::default(),
            name,
            directory,
            plain,
            registry: Registry::of(&[Image::Python]),
            disk: None,
            since: 0,
            addresses: Vec::new(),
        };
        for name in ["share", "mean"] {
            let bytes = image::pads::component(lab::builder(), lab::checkout(), name).unwrap();
            fs::write(scene.path(&format!("{name}.wasm")), bytes).unwrap();
        }
        let program = scene.path("mean.wasm");
        let compose = scene.path("docker-compose.yml").display().to_string();
        let (image, mirror) = (format!("mean={}", program.display()), scene.registry.url());
        let pin = ["pin", &compose, "--image", &image, "--registry-mirror", &mirror];
        let pinned = scene.owner.0.dstyx(pin);
        assert_eq!(pinned.code, 0, "{pinned:#?}");
        scene
    }

    /// Boots the guest on a disk with this content, an empty one at first.
    pub fn boots(&mut self, image: Option<served_disk::Image>, more: &[&str]) -> Answer {
        let (is_first, image) = match image {
            Some(image) => (false, image),
            None => {
                // Not by `up`, whose QEMU has the served disk.
                let started = self.owner.0.dstyx(["kms", "start", "--emulate"]);
                assert_eq!(started.code, 0, "{started:#?}");
                (true, served_disk::Image::empty(DISK_BYTES))
            }
        };
        let disk = Served::of(image);
        let [path, qemu] = [self.directory.path(), &disk.qemu()].map(|p| p.display().to_string());
        let mut arguments = vec!["up", &path, "--emulate", "--name", self.name, "--qemu", &qemu];
        // With two that are emulated, programs have no clock but the kernel.
        arguments.extend(["--vcpus", "2", "--memory", "2048", "--disk-gib", "1"]);
        let mirror = self.registry.url();
        arguments.extend(["--registry-mirror", &mirror]);
        arguments.extend(more);
        let up = self.owner.0.dstyx(arguments);
        assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
        self.addresses = addresses(&up);
        self.since = if is_first { disk.now() } else { 0 };
        self.disk = Some(disk);
        up
    }

    /// What is left of the disk of a guest whose power was cut.
    pub fn left(&mut self, dice: &mut Dice) -> served_disk::Image {
        self.disk.take().expect("a guest ran").after_power_cut(dice)
    }

    /// Every block that the guest wrote since runs may have written, also what is overwritten.
    pub fn written(&self) -> Vec<(u64, served_disk::Block)> {
        self.disk.as_ref().expect("a guest runs").written_since(self.since)
    }

    /// A file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its content.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// `dstyx pad WORDS` of a user in the directory.
    pub fn pad_of(&self, owner: &Owner, words: &str) -> Answer {
        let words = std::iter::once("pad").chain(words.split_whitespace());
        owner.0.dstyx_in(self.directory.path(), words)
    }

    /// The same, which must be done.
    pub fn does_of(&self, owner: &Owner, words: &str) -> Answer {
        let answer = self.pad_of(owner, words);
        assert_eq!(answer.code, 0, "dstyx pad {words}: {answer:#?}");
        answer
    }

    /// `dstyx pad WORDS` of the guest's owner, which must be done.
    pub fn does(&self, words: &str) -> Answer {
        self.does_of(&self.owner, words)
    }

    /// Makes A and B, and the guest's KMS the delegator of A.
    pub fn enrols(&self) {
        for name in ["a", "b"] {
            self.does(&format!("keygen {name}.key"));
            self.does(&format!(
                "enrol-file {name}.custodian --key {name}.key --out {name}.enrolment"
            ));
        }
        self.may_enrol(&self.owner, "a");
        self.does("enrol a.enrolment --key a.key");
    }

    /// Lets a custodian enrol with the KMS of `owner`.
    pub fn may_enrol(&self, owner: &Owner, custodian: &str) {
        let public: Value =
            serde_json::from_slice(&self.read(&format!("{custodian}.custodian"))).unwrap();
        set_policy(&owner.0, self.directory.path(), |policy| {
            policy["pad_custodians"] = public["members"].clone();
        });
    }

    /// Packs data, which is nowhere else in the directory, as a Pad of A with a policy file.
    pub fn packs(&self, owner: &Owner, data: &str, policy: &str, custodian: &str, pad: &str) {
        let plain = self.plain.path().join(pad);
        fs::write(&plain, data).unwrap();
        let plain = plain.display();
        self.does_of(
            owner,
            &format!("pack {plain} --policy {policy} --custodian {custodian}.key --out {pad}"),
        );
    }

    /// Hands a Pad's key to the KMS of `owner`, for guests of this app.
    pub fn pushes(&self, owner: &Owner, pad: &str, custodian: &str, more: &str) {
        let image = lab::image(protocol::image::Flavour::Dev).display().to_string();
        let app = "--app app-compose.json";
        self.does_of(
            owner,
            &format!("push {pad}.key --key {custodian}.key --image {image} {app} {more}"),
        );
    }

    /// Where a service answers, by its place in the compose file.
    pub fn service(&self, place: usize) -> &str {
        &self.addresses[place]
    }

    /// A call on the socket, if the guest is there to answer.
    pub fn try_call(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        http::send(self.service(0), method, path, body, RUN_WITHIN).ok()
    }

    /// A call on the socket.
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        http::send(self.service(0), method, path, body, RUN_WITHIN).unwrap()
    }

    /// Puts a file of the directory.
    pub fn puts(&self, name: &str) {
        let bytes = self.read(name);
        let path = format!("/files/{}", Sha256Digest::of(&bytes));
        let (status, text) = self.call("PUT", &path, &bytes);
        assert_eq!(status, 201, "{name}: {}", String::from_utf8_lossy(&text));
    }

    /// The files that the service has.
    pub fn listed(&self) -> Vec<FileInfo> {
        let (status, listed) = self.call("GET", "/files", b"");
        assert_eq!(status, 200);
        serde_json::from_slice(&listed).unwrap()
    }

    /// A file that left a run, if the agent still has it.
    pub fn fetched(&self, digest: &Sha256Digest) -> Option<Vec<u8>> {
        let (status, bytes) = self.try_call("GET", &format!("/files/{digest}"), b"")?;
        (status == 200).then_some(bytes)
    }

    /// A run id.
    pub fn draws(&self) -> Drawn {
        let (status, drawn) = self.call("POST", "/draw", b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&drawn));
        serde_json::from_slice(&drawn).unwrap()
    }

    /// A request whose run id is drawn, signed by B or by nobody.
    pub fn request(&self, asked: &Asked<'_>) -> RunRequest {
        let drawn = self.draws();
        let signed = if asked.is_signed { self.signed(asked, &drawn) } else { Vec::new() };
        self.request_of(asked, &drawn.run, signed)
    }

    fn signed(&self, asked: &Asked<'_>, drawn: &Drawn) -> Vec<u8> {
        let [run, exporter] = [&drawn.run, &drawn.exporter].map(hex::encode);
        let (program, pads) = (file_of(asked.program), asked.pads.join(" "));
        let plain = asked.plain.map(|plain| format!("--plain {plain}")).unwrap_or_default();
        let id = format!("--run {run} --exporter {exporter}");
        self.does(&format!(
            "sign {program} --pad {pads} {plain} {id} --owner b.key --out {run}.signed"
        ));
        self.read(&format!("{run}.signed"))
    }

    /// The same with an id and a signature.
    pub fn request_of(&self, asked: &Asked<'_>, run: &[u8], signed: Vec<u8>) -> RunRequest {
        let file = |name: &str| Sha256Digest::of(&self.read(name));
        let program = match asked.program.strip_prefix("service:") {
            Some(name) => Program::Service(name.to_owned()),
            None => Program::File(file(asked.program)),
        };
        let parties = asked.parties.iter().map(|(name, address)| Party {
            enrolment: self.read(name),
            address: address.map(str::to_owned),
        });
        RunRequest {
            run: run.to_vec(),
            program,
            engines: vec![file("share.wasm")],
            pads: asked.pads.iter().map(|pad| file(pad)).collect(),
            plain: asked.plain.map(|plain| self.read(plain)).unwrap_or_default(),
            signed,
            parties: parties.collect(),
            limits: RunLimits { proposals: Some(1), ..RunLimits::default() },
        }
    }

    /// Has it run to its end.
    pub fn outcome(&self, request: &RunRequest) -> Outcome {
        let (status, outcome) = self.call("POST", "/run", &serde_json::to_vec(request).unwrap());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&outcome));
        serde_json::from_slice(&outcome).unwrap()
    }

    /// The result in plain of a run of B's.
    pub fn opened(&self, run: &[u8], sealed: &[u8]) -> String {
        let run = hex::encode(run);
        fs::write(self.path(&format!("{run}.sealed")), sealed).unwrap();
        let out = self.plain.path().join(&run);
        let out = out.display();
        let opened =
            self.does(&format!("result {run}.sealed --run {run} --owner b.key --out {out}"));
        opened.text("/text").to_owned()
    }

    /// The delegator's decisions of one kind about A's keys, the oldest first.
    pub fn audited(&self, kind: &str) -> Vec<Value> {
        self.audited_of(&self.owner, "a", kind)
    }

    /// The same of the KMS of `owner` about the keys of a custodian.
    pub fn audited_of(&self, owner: &Owner, custodian: &str, kind: &str) -> Vec<Value> {
        let file = self.path("audit.jsonl");
        let _ = fs::remove_file(&file); // the first time there is none
        self.does_of(owner, &format!("audit audit.jsonl --key {custodian}.key"));
        let text = fs::read_to_string(file).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter_map(|entry| inside(&entry, kind).cloned()).collect()
    }
}

impl Drop for Scene {
    /// Shows the guest's console to who reads a failure.
    fn drop(&mut self) {
        if std::thread::panicking() && self.owner.0.machine(self.name).exists() {
            println!("{}", self.owner.0.console(self.name));
        }
    }
}

/// What is under a key of an object, however deep.
fn inside<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(key).or_else(|| object.values().find_map(|value| inside(value, key)))
}

fn file_of(program: &str) -> String {
    program.strip_prefix("service:").map_or(program.to_owned(), |name| format!("{name}.wasm"))
}

/// Ends unless a run was refused for this reason and nothing left it.
pub fn assert_refused(outcome: &Outcome, reason: &str) {
    assert!(outcome.outputs.is_empty(), "{outcome:#?}");
    let text = format!("{:?} {:?}", outcome.ended, outcome.refusals);
    assert!(text.contains(reason), "{reason}: {outcome:#?}");
}

/// Where the services answer, once they do.
fn addresses(up: &Answer) -> Vec<String> {
    let addresses: Vec<String> = up.addresses().map(str::to_owned).collect();
    let begun = Instant::now();
    for address in &addresses {
        while http::send(address, "GET", "/files", b"", TIMEOUT).is_err() {
            assert!(begun.elapsed() < TIMEOUT, "{address} does not answer: {up:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    addresses
}
