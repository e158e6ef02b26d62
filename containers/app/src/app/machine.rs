//! The life of an app as a pure machine: what happened goes in, what is to be done comes out.
//!
//! No I/O and no clock: the time is a parameter, measured from the machine's start so that it means
//! the same to an agent that comes after this one. The driver tells it of images, starts, ends,
//! checks and the passing of time; it answers with [`Action`]s, each of which the driver carries
//! out and reports on. What it remembers is one value, [`Memory`], which can be written down and
//! resumed from.
//!
//! ```text
//! waiting ─► starting ─► running ─► over
//!    ▲          ▲  │        │ ▲ │     ▲
//!    │          │  └────────┼─┘ └─► backoff ─► starting
//!    └──────────┴─ stopping ┴────────┘
//! ```

use std::time::Duration;

use container_helper::End;
use serde::{Deserialize, Serialize};

use super::history::Happening;
use super::status::{Failure, FailureKind, HealthState, ImageFault};

mod health;
mod instance;
mod needs;
mod plan;
mod restart;
mod turn;

#[cfg(test)]
mod props;
#[cfg(test)]
mod tables;

pub(super) use instance::{Instance, Phase};
pub(super) use plan::{Check, Plan};
pub(super) use restart::{FAILING_AFTER, wait_before};

use turn::Turn;

/// Time since the machine's start.
pub(super) type Time = Duration;

/// How long a killed process may take to end: one that waits for a device cannot be waited for
/// without end.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// The image of a service is here.
    ImageHere {
        /// Place in the plan.
        service: usize,
        /// What is to be checked in its containers.
        check: Option<Check>,
    },
    /// The image of a service cannot be had now, and is asked for again.
    ImageDelayed {
        /// Place in the plan.
        service: usize,
        /// The fault that was found.
        fault: ImageFault,
        /// Until it is asked for again.
        wait: Duration,
        /// Whether it was asked for so often that the service counts as failed meanwhile.
        failing: bool,
    },
    /// The image of a service cannot be had.
    ImageRefused {
        /// Place in the plan.
        service: usize,
        /// The fault that was found.
        fault: ImageFault,
    },
    /// A container runs: the answer to [`Action::Start`], or what an agent that takes over finds.
    Running {
        /// Place of the container.
        instance: usize,
        /// Its first process.
        pid: i32,
    },
    /// A container has ended, or could not be started.
    Ended {
        /// Place of the container.
        instance: usize,
        /// The way in which it ended.
        end: End,
    },
    /// An agent that takes over finds nothing of a container.
    Missing {
        /// Place of the container.
        instance: usize,
    },
    /// A health check is done: the answer to [`Action::Check`].
    Checked {
        /// Place of the container.
        instance: usize,
        /// The run that was checked.
        run: u32,
        /// Why it failed, if it did.
        result: Result<(), String>,
    },
    /// Time has passed.
    Timer,
    /// The app shall end, whatever it takes, within this time.
    Stop {
        /// Then everything is killed.
        within: Duration,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a container that is not running.
    Start(usize),
    /// Ask a container to end.
    Ask(usize),
    /// Kill a container.
    Kill(usize),
    /// Run the health check of a container.
    Check {
        /// Place of the container.
        instance: usize,
        /// The run that is checked.
        run: u32,
        /// The check that is made.
        check: Check,
    },
    /// Write down what happened.
    Tell(Subject, Happening),
}

/// Whom something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A service, by its place.
    Service(usize),
    /// A container, by its place.
    Instance(usize),
}

/// Whether an image is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Image {
    /// Not yet.
    Awaited,
    /// Not yet, because of something that passes.
    Delayed {
        /// The fault that was found.
        fault: ImageFault,
        /// Whether the service counts as failed meanwhile.
        failing: bool,
    },
    /// It is.
    Here {
        /// What is to be checked in its containers.
        check: Option<Check>,
    },
    /// It cannot be had.
    Refused {
        /// The fault that was found.
        fault: ImageFault,
    },
}

impl Image {
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited | Self::Delayed { .. })
    }

    /// Why the service counts as failed, if it does.
    fn fault(&self) -> Option<&ImageFault> {
        match self {
            Self::Refused { fault } | Self::Delayed { fault, failing: true } => Some(fault),
            _ => None,
        }
    }
}

/// All that the machine remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// In the order of the plan.
    images: Vec<Image>,
    /// In the order of the plan, replicas of a service together.
    instances: Vec<Instance>,
    /// Needs that were passed over, as `(service, needed)`: told once.
    passed_over: Vec<(usize, usize)>,
    /// Set once the app shall end: when everything is killed.
    stop_by: Option<Time>,
}

/// What the app amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Some service has not come as far as it shall.
    Starting,
    /// All have.
    Running,
    /// One cannot, or not as it is.
    Failed(Failure),
}

/// A plan and how far it is.
#[derive(Debug)]
pub(super) struct Machine {
    plan: Plan,
    memory: Memory,
}

impl Machine {
    /// Before anything happened.
    pub(super) fn new(plan: Plan) -> Self {
        let instances = |(place, service): (usize, &plan::ServicePlan)| {
            (1..=service.replicas)
                .map(move |replica| Instance::new(place, replica))
                .collect::<Vec<_>>()
        };
        let instances = plan.services.iter().enumerate().flat_map(instances).collect();
        let images = vec![Image::Awaited; plan.services.len()];
        Self { plan, memory: Memory { images, instances, passed_over: Vec::new(), stop_by: None } }
    }

    /// Goes on from `memory`; nothing if it belongs to another plan.
    pub(super) fn resume(plan: Plan, memory: Memory) -> Option<Self> {
        let fresh = Self::new(plan);
        let name = |instance: &Instance| (instance.service, instance.replica);
        let same = fresh.memory.images.len() == memory.images.len()
            && fresh.memory.instances.iter().map(name).eq(memory.instances.iter().map(name));
        same.then_some(Self { memory, ..fresh })
    }

    /// To be written down.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Every container.
    pub(super) fn instances(&self) -> &[Instance] {
        &self.memory.instances
    }

    /// Services whose image is awaited.
    pub(super) fn awaited(&self) -> impl Iterator<Item = usize> {
        self.memory
            .images
            .iter()
            .enumerate()
            .filter(|(_, image)| image.is_awaited())
            .map(|(place, _)| place)
    }

    /// Why an image is not here yet, if something that passes is the reason.
    pub(super) fn delayed(&self) -> Option<String> {
        self.memory.images.iter().zip(&self.plan.services).find_map(
            |(image, service)| match image {
                Image::Delayed { fault, .. } => {
                    Some(format!("service {:?}: image: {}", service.name, fault.message))
                }
                _ => None,
            },
        )
    }

    /// Takes `input` in; what is to be done now, in this order.
    pub(super) fn take(&mut self, now: Time, input: Input) -> Vec<Action> {
        let mut turn = Turn::new(&self.plan, &mut self.memory, now);
        turn.take(input);
        turn.settle();
        turn.actions
    }

    /// When [`Input::Timer`] is due.
    pub(super) fn due(&self) -> Option<Time> {
        let Some(stop_by) = self.memory.stop_by else {
            return self.memory.instances.iter().filter_map(Instance::due).min();
        };
        let end = |instance: &Instance| match instance.phase {
            Phase::Running { .. } => Some(stop_by),
            Phase::Stopping { until, killed: false, .. } => Some(until.min(stop_by)),
            Phase::Stopping { until, killed: true, .. } => Some(until),
            Phase::Starting => Some(stop_by + KILL_TIMEOUT),
            Phase::Waiting | Phase::Backoff { .. } | Phase::Over => None,
        };
        self.memory.instances.iter().filter_map(end).min()
    }

    /// Whether the app was asked to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.memory.stop_by.is_some()
    }

    /// Whether nothing runs and nothing will.
    pub(super) fn is_over(&self) -> bool {
        self.memory.instances.iter().all(|instance| instance.phase == Phase::Over)
    }

    /// What the app amounts to while it is not being stopped.
    pub(super) fn judge(&self) -> Judgement {
        let failures: Vec<Option<Failure>> =
            (0..self.plan.services.len()).map(|place| self.failure(place)).collect();
        // What others fail for comes first: no chain of needs is a cycle.
        let root = |place: &usize| {
            failures[*place].is_some()
                && self.plan.services[*place]
                    .needs
                    .iter()
                    .all(|need| failures[need.service].is_none())
        };
        if let Some(failure) =
            (0..failures.len()).find(root).and_then(|place| failures[place].clone())
        {
            return Judgement::Failed(failure);
        }
        match self.memory.instances.iter().all(is_as_asked) {
            true => Judgement::Running,
            false => Judgement::Starting,
        }
    }

    fn failure(&self, place: usize) -> Option<Failure> {
        let name = &self.plan.services[place].name;
        if let Some(ImageFault { reason, blob, message }) = self.memory.images[place].fault() {
            return Some(Failure {
                kind: FailureKind::Image { reason: *reason, blob: *blob },
                message: format!("service {name:?}: image: {message}"),
            });
        }
        let instances = self.memory.instances.iter().filter(|instance| instance.service == place);
        let message = instances.filter_map(complaint).next()?;
        Some(Failure {
            kind: FailureKind::Container,
            message: format!("service {name:?}: {message}"),
        })
    }
}

/// Whether a container runs, healthy if it is checked, or has done its work.
fn is_as_asked(instance: &Instance) -> bool {
    match instance.phase {
        Phase::Running { .. } => {
            instance.health().is_none_or(|health| health == HealthState::Healthy)
        }
        Phase::Over => instance.end.as_ref().is_some_and(End::is_success),
        _ => false,
    }
}

/// What is wrong with a container, if something is.
fn complaint(instance: &Instance) -> Option<String> {
    let end = || instance.end.as_ref().filter(|end| !end.is_success()).map(End::to_string);
    match instance.phase {
        Phase::Running { .. } if instance.health() == Some(HealthState::Unhealthy) => {
            Some("unhealthy".to_owned())
        }
        Phase::Over => end(),
        Phase::Backoff { .. } if instance.restarts.failing() => {
            Some(format!("keeps ending: {}", end()?))
        }
        _ => None,
    }
}
