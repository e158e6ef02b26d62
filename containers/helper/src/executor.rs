//! The last step of a container's first process: apply the filter, then become the program.
//!
//! libcontainer calls this in the container, after namespaces, mounts and capabilities. Without a
//! filter there is no executor, so nothing runs unfiltered that was not asked to.

use std::collections::HashMap;

use libcontainer::workload::default::get_executor;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::Spec;
use seccompiler::BpfProgram;

use super::filter::{self, FilterError};

/// Runs the program under the specification's system call filter.
#[derive(Clone)]
pub(super) struct Sandboxed {
    filters: Vec<BpfProgram>,
    inner: Box<dyn Executor>,
}

impl Sandboxed {
    /// Compiles the filter of `spec`. One without is refused unless that is what was asked for.
    pub(super) fn new(spec: &Spec, danger_no_filter: bool) -> Result<Self, FilterError> {
        if danger_no_filter {
            return Ok(Self { filters: Vec::new(), inner: get_executor() });
        }
        let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let filters = filter::compile(profile.ok_or(FilterError::Missing)?)?;
        Ok(Self { filters, inner: get_executor() })
    }
}

impl Executor for Sandboxed {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        for filter in &self.filters {
            seccompiler::apply_filter(filter)
                .map_err(|error| ExecutorError::Execution(Box::new(FilterError::Apply(error))))?;
        }
        self.inner.exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.inner.validate(spec)
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        self.inner.setup_envs(envs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_runs_without_a_filter() {
        let spec = Spec::default();
        let without = spec.linux().as_ref().is_none_or(|linux| linux.seccomp().is_none());
        assert!(without && matches!(Sandboxed::new(&spec, false), Err(FilterError::Missing)));
    }
}
