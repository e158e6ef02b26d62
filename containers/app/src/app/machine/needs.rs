//! Whether what a service needs is there.

use compose::model::Condition;

use super::instance::{Instance, Phase};
use super::plan::{Need, Plan};
use super::{Image, Memory};
use crate::app::status::HealthState;

/// How a need stands, the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Met,
    Open,
    /// It may come yet, but it does not look like it.
    Doubtful,
    /// It will never be.
    Hopeless,
}

/// What all needs of a service amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may start; services that were not required and are not as asked for are passed over.
    Start {
        /// Their places.
        passed_over: Vec<usize>,
    },
    /// It waits.
    Wait,
    /// It never starts.
    Fail {
        /// For people.
        message: String,
    },
}

/// Judges the needs of the service at `place`.
pub(super) fn judge(plan: &Plan, memory: &Memory, place: usize) -> Verdict {
    let mut passed_over = Vec::new();
    let mut open = false;
    for need in &plan.services[place].needs {
        match standing(memory, need) {
            Standing::Met => {}
            Standing::Hopeless if need.required => {
                let (name, asked) = (&plan.services[need.service].name, asked(need.condition));
                return Verdict::Fail {
                    message: format!("needs service {name:?} {asked}, which it will not be"),
                };
            }
            Standing::Hopeless | Standing::Doubtful if !need.required => {
                passed_over.push(need.service)
            }
            _ => open = true,
        }
    }
    if open { Verdict::Wait } else { Verdict::Start { passed_over } }
}

/// As a sentence has it.
pub(super) fn asked(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::CompletedSuccessfully => "completed successfully",
    }
}

/// The worst of its containers; a service without any stands for itself.
fn standing(memory: &Memory, need: &Need) -> Standing {
    let refused = matches!(memory.images[need.service], Image::Refused { .. });
    let instances = memory.instances.iter().filter(|instance| instance.service == need.service);
    let one = |instance: &Instance| match of_instance(instance, need.condition) {
        Standing::Met => Standing::Met,
        _ if refused => Standing::Hopeless,
        standing => standing,
    };
    instances.map(one).max().unwrap_or(Standing::Met)
}

fn of_instance(instance: &Instance, condition: Condition) -> Standing {
    let met = match condition {
        Condition::Started => instance.runs > 0,
        Condition::Healthy => instance.health() == Some(HealthState::Healthy),
        Condition::CompletedSuccessfully => {
            instance.end.as_ref().is_some_and(|end| end.is_success())
        }
    };
    let unchecked = condition == Condition::Healthy && instance.health.is_none();
    match instance.phase {
        _ if met => Standing::Met,
        Phase::Over => Standing::Hopeless,
        Phase::Running { .. } if unchecked => Standing::Hopeless,
        _ if condition == Condition::Healthy
            && instance.health() == Some(HealthState::Unhealthy) =>
        {
            Standing::Doubtful
        }
        Phase::Backoff { .. } if instance.restarts.failing() => Standing::Doubtful,
        _ => Standing::Open,
    }
}
