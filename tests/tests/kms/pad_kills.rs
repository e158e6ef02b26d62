//! Runs on Pads in a guest, in which something is killed or cut at a random moment: the guest, its
//! key delegator, `pad-runner`, the program, the agent, the network between guest and delegator, or
//! the connection of who asked for the run.
//!
//! After each of them: every Pad that was given out opens in a run, those that a container holds
//! are unchanged, and the delegator has counted no use of a quota twice: none or one of the run,
//! and one if anything left it. No plain text is found outside the sandbox ([`crate::pad_marks`]).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pad_format::enrolment::SignedEnrolment;
use pad_format::reader::SealedPad;
use pad_format::{PadDigest, PadId};
use protocol::digest::Sha256Digest;
use protocol::kms::CHANNEL_PORT;
use protocol::pad_calls::{Outcome, OutputKind, Party, UpdateRequest};
use tests::dice::Dice;
use tests::wire::Wire;
use tests::{http, lab};

use crate::notes::{KMS, cut_power};
use crate::pad_blows::{Blow, Kind, Victim};
use crate::pad_marks::{self, Marks};
use crate::pad_scene::{Asked, PARTIES, Scene, TIMEOUT, assert_refused};
use crate::{pad_delegators, step};

/// The machine of the long trial.
pub const NAME: &str = "promise-pad-kills";
/// Random points of the long trial, at each of which one of all victims is struck in turn.
const POINTS: usize = 20;
/// Who is struck in every run of the tests, where the app has no privileged service.
const SOME: [Victim; 4] = [Victim::Guest, Victim::Network, Victim::Caller, Victim::Network];
/// Uses of the quota in a day: more than the runs of either trial.
const USES: usize = 80;
/// A custodian's number, which is in no other file, and the mean of many of it.
const MARK: &str = "3.14159265358979323846264338327950288419716939937510";
const MEAN: &str = "3.142";
/// Lines of a Pad: a run takes long enough to be struck in the middle.
const LINES: usize = 12_000;
/// What a container writes in plain: the control, without which a search shows nothing.
const PLANTED: &str = "a line in plain text that a container wrote;";
/// A program that makes a Pad, as text.
const COPY: &str = "tests/vectors/programs/copy.wat";
/// Longest wait for the outcome of a run that goes on alone, or for processes to be gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Who may read the Pads, by which programs, how often, and what may come of it.
const POLICY: &str = r#"
engine = { file = "share.wasm" }
input_id = "numbers"

[custodians]
a = { file = "a.custodian" }
b = { file = "b.custodian" }

[programs]
mean = { file = "mean.wasm" }
copy = { file = "copy.wasm" }

[[input]]
rule = "PLAIN_INPUT"
max_bytes = 32

[[program]]
rule = "PROGRAM_IN"
programs = ["mean", "copy"]

[[program]]
rule = "AUTH_USER"
owners = ["b"]

[[program]]
rule = "RATE_LIMIT"
quota = "5b9e48a2b6d4e8f0123c5a797a1f0c3d"
limits = { b = "USES per day" }

[[output]]
rule = "CUSTODIAN"
custodian = "a"

[[output]]
rule = "SAME_POLICY"

[[output]]
rule = "PLAIN_RESULT"
schema = "number"
max_bytes = 32

[[output]]
rule = "UPDATE_BY"
share = "50 %"
weights = { a = 1 }
"#;

/// A call that has a run made.
struct Prepared {
    path: &'static str,
    body: Vec<u8>,
    run: Vec<u8>,
}

/// Where things are, between two runs.
struct Trial {
    scene: Scene,
    wire: Wire,
    dice: Dice,
    /// The place of the service that keeps files, and of the one that strikes.
    keeper: usize,
    strikes: Option<usize>,
    /// The newest Pad of the data, and the version of the last policies that were signed for it.
    in_force: String,
    version: u64,
    /// Every Pad that a container holds.
    held: BTreeMap<String, Vec<u8>>,
    /// The time that each kind of run takes, and the bytes between one and the delegator.
    usual: BTreeMap<Kind, Duration>,
    bytes: u64,
    /// Uses that the delegator has counted, and those that were lost.
    counted: usize,
    lost: usize,
    numbered: usize,
}

/// Some points in a guest without privileges, whose custodians are enrolled.
pub fn some_in(scene: Scene) -> Scene {
    let mut trial = step("pads: other runs", || Trial::new(scene, (3, None), ""));
    for (number, victim) in SOME.into_iter().enumerate() {
        let blow = Blow::of(number, victim, &mut trial.dice);
        step(&format!("pads: {blow:?}"), || trial.point(&blow));
    }
    step("pads: plain text", || trial.finds_what_a_container_wrote());
    trial.scene
}

/// Every victim in turn.
pub fn lose_nothing_count_nothing_twice_and_leave_no_plain_text() {
    let mut scene = Scene::new(NAME, &["pads", "pad-kills"]);
    step("pad kills: boot, with a KMS", || scene.boots(None, &["--danger-privileged"]));
    scene.enrols();
    let mut trial = Trial::new(scene, (1, Some(2)), "--danger-privileged");
    let mut undisturbed = 0;
    for number in 0..POINTS {
        let victim = Victim::ALL[number % Victim::ALL.len()];
        let blow = Blow::of(number, victim, &mut trial.dice);
        let is_disturbed = step(&format!("point {number}: {blow:?}"), || trial.point(&blow));
        undisturbed += usize::from(!is_disturbed);
    }
    println!("{undisturbed} of {POINTS} runs were not disturbed; {} uses lost", trial.lost);
    assert!(undisturbed < POINTS / 2);
    step("pad kills: two delegators", || trial.has_two_delegators());
    step("pad kills: the last uses", || trial.uses_end_where_the_ledger_says());
    step("pad kills: plain text", || trial.finds_what_a_container_wrote());
    cut_power(&trial.scene.owner.0, NAME);
}

impl Trial {
    /// Packs a Pad in a guest that runs, and has one run of each kind made.
    fn new(scene: Scene, (keeper, strikes): (usize, Option<usize>), grant: &str) -> Self {
        let dice = Dice::of_this_run("points of runs");
        let port = &scene.owner.0.record(KMS)["ports"][CHANNEL_PORT.to_string()];
        let wire = Wire::to(format!("127.0.0.1:{port}").parse().unwrap());
        let mut trial = Self {
            scene,
            wire,
            dice,
            keeper,
            strikes,
            in_force: "first.pad".to_owned(),
            version: 1,
            held: BTreeMap::new(),
            usual: BTreeMap::new(),
            bytes: u64::MAX,
            counted: 0,
            lost: 0,
            numbered: 0,
        };
        trial.counted = trial.uses_in_the_ledger();
        let scene = &trial.scene;
        let copy = wat::parse_file(lab::checkout().join(COPY)).unwrap();
        fs::write(scene.path("copy.module.wasm"), copy).unwrap();
        scene.does("component copy.module.wasm --out copy.wasm");
        fs::write(scene.path("kills.toml"), POLICY.replace("USES", &USES.to_string())).unwrap();
        scene.does("policy compile kills.toml --out kills.policy");
        let a = SignedEnrolment::parse(&scene.read("a.enrolment")).unwrap();
        fs::write(scene.path("a.id"), a.claimed().custodian.id().0.0).unwrap();
        let data = format!("{MARK}\n").repeat(LINES);
        scene.packs(&scene.owner, &data, "kills.toml", "a", "first.pad");
        scene.pushes(&scene.owner, "first.pad", "a", grant);
        trial.holds("first.pad");
        trial.puts_all();
        for kind in Kind::ALL {
            // The first one compiles its programs.
            trial.has_run(kind);
            let took = trial.has_run(kind);
            trial.usual.insert(kind, took);
        }
        println!("runs take {:?}", trial.usual);
        trial
    }

    /// Has a run made that nothing disturbs; how long it takes.
    fn has_run(&mut self, kind: Kind) -> Duration {
        let prepared = self.prepared(kind);
        let begun = Instant::now();
        let outcome = self.submitted(&prepared).expect("nothing is cut");
        let took = begun.elapsed();
        assert_eq!((&outcome.ended, &outcome.refusals[..]), (&None, &[][..]), "{outcome:#?}");
        assert_eq!(self.judged(kind, &prepared.run, Some(&outcome)), 1, "{outcome:#?}");
        took
    }

    /// Has a run made that is disturbed, and looks at all that must hold after it. Whether it was
    /// disturbed.
    fn point(&mut self, blow: &Blow) -> bool {
        let prepared = self.prepared(blow.kind);
        let (outcome, is_struck) = self.disturbed(blow, &prepared);
        self.mended(blow);
        let told = outcome.as_ref().map(|outcome| (&outcome.ended, &outcome.refusals));
        println!("struck: {is_struck}; told: {told:?}");
        let left = self.judged(blow.kind, &prepared.run, outcome.as_ref());
        for (name, bytes) in &self.held {
            assert_eq!(self.kept(name).as_ref(), Some(bytes), "{name} is another one");
        }
        let in_force = self.in_force.clone();
        assert_eq!(self.mean_of(&[&in_force], PARTIES), MEAN);
        if blow.victim == Victim::Guest {
            // The first one proved the guest to the delegator; this one only asks.
            assert_eq!(self.mean_of(&[&in_force], PARTIES), MEAN);
        }
        self.is_clean();
        is_struck && (left == 0 || matches!(blow.victim, Victim::Network | Victim::Caller))
    }

    /// The uses of the run that was just made and what left it; how much left.
    fn judged(&mut self, kind: Kind, run: &[u8], outcome: Option<&Outcome>) -> usize {
        let counted = self.newly_counted();
        let outputs = outcome.map_or(&[][..], |outcome| &outcome.outputs);
        if kind == Kind::Update {
            assert_eq!(counted, 0, "no program ran");
            return self.finds_what_is_in_force(!outputs.is_empty());
        }
        assert!(counted <= 1, "counted {counted} times");
        assert!(outputs.len() <= counted, "an output without a use");
        self.lost += counted - outputs.len();
        let mut left = 0;
        for output in outputs {
            // An agent that was killed after it answered has forgotten it.
            let Some(bytes) = self.scene.fetched(&output.sha256) else { continue };
            left += 1;
            match output.kind {
                OutputKind::Result => assert_eq!(self.scene.opened(run, &bytes), MEAN),
                OutputKind::Pad => {
                    let name = self.named(&bytes);
                    self.scene.puts(&name);
                    assert_eq!(self.mean_of(&[&name], PARTIES), MEAN);
                }
            }
        }
        left
    }

    /// After an update that may have been cut: either the old Pad opens, or a new one does that the
    /// service finds. How many are new.
    fn finds_what_is_in_force(&mut self, is_told: bool) -> usize {
        let old = self.in_force.clone();
        let outcome = self.scene.outcome(&self.scene.request(&mean(&[&old], PARTIES)));
        let (about, digest) = pad_of(&self.scene.read(&old)).unwrap();
        let listed = self.scene.listed().into_iter();
        let written = listed.filter_map(|info| {
            let bytes = self.scene.fetched(&info.sha256)?;
            let (found, other) = pad_of(&bytes)?;
            (found == about && other != digest).then_some((info.sha256, bytes))
        });
        let written: Vec<_> = written.collect();
        if !outcome.outputs.is_empty() {
            assert!(!is_told, "the old Pad still opens: {outcome:#?}");
            assert_eq!(self.newly_counted(), 1);
            // What was begun is nobody's, and goes.
            written.iter().for_each(|(digest, _)| self.forgets(digest));
            return 0;
        }
        assert_refused(&outcome, "key-replaced");
        let [(_, bytes)] = &written[..] else { panic!("{} new Pads", written.len()) };
        self.forgets(&Sha256Digest::of(&self.scene.read(&old)));
        self.held.remove(&old);
        self.in_force = self.named(bytes);
        assert_eq!(self.mean_of(&[&self.in_force.clone()], PARTIES), MEAN);
        1
    }

    fn forgets(&self, digest: &Sha256Digest) {
        let (status, _) = self.scene.call("DELETE", &format!("/files/{digest}"), b"");
        assert_eq!(status, 200);
    }

    /// Gives a Pad that left a run a name, and to a container to hold.
    fn named(&mut self, bytes: &[u8]) -> String {
        self.numbered += 1;
        let name = format!("{}.pad", self.numbered);
        fs::write(self.scene.path(&name), bytes).unwrap();
        self.holds(&name);
        name
    }

    fn holds(&mut self, name: &str) {
        let bytes = self.scene.read(name);
        self.keeps(name, &bytes);
        self.held.insert(name.to_owned(), bytes);
    }

    fn keeps(&self, name: &str, bytes: &[u8]) {
        let keeper = self.scene.service(self.keeper);
        let (status, _) = http::send(keeper, "PUT", &format!("/{name}"), bytes, TIMEOUT).unwrap();
        assert_eq!(status, 201, "{name}");
    }

    fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let keeper = self.scene.service(self.keeper);
        let answer = http::send(keeper, "GET", &format!("/{name}"), b"", TIMEOUT).unwrap();
        (answer.0 == 200).then_some(answer.1)
    }

    /// Puts what runs are made of; Pads are those that a container holds.
    fn puts_all(&self) {
        for name in ["share.wasm", "mean.wasm", "copy.wasm", &self.in_force] {
            self.scene.puts(name);
        }
    }

    /// The mean of these Pads, by the program that is a service: one use is counted.
    fn mean_of(&mut self, pads: &[&str], parties: &[(&str, Option<&str>)]) -> String {
        let request = self.scene.request(&mean(pads, parties));
        let passed = self.wire.passed();
        let outcome = self.scene.outcome(&request);
        // Nothing passes before the guest's second boot.
        if let sent @ 1.. = self.wire.passed() - passed {
            self.bytes = self.bytes.min(sent);
        }
        let [result] = outcome.outputs[..] else { panic!("{outcome:#?}") };
        let sealed = self.scene.fetched(&result.sha256).unwrap();
        assert_eq!(self.newly_counted(), 1, "{outcome:#?}");
        self.scene.opened(&outcome.run, &sealed)
    }

    fn uses_in_the_ledger(&self) -> usize {
        let spent = self.scene.audited("quotas_spent");
        spent.iter().map(|entry| entry["uses"].as_array().unwrap().len()).sum()
    }

    fn newly_counted(&mut self) -> usize {
        let now = self.uses_in_the_ledger();
        let before = std::mem::replace(&mut self.counted, now);
        now.checked_sub(before).expect("the ledger only grows")
    }

    fn prepared(&mut self, kind: Kind) -> Prepared {
        let pads = [self.in_force.as_str()];
        let request = match kind {
            Kind::Plain => self.scene.request(&mean(&pads, PARTIES)),
            Kind::Pad => self.scene.request(&Asked {
                program: "copy.wasm",
                plain: Some("a.id"),
                ..mean(&pads, PARTIES)
            }),
            Kind::Update => return self.update(),
        };
        let body = serde_json::to_vec(&request).unwrap();
        Prepared { path: "/run", body, run: request.run }
    }

    /// The same policies again, as a later version.
    fn update(&mut self) -> Prepared {
        self.version += 1;
        let Self { scene, version, in_force, .. } = self;
        let policies = "--policy kills.policy --approve a.key";
        let file = format!("{version}.update");
        scene.does(&format!("agree {in_force} {policies} --number {version} --out {file}"));
        let run = scene.draws().run;
        let request = UpdateRequest {
            run: run.clone(),
            engines: vec![Sha256Digest::of(&scene.read("share.wasm"))],
            pad: Sha256Digest::of(&scene.read(in_force)),
            policies: vec![scene.read("kills.policy")],
            signed: scene.read(&file),
            party: Party { enrolment: scene.read("a.enrolment"), address: None },
        };
        Prepared { path: "/update", body: serde_json::to_vec(&request).unwrap(), run }
    }

    /// The outcome, if the caller was told one.
    fn submitted(&self, prepared: &Prepared) -> Option<Outcome> {
        let (status, text) = self.scene.try_call("POST", prepared.path, &prepared.body)?;
        match status {
            200 => Some(serde_json::from_slice(&text).unwrap()),
            // `pad-runner` or the agent ended.
            500 | 502 => None,
            _ => panic!("{status}: {}", String::from_utf8_lossy(&text)),
        }
    }

    /// Submits a run and strikes. What the caller was told, and whether there was something to
    /// strike.
    fn disturbed(&self, blow: &Blow, prepared: &Prepared) -> (Option<Outcome>, bool) {
        let after = blow.of_time(self.usual[&blow.kind]);
        match blow.victim {
            Victim::Guest | Victim::Delegator => {
                let name = if blow.victim == Victim::Guest { self.scene.name } else { KMS };
                let cut = || {
                    std::thread::sleep(after);
                    cut_power(&self.scene.owner.0, name);
                };
                let outcome = std::thread::scope(|scope| {
                    scope.spawn(cut);
                    self.submitted(prepared)
                });
                (outcome, true)
            }
            Victim::Network => self.without_network(blow, prepared),
            Victim::Caller => (self.abandoned(prepared, after), true),
            Victim::Runner | Victim::Program | Victim::Agent => {
                let strikes = self.scene.service(self.strikes.unwrap());
                let victim = blow.victim.inside().unwrap();
                let (after, signal) = (after.as_secs_f64(), blow.signal);
                let asked = format!("/strike?victim={victim}&after={after}&signal={signal}");
                http::get(strikes, &asked).unwrap();
                let outcome = self.submitted(prepared);
                let struck = http::get(strikes, "/struck").unwrap();
                let struck: Vec<u32> = serde_json::from_slice(&struck).unwrap();
                (outcome, struck != [0])
            }
        }
    }

    /// Cuts the network after a part of the bytes that a run sends.
    fn without_network(&self, blow: &Blow, prepared: &Prepared) -> (Option<Outcome>, bool) {
        assert_ne!(self.bytes, u64::MAX, "the guest has the KMS over the wire");
        self.wire.cut_after(self.bytes * blow.part as u64 / 1000);
        let is_done = AtomicBool::new(false);
        let (outcome, is_cut) = std::thread::scope(|scope| {
            let mending = scope.spawn(|| {
                while !self.wire.is_cut() {
                    if is_done.load(Ordering::Relaxed) {
                        return false;
                    }
                    std::thread::sleep(POLL);
                }
                if blow.is_mended_soon {
                    std::thread::sleep(Duration::from_secs(1));
                    self.wire.mend();
                }
                true
            });
            let outcome = self.submitted(prepared);
            is_done.store(true, Ordering::Relaxed);
            (outcome, mending.join().unwrap())
        });
        (outcome, is_cut)
    }

    /// Submits a run and hangs up; it goes on, and its outcome is told later.
    fn abandoned(&self, prepared: &Prepared, after: Duration) -> Option<Outcome> {
        let mut stream = TcpStream::connect(self.scene.service(0)).unwrap();
        let (path, length) = (prepared.path, prepared.body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &prepared.body].concat()).unwrap();
        std::thread::sleep(after.max(POLL));
        let _ = stream.shutdown(Shutdown::Both); // the run may have ended
        let path = format!("/runs/{}", hex::encode(&prepared.run));
        let begun = Instant::now();
        loop {
            let (status, outcome) = self.scene.call("GET", &path, b"");
            match status {
                200 => return Some(serde_json::from_slice(&outcome).unwrap()),
                // It was given up before the agent had read it.
                404 if begun.elapsed() > POLL * 50 => return None,
                _ => assert!(begun.elapsed() < PATIENCE, "{status}"),
            }
            std::thread::sleep(POLL);
        }
    }

    /// Brings back what was struck, and what an agent that ended has forgotten.
    fn mended(&mut self, blow: &Blow) {
        match blow.victim {
            Victim::Guest => self.boots_again(),
            Victim::Delegator => {
                let started = self.scene.owner.0.dstyx(["kms", "start", "--emulate"]);
                assert_eq!(started.code, 0, "{started:#?}");
            }
            Victim::Network => self.wire.mend(),
            Victim::Agent => self.one_runner_is_left(),
            Victim::Runner | Victim::Program | Victim::Caller => {}
        }
        if matches!(blow.victim, Victim::Guest | Victim::Agent) {
            for (name, bytes) in &self.held {
                assert_eq!(self.kept(name).as_ref(), Some(bytes), "{name} is another one");
            }
            self.puts_all();
        }
    }

    /// The guest boots on what the power cut left of its disk, and has the KMS over the wire.
    fn boots_again(&mut self) {
        self.nothing_is_on_the_disk();
        let image = self.scene.left(&mut self.dice);
        let url = format!("https://{}", self.wire.address());
        let privileged = self.strikes.map(|_| "--danger-privileged");
        let more: Vec<&str> = ["--kms", &url].into_iter().chain(privileged).collect();
        self.scene.boots(Some(image), &more);
    }

    /// Nothing of an agent that was killed goes on.
    fn one_runner_is_left(&self) {
        let strikes = self.scene.service(self.strikes.unwrap());
        let begun = Instant::now();
        loop {
            let pads = http::get(strikes, "/").unwrap();
            let pads: BTreeMap<String, Vec<u32>> = serde_json::from_slice(&pads).unwrap();
            if pads["agent"].len() == 1 && pads["runner"].len() <= 1 && pads["program"].is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{pads:?}");
            std::thread::sleep(POLL);
        }
    }

    fn nothing_is_on_the_disk(&self) {
        let written = self.scene.written();
        let found = pad_marks::on_the_disk(
            &self.scene,
            &written,
            &Marks::of(&[MARK, pad_delegators::MARK]),
        );
        println!("{} blocks of the disk are searched", written.len());
        assert_eq!(found, [0; 0], "plain text was written to the disk");
    }

    /// No plain text is anywhere but in the sandbox.
    fn is_clean(&self) {
        let marks = Marks::of(&[MARK, pad_delegators::MARK]);
        assert_eq!(pad_marks::on_the_host(&self.scene, &marks), Vec::<PathBuf>::new());
        if let Some(strikes) = self.strikes {
            let found = pad_marks::in_the_guest(self.scene.service(strikes), &marks);
            assert_eq!(found, [""; 0]);
        }
    }

    /// The control: a container writes a line, and each search finds it. The KMS's ledger is among
    /// what is searched.
    fn finds_what_a_container_wrote(&mut self) {
        self.is_clean();
        self.nothing_is_on_the_disk();
        self.keeps("planted", PLANTED.repeat(200).as_bytes());
        let planted = Marks::of(&[PLANTED]);
        let found = pad_marks::on_the_disk(&self.scene, &self.scene.written(), &planted);
        assert!(!found.is_empty(), "what a container wrote is not found on the disk");
        if let Some(strikes) = self.strikes {
            let found = pad_marks::in_the_guest(self.scene.service(strikes), &planted);
            assert!(found.iter().any(|place| place.ends_with("/planted")), "{found:?}");
        }
        let ledger = self.scene.path("ledger");
        let exported = ["kms", "ledger", "export", &ledger.display().to_string()];
        let exported = self.scene.owner.0.dstyx(exported);
        assert_eq!(exported.code, 0, "{exported:#?}");
        let found = pad_marks::on_the_host(&self.scene, &Marks::of(&["quotas_spent"]));
        assert!(found.contains(&ledger), "{found:?}");
        self.is_clean();
    }

    /// B's Pad is with another KMS; the uses of A's quota are counted as before.
    fn has_two_delegators(&mut self) {
        let other = format!("{}\n", pad_delegators::MARK).repeat(LINES);
        pad_delegators::give_keys_for_one_run(&self.scene, &self.in_force, &other);
        self.counted = self.uses_in_the_ledger();
    }

    /// As many uses are left as the ledger has not counted, and no more.
    fn uses_end_where_the_ledger_says(&mut self) {
        let in_force = self.in_force.clone();
        for _ in self.counted..USES {
            assert_eq!(self.mean_of(&[&in_force], PARTIES), MEAN);
        }
        let outcome = self.scene.outcome(&self.scene.request(&mean(&[&in_force], PARTIES)));
        assert_refused(&outcome, "RATE_LIMIT");
        assert_eq!(self.newly_counted(), 0);
    }
}

/// The mean of these Pads, for B.
fn mean<'a>(pads: &'a [&'a str], parties: &'a [(&'a str, Option<&'a str>)]) -> Asked<'a> {
    Asked { program: "service:mean", pads, plain: None, is_signed: true, parties }
}

/// Which Pad this is, if it is one.
fn pad_of(bytes: &[u8]) -> Option<(PadId, PadDigest)> {
    let sealed = SealedPad::read(Cursor::new(bytes)).ok()?;
    Some((sealed.claimed().pad_id, sealed.digest()))
}
