//! One container of the plan: what it is doing and what became of its runs.

use container_helper::End;
use serde::{Deserialize, Serialize};

use super::Time;
use super::health::Watch;
use super::restart::Restarts;
use crate::app::status::{ContainerState, HealthState};

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For its image or for what it needs.
    Waiting,
    /// A start is under way.
    Starting,
    /// Its first process runs.
    Running {
        /// In the guest's own numbering.
        pid: i32,
    },
    /// It was asked to end.
    Stopping {
        /// In the guest's own numbering.
        pid: i32,
        /// When the timeout ends: it is killed then, or given up if it was killed.
        until: Time,
        /// Whether it was killed.
        killed: bool,
        /// Whether it starts again afterwards.
        again: bool,
    },
    /// It ended and starts again.
    Backoff {
        /// At this time.
        until: Time,
    },
    /// It has ended and stays so.
    Over,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Place of its service in the plan.
    pub service: usize,
    /// Its number in the service, from 1.
    pub replica: u16,
    /// What it is doing.
    pub phase: Phase,
    /// How often its first process ran.
    pub runs: u32,
    /// When it last began to.
    pub started: Option<Time>,
    /// How often it was started again after an end.
    pub restarts: Restarts,
    /// How the last run ended, or why there is none.
    pub end: Option<End>,
    /// The checks of the current run, or what the last run's said.
    pub health: Option<Watch>,
}

impl Instance {
    pub(super) fn new(service: usize, replica: u16) -> Self {
        let restarts = Restarts::default();
        Self {
            service,
            replica,
            phase: Phase::Waiting,
            runs: 0,
            started: None,
            restarts,
            end: None,
            health: None,
        }
    }

    /// Whether there is, or soon will be, a process of it.
    pub fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running { .. } | Phase::Stopping { .. })
    }

    /// What its checks say, if it runs and is checked.
    pub fn health(&self) -> Option<HealthState> {
        match self.phase {
            Phase::Running { .. } | Phase::Stopping { .. } => {
                self.health.as_ref().map(|watch| watch.state)
            }
            _ => None,
        }
    }

    /// What all may see.
    pub fn state(&self) -> ContainerState {
        match &self.phase {
            Phase::Waiting => ContainerState::Waiting,
            Phase::Starting => ContainerState::Starting,
            Phase::Running { pid } => ContainerState::Running { pid: *pid },
            Phase::Stopping { .. } => ContainerState::Stopping,
            Phase::Backoff { .. } => ContainerState::Restarting,
            Phase::Over => self
                .end
                .as_ref()
                .map_or(ContainerState::Waiting, |end| ContainerState::Ended(end.clone())),
        }
    }

    /// When something is to be done about it.
    pub(super) fn due(&self) -> Option<Time> {
        match self.phase {
            Phase::Running { .. } => self.health.as_ref().and_then(Watch::due),
            Phase::Stopping { until, .. } | Phase::Backoff { until } => Some(until),
            Phase::Waiting | Phase::Starting | Phase::Over => None,
        }
    }
}
