//! What happened to an app, and when: the newest events, as many as fit.

use std::collections::VecDeque;
use std::fmt;
use std::time::SystemTime;

use container_helper::End;

use super::status::HealthState;

/// Events kept: a day of a container that ends every two minutes, in some 200 KiB.
pub const MAX_EVENTS: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEvent {
    /// Counted from 1 without a gap since the agent started: who has seen one asks for those after
    /// it.
    pub number: u64,
    /// When, by the guest's clock.
    pub at: SystemTime,
    /// The container or service that it happened to; the whole app if `None`.
    pub subject: Option<String>,
    /// The thing that happened.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A service's image is verified and unpacked.
    Pulled {
        /// As the compose file names it.
        image: String,
    },
    /// A service's image cannot be had now, and is asked for again.
    Delayed {
        /// For people.
        message: String,
        /// The wait, in milliseconds.
        wait_millis: u64,
    },
    /// A container's first process runs.
    Started,
    /// A container that an earlier agent started was found running.
    TakenOver,
    /// A container ended.
    Ended(End),
    /// A container starts again after a wait.
    Restarting {
        /// The wait, in milliseconds.
        wait_millis: u64,
    },
    /// A container's health changed.
    Health(HealthState),
    /// A health check that failed: its exit code or what went wrong.
    CheckFailed {
        /// For people.
        message: String,
    },
    /// A container was asked to end.
    Stopping,
    /// A container did not end in its time and was killed.
    GraceOver,
    /// A container or service cannot be what the compose file asks.
    Failed {
        /// For people.
        message: String,
    },
    /// Something to know that changes nothing.
    Note {
        /// For people.
        message: String,
    },
    /// Every service is as the compose file asks.
    AppRunning,
    /// The app has ended.
    AppStopped,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pulled { image } => write!(f, "image {image} is here"),
            Self::Delayed { message, wait_millis } => {
                write!(f, "image: {message}; asked for again in {wait_millis} ms")
            }
            Self::Started => f.write_str("started"),
            Self::TakenOver => f.write_str("found running and taken over"),
            Self::Ended(end) => end.fmt(f),
            Self::Restarting { wait_millis } => write!(f, "starts again in {wait_millis} ms"),
            Self::Health(health) => health.fmt(f),
            Self::CheckFailed { message } => write!(f, "health check failed: {message}"),
            Self::Stopping => f.write_str("asked to end"),
            Self::GraceOver => f.write_str("did not end in time, killed"),
            Self::Failed { message } => write!(f, "failed: {message}"),
            Self::Note { message } => f.write_str(message),
            Self::AppRunning => f.write_str("every service is as the compose file asks"),
            Self::AppStopped => f.write_str("the app has ended"),
        }
    }
}

/// The newest [`MAX_EVENTS`].
#[derive(Debug, Default)]
pub(super) struct History {
    events: VecDeque<AppEvent>,
    /// Number of the last one.
    last: u64,
}

impl History {
    pub(super) fn add(&mut self, at: SystemTime, subject: Option<String>, what: Happening) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(AppEvent { number: self.last, at, subject, what });
    }

    /// Those after number `seen`, the oldest first.
    pub(super) fn after(&self, seen: u64) -> Vec<AppEvent> {
        self.events.iter().filter(|event| event.number > seen).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_numbers_go_on() {
        let mut history = History::default();
        for _ in 0..MAX_EVENTS + 2 {
            history.add(SystemTime::UNIX_EPOCH, Some("web-1".into()), Happening::Started);
        }
        let all = history.after(0);
        assert_eq!((all.len(), all[0].number), (MAX_EVENTS, 3));
        assert_eq!(history.after(MAX_EVENTS as u64 + 1).len(), 1);
        assert!(history.after(u64::MAX).is_empty());
    }
}
