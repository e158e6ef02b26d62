//! One turn of the machine: an input changes what is remembered, then everything that follows from
//! it is done.

use container_helper::End;

use super::cell::{Cell, Phase};
use super::health::Watch;
use super::needs::{self, Verdict};
use super::plan::{Check, Plan};
use super::{Action, Image, Input, KILL_TIMEOUT, Memory, Subject, Time};
use crate::app::history::Happening;

/// What a turn works on.
pub(super) struct Turn<'a> {
    plan: &'a Plan,
    memory: &'a mut Memory,
    now: Time,
    pub(super) actions: Vec<Action>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(plan: &'a Plan, memory: &'a mut Memory, now: Time) -> Self {
        Self { plan, memory, now, actions: Vec::new() }
    }

    /// Takes one input in; what does not fit the state of a container is late and ignored.
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::ImageHere { service, check } => {
                self.memory.images[service] = Image::Here { check }
            }
            Input::ImageDelayed { service, fault, wait, failing } => {
                let wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let message = fault.message.clone();
                self.tell(Subject::Service(service), Happening::Delayed { message, wait_millis });
                self.memory.images[service] = Image::Delayed { fault, failing };
            }
            Input::ImageRefused { service, fault } => {
                let message = format!("image: {}", fault.message);
                self.tell(Subject::Service(service), Happening::Failed { message });
                self.memory.images[service] = Image::Refused { fault };
            }
            Input::Running { cell, pid } => self.running(cell, pid),
            Input::Ended { cell, end } if self.memory.cells[cell].is_alive() => {
                self.ended(cell, end)
            }
            Input::Missing { cell } => self.missing(cell),
            Input::Checked { cell, run, result } if self.memory.cells[cell].runs == run => {
                self.checked(cell, result)
            }
            Input::Stop { within } if self.memory.stop_by.is_none() => {
                self.memory.stop_by = Some(self.now + within)
            }
            Input::Ended { .. } | Input::Checked { .. } | Input::Stop { .. } | Input::Timer => {}
        }
    }

    /// Does all that follows, until nothing more does: every step brings a container forward.
    pub(super) fn settle(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for cell in 0..self.memory.cells.len() {
                changed |= self.step(cell);
            }
        }
    }

    fn tell(&mut self, subject: Subject, what: Happening) {
        self.actions.push(Action::Tell(subject, what));
    }

    fn tell_cell(&mut self, cell: usize, what: Happening) {
        self.tell(Subject::Cell(cell), what);
    }

    /// A start has succeeded, or an earlier agent's container was found.
    fn running(&mut self, cell: usize, pid: i32) {
        let now = self.now;
        match &mut self.memory.cells[cell].phase {
            Phase::Starting => {
                let checks = self.check(cell).map(|check| Watch::new(check, now));
                let of = &mut self.memory.cells[cell];
                of.phase = Phase::Running { pid };
                of.runs = of.runs.saturating_add(1);
                of.started = Some(now);
                of.health = checks;
                let (again, service) = (of.runs > 1, of.service);
                self.tell_cell(cell, Happening::Started);
                if again && self.memory.stop_by.is_none() {
                    self.restart_dependents(service);
                }
            }
            Phase::Running { pid: known } => {
                *known = pid;
                self.memory.cells[cell].health.iter_mut().for_each(|watch| watch.resume(now));
                self.tell_cell(cell, Happening::TakenOver);
            }
            Phase::Stopping { pid: known, killed, .. } => {
                *known = pid;
                let ask = if *killed { Action::Kill(cell) } else { Action::Ask(cell) };
                self.tell_cell(cell, Happening::TakenOver);
                self.actions.push(ask);
            }
            Phase::Waiting | Phase::Backoff { .. } | Phase::Over => {}
        }
    }

    fn check(&self, cell: usize) -> Option<Check> {
        match &self.memory.images[self.memory.cells[cell].service] {
            Image::Here { check } => check.clone(),
            Image::Awaited | Image::Delayed { .. } | Image::Refused { .. } => None,
        }
    }

    /// Services that asked for it start again after one that they need has.
    fn restart_dependents(&mut self, service: usize) {
        for cell in 0..self.memory.cells.len() {
            let needs = &self.plan.services[self.memory.cells[cell].service].needs;
            if needs.iter().any(|need| need.service == service && need.restart) {
                self.ask(cell, true);
            }
        }
    }

    /// Asks a running container to end.
    fn ask(&mut self, cell: usize, again: bool) {
        let of = &mut self.memory.cells[cell];
        if let Phase::Running { pid } = of.phase {
            let until = self.now + self.plan.services[of.service].grace;
            of.phase = Phase::Stopping { pid, until, killed: false, again };
            self.tell_cell(cell, Happening::Stopping);
            self.actions.push(Action::Ask(cell));
        }
    }

    fn ended(&mut self, cell: usize, end: End) {
        self.tell_cell(cell, Happening::Ended(end.clone()));
        let next = self.after_end(cell, &end);
        if let Phase::Backoff { until } = next {
            let wait_millis = u64::try_from((until - self.now).as_millis()).unwrap_or(u64::MAX);
            self.tell_cell(cell, Happening::Restarting { wait_millis });
        }
        let of = &mut self.memory.cells[cell];
        (of.phase, of.end) = (next, Some(end));
    }

    /// What a container does after an end; one that was asked for is no reason to start again by
    /// policy.
    fn after_end(&mut self, cell: usize, end: &End) -> Phase {
        let (now, stopping) = (self.now, self.memory.stop_by.is_some());
        let of = &mut self.memory.cells[cell];
        let lived = match of.phase {
            _ if stopping => return Phase::Over,
            Phase::Stopping { again: true, .. } => return Phase::Waiting,
            Phase::Stopping { again: false, .. } => return Phase::Over,
            Phase::Running { .. } => now.saturating_sub(of.started.unwrap_or(now)),
            _ => Time::ZERO,
        };
        let policy = &self.plan.services[of.service].restart;
        of.restarts
            .after(policy, end, lived)
            .map_or(Phase::Over, |wait| Phase::Backoff { until: now + wait })
    }

    /// Nothing is found of a container: one that was to be started is started again, others have
    /// ended unseen.
    fn missing(&mut self, cell: usize) {
        match self.memory.cells[cell].phase {
            Phase::Starting => self.memory.cells[cell].phase = Phase::Waiting,
            Phase::Running { .. } | Phase::Stopping { .. } => {
                self.ended(cell, End::Failed { message: "it ended while no agent ran".to_owned() });
            }
            Phase::Waiting | Phase::Backoff { .. } | Phase::Over => {}
        }
    }

    fn checked(&mut self, cell: usize, result: Result<(), String>) {
        let of = &mut self.memory.cells[cell];
        let (Phase::Running { .. }, Some(watch)) = (&of.phase, &mut of.health) else { return };
        let changed = watch.finished(result.is_ok(), self.now).then_some(watch.state);
        let failing = watch.is_failing();
        if let Some(message) = result.err().filter(|_| failing) {
            self.tell_cell(cell, Happening::CheckFailed { message });
        }
        if let Some(state) = changed {
            self.tell_cell(cell, Happening::Health(state));
        }
    }

    /// Brings one container forward; true if something changed.
    fn step(&mut self, cell: usize) -> bool {
        if self.memory.stop_by.is_some() {
            return self.step_to_end(cell);
        }
        let now = self.now;
        match self.memory.cells[cell].phase {
            Phase::Waiting => self.leave_waiting(cell),
            Phase::Backoff { until } if now >= until => self.start(cell),
            Phase::Stopping { .. } => self.time_out(cell),
            Phase::Running { .. } => self.begin_check(cell),
            _ => false,
        }
    }

    /// The same once the app shall end.
    fn step_to_end(&mut self, cell: usize) -> bool {
        let late = self.memory.stop_by.is_some_and(|by| self.now >= by + KILL_TIMEOUT);
        match self.memory.cells[cell].phase {
            Phase::Waiting | Phase::Backoff { .. } => self.over(cell, None),
            Phase::Starting if late => self.over(cell, Some("its start was not finished in time")),
            Phase::Running { .. } if !self.is_needed(cell) => {
                self.ask(cell, false);
                true
            }
            Phase::Stopping { .. } => self.time_out(cell),
            _ => false,
        }
    }

    /// Whether a container of a service that needs this one is alive; after the time for stopping
    /// that no longer counts.
    fn is_needed(&self, cell: usize) -> bool {
        let service = self.memory.cells[cell].service;
        let needs = |other: &Cell| {
            self.plan.services[other.service].needs.iter().any(|need| need.service == service)
        };
        let in_time = self.memory.stop_by.is_some_and(|by| self.now < by);
        in_time && self.memory.cells.iter().any(|other| other.is_alive() && needs(other))
    }

    fn over(&mut self, cell: usize, why: Option<&str>) -> bool {
        let of = &mut self.memory.cells[cell];
        of.phase = Phase::Over;
        if let Some(why) = why {
            of.end = Some(End::Failed { message: why.to_owned() });
            self.tell_cell(cell, Happening::Failed { message: why.to_owned() });
        }
        true
    }

    /// Starts a container if its image and all that it needs are there.
    fn leave_waiting(&mut self, cell: usize) -> bool {
        let service = self.memory.cells[cell].service;
        let verdict = needs::judge(self.plan, self.memory, service);
        match (&self.memory.images[service], verdict) {
            (Image::Refused { .. }, _) => self.over(cell, Some("its image cannot be had")),
            (_, Verdict::Fail { message }) => self.over(cell, Some(&message)),
            (Image::Here { .. }, Verdict::Start { passed_over }) => {
                passed_over.into_iter().for_each(|needed| self.tell_passed_over(service, needed));
                self.start(cell)
            }
            (Image::Awaited | Image::Delayed { .. }, Verdict::Start { .. })
            | (_, Verdict::Wait) => false,
        }
    }

    fn tell_passed_over(&mut self, service: usize, needed: usize) {
        if !self.memory.passed_over.contains(&(service, needed)) {
            self.memory.passed_over.push((service, needed));
            let message = format!(
                "starts without service {:?}, which is not required",
                self.plan.services[needed].name
            );
            self.tell(Subject::Service(service), Happening::Note { message });
        }
    }

    fn start(&mut self, cell: usize) -> bool {
        self.memory.cells[cell].phase = Phase::Starting;
        self.actions.push(Action::Start(cell));
        true
    }

    fn begin_check(&mut self, cell: usize) -> bool {
        let of = &mut self.memory.cells[cell];
        let Some(check) = of.health.as_mut().and_then(|watch| watch.begin(self.now)) else {
            return false;
        };
        self.actions.push(Action::Check { cell, run: of.runs, check });
        true
    }

    /// Kills what did not end in its time, and gives up what cannot be killed.
    fn time_out(&mut self, cell: usize) -> bool {
        let now = self.now;
        let no_time = self.memory.stop_by.is_some_and(|by| now >= by);
        let Phase::Stopping { until, killed, .. } = &mut self.memory.cells[cell].phase else {
            return false;
        };
        match *killed {
            false if now >= *until || no_time => {
                (*until, *killed) = (now + KILL_TIMEOUT, true);
                self.tell_cell(cell, Happening::GraceOver);
                self.actions.push(Action::Kill(cell));
                true
            }
            true if now >= *until => self.over(cell, Some("it cannot be killed")),
            _ => false,
        }
    }
}
