//! Compiling in a process of its own.
//!
//! A component may be made to cost the compiler hours or to crash it, so that is where it ends: the
//! process has a limit of memory and of time, and is locked down as a consumer's is. What it makes
//! is run as this program's own code would be, though: a component that takes over the compiler is
//! code of its author's choice, in the place where that component runs.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cranelift_codegen::timing;
use rustix::stdio;
use wasmtime::{Config, Engine};

use crate::artefact::{Artefact, MAX_BYTES};
use crate::component::{self, MAX_REASON_BYTES, Refused};
use crate::lockdown::{self, LockdownError};
use crate::runner::{Role, Runner, sealed};
use crate::standard::Standard;
use crate::timed::Timed;

/// What compiling a component may use.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Bytes of memory that the compiler may take.
    pub memory_bytes: u64,
    /// From the start of the process to its end.
    pub wall: Duration,
}

impl CompileLimits {
    /// For an engine: small, and waited for by many.
    pub const ENGINE: Self = Self { memory_bytes: 1 << 30, wall: Duration::from_secs(60) };
    /// For a consumer, which may be as large as an interpreter of another language.
    pub const CONSUMER: Self = Self { memory_bytes: 4 << 30, wall: Duration::from_secs(600) };
}

/// Bytes that the process has beside the compiler's memory: the component, and this program.
const OVERHEAD_BYTES: u64 = 192 << 20;
/// Bytes of the limits on the stream: memory, and seconds of the processor.
const LIMITS_BYTES: usize = 8 + 4;
/// Bytes before what was compiled, or before the reason why nothing was: a flag and the length.
const HEAD_BYTES: usize = 1 + 8;
/// The flag of compiled code.
const COMPILED: u8 = 1;
/// The flag of a reason.
const REFUSED: u8 = 0;

/// Compiles a component in a process of this role.
pub(crate) fn compile(
    runner: &Runner,
    role: Role,
    component: &[u8],
    limits: CompileLimits,
) -> Result<Artefact, Refused> {
    let deadline = Instant::now() + limits.wall;
    let (ours, theirs) = UnixStream::pair().map_err(Refused::NoCompiler)?;
    let given = sealed(component).map_err(Refused::NoCompiler)?;
    let memory_bytes = limits.memory_bytes.saturating_add(OVERHEAD_BYTES);
    let process = runner.start(role, theirs, &given, memory_bytes);
    let mut process = process.map_err(Refused::NoCompiler)?;
    match converse(&mut Timed::new(ours, deadline), limits) {
        Ok(Ok(code)) => Ok(Artefact::compiled(code)),
        Ok(Err(text)) => Err(Refused::stated(&text)),
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Err(Refused::Slow(limits.wall)),
            _ => Err(Refused::CompilerEnded(process.kill().ok())),
        },
    }
}

/// The code, or why there is none.
fn converse(stream: &mut Timed, limits: CompileLimits) -> io::Result<Result<Vec<u8>, String>> {
    let mut limits_bytes = [0; LIMITS_BYTES];
    limits_bytes[..8].copy_from_slice(&limits.memory_bytes.to_le_bytes());
    limits_bytes[8..].copy_from_slice(&lockdown::cpu_secs(limits.wall).to_le_bytes());
    stream.write_all(&limits_bytes)?;
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let [flag, length @ ..] = head;
    let (length, most) = (
        u64::from_le_bytes(length),
        match flag {
            COMPILED => MAX_BYTES,
            REFUSED => MAX_REASON_BYTES,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        },
    );
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes)?;
    match (bytes.len() as u64 == length, flag) {
        (false, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (true, COMPILED) => Ok(Ok(bytes)),
        (true, _) => Ok(Err(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// The compiler's process, with these settings. There is nobody to read an error but its parent,
/// which sees it end.
pub(crate) fn run(config: &Config, is_isolated: bool) -> Result<(), CompileError> {
    lockdown::begin(is_isolated)?;
    let given = stdio::stdout().try_clone_to_owned()?;
    let mut component = Vec::new();
    File::from(given).read_to_end(&mut component)?;
    let mut limits_bytes = [0; LIMITS_BYTES];
    let mut stream = Standard::new();
    stream.read_exact(&mut limits_bytes)?;
    let (memory, secs) = limits_bytes.split_first_chunk().expect("longer than a number");
    let engine = Engine::new(config).map_err(io::Error::other)?;
    let secs = u32::from_le_bytes(secs.try_into().expect("a number's length"));
    let _ = timing::set_thread_profiler(Box::new(Untimed));
    lockdown::finish(u64::from_le_bytes(*memory), secs)?;
    let (flag, bytes) = match engine.precompile_component(&component) {
        Ok(code) => (COMPILED, code),
        Err(error) => (REFUSED, component::message(&error).into_bytes()),
    };
    stream.write_all(&[flag])?;
    stream.write_all(&(bytes.len() as u64).to_le_bytes())?;
    Ok(stream.write_all(&bytes)?)
}

/// Times no pass of the compiler. The process may not ask the kernel for the time, and where the
/// machine's counter is not stable, looking at a clock is a system call.
struct Untimed;

impl timing::Profiler for Untimed {
    fn start_pass(&self, _: timing::Pass) -> Box<dyn Any> {
        Box::new(())
    }
}

/// Why nothing was compiled, and nothing was stated about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// it is not locked down
    #[error(transparent)]
    Lockdown(#[from] LockdownError),
    /// no component, no limits, or nobody who waits
    #[error("the parent process: {0}")]
    Stream(#[from] io::Error),
}
