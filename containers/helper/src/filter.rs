//! A system call filter of the OCI specification as programs for the kernel.
//!
//! libcontainer without libseccomp silently ignores `linux.seccomp`, so the filter is compiled and
//! applied here. Whatever cannot be expressed exactly is an error: a filter that is weaker than
//! written is none.

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
            if entry.args().as_ref().is_some_and(|args| !args.is_empty()) {
                return Err(FilterError::ConditionalErrno);
            }
            // The allow-list lets it through, so that the other answer is the strictest.
            add(entry, &mut allowed)?;
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
        let conditions = conditions(entry.args().as_deref().unwrap_or_default())?;
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

fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<SeccompCondition>, FilterError> {
    let mut seen = HashSet::new();
    args.iter()
        .map(|arg| {
            if !seen.insert(arg.index()) {
                return Err(FilterError::SameArgument(arg.index()));
            }
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
            let index =
                u8::try_from(arg.index()).map_err(|_| FilterError::SameArgument(arg.index()))?;
            SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value)
                .map_err(FilterError::Compile)
        })
        .collect()
}

/// Why a profile cannot be enforced as written.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is no profile at all.
    #[error("the bundle has no seccomp profile")]
    Missing,
    /// The profile is for other architectures too.
    #[error("the profile must be for x86_64 alone: the kernel has no other calls")]
    Architectures,
    /// Flags or a listener.
    #[error("flags and listeners are not supported")]
    Flags,
    /// An action that is no refusal by error number.
    #[error("action {0} is not supported: allow, or errno")]
    Action(String),
    /// A call that this architecture does not have.
    #[error("system call {0:?} is unknown")]
    UnknownCall(String),
    /// A call with and without conditions.
    #[error("system call {0:?} is listed with and without conditions")]
    Twice(String),
    /// Two conditions on one argument, or an argument that does not exist.
    #[error("argument {0} has two conditions or does not exist")]
    SameArgument(usize),
    /// An error number under conditions.
    #[error("an error number under conditions is not supported")]
    ConditionalErrno,
    /// The compiler refused.
    #[error("compile: {0}")]
    Compile(seccompiler::BackendError),
    /// The kernel refused.
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
        assert_eq!(compile(&containers::bundle::profile(&every)).expect("programs").len(), 1);
        let programs =
            compile(&containers::bundle::profile(&Capabilities::new())).expect("programs");
        // One for clone3's own error number, one for the allow-list.
        assert_eq!(programs.len(), 2);
    }

    #[test]
    fn what_cannot_be_enforced_as_written_is_refused() {
        let allow = |names: &str, args: &str| {
            format!(r#"{{"names":[{names}],"action":"SCMP_ACT_ALLOW"{args}}}"#)
        };
        let condition = r#"{"index":0,"value":1,"op":"SCMP_CMP_EQ"}"#;
        let conditional = format!(r#","args":[{condition}]"#);
        for (rules, expected) in [
            (allow(r#""nosuchcall""#, ""), "system call \"nosuchcall\" is unknown"),
            (allow(r#""read","read""#, ""), "with and without conditions"),
            (
                allow(r#""read""#, "") + "," + &allow(r#""read""#, &conditional),
                "with and without conditions",
            ),
            (
                allow(r#""read""#, &conditional) + "," + &allow(r#""read""#, ""),
                "with and without conditions",
            ),
            (
                allow(r#""read""#, &format!(r#","args":[{condition},{condition}]"#)),
                "argument 0 has two conditions",
            ),
            (
                r#"{"names":["read"],"action":"SCMP_ACT_LOG"}"#.to_owned(),
                "is not supported: allow, or errno",
            ),
            (
                r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#.to_owned(),
                "is not supported: allow, or errno",
            ),
            (
                format!(r#"{{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{condition}]}}"#),
                "an error number under conditions",
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
