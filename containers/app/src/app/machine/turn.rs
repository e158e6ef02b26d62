//! One turn of the machine: an input changes what is remembered, then everything that follows from
//! it is done.

use container_helper::End;

use super::health::Watch;
use super::instance::{Instance, Phase};
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
            Input::Running { instance, pid } => self.running(instance, pid),
            Input::Ended { instance, end } if self.memory.instances[instance].is_alive() => {
                self.ended(instance, end)
            }
            Input::Missing { instance } => self.missing(instance),
            Input::Checked { instance, run, result }
                if self.memory.instances[instance].runs == run =>
            {
                self.checked(instance, result)
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
            for instance in 0..self.memory.instances.len() {
                changed |= self.step(instance);
            }
        }
    }

    fn tell(&mut self, subject: Subject, what: Happening) {
        self.actions.push(Action::Tell(subject, what));
    }

    fn tell_instance(&mut self, instance: usize, what: Happening) {
        self.tell(Subject::Instance(instance), what);
    }

    /// A start has succeeded, or an earlier agent's container was found.
    fn running(&mut self, instance: usize, pid: i32) {
        let now = self.now;
        match &mut self.memory.instances[instance].phase {
            Phase::Starting => {
                let checks = self.check(instance).map(|check| Watch::new(check, now));
                let of = &mut self.memory.instances[instance];
                of.phase = Phase::Running { pid };
                of.runs = of.runs.saturating_add(1);
                of.started = Some(now);
                of.health = checks;
                let (again, service) = (of.runs > 1, of.service);
                self.tell_instance(instance, Happening::Started);
                if again && self.memory.stop_by.is_none() {
                    self.restart_dependents(service);
                }
            }
            Phase::Running { pid: known } => {
                *known = pid;
                self.memory.instances[instance]
                    .health
                    .iter_mut()
                    .for_each(|watch| watch.resume(now));
                self.tell_instance(instance, Happening::TakenOver);
            }
            Phase::Stopping { pid: known, killed, .. } => {
                *known = pid;
                let ask = if *killed { Action::Kill(instance) } else { Action::Ask(instance) };
                self.tell_instance(instance, Happening::TakenOver);
                self.actions.push(ask);
            }
            Phase::Waiting | Phase::Backoff { .. } | Phase::Over => {}
        }
    }

    fn check(&self, instance: usize) -> Option<Check> {
        match &self.memory.images[self.memory.instances[instance].service] {
            Image::Here { check } => check.clone(),
            Image::Awaited | Image::Delayed { .. } | Image::Refused { .. } => None,
        }
    }

    /// Services that asked for it start again after one that they need has.
    fn restart_dependents(&mut self, service: usize) {
        for instance in 0..self.memory.instances.len() {
            let needs = &self.plan.services[self.memory.instances[instance].service].needs;
            if needs.iter().any(|need| need.service == service && need.restart) {
                self.ask(instance, true);
            }
        }
    }

    /// Asks a running container to end.
    fn ask(&mut self, instance: usize, again: bool) {
        let of = &mut self.memory.instances[instance];
        if let Phase::Running { pid } = of.phase {
            let until = self.now + self.plan.services[of.service].grace;
            of.phase = Phase::Stopping { pid, until, killed: false, again };
            self.tell_instance(instance, Happening::Stopping);
            self.actions.push(Action::Ask(instance));
        }
    }

    fn ended(&mut self, instance: usize, end: End) {
        self.tell_instance(instance, Happening::Ended(end.clone()));
        let next = self.after_end(instance, &end);
        if let Phase::Backoff { until } = next {
            let wait_millis = u64::try_from((until - self.now).as_millis()).unwrap_or(u64::MAX);
            self.tell_instance(instance, Happening::Restarting { wait_millis });
        }
        let of = &mut self.memory.instances[instance];
        (of.phase, of.end) = (next, Some(end));
    }

    /// What a container does after an end; one that was asked for is no reason to start again by
    /// policy.
    fn after_end(&mut self, instance: usize, end: &End) -> Phase {
        let (now, stopping) = (self.now, self.memory.stop_by.is_some());
        let of = &mut self.memory.instances[instance];
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
    fn missing(&mut self, instance: usize) {
        match self.memory.instances[instance].phase {
            Phase::Starting => self.memory.instances[instance].phase = Phase::Waiting,
            Phase::Running { .. } | Phase::Stopping { .. } => {
                self.ended(
                    instance,
                    End::Failed { message: "it ended while no agent ran".to_owned() },
                );
            }
            Phase::Waiting | Phase::Backoff { .. } | Phase::Over => {}
        }
    }

    fn checked(&mut self, instance: usize, result: Result<(), String>) {
        let of = &mut self.memory.instances[instance];
        let (Phase::Running { .. }, Some(watch)) = (&of.phase, &mut of.health) else { return };
        let changed = watch.finished(result.is_ok(), self.now).then_some(watch.state);
        let failing = watch.is_failing();
        if let Some(message) = result.err().filter(|_| failing) {
            self.tell_instance(instance, Happening::CheckFailed { message });
        }
        if let Some(state) = changed {
            self.tell_instance(instance, Happening::Health(state));
        }
    }

    /// Brings one container forward; true if something changed.
    fn step(&mut self, instance: usize) -> bool {
        if self.memory.stop_by.is_some() {
            return self.step_to_end(instance);
        }
        let now = self.now;
        match self.memory.instances[instance].phase {
            Phase::Waiting => self.leave_waiting(instance),
            Phase::Backoff { until } if now >= until => self.start(instance),
            Phase::Stopping { .. } => self.time_out(instance),
            Phase::Running { .. } => self.begin_check(instance),
            _ => false,
        }
    }

    /// The same once the app shall end.
    fn step_to_end(&mut self, instance: usize) -> bool {
        let late = self.memory.stop_by.is_some_and(|by| self.now >= by + KILL_TIMEOUT);
        match self.memory.instances[instance].phase {
            Phase::Waiting | Phase::Backoff { .. } => self.over(instance, None),
            Phase::Starting if late => {
                self.over(instance, Some("its start was not finished in time"))
            }
            Phase::Running { .. } if !self.is_needed(instance) => {
                self.ask(instance, false);
                true
            }
            Phase::Stopping { .. } => self.time_out(instance),
            _ => false,
        }
    }

    /// Whether a container of a service that needs this one is alive; after the time for stopping
    /// that no longer counts.
    fn is_needed(&self, instance: usize) -> bool {
        let service = self.memory.instances[instance].service;
        let needs = |other: &Instance| {
            self.plan.services[other.service].needs.iter().any(|need| need.service == service)
        };
        let in_time = self.memory.stop_by.is_some_and(|by| self.now < by);
        in_time && self.memory.instances.iter().any(|other| other.is_alive() && needs(other))
    }

    fn over(&mut self, instance: usize, why: Option<&str>) -> bool {
        let of = &mut self.memory.instances[instance];
        of.phase = Phase::Over;
        if let Some(why) = why {
            of.end = Some(End::Failed { message: why.to_owned() });
            self.tell_instance(instance, Happening::Failed { message: why.to_owned() });
        }
        true
    }

    /// Starts a container if its image and all that it needs are there.
    fn leave_waiting(&mut self, instance: usize) -> bool {
        let service = self.memory.instances[instance].service;
        let verdict = needs::judge(self.plan, self.memory, service);
        match (&self.memory.images[service], verdict) {
            (Image::Refused { .. }, _) => self.over(instance, Some("its image cannot be had")),
            (_, Verdict::Fail { message }) => self.over(instance, Some(&message)),
            (Image::Here { .. }, Verdict::Start { passed_over }) => {
                passed_over.into_iter().for_each(|needed| self.tell_passed_over(service, needed));
                self.start(instance)
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

    fn start(&mut self, instance: usize) -> bool {
        self.memory.instances[instance].phase = Phase::Starting;
        self.actions.push(Action::Start(instance));
        true
    }

    fn begin_check(&mut self, instance: usize) -> bool {
        let of = &mut self.memory.instances[instance];
        let Some(check) = of.health.as_mut().and_then(|watch| watch.begin(self.now)) else {
            return false;
        };
        self.actions.push(Action::Check { instance, run: of.runs, check });
        true
    }

    /// Kills what did not end in its time, and gives up what cannot be killed.
    fn time_out(&mut self, instance: usize) -> bool {
        let now = self.now;
        let no_time = self.memory.stop_by.is_some_and(|by| now >= by);
        let Phase::Stopping { until, killed, .. } = &mut self.memory.instances[instance].phase
        else {
            return false;
        };
        match *killed {
            false if now >= *until || no_time => {
                (*until, *killed) = (now + KILL_TIMEOUT, true);
                self.tell_instance(instance, Happening::GraceOver);
                self.actions.push(Action::Kill(instance));
                true
            }
            true if now >= *until => self.over(instance, Some("it cannot be killed")),
            _ => false,
        }
    }
}
