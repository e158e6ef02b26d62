//! Whether a new version comes to run in time.

use std::time::{Duration, Instant};

use containers::app::AppState;

/// How long a version may take from the moment that all its images are here until every service is
/// as the compose file asks: what orchestrators give a roll-out, with room for a migration of data.
const WITHIN: Duration = Duration::from_secs(600);
/// How long an app may be failed until it counts: services that wait for one another, or are
/// started again, come right within it.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// What a trial has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every service is as the compose file asks.
    Runs,
    /// The version does not come to run.
    Fails,
    /// Neither; at this moment at the latest there is more to say.
    Open(Instant),
}

/// The trial of a version, from the start of its app.
#[derive(Debug)]
pub struct Trial {
    began: Instant,
    failed_since: Option<Instant>,
}

impl Trial {
    /// A trial that begins.
    pub fn new(now: Instant) -> Self {
        Self { began: now, failed_since: None }
    }

    /// Judges the app's state of this moment.
    pub fn judge(&mut self, state: &AppState, now: Instant) -> Verdict {
        match state {
            AppState::Running => return Verdict::Runs,
            // How long images take to come says nothing about the version.
            AppState::Pulling(_) => *self = Self::new(now),
            AppState::Failed(_) => {
                self.failed_since.get_or_insert(now);
            }
            AppState::Starting | AppState::Stopping | AppState::Stopped => self.failed_since = None,
        }
        let ends = self.began + WITHIN;
        let end = self.failed_since.map_or(ends, |since| ends.min(since + FAILED_FOR));
        if now >= end { Verdict::Fails } else { Verdict::Open(end) }
    }
}

#[cfg(test)]
mod tests {
    use containers::app::{Failure, FailureKind, PullStatus};

    use super::*;

    fn failed() -> AppState {
        AppState::Failed(Failure { kind: FailureKind::Container, message: "unhealthy".into() })
    }

    #[test]
    fn a_version_runs_as_soon_as_every_service_does() {
        let now = Instant::now();
        let mut trial = Trial::new(now);
        assert_eq!(trial.judge(&AppState::Starting, now), Verdict::Open(now + WITHIN));
        assert_eq!(trial.judge(&failed(), now), Verdict::Open(now + FAILED_FOR));
        assert_eq!(trial.judge(&AppState::Running, now), Verdict::Runs);
    }

    #[test]
    fn a_failure_counts_when_it_lasts_and_a_start_that_does_not_end_counts_at_last() {
        let now = Instant::now();
        let mut trial = Trial::new(now);
        trial.judge(&failed(), now);
        assert_eq!(trial.judge(&failed(), now + FAILED_FOR), Verdict::Fails);

        let mut trial = Trial::new(now);
        trial.judge(&failed(), now);
        trial.judge(&AppState::Starting, now + FAILED_FOR / 2);
        let again = now + FAILED_FOR;
        assert_eq!(trial.judge(&failed(), again), Verdict::Open(again + FAILED_FOR));
        assert_eq!(trial.judge(&AppState::Starting, now + WITHIN), Verdict::Fails);
    }

    #[test]
    fn the_clock_runs_when_the_images_are_here() {
        let now = Instant::now();
        let mut trial = Trial::new(now);
        let late = now + 2 * WITHIN;
        let pulling = AppState::Pulling(PullStatus::default());
        assert_eq!(trial.judge(&pulling, late), Verdict::Open(late + WITHIN));
        assert_eq!(trial.judge(&AppState::Starting, late), Verdict::Open(late + WITHIN));
    }
}
