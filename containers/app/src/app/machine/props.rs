//! The machine against a world that does anything: what must hold whatever happens.
//!
//! The world is a second, simpler account of the containers, kept by what the machine asks and by
//! chance alone.

use std::time::Duration;

use compose::model::{Condition, RestartWhen};
use container_helper::End;
use proptest::prelude::*;
use proptest::sample::Index;

use super::plan::{Need, ServicePlan};
use super::tables::{fault, s, service};
use super::*;

/// Time that the machine is given to end.
const WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Process {
    #[default]
    None,
    Starting,
    Running,
}

/// What really became of a container.
#[derive(Debug, Clone, Default)]
struct Real {
    process: Process,
    /// A check that was asked for and has no result.
    checking: Option<u32>,
    started: bool,
    healthy: bool,
    /// Failed checks in a row; two make it unhealthy.
    failed: u32,
    completed: bool,
    asked: bool,
    /// Starts after an end that nobody asked for.
    restarts: u32,
    ended_by_itself: bool,
}

struct World {
    machine: Machine,
    now: Time,
    images: Vec<bool>,
    real: Vec<Real>,
    /// When the end was asked for.
    stop: Option<Time>,
}

/// A choice of the world; numbers choose among what is possible.
#[derive(Debug, Clone)]
enum Choice {
    Image(Index, bool, bool),
    Answer(Index, bool),
    End(Index, i32),
    Check(Index, bool),
    Due,
    Pass(u16),
    Takeover,
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        3 => (any::<Index>(), prop::bool::weighted(0.9), any::<bool>()).prop_map(|(at, here, check)| Choice::Image(at, here, check)),
        6 => (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(at, well)| Choice::Answer(at, well)),
        3 => (any::<Index>(), 0..2).prop_map(|(at, code)| Choice::End(at, code)),
        5 => (any::<Index>(), any::<bool>()).prop_map(|(at, well)| Choice::Check(at, well)),
        5 => Just(Choice::Due),
        1 => any::<u16>().prop_map(Choice::Pass),
        1 => Just(Choice::Takeover),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Started),
        Just(Condition::Healthy),
        Just(Condition::CompletedSuccessfully)
    ]
}

prop_compose! {
    fn one(place: usize)(
        when in prop_oneof![Just(RestartWhen::Never), Just(RestartWhen::OnFailure), Just(RestartWhen::Always)],
        attempts in prop::option::of(0u32..4),
        replicas in 0u16..3,
        grace in 0u64..15,
        needs in prop::collection::vec((0..place.max(1), condition(), any::<bool>(), any::<bool>()), 0..if place == 0 { 1 } else { 3 }),
    ) -> ServicePlan {
        let need = |(service, condition, restart, required)| Need { service, condition, restart, required };
        let mut plan = service(&format!("s{place}"), when, needs.into_iter().map(need).collect());
        plan.restart.attempts = attempts;
        (plan.replicas, plan.grace) = (replicas, s(grace));
        plan
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    (one(0), one(1), one(2), one(3)).prop_map(|(a, b, c, d)| Plan { services: vec![a, b, c, d] })
}

impl World {
    fn new(mut plan: Plan) -> Self {
        plan.services[0].needs.clear();
        let machine = Machine::new(plan);
        let images = vec![false; machine.plan.services.len()];
        let real = vec![Real::default(); machine.instances().len()];
        Self { machine, now: s(5), images, real, stop: None }
    }

    fn tell(&mut self, input: Input) {
        for action in self.machine.take(self.now, input) {
            self.check(&action);
            self.carry_out(action);
        }
        assert!(self.machine.due().is_none_or(|due| due > self.now), "nothing is left undone");
    }

    fn needs_hold(&self, instance: usize) -> bool {
        let holds = |need: &Need| {
            let real = |(other, real): (&Instance, &Real)| {
                other.service != need.service
                    || match need.condition {
                        Condition::Started => real.started,
                        Condition::Healthy => real.healthy && real.process == Process::Running,
                        Condition::CompletedSuccessfully => real.completed,
                    }
            };
            !need.required || self.machine.instances().iter().zip(&self.real).all(real)
        };
        self.machine.plan.services[self.machine.instances()[instance].service]
            .needs
            .iter()
            .all(holds)
    }

    fn needed_by_the_living(&self, instance: usize) -> bool {
        let service = self.machine.instances()[instance].service;
        self.machine.instances().iter().zip(&self.real).any(|(other, real)| {
            let needs = &self.machine.plan.services[other.service].needs;
            let given_up = other.phase == Phase::Over;
            real.process != Process::None
                && !given_up
                && needs.iter().any(|need| need.service == service)
        })
    }

    fn check(&self, action: &Action) {
        match *action {
            Action::Start(instance) => {
                let real = &self.real[instance];
                assert_eq!(
                    (real.process, self.stop),
                    (Process::None, None),
                    "one at a time, none at the end"
                );
                assert!(self.images[self.machine.instances()[instance].service], "an image");
                assert!(
                    real.started || real.ended_by_itself || self.needs_hold(instance),
                    "what it needs"
                );
            }
            Action::Ask(instance) => {
                assert_eq!(self.real[instance].process, Process::Running);
                let late = self.stop.is_some_and(|stop| self.now >= stop + WITHIN);
                assert!(
                    self.stop.is_none() || late || !self.needed_by_the_living(instance),
                    "reverse order"
                );
            }
            Action::Kill(instance) => assert!(self.real[instance].asked, "asked first"),
            Action::Check { instance, .. } => {
                assert_eq!(
                    (self.real[instance].process, self.real[instance].checking),
                    (Process::Running, None)
                );
            }
            Action::Tell(..) => {}
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start(instance) => {
                let real = &mut self.real[instance];
                real.restarts += u32::from(std::mem::take(&mut real.ended_by_itself));
                real.process = Process::Starting;
                let most = self.machine.plan.services[self.machine.instances()[instance].service]
                    .restart
                    .attempts;
                assert!(
                    most.is_none_or(|most| self.real[instance].restarts <= most),
                    "no more attempts than asked for"
                );
            }
            Action::Ask(instance) => self.real[instance].asked = true,
            Action::Check { instance, run, .. } => self.real[instance].checking = Some(run),
            Action::Kill(_) | Action::Tell(..) => {}
        }
    }

    fn among(&self, at: &Index, wanted: impl Fn(&Real) -> bool) -> Option<usize> {
        let possible: Vec<usize> =
            (0..self.real.len()).filter(|instance| wanted(&self.real[*instance])).collect();
        (!possible.is_empty()).then(|| possible[at.index(possible.len())])
    }

    fn end(&mut self, instance: usize, end: End) {
        let real = &mut self.real[instance];
        real.completed = end.is_success();
        (real.ended_by_itself, real.asked) = (!real.asked, false);
        (real.process, real.checking, real.healthy, real.failed) = (Process::None, None, false, 0);
        self.tell(Input::Ended { instance, end });
    }

    fn choose(&mut self, choice: &Choice) {
        match choice {
            Choice::Image(at, here, checked) => {
                self.image(at.index(self.images.len()), *here, *checked)
            }
            Choice::Answer(at, well) => {
                let Some(instance) = self.among(at, |real| real.process == Process::Starting)
                else {
                    return;
                };
                if !well {
                    return self.end(instance, End::Failed { message: "not started".into() });
                }
                (self.real[instance].process, self.real[instance].started) =
                    (Process::Running, true);
                self.tell(Input::Running { instance, pid: 7 });
            }
            Choice::End(at, code) => {
                let Some(instance) = self.among(at, |real| real.process == Process::Running) else {
                    return;
                };
                self.end(instance, End::Exited { code: *code, oom: false });
            }
            Choice::Check(at, well) => {
                let Some(instance) = self.among(at, |real| real.checking.is_some()) else { return };
                let run = self.real[instance].checking.take().expect("chosen for it");
                let real = &mut self.real[instance];
                real.failed = if *well { 0 } else { real.failed + 1 };
                real.healthy = *well || real.healthy && real.failed < 2;
                let result = if *well { Ok(()) } else { Err("no".to_owned()) };
                self.tell(Input::Checked { instance, run, result });
            }
            Choice::Due => {
                self.now = self.machine.due().unwrap_or(self.now);
                self.tell(Input::Timer);
            }
            Choice::Pass(millis) => {
                self.now += Duration::from_millis(u64::from(*millis));
                self.tell(Input::Timer);
            }
            Choice::Takeover => self.take_over(),
        }
    }

    fn image(&mut self, service: usize, here: bool, checked: bool) {
        if !self.machine.awaited().any(|awaited| awaited == service) {
            return;
        }
        self.images[service] = here;
        let check = Check {
            test: vec!["true".into()],
            interval: s(3),
            timeout: s(1),
            retries: 2,
            start_period: s(1),
            start_interval: s(1),
        };
        if !here && checked {
            // Asked for again, as often as it takes; here it never comes.
            let (fault, wait) = (fault("away"), s(1));
            self.tell(Input::ImageDelayed { service, fault, wait, failing: true });
        }
        self.tell(match here {
            true => Input::ImageHere { service, check: checked.then_some(check) },
            false => Input::ImageRefused { service, fault: fault("no") },
        });
    }

    /// Another agent comes: it knows what was written down, and finds what really runs.
    fn take_over(&mut self) {
        let written = serde_json::to_vec(self.machine.memory()).expect("json");
        let memory: Memory = serde_json::from_slice(&written).expect("the same");
        assert_eq!(&memory, self.machine.memory());
        self.machine = Machine::resume(self.machine.plan.clone(), memory).expect("the same plan");
        for instance in 0..self.real.len() {
            self.real[instance].checking = None;
            match self.real[instance].process {
                Process::None => {}
                Process::Running => self.tell(Input::Running { instance, pid: 7 }),
                Process::Starting => {
                    self.real[instance].process = Process::None;
                    self.tell(Input::Missing { instance });
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_order_attempts_and_end_hold(
        plan in plan(),
        life in prop::collection::vec(choice(), 0..120),
        death in prop::collection::vec(choice(), 0..20),
    ) {
        let mut world = World::new(plan);
        for choice in &life {
            world.choose(choice);
        }
        let asked = world.now;
        world.stop = Some(asked);
        world.tell(Input::Stop { within: WITHIN });
        for choice in &death {
            world.choose(choice);
        }
        // From here on nothing answers any more.
        for _ in 0..1000 {
            let Some(due) = world.machine.due() else { break };
            world.now = due;
            world.tell(Input::Timer);
        }
        prop_assert!(world.machine.is_over(), "{:?}", world.machine.instances());
        let latest = asked + WITHIN + 2 * KILL_TIMEOUT;
        prop_assert!(world.now <= latest.max(asked + Duration::from_millis(20 * u64::from(u16::MAX))));
    }
}
