//! Runs in which something is killed at a random moment: no Pad is lost, no use of a quota is
//! counted twice, and no plain text is left outside the sandbox.
//!
//! `pad-runner`, a process that it started, or the connection to the delegator ends: after a random
//! part of the time that a run takes, or at a random question to the delegator, before or after
//! that did what it was asked for. A number names each run; the one that fails is printed.

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pad_format::reader::SealedPad;
use pad_format::run::RunId;
use pad_format::sealed::{self, Purpose};
use pad_format::{DataKey, PadDigest};
use pad_pipeline::Delegator;
use pad_pipeline::delegator::{
    AuditEntry, Denied, KeyRequest, NewKey, ReleasedKey, Spend, UpdatedKey,
};
use pad_pipeline::output::result_subject;
use pad_supervisor::{Job, Outcome, Output, Place, Settings, Supervisor, SupervisorError};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::leaks::{MARK, found_in};
use crate::programs::{self, Random};
use crate::serve::{self, Keys, NOW, custodian, pad, replacement, secret};

/// Runs that are disturbed; all of them with `DSTYX_LONG`.
const RUNS: u64 = 20;
const SAMPLED: u64 = 6;
/// Longer than an ended process takes to be gone.
const GONE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A result in plain for the owner.
    Plain,
    /// A new Pad.
    Pad,
    /// Other policies for a Pad.
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Runner,
    Process,
    Delegator,
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So many thousandths of the time that such a run took.
    Time(u64),
    /// At this question, after it was answered or before.
    Question { number: u64, is_answered: bool },
}

/// What is done to a run.
#[derive(Debug, Clone, Copy)]
struct Blow {
    kind: Kind,
    victim: Victim,
    signal: Signal,
    moment: Moment,
}

impl Blow {
    fn of(number: u64) -> Self {
        let mut random = Random::new(number);
        let kind = [Kind::Plain, Kind::Pad, Kind::Update][((number + number / 3) % 3) as usize];
        let victim = [Victim::Runner, Victim::Process, Victim::Delegator][(number % 3) as usize];
        let signal = [Signal::KILL, Signal::ABORT][random.below(2) as usize];
        // No program runs where policies are replaced, so that no process is there for long.
        let is_timed = victim != Victim::Delegator && random.below(2) == 0;
        let moment = match is_timed {
            true => Moment::Time(random.below(1000)),
            false => Moment::Question {
                number: random.below(if kind == Kind::Pad { 4 } else { 3 }),
                is_answered: random.below(2) == 1,
            },
        };
        Self { kind, victim, signal, moment }
    }
}

/// The delegator: what it has lasts, whatever is killed.
#[derive(Default)]
struct Ledger {
    keys: Keys,
    spent: Vec<RunId>,
}

/// The connection to it, and what happens at a question.
struct Connection<'a> {
    ledger: &'a mut Ledger,
    blow: Option<Blow>,
    runner: u32,
    asked: u64,
    is_cut: bool,
}

impl Connection<'_> {
    fn asked<T>(
        &mut self,
        answer: impl FnOnce(&mut Ledger) -> Result<T, Denied>,
    ) -> Result<T, Denied> {
        let number = self.asked;
        self.asked += 1;
        let now = self.blow.filter(
            |blow| matches!(blow.moment, Moment::Question { number: at, .. } if at == number),
        );
        let is_answered = now
            .is_some_and(|blow| matches!(blow.moment, Moment::Question { is_answered: true, .. }));
        if let (Some(blow), false) = (now, is_answered) {
            self.strike(blow);
        }
        if self.is_cut {
            return Err(Denied::Failed("the connection is cut".to_owned()));
        }
        let answer = answer(self.ledger);
        if let (Some(blow), true) = (now, is_answered) {
            self.strike(blow);
        }
        if self.is_cut { Err(Denied::Failed("the connection is cut".to_owned())) } else { answer }
    }

    fn strike(&mut self, blow: Blow) {
        match blow.victim {
            Victim::Delegator => self.is_cut = true,
            Victim::Runner => end(self.runner, blow.signal),
            Victim::Process => {
                for process in children(self.runner) {
                    end(process, blow.signal);
                }
            }
        }
    }
}

impl Delegator for Connection<'_> {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        self.asked(|ledger| ledger.keys.keys(request))
    }

    fn spend(&mut self, run: RunId, uses: &[Spend]) -> Result<(), Denied> {
        self.asked(|ledger| {
            assert_eq!(uses.len(), 1);
            ledger.spent.push(run);
            Ok(())
        })
    }

    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied> {
        self.asked(|ledger| ledger.keys.keep(new))
    }

    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied> {
        self.asked(|ledger| ledger.keys.audit(entry))
    }

    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        self.asked(|ledger| ledger.keys.update(new))
    }
}

fn end(process: u32, signal: Signal) {
    let process = Pid::from_raw(process as i32).expect("a process's number");
    let _ = kill_process(process, signal); // it may have ended before
}

/// Processes that this one started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the kernel's view of processes");
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        behind_name.split(' ').nth(1).is_some_and(|found| found == parent.to_string())
    };
    numbers.filter(is_child).collect()
}

/// Adds the first Pad and proposes the beginning of its data: in plain, or as a Pad.
fn program(kind: Kind) -> Vec<u8> {
    let text = if kind == Kind::Pad { serve::COPY } else { serve::PLAIN };
    programs::consumer(&text.replace("const 7", &format!("const {}", MARK.len())))
}

/// An engine that asks for a use of a quota of the owner's.
fn engine() -> Vec<u8> {
    let owner = custodian().id().0.0;
    let words = owner.chunks(8).map(|word| u64::from_be_bytes(word.try_into().expect("eight")));
    let stores: String = words
        .chain([1000, 60])
        .zip((80..).step_by(8))
        .map(|(word, at)| format!("(i64.store (i32.const {at}) (i64.const {word}))"))
        .collect();
    programs::engine(&format!(
        r#"(func (export "check-input") (type $input)
             (drop (call $yes))
             (i32.store (i32.const 20) (i32.const 64))
             (i32.store (i32.const 24) (i32.const 1))
             {stores}
             (i32.const 0))"#
    ))
}

/// Where everything lies that is outside the sandbox, and what is run.
struct World {
    tree: TempDir,
    engine: Vec<u8>,
    begun: SystemTime,
}

/// How a run ended, and what it was to write.
struct Ended {
    outcome: Result<Outcome, SupervisorError>,
    run: Option<RunId>,
    took: Duration,
}

impl World {
    fn new() -> Self {
        let tree = tempfile::tempdir().expect("a directory");
        fs::create_dir(tree.path().join("cache")).expect("a directory");
        Self { tree, engine: engine(), begun: SystemTime::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree.path().join(name)
    }

    /// A Pad of marked data, as a file.
    fn pad(&self, ledger: &mut Ledger, name: &str) -> PathBuf {
        let path = self.path(name);
        let data = MARK.repeat(1000);
        fs::write(&path, pad(&self.engine, data.as_bytes(), &mut ledger.keys)).expect("room");
        path
    }

    fn supervisor(&self) -> Supervisor {
        let runner = Path::new(env!("CARGO_BIN_EXE_pad-runner"));
        let cache = self.path("cache");
        let cache = Some((cache.as_path(), Zeroizing::new([3; 32])));
        Supervisor::start(Settings { runner, cache, place: Place::Local }).expect("started")
    }

    /// One run on the Pad in this file, in which something may be killed.
    fn run(
        &self,
        kind: Kind,
        file: &Path,
        ledger: &mut Ledger,
        blow: Option<(Blow, Duration)>,
    ) -> Ended {
        let mut supervisor = self.supervisor();
        let runner = supervisor.process_id();
        let blow_alone = blow.map(|(blow, _)| blow);
        let mut connection =
            Connection { ledger, blow: blow_alone, runner, asked: 0, is_cut: false };
        let (is_done, begun) = (AtomicBool::new(false), Instant::now());
        let mut run = None;
        let outcome = thread::scope(|scope| {
            scope.spawn(|| later(blow, runner, &is_done));
            let outcome = supervisor.draw(NOW).and_then(|id| {
                run = Some(id);
                self.conversation(kind, file, id, &mut supervisor, &mut connection)
            });
            is_done.store(true, Ordering::Relaxed);
            outcome
        });
        let took = begun.elapsed();
        let processes = children(runner);
        drop(supervisor);
        let until = Instant::now() + GONE;
        for process in processes {
            while Path::new("/proc").join(process.to_string()).exists() {
                assert!(Instant::now() < until, "a process outlives its parent");
                thread::sleep(Duration::from_millis(5));
            }
        }
        Ended { outcome, run, took }
    }

    fn conversation(
        &self,
        kind: Kind,
        file: &Path,
        id: RunId,
        supervisor: &mut Supervisor,
        connection: &mut Connection<'_>,
    ) -> Result<Outcome, SupervisorError> {
        if kind == Kind::Update {
            let key = connection.ledger.key(file).expect("a Pad that is in force");
            let out = File::create_new(self.path("new.pad")).expect("a new file");
            let bytes = fs::read(file).expect("the Pad");
            let replacement = replacement(id, &self.engine, &bytes, key, out);
            return supervisor.update(replacement, connection);
        }
        let plain = custodian().id().0.0;
        let pads = vec![fs::read(file).expect("the Pad")];
        let job = serve::job(id, &program(kind), &self.engine, &pads, &plain);
        supervisor.run(Job { pads: vec![File::open(file).expect("the Pad")], ..job }, connection)
    }

    /// Nothing outside has the mark.
    fn is_clean(&self) {
        let found = found_in(self.tree.path(), self.begun);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// Strikes after a part of the time that a run takes, or once there is a process to strike.
fn later(blow: Option<(Blow, Duration)>, runner: u32, is_done: &AtomicBool) {
    let Some((blow @ Blow { moment: Moment::Time(part), .. }, took)) = blow else { return };
    let at = Instant::now() + took * part as u32 / 1000;
    while !is_done.load(Ordering::Relaxed) {
        if Instant::now() >= at {
            match (blow.victim, children(runner)) {
                (Victim::Process, processes) if processes.is_empty() => {}
                (Victim::Process, processes) => {
                    return processes.into_iter().for_each(|process| end(process, blow.signal));
                }
                _ => return end(runner, blow.signal),
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

impl Ledger {
    /// The key of the Pad in a file, if the delegator gives it.
    fn key(&self, file: &Path) -> Option<[u8; 32]> {
        let sealed = SealedPad::read(File::open(file).expect("the Pad")).ok()?;
        self.keys.keys.get(&sealed.digest()).copied()
    }

    /// The digest of a Pad that one of the kept keys opens, and whose data is whole.
    fn opens(&self, bytes: &[u8], data: &str) -> Option<(PadDigest, [u8; 32])> {
        let digest = SealedPad::read(Cursor::new(bytes)).ok()?.digest();
        let opening = |key: &&[u8; 32]| is_of(Cursor::new(bytes), **key, data);
        self.keys.kept.iter().find(opening).map(|key| (digest, *key))
    }

    fn uses_of(&self, run: Option<RunId>) -> usize {
        self.spent.iter().filter(|spent| Some(**spent) == run).count()
    }
}

/// Whether this is a whole Pad of these data.
fn is_of(pad: impl Read + Seek, key: [u8; 32], expected: &str) -> bool {
    let opened = SealedPad::read(pad).ok().and_then(|sealed| {
        sealed.open(&DataKey::from_bytes(Zeroizing::new(key))).ok()?.into_data().ok()
    });
    let Some(mut data) = opened else { return false };
    let mut found = vec![0; data.data_bytes() as usize];
    data.read_at(0, &mut found).is_ok_and(|read| read == found.len())
        && found == expected.as_bytes()
}

/// What has to hold after a run, however it ended; the Pad that is in force afterwards.
fn holds(world: &World, kind: Kind, file: &Path, ledger: &mut Ledger, ended: &Ended) -> PathBuf {
    let whole = MARK.repeat(1000);
    let outputs = ended.outcome.as_ref().map_or(&[][..], |outcome| &outcome.outputs);
    for (number, output) in outputs.iter().enumerate() {
        match output {
            Output::Pad(bytes) => {
                fs::write(world.path(&format!("{number}.pad")), bytes).expect("room");
                let (digest, key) = ledger.opens(bytes, MARK).expect("a key that was kept");
                ledger.keys.keys.insert(digest, key);
            }
            Output::Plain(bytes) => {
                fs::write(world.path(&format!("{number}.sealed")), bytes).expect("room");
                let about = result_subject(&ended.run.expect("a run").0, &custodian().id());
                let plain = sealed::open(&secret(), Purpose::Result, &about, bytes);
                assert_eq!(**plain.expect("for the owner"), *MARK.as_bytes());
            }
        }
    }
    let counted = ledger.uses_of(ended.run);
    assert!(counted <= 1, "counted {counted} times");
    assert!(outputs.is_empty() || counted == 1, "an output without a use");
    if kind != Kind::Update {
        assert!(ledger.key(file).is_some_and(|key| is_of(opened(file), key, &whole)));
        return file.to_owned();
    }
    let new = world.path("new.pad");
    match (ledger.key(file), fs::read(&new)) {
        (Some(key), _) => {
            assert!(is_of(opened(file), key, &whole), "the old Pad");
            file.to_owned()
        }
        (None, Ok(bytes)) => {
            let (digest, key) = ledger.opens(&bytes, &whole).expect("the new Pad is whole");
            ledger.keys.keys.insert(digest, key);
            new
        }
        (None, Err(error)) => panic!("no Pad is left: {error}"),
    }
}

fn opened(file: &Path) -> File {
    File::open(file).expect("the Pad")
}

#[test]
fn what_is_killed_at_any_moment_loses_no_pad_counts_nothing_twice_and_leaves_no_plain_text() {
    // What is dumped is to be found: where the kernel writes core files is up to the machine.
    let most = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).expect("one's own limit");
    let is_long = std::env::var_os("DSTYX_LONG").is_some();
    let runs = if is_long { RUNS } else { SAMPLED };
    let mut undisturbed = 0;
    for number in 0..runs {
        let blow = Blow::of(number);
        println!("run {number}: {blow:?}");
        let (world, mut ledger) = (World::new(), Ledger::default());
        let file = world.pad(&mut ledger, "first.pad");
        // The time that it takes, of which the moment is a part; the cache is empty in both.
        let first = World::new();
        let unharmed = first.run(blow.kind, &file, &mut copy(&ledger), None);
        assert!(is_unharmed(&unharmed), "{:?}", unharmed.outcome);
        let ended = world.run(blow.kind, &file, &mut ledger, Some((blow, unharmed.took)));
        undisturbed += usize::from(is_unharmed(&ended));
        if let Ok(outcome) = &ended.outcome {
            let said = format!("{:?} {:?}", outcome.ended, outcome.refusals);
            assert!(!said.contains(MARK), "{said}");
        }
        let in_force = holds(&world, blow.kind, &file, &mut ledger, &ended);
        world.is_clean();
        let again = world.run(Kind::Plain, &in_force, &mut ledger, None);
        assert_eq!(again.outcome.as_ref().expect("a conversation").outputs.len(), 1);
        assert_eq!(ledger.uses_of(again.run), 1);
        holds(&world, Kind::Plain, &in_force, &mut ledger, &again);
        world.is_clean();
    }
    assert!(undisturbed < runs as usize / 2, "{undisturbed} of {runs} runs were not disturbed");
}

/// Whether the program ended well and nothing was refused.
fn is_unharmed(ended: &Ended) -> bool {
    let outcome = ended.outcome.as_ref();
    outcome.is_ok_and(|outcome| outcome.ended.is_ok() && outcome.refusals.is_empty())
}

fn copy(ledger: &Ledger) -> Ledger {
    Ledger { keys: ledger.keys.clone(), spent: Vec::new() }
}

#[test]
fn moments_are_of_every_kind() {
    let blows: Vec<_> = (0..RUNS).map(Blow::of).collect();
    for kind in [Kind::Plain, Kind::Pad, Kind::Update] {
        assert!(blows.iter().any(|blow| blow.kind == kind), "{kind:?}");
    }
    let timed = blows.iter().filter(|blow| matches!(blow.moment, Moment::Time(_))).count();
    assert!((3..RUNS as usize - 3).contains(&timed), "{timed}");
}
