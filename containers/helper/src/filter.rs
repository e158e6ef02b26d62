//! A system call filter of the OCI specification as programs for the kernel.
//!
//! libcontainer without libseccomp silently ignores `linux.seccomp`, so the filter is compiled and
//! applied here. Whatever cannot be expressed exactly is an error: a filter that is weaker than
//! written is none. An argument is compared as wide as the kernel reads it ([`COMPARED`]).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use syscalls::Sysno;

/// Rules by system call number, as the compiler wants them; no conditions means always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// How much of an argument the kernel reads, for every argument that a rule may be about.
///
/// From the `SYSCALL_DEFINE` lines of Linux 7.2. A comparison that is wider than what the kernel
/// reads is passed by a value with other bits above: `socket(2^32 + 40, …)` is not equal to 40 in
/// 64 bits and opens `AF_VSOCK`. One that is narrower takes two values for one. A rule about an
/// argument that is not listed is refused.
const COMPARED: [(&str, usize, SeccompCmpArgLen); 4] = [
    // `unsigned long clone_flags`, of which `lower_32_bits` is taken.
    ("clone", 0, SeccompCmpArgLen::Dword),
    // `unsigned int cmd`; C libraries whose `ioctl` takes an int extend its sign.
    ("ioctl", 1, SeccompCmpArgLen::Dword),
    // `unsigned int personality`.
    ("personality", 0, SeccompCmpArgLen::Dword),
    // `int family`.
    ("socket", 0, SeccompCmpArgLen::Dword),
];

/// The programs, in the order in which they are to be applied; the kernel takes the strictest
/// answer.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Vec<BpfProgram>, FilterError> {
    if profile.architectures().as_deref() != Some(&[Arch::ScmpArchX86_64]) {
        return Err(FilterError::Architectures);
    }
    if profile.flags().as_ref().is_some_and(|flags| !flags.is_empty())
        || profile.listener_path().is_some()
    {
        return Err(FilterError::Flags);
    }
    let default = errno(profile.default_action(), profile.default_errno_ret())?;
    let mut allowed = Rules::new();
    let mut answers: BTreeMap<u32, Rules> = BTreeMap::new();
    for entry in profile.syscalls().iter().flatten() {
        if entry.action() == LinuxSeccompAction::ScmpActAllow {
            add(entry, &mut allowed)?;
        } else {
            let answer = errno(entry.action(), entry.errno_ret())?;
            // The allow-list lets the call through, so that the other answer is the strictest.
            // Under conditions the call is refused by this answer, and otherwise as another rule
            // says.
            if entry.args().as_ref().is_none_or(|args| args.is_empty()) {
                add(entry, &mut allowed)?;
            }
            add(entry, answers.entry(answer).or_default())?;
        }
    }
    let mut programs = Vec::new();
    for (answer, rules) in answers {
        programs.push(program(rules, SeccompAction::Allow, SeccompAction::Errno(answer))?);
    }
    programs.push(program(allowed, SeccompAction::Errno(default), SeccompAction::Allow)?);
    Ok(programs)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, FilterError> {
    let filter = SeccompFilter::new(rules, otherwise, on_match, TargetArch::x86_64);
    filter.and_then(BpfProgram::try_from).map_err(FilterError::Compile)
}

/// Only refusals with an error number; EPERM where none is given, as runc does.
fn errno(action: LinuxSeccompAction, number: Option<u32>) -> Result<u32, FilterError> {
    const EPERM: u32 = 1;
    match action {
        LinuxSeccompAction::ScmpActErrno => Ok(number.unwrap_or(EPERM)),
        other => Err(FilterError::Action(format!("{other:?}"))),
    }
}

/// Adds one entry; entries of the same call are alternatives, the arguments of one entry
/// conditions.
fn add(entry: &LinuxSyscall, rules: &mut Rules) -> Result<(), FilterError> {
    for name in entry.names() {
        let number =
            Sysno::from_str(name).map_err(|_| FilterError::UnknownCall(name.clone()))?.id();
        let conditions = conditions(name, entry.args().as_deref().unwrap_or_default())?;
        match rules.entry(i64::from(number)) {
            Entry::Vacant(free) if conditions.is_empty() => drop(free.insert(Vec::new())),
            Entry::Vacant(free) => {
                free.insert(vec![SeccompRule::new(conditions).map_err(FilterError::Compile)?]);
            }
            // Listed without conditions before, or now: which of the two is meant cannot be told.
            Entry::Occupied(known) if known.get().is_empty() || conditions.is_empty() => {
                return Err(FilterError::Twice(name.clone()));
            }
            Entry::Occupied(mut known) => {
                known.get_mut().push(SeccompRule::new(conditions).map_err(FilterError::Compile)?);
            }
        }
    }
    Ok(())
}

fn conditions(call: &str, args: &[LinuxSeccompArg]) -> Result<Vec<SeccompCondition>, FilterError> {
    let mut seen = HashSet::new();
    args.iter()
        .map(|arg| {
            if !seen.insert(arg.index()) {
                return Err(FilterError::SameArgument(arg.index()));
            }
            condition(call, arg)
        })
        .collect()
}

fn condition(call: &str, arg: &LinuxSeccompArg) -> Result<SeccompCondition, FilterError> {
    let (operator, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (SeccompCmpOp::MaskedEq(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    let mut known = COMPARED.into_iter();
    let length = known.find(|(name, index, _)| (*name, *index) == (call, arg.index()));
    let unlisted = || FilterError::Argument { call: call.to_owned(), index: arg.index() };
    let (_, index, length) = length.ok_or_else(unlisted)?;
    let written = arg.value().max(arg.value_two().unwrap_or(0));
    if length == SeccompCmpArgLen::Dword && written > u64::from(u32::MAX) {
        return Err(FilterError::Wide { call: call.to_owned(), value: written });
    }
    let index = u8::try_from(index).map_err(|_| unlisted())?;
    SeccompCondition::new(index, length, operator, value).map_err(FilterError::Compile)
}

/// Why a profile cannot be enforced as written.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// there is no profile at all
    #[error("the bundle has no seccomp profile")]
    Missing,
    /// the profile is for other architectures too
    #[error("the profile must be for x86_64 alone: the kernel has no other calls")]
    Architectures,
    /// flags or a listener
    #[error("flags and listeners are not supported")]
    Flags,
    /// an action that is no refusal by error number
    #[error("action {0} is not supported: allow, or errno")]
    Action(String),
    /// a call that this architecture does not have
    #[error("system call {0:?} is unknown")]
    UnknownCall(String),
    /// a call with and without conditions
    #[error("system call {0:?} is listed with and without conditions")]
    Twice(String),
    /// two conditions on one argument
    #[error("argument {0} has two conditions")]
    SameArgument(usize),
    /// a condition on an argument whose width is not in the table
    #[error("it is not known how the kernel reads argument {index} of system call {call:?}")]
    Argument {
        /// The system call's name.
        call: String,
        /// The argument's index, from 0.
        index: usize,
    },
    /// a value that an argument of 32 bits cannot have
    #[error("value {value} for an argument of system call {call:?} is above 32 bits")]
    Wide {
        /// The system call's name.
        call: String,
        /// The value or mask as written.
        value: u64,
    },
    /// the compiler refused
    #[error("compile: {0}")]
    Compile(seccompiler::BackendError),
    /// the kernel refused
    #[error("apply: {0}")]
    Apply(seccompiler::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A profile whose rules are `rules`, otherwise as ours.
    fn profile(rules: &str) -> LinuxSeccomp {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{rules}]}}"#
        );
        serde_json::from_str(&text).expect("profile")
    }

    #[test]
    fn the_default_profile_compiles_whole() {
        use oci_spec::runtime::{Capabilities, Capability};

        let every: Capabilities =
            [Capability::SysAdmin, Capability::Bpf, Capability::SysNice].into_iter().collect();
        assert_eq!(compile(&containers::bundle::profile(&every)).expect("programs").len(), 2);
        let programs =
            compile(&containers::bundle::profile(&Capabilities::new())).expect("programs");
        // One for the requests of subvolumes, one for clone3's own error number, one for the
        // allow-list.
        assert_eq!(programs.len(), 3);
    }

    #[test]
    fn arguments_are_compared_as_the_kernel_reads_them() {
        const ALLOWED: u32 = 0x7fff_0000;
        const ERRNO: u32 = 0x0005_0000;
        const ABOVE: u64 = 1 << 32;
        const SUBVOL_CREATE: u64 = 0x5000_940e;
        const CLONE_RANGE: u64 = 0x4020_940d;
        let profile = containers::bundle::profile(&oci_spec::runtime::Capabilities::new());
        let programs = compile(&profile).expect("programs");
        for (call, arguments, expected) in [
            (Sysno::socket, [1, 1], ALLOWED),
            (Sysno::socket, [40, 1], ERRNO | 1),
            (Sysno::socket, [ABOVE + 40, 1], ERRNO | 1),
            (Sysno::socket, [u64::MAX << 32 | 40, 1], ERRNO | 1),
            (Sysno::personality, [8, 0], ALLOWED),
            (Sysno::personality, [ABOVE + 8, 0], ALLOWED),
            (Sysno::personality, [u64::MAX, 0], ALLOWED),
            (Sysno::personality, [0x0040_0000, 0], ERRNO | 1),
            (Sysno::personality, [ABOVE + 0x0040_0000, 0], ERRNO | 1),
            (Sysno::clone, [0x11, 0], ALLOWED),
            (Sysno::clone, [0x1000_0011, 0], ERRNO | 1),
            (Sysno::clone, [ABOVE + 0x1000_0011, 0], ERRNO | 1),
            (Sysno::ioctl, [3, CLONE_RANGE], ALLOWED),
            (Sysno::ioctl, [3, SUBVOL_CREATE], ERRNO | 25),
            (Sysno::ioctl, [3, ABOVE + SUBVOL_CREATE], ERRNO | 25),
            (Sysno::ioctl, [SUBVOL_CREATE, 0], ALLOWED),
            (Sysno::clone3, [0, 0], ERRNO | 38),
            (Sysno::mount, [0, 0], ERRNO | 1),
        ] {
            let answers = programs.iter().map(|program| run(program, call, arguments));
            // The lowest action is the strictest.
            let answer = answers.min().expect("programs");
            assert_eq!(answer, expected, "{call} {arguments:x?}: {answer:x}");
        }
    }

    /// Carries a program out as the kernel does: the instructions that the compiler emits.
    fn run(program: &BpfProgram, call: Sysno, arguments: [u64; 2]) -> u32 {
        const X86_64: u32 = 0xc000_003e;
        let halves = arguments.iter().flat_map(|value| [*value as u32, (*value >> 32) as u32]);
        // struct seccomp_data: number, architecture, instruction pointer, arguments.
        let data: Vec<u32> = [call.id() as u32, X86_64, 0, 0].into_iter().chain(halves).collect();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = &program[at];
            let jump = |holds| usize::from(if holds { instruction.jt } else { instruction.jf });
            at += 1;
            match instruction.code {
                0x20 => accumulator = data[instruction.k as usize / 4],
                0x54 => accumulator &= instruction.k,
                0x05 => at += instruction.k as usize,
                0x15 => at += jump(accumulator == instruction.k),
                0x25 => at += jump(accumulator > instruction.k),
                0x35 => at += jump(accumulator >= instruction.k),
                0x06 => return instruction.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_enforced_as_written_is_refused() {
        let allow = |names: &str, args: &str| {
            format!(r#"{{"names":[{names}],"action":"SCMP_ACT_ALLOW"{args}}}"#)
        };
        let condition = r#"{"index":0,"value":1,"op":"SCMP_CMP_EQ"}"#;
        let wide = r#"{"index":0,"value":4294967336,"op":"SCMP_CMP_NE"}"#;
        let conditional = format!(r#","args":[{condition}]"#);
        for (rules, expected) in [
            (allow(r#""nosuchcall""#, ""), "system call \"nosuchcall\" is unknown"),
            (allow(r#""read","read""#, ""), "with and without conditions"),
            (
                allow(r#""socket""#, "") + "," + &allow(r#""socket""#, &conditional),
                "with and without conditions",
            ),
            (
                allow(r#""socket""#, &conditional) + "," + &allow(r#""socket""#, ""),
                "with and without conditions",
            ),
            (
                allow(r#""socket""#, &format!(r#","args":[{condition},{condition}]"#)),
                "argument 0 has two conditions",
            ),
            (
                allow(r#""read""#, &conditional),
                "not known how the kernel reads argument 0 of system call \"read\"",
            ),
            (
                allow(r#""socket""#, &format!(r#","args":[{wide}]"#)),
                "value 4294967336 for an argument of system call \"socket\" is above 32 bits",
            ),
            (
                r#"{"names":["read"],"action":"SCMP_ACT_LOG"}"#.to_owned(),
                "is not supported: allow, or errno",
            ),
            (
                r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#.to_owned(),
                "is not supported: allow, or errno",
            ),
        ] {
            let error = compile(&profile(&rules)).expect_err(expected).to_string();
            assert!(error.contains(expected), "{rules}: {error}");
        }
        let mut other = profile("");
        other.set_architectures(Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]));
        assert!(matches!(compile(&other), Err(FilterError::Architectures)));
        other.set_architectures(None);
        assert!(matches!(compile(&other), Err(FilterError::Architectures)));
        let mut allows_all = profile("");
        allows_all.set_default_action(LinuxSeccompAction::ScmpActAllow);
        assert!(matches!(compile(&allows_all), Err(FilterError::Action(_))));
    }
}
