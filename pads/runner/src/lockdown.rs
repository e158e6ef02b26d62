//! What a process of a consumer or a compiler takes from itself before a stranger's program counts.
//!
//! The program is WebAssembly and cannot call the kernel; this is for the day on which it can, by a
//! mistake of the compiler or of ours. Then it has one stream, its own memory, and an end: every
//! other system call kills the process, and no new code can be made executable.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rustix::net::RecvFlags;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::sys;

/// How a file is received, which the filter of system calls knows.
pub(crate) const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// The descriptor of the stream.
const STREAM: u64 = 0;
/// The descriptor of the file with the data: the first that is free.
const DATA: u64 = 3;
/// Descriptors that a process may have: the three that it began with, and the data.
const DESCRIPTORS: u64 = DATA + 1;
/// The descriptor argument of a mapping that is of no file, in 32 bits.
const NO_FILE: u64 = 0xffff_ffff;

/// The first half, before anything is read: nothing inherited, no file where the process has
/// namespaces of its own, no capability, no core file, no longer life than the parent's.
pub fn begin(is_isolated: bool) -> Result<(), LockdownError> {
    if std::env::vars_os().next().is_some() {
        return Err(LockdownError::Environment);
    }
    close_and_hide(is_isolated)
}

/// [`begin`] without its look at the environment, which a test's process has.
pub fn close_and_hide(is_isolated: bool) -> Result<(), LockdownError> {
    sys::close_others().map_err(LockdownError::Close)?;
    if is_isolated {
        sys::leave_files().map_err(LockdownError::Files)?;
    }
    sys::drop_capabilities().map_err(LockdownError::Capabilities)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(LockdownError::Process)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(LockdownError::Process)?;
    limit(Resource::Core, 0)
}

/// The second half, with everything loaded: no more memory and time than this, no clock, no file,
/// no process, and the filter of system calls. There is no way back. The limit of time is for a
/// parent that is itself stopped; otherwise the parent ends the process before.
pub fn finish(data_bytes: u64, cpu_secs: u32) -> Result<(), LockdownError> {
    limit(Resource::Data, data_bytes)?;
    limit(Resource::Cpu, cpu_secs.into())?;
    limit(Resource::Nofile, DESCRIPTORS)?;
    for none in [Resource::Fsize, Resource::Nproc] {
        limit(none, 0)?;
    }
    sys::leave_time().map_err(LockdownError::Time)?;
    let filter = filter().map_err(LockdownError::Filter)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(LockdownError::Apply)
}

/// More whole seconds than a wall limit has: the process has one thread.
pub(crate) fn cpu_secs(wall: Duration) -> u32 {
    u32::try_from(wall.as_secs()).unwrap_or(u32::MAX).saturating_add(2)
}

fn limit(resource: Resource, most: u64) -> Result<(), LockdownError> {
    let most = Some(most);
    setrlimit(resource, Rlimit { current: most, maximum: most }).map_err(LockdownError::Process)
}

/// The only system calls, most of them wasmtime's memory.
fn filter() -> Result<BpfProgram, BackendError> {
    let always = [
        libc::SYS_brk,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        always.into_iter().map(|call| (call, Vec::new())).collect();
    let stream = || is(0, STREAM);
    for call in [libc::SYS_read, libc::SYS_write] {
        rules.insert(call, vec![SeccompRule::new(vec![stream()?])?]);
    }
    // One message may bring one file: the limit of descriptors leaves no room for a second.
    let flags = is(2, RECEIVE.bits().into())?;
    rules.insert(libc::SYS_recvmsg, vec![SeccompRule::new(vec![stream()?, flags])?]);
    let memory = SeccompRule::new(vec![not_executable()?, is(4, NO_FILE)?, counted()?])?;
    let (read, shared) = (is(2, libc::PROT_READ as u64)?, is(3, libc::MAP_SHARED as u64)?);
    let data = SeccompRule::new(vec![read, shared, is(4, DATA)?])?;
    rules.insert(libc::SYS_mmap, vec![memory, data]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable()?])?]);
    let kill = SeccompAction::KillProcess;
    SeccompFilter::new(rules, kill, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

/// An argument of 32 bits that has this value.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn not_executable() -> Result<SeccompCondition, BackendError> {
    let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    SeccompCondition::new(2, SeccompCmpArgLen::Qword, executable, 0)
}

/// Memory that the limit of data counts: neither shared nor a stack that grows.
fn counted() -> Result<SeccompCondition, BackendError> {
    let any = libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED | libc::MAP_STACK;
    let others = SeccompCmpOp::MaskedEq(!(any as u32) as u64);
    SeccompCondition::new(3, SeccompCmpArgLen::Dword, others, libc::MAP_PRIVATE as u64)
}

/// Why a process is not locked down, and runs no program.
#[derive(Debug, thiserror::Error)]
pub enum LockdownError {
    /// an environment
    #[error("the process has an environment")]
    Environment,
    /// descriptors that could not be closed
    #[error("close what was inherited: {0}")]
    Close(io::Error),
    /// file systems that could not be left
    #[error("leave the file systems: {0}")]
    Files(io::Error),
    /// capabilities that could not be given up
    #[error("give up capabilities: {0}")]
    Capabilities(io::Error),
    /// a counter of time that could not be given up
    #[error("give up the processor's counter of time: {0}")]
    Time(io::Error),
    /// a setting of the process that the kernel refused
    #[error("set up the process: {0}")]
    Process(rustix::io::Errno),
    /// a filter that does not compile
    #[error("compile the filter of system calls: {0}")]
    Filter(BackendError),
    /// a filter that the kernel refused
    #[error("apply the filter of system calls: {0}")]
    Apply(seccompiler::Error),
}
