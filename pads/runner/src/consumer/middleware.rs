//! The side that starts a consumer's process, answers it and ends it.
//!
//! Faces the process as if its program had taken it over: frames are read strictly, every step is
//! judged by [`pad_run::Run`], and SIGKILL comes at the deadline, however the process spends its
//! time. Data goes to it only after [`Judge::dataset`] allowed that.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use pad_run::frames::{Ending, FrameError, Reply, Request, Start};
use pad_run::wire::{Wire, WireError};
use pad_run::{Answer, Contents, Judge, MAX_PLAIN_BYTES, Misuse, Pad, Run};
use zeroize::Zeroizing;

use super::memory::Data;
use super::process;
use crate::artefact::Artefact;
use crate::lockdown;
use crate::runner::{Process, Role, Runner, sealed};
use crate::timed::Timed;

/// What a run may use.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerLimits {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Bytes that native helpers may take beside it.
    pub helper_bytes: u64,
    /// Elements of tables.
    pub table_elements: u32,
    /// Bytes of data that its Pads may have together.
    pub data_bytes: u64,
    /// From the start of the process to its end, engines' time included.
    pub wall: Duration,
    /// Outputs that it may propose.
    pub proposals: u32,
}

/// Answers for the policy engines, and has the data.
pub trait Middleware: Judge {
    /// Bytes of a Pad's data, asked for only after the whole dataset was allowed.
    fn size(&mut self, pad: Pad) -> io::Result<u64>;

    /// Writes the data of a Pad to memory of that size, which the program is given afterwards.
    fn data(&mut self, pad: Pad, to: &mut [u8]) -> io::Result<()>;

    /// Policies and attributes of an opened Pad.
    fn contents(&self, pad: Pad) -> Contents;
}

/// What is run on what.
pub struct Job<'a> {
    /// The compiled program.
    pub program: &'a Artefact,
    /// Pads that were submitted; the program names them by their index.
    pub pads: u32,
    /// The owner's plain input.
    pub plain: &'a [u8],
    /// What the run may use.
    pub limits: ConsumerLimits,
}

/// Runs a program to its end in a process of its own.
pub fn run(
    runner: &Runner,
    job: &Job<'_>,
    middleware: &mut dyn Middleware,
) -> Result<(), RunError> {
    if job.plain.len() > MAX_PLAIN_BYTES {
        return Err(RunError::Plain { found: job.plain.len(), most: MAX_PLAIN_BYTES });
    }
    let mut run = Run::new(job.pads, job.limits.proposals)?;
    let deadline = Instant::now() + job.limits.wall;
    let (ours, theirs) = UnixStream::pair().map_err(RunError::Start)?;
    // Declared before the process, so that it is wiped when the process is gone.
    let mut data = None;
    let program = sealed(job.program.bytes()).map_err(RunError::Start)?;
    let process = runner.start(Role::Consumer, theirs, &program, memory_limit(job));
    let mut process = process.map_err(RunError::Start)?;
    let mut wire = Wire::new(Timed::new(ours, deadline));
    match converse(&mut wire, job, &mut run, &mut data, middleware) {
        Err(RunError::Closed) => Err(end(&mut process)),
        ended => ended,
    }
}

/// Speaks with a process until its program ends, or does what it may not.
fn converse(
    wire: &mut Wire<Timed>,
    job: &Job<'_>,
    run: &mut Run,
    data: &mut Option<Data>,
    middleware: &mut dyn Middleware,
) -> Result<(), RunError> {
    wire.send(&Reply::Start(Start {
        memory_bytes: job.limits.memory_bytes,
        helper_bytes: job.limits.helper_bytes,
        table_elements: job.limits.table_elements,
        cpu_secs: lockdown::cpu_secs(job.limits.wall),
        pads: job.pads,
        plain: Zeroizing::new(job.plain.to_vec()),
    }))?;
    match wire.receive()? {
        Request::Ready => {}
        Request::Ended(ending) => return Err(RunError::Ended(ending)),
        _ => return Err(RunError::NotReady),
    }
    loop {
        let answer = match wire.receive()? {
            Request::Add(pad) => {
                run.add(pad)?;
                None
            }
            Request::Check => Some(run.check(middleware)?),
            Request::Open => {
                let pads = run.open()?;
                let (opened, sizes) = open(&pads, job.limits.data_bytes, middleware)?;
                wire.send(&Reply::Opened(sizes))?;
                let given = data.insert(opened);
                let sent = wire.stream().writable().and_then(|stream| given.send(stream));
                sent.map_err(WireError::of)?;
                None
            }
            Request::Describe(pad) => {
                let contents = middleware.contents(run.describe(pad)?);
                wire.send(&Reply::Described(contents))?;
                None
            }
            Request::Propose(proposal) => run.propose(proposal, middleware)?,
            Request::Part(data) => run.part(&data, middleware)?,
            Request::Ended(Ending::Returned) => return Ok(()),
            Request::Ended(ending) => return Err(RunError::Ended(ending)),
            Request::Ready => return Err(RunError::NotReady),
        };
        if let Some(answer) = answer {
            wire.send(&Reply::Answer(answer == Answer::Allowed))?;
        }
    }
}

/// Writes the data of all opened Pads to memory, one after the other.
fn open(
    pads: &[Pad],
    most: u64,
    middleware: &mut dyn Middleware,
) -> Result<(Data, Vec<u64>), RunError> {
    let sizes = pads.iter().map(|pad| middleware.size(*pad));
    let sizes = sizes.collect::<io::Result<Vec<u64>>>().map_err(RunError::Data)?;
    let all = sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size));
    let all = all.filter(|all| *all <= most).ok_or(RunError::TooMuch(most))?;
    let mut data = Data::new(all).map_err(RunError::Data)?;
    let mut rest = data.bytes_mut();
    for (pad, size) in pads.iter().zip(&sizes) {
        let (to, behind) = rest.split_at_mut(*size as usize);
        middleware.data(*pad, to).map_err(RunError::Data)?;
        rest = behind;
    }
    Ok((data, sizes))
}

/// Bytes that the process may take in all: the program's, and this program's own with the code
/// twice, as it came and as it runs.
fn memory_limit(job: &Job<'_>) -> u64 {
    let code = 2 * job.program.bytes().len() as u64;
    process::data_limit(job.limits.memory_bytes, job.limits.helper_bytes).saturating_add(code)
}

/// How a process ended that closed its stream.
fn end(process: &mut Process) -> RunError {
    RunError::Died(process.kill().ok().and_then(|status| status.signal()))
}

/// Why a run did not end well. The texts hold nothing of the program's choice.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// a plain input that is too large
    #[error("the plain input has {found} bytes, at most {most} are given to a program")]
    Plain {
        /// Its size.
        found: usize,
        /// The largest.
        most: usize,
    },
    /// the process could not be started
    #[error("start the program's process: {0}")]
    Start(io::Error),
    /// the first frame is another than the one that says that the process is locked down
    #[error("the program's process did not begin by its first frame")]
    NotReady,
    /// the program misused the run
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// the program was ended in its process
    #[error(transparent)]
    Ended(Ending),
    /// the wall limit
    #[error("the program reached its limit of time")]
    Wall,
    /// the process ended without a frame
    #[error("the program's process was ended by {}", signal(*.0))]
    Died(Option<i32>),
    /// the process closed its stream
    #[error("the program's process closed its stream")]
    Closed,
    /// bytes that are no frame
    #[error("the program's process: {0}")]
    Frame(FrameError),
    /// the stream failed
    #[error("the stream to the program's process: {0}")]
    Stream(io::Error),
    /// the middleware has no data
    #[error("the data of a Pad: {0}")]
    Data(io::Error),
    /// more data than a run may have
    #[error("the dataset has more data than the run may have, {0} bytes")]
    TooMuch(u64),
}

impl From<WireError> for RunError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Deadline => Self::Wall,
            WireError::Closed => Self::Closed,
            WireError::Stream(error) => Self::Stream(error),
            WireError::Frame(error) => Self::Frame(error),
        }
    }
}

fn signal(number: Option<i32>) -> String {
    number.map_or_else(|| "itself".to_owned(), |number| format!("signal {number}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::thread;

    use pad_run::frames::{self, Frame};
    use pad_run::{MAX_OUTPUT_BYTES, Proposal};

    use super::*;

    /// Allows everything, and has three bytes for each Pad.
    #[derive(Default)]
    struct Willing {
        opened: usize,
        outputs: usize,
    }

    impl Judge for Willing {
        fn dataset(&mut self, _: &[Pad]) -> Answer {
            Answer::Allowed
        }

        fn output(&mut self, _: &[Pad], _: Proposal, _: Zeroizing<Vec<u8>>) -> Answer {
            self.outputs += 1;
            Answer::Allowed
        }
    }

    impl Middleware for Willing {
        fn size(&mut self, _: Pad) -> io::Result<u64> {
            Ok(3)
        }

        fn data(&mut self, _: Pad, to: &mut [u8]) -> io::Result<()> {
            self.opened += 1;
            to.copy_from_slice(&[1, 2, 3]);
            Ok(())
        }

        fn contents(&self, _: Pad) -> Contents {
            Contents::default()
        }
    }

    fn artefact() -> Artefact {
        Artefact::compiled(Vec::new())
    }

    /// A conversation with a process that says these bytes and then waits for the other side.
    fn with(said: Vec<u8>, willing: &mut Willing) -> Result<(), RunError> {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let rogue = thread::spawn(move || {
            let written = theirs.write_all(&said);
            let mut heard = Vec::new();
            let _ = theirs.read_to_end(&mut heard); // until the other side is gone
            written
        });
        let limits = ConsumerLimits {
            memory_bytes: 1,
            helper_bytes: 0,
            table_elements: 1,
            data_bytes: 100,
            wall: Duration::from_millis(300),
            proposals: 2,
        };
        let job = Job { program: &artefact(), pads: 2, plain: b"plain", limits };
        let mut run = Run::new(job.pads, limits.proposals).expect("few Pads");
        let mut wire = Wire::new(Timed::new(ours, Instant::now() + limits.wall));
        let ended = converse(&mut wire, &job, &mut run, &mut None, willing);
        drop(wire);
        let _ = rogue.join().expect("no panic"); // what it could not write was not read
        ended
    }

    fn said(requests: &[Request]) -> Vec<u8> {
        requests.iter().flat_map(|request| frames::encode(request).to_vec()).collect()
    }

    fn proposal(size_bytes: u64) -> Request {
        Request::Propose(Proposal { custodian: None, contents: Contents::default(), size_bytes })
    }

    #[test]
    fn a_process_is_ready_first_and_once() {
        let ready = Request::Ready;
        for wrong in [
            said(&[Request::Add(0)]),
            said(&[Request::Ended(Ending::Returned)]),
            said(&[ready.clone(), ready]),
        ] {
            let mut willing = Willing::default();
            let ended = with(wrong, &mut willing);
            assert!(
                matches!(ended, Err(RunError::NotReady | RunError::Ended(Ending::Returned))),
                "{ended:?}"
            );
            assert_eq!(willing.opened, 0);
        }
    }

    #[test]
    fn data_is_opened_for_a_checked_dataset_only() {
        let mut willing = Willing::default();
        let ended = with(said(&[Request::Ready, Request::Add(0), Request::Open]), &mut willing);
        assert!(matches!(ended, Err(RunError::Misuse(Misuse::Order { .. }))), "{ended:?}");
        assert_eq!(willing.opened, 0);
        let whole = [
            Request::Ready,
            Request::Add(1),
            Request::Check,
            Request::Open,
            Request::Ended(Ending::Returned),
        ];
        with(said(&whole), &mut willing).expect("in order");
        assert_eq!(willing.opened, 1);
    }

    #[test]
    fn a_process_that_stops_in_a_frame_is_ended_at_the_deadline() {
        let whole = said(&[Request::Ready, Request::Add(0)]);
        let begun = Instant::now();
        for length in [0, 3, 5, 7, whole.len() - 1, whole.len()] {
            let ended = with(whole[..length].to_vec(), &mut Willing::default());
            assert!(matches!(ended, Err(RunError::Wall)), "{length}: {ended:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn bytes_that_are_no_frame_end_the_run() {
        for wrong in [&[0_u8; 5][..], &[255; 5], &[6, 0, 0, 0, 255], b"GET / HTTP/1.1\r\n\r\n"] {
            let bytes = [said(&[Request::Ready]), wrong.to_vec()].concat();
            let ended = with(bytes, &mut Willing::default());
            assert!(matches!(ended, Err(RunError::Frame(_))), "{wrong:?}: {ended:?}");
        }
    }

    #[test]
    fn the_middlewares_own_frames_are_none_of_a_process() {
        let mut bytes = said(&[Request::Ready]);
        bytes.extend(frames::encode(&Reply::Answer(true)).iter());
        let ended = with(bytes, &mut Willing::default());
        assert!(matches!(ended, Err(RunError::Frame(FrameError::Kind(_)))), "{ended:?}");
        assert!(Reply::lengths(1).is_none());
    }

    #[test]
    fn an_output_is_judged_when_it_is_whole() {
        let open = [Request::Ready, Request::Add(0), Request::Check, Request::Open];
        let part = |bytes: &[u8]| Request::Part(Zeroizing::new(bytes.to_vec()));
        let mut willing = Willing::default();
        let more = [&open[..], &[proposal(3), part(b"ab"), part(b"cd")]].concat();
        let ended = with(said(&more), &mut willing);
        assert!(matches!(ended, Err(RunError::Misuse(Misuse::Part))), "{ended:?}");
        let less = [&open[..], &[proposal(3), part(b"ab"), proposal(1)]].concat();
        let ended = with(said(&less), &mut willing);
        assert!(matches!(ended, Err(RunError::Misuse(Misuse::Order { .. }))), "{ended:?}");
        let large = [&open[..], &[proposal(MAX_OUTPUT_BYTES + 1)]].concat();
        let ended = with(said(&large), &mut willing);
        assert!(matches!(ended, Err(RunError::Misuse(Misuse::Output))), "{ended:?}");
        assert_eq!(willing.outputs, 0);
    }
}
