//! The machine by example: small plans, told step by step what happened.

use std::time::Duration;

use compose::model::{Condition, Restart, RestartWhen};

use container_images::PullReason;

use super::plan::{Need, ServicePlan};
use super::*;

const DONE: End = End::Exited { code: 0, oom: false };
const BROKEN: End = End::Exited { code: 1, oom: false };

pub(super) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn service(name: &str, when: RestartWhen, needs: Vec<Need>) -> ServicePlan {
    let restart = Restart { when, attempts: None, delay: None, window: None };
    ServicePlan { name: name.into(), replicas: 1, needs, restart, grace: s(10) }
}

fn need(service: usize, condition: Condition) -> Need {
    Need { service, condition, restart: false, required: true }
}

fn checked() -> Option<Check> {
    Some(Check {
        test: vec!["true".into()],
        interval: s(5),
        timeout: s(1),
        retries: 2,
        start_period: s(0),
        start_interval: s(5),
    })
}

pub(super) fn fault(message: &str) -> ImageFault {
    ImageFault { reason: PullReason::Unreachable, blob: None, message: message.into() }
}

/// The failure of the service `one` for [`fault`].
fn of_image(message: &str) -> Failure {
    Failure {
        kind: FailureKind::Image { reason: PullReason::Unreachable, blob: None },
        message: format!("service \"one\": image: {message}"),
    }
}

/// A machine, its clock, and what it actions in the last step.
struct Told {
    machine: Machine,
    now: Time,
    actions: Vec<Action>,
}

impl Told {
    fn new(services: Vec<ServicePlan>) -> Self {
        Self { machine: Machine::new(Plan { services }), now: s(1000), actions: Vec::new() }
    }

    fn tell(&mut self, input: Input) -> &mut Self {
        self.actions = self.machine.take(self.now, input);
        self
    }

    fn images(&mut self) -> &mut Self {
        for service in 0..self.machine.plan.services.len() {
            self.tell(Input::ImageHere { service, check: None });
        }
        self
    }

    fn running(&mut self, instance: usize) -> &mut Self {
        self.tell(Input::Running { instance, pid: 100 + i32::try_from(instance).expect("small") })
    }

    fn ended(&mut self, instance: usize, end: End) -> &mut Self {
        self.tell(Input::Ended { instance, end })
    }

    fn checks(&mut self, instance: usize, result: Result<(), String>) -> &mut Self {
        let run = self.machine.instances()[instance].runs;
        self.tell(Input::Checked { instance, run, result })
    }

    /// Goes to the next moment that matters.
    fn wait(&mut self) -> &mut Self {
        self.now = self.machine.due().expect("something is due");
        self.tell(Input::Timer)
    }

    /// What is to be done to containers, without what is only told.
    fn done(&self) -> Vec<String> {
        let short = |action: &Action| match action {
            Action::Start(instance) => Some(format!("start {instance}")),
            Action::Ask(instance) => Some(format!("ask {instance}")),
            Action::Kill(instance) => Some(format!("kill {instance}")),
            Action::Check { instance, .. } => Some(format!("check {instance}")),
            Action::Tell(..) => None,
        };
        self.actions.iter().filter_map(short).collect()
    }

    fn states(&self) -> Vec<String> {
        self.machine.instances().iter().map(|instance| instance.state().to_string()).collect()
    }
}

#[test]
fn a_service_starts_once_what_it_needs_has_started() {
    let web = service("web", RestartWhen::Never, vec![need(1, Condition::Started)]);
    let mut app = Told::new(vec![web, service("db", RestartWhen::Never, vec![])]);
    app.tell(Input::ImageHere { service: 0, check: None });
    assert!(app.done().is_empty());
    assert_eq!(app.tell(Input::ImageHere { service: 1, check: None }).done(), ["start 1"]);
    assert_eq!(app.running(1).done(), ["start 0"]);
    assert_eq!(app.machine.judge(), Judgement::Starting);
    app.running(0);
    assert_eq!((app.machine.judge(), app.machine.due()), (Judgement::Running, None));
}

#[test]
fn a_healthy_dependency_is_waited_for_even_while_it_is_unhealthy() {
    let web = service("web", RestartWhen::Never, vec![need(1, Condition::Healthy)]);
    let mut app = Told::new(vec![web, service("db", RestartWhen::Never, vec![])]);
    app.tell(Input::ImageHere { service: 0, check: None });
    app.tell(Input::ImageHere { service: 1, check: checked() }).running(1);
    while app.machine.instances()[1].health() != Some(HealthState::Unhealthy) {
        assert_eq!(app.wait().done(), ["check 1"]);
        assert!(app.checks(1, Err("no answer".into())).done().is_empty());
    }
    let unhealthy =
        Failure { kind: FailureKind::Container, message: "service \"db\": unhealthy".into() };
    assert_eq!(app.machine.judge(), Judgement::Failed(unhealthy));
    assert_eq!(app.wait().done(), ["check 1"]);
    assert_eq!(app.checks(1, Ok(())).done(), ["start 0"]);
    assert_eq!(app.running(0).machine.judge(), Judgement::Running);
}

#[test]
fn work_that_is_done_lets_others_start_and_work_that_failed_does_not() {
    for (end, started, state) in [
        (DONE, vec!["start 1"], "starting"),
        (
            BROKEN,
            vec![],
            "failed: needs service \"init\" completed successfully, which it will not be",
        ),
    ] {
        let web =
            service("web", RestartWhen::Always, vec![need(0, Condition::CompletedSuccessfully)]);
        let mut app = Told::new(vec![service("init", RestartWhen::Never, vec![]), web]);
        app.images().running(0);
        assert!(app.done().is_empty(), "running is not done");
        assert_eq!(app.ended(0, end).done(), started);
        assert_eq!(app.states()[1], state);
    }
}

#[test]
fn a_failure_is_told_where_it_began_and_passed_over_where_it_is_not_required() {
    let chain = |required| {
        let depends = |service| vec![Need { required, ..need(service, Condition::Started) }];
        let one = service("one", RestartWhen::Never, vec![]);
        let two = service("two", RestartWhen::Never, depends(0));
        let mut app = Told::new(vec![one, two, service("three", RestartWhen::Never, depends(1))]);
        app.tell(Input::ImageHere { service: 1, check: None })
            .tell(Input::ImageHere { service: 2, check: None });
        app.tell(Input::ImageRefused { service: 0, fault: fault("other bytes") });
        app
    };
    let app = chain(true);
    assert!(app.states().iter().all(|state| state.starts_with("failed: ")), "{:?}", app.states());
    assert_eq!(app.machine.judge(), Judgement::Failed(of_image("other bytes")));
    let mut app = chain(false);
    assert_eq!(app.done(), ["start 1"]);
    let note =
        Happening::Note { message: "starts without service \"one\", which is not required".into() };
    assert!(app.actions.contains(&Action::Tell(Subject::Service(1), note)), "{:?}", app.actions);
    assert_eq!(app.running(1).done(), ["start 2"]);
}

#[test]
fn an_image_that_is_asked_for_again_is_told_and_can_still_come() {
    let mut app = Told::new(vec![service("one", RestartWhen::Never, vec![])]);
    let delayed = |failing| Input::ImageDelayed {
        service: 0,
        fault: fault("dns error"),
        wait: s(3),
        failing,
    };
    app.tell(delayed(false));
    let told = Happening::Delayed { message: "dns error".into(), wait_millis: 3000 };
    assert!(app.actions.contains(&Action::Tell(Subject::Service(0), told)), "{:?}", app.actions);
    assert_eq!(app.machine.awaited().collect::<Vec<_>>(), [0]);
    assert_eq!(app.machine.judge(), Judgement::Starting);
    assert_eq!(app.machine.delayed().as_deref(), Some("service \"one\": image: dns error"));
    app.tell(delayed(true));
    assert_eq!(app.machine.judge(), Judgement::Failed(of_image("dns error")));
    assert_eq!(app.machine.awaited().collect::<Vec<_>>(), [0], "it is still asked for");
    assert_eq!(app.images().done(), ["start 0"]);
    assert_eq!((app.machine.judge(), app.machine.delayed()), (Judgement::Starting, None));
}

#[test]
fn healthy_without_a_check_can_never_be() {
    let web = service("web", RestartWhen::Never, vec![need(1, Condition::Healthy)]);
    let mut app = Told::new(vec![web, service("db", RestartWhen::Never, vec![])]);
    app.images().running(1);
    assert_eq!(app.states()[0], "failed: needs service \"db\" healthy, which it will not be");
}

#[test]
fn all_replicas_count() {
    let mut db = service("db", RestartWhen::Never, vec![]);
    db.replicas = 3;
    let mut app =
        Told::new(vec![db, service("web", RestartWhen::Never, vec![need(0, Condition::Started)])]);
    assert_eq!(
        app.tell(Input::ImageHere { service: 0, check: None }).done(),
        ["start 0", "start 1", "start 2"]
    );
    app.tell(Input::ImageHere { service: 1, check: None }).running(2).running(0);
    assert!(app.done().is_empty());
    assert_eq!(app.running(1).done(), ["start 3"]);
    let mut none = service("db", RestartWhen::Never, vec![]);
    none.replicas = 0;
    let mut app = Told::new(vec![
        none,
        service("web", RestartWhen::Never, vec![need(0, Condition::Healthy)]),
    ]);
    assert_eq!(
        app.images().done(),
        ["start 0"],
        "a service without containers keeps nobody waiting"
    );
}

#[test]
fn what_ends_starts_again_after_a_wait_and_is_said_to_fail_when_it_keeps_ending() {
    let mut app = Told::new(vec![service("web", RestartWhen::Always, vec![])]);
    app.images().running(0);
    for expected in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600] {
        let ended = app.now;
        assert!(app.ended(0, BROKEN).done().is_empty());
        assert_eq!(
            (app.states()[0].as_str(), app.machine.judge()),
            ("restarting", Judgement::Starting)
        );
        assert_eq!(app.wait().done(), ["start 0"]);
        assert_eq!((app.now - ended).as_millis(), expected);
        app.running(0);
    }
    app.ended(0, BROKEN);
    let message = "service \"web\": keeps ending: exited with code 1".to_owned();
    assert_eq!(
        app.machine.judge(),
        Judgement::Failed(Failure { kind: FailureKind::Container, message })
    );
    assert_eq!(
        (app.machine.instances()[0].runs, app.machine.instances()[0].restarts.total),
        (10, 10)
    );
}

#[test]
fn a_start_that_fails_is_an_end_that_fails() {
    let failed = || End::Failed { message: "no such program".into() };
    let mut app = Told::new(vec![service("web", RestartWhen::OnFailure, vec![])]);
    app.images().ended(0, failed());
    assert_eq!(app.states(), ["restarting"]);
    let mut app = Told::new(vec![service("web", RestartWhen::Never, vec![])]);
    app.images().ended(0, failed());
    assert_eq!(app.states(), ["failed: no such program"]);
}

#[test]
fn services_that_ask_for_it_start_again_with_what_they_need() {
    let depends = |restart| vec![Need { restart, ..need(0, Condition::Started) }];
    let db = service("db", RestartWhen::Always, vec![]);
    let with = service("with", RestartWhen::Never, depends(true));
    let mut app = Told::new(vec![db, with, service("without", RestartWhen::Never, depends(false))]);
    app.images().running(0).running(1).running(2).ended(0, BROKEN).wait();
    assert_eq!(app.running(0).done(), ["ask 1"]);
    assert_eq!(app.ended(1, End::Killed { signal: 15, oom: false }).done(), ["start 1"]);
    app.running(1);
    assert_eq!(app.machine.judge(), Judgement::Running);
}

#[test]
fn the_end_comes_in_reverse_order_with_grace_then_kill() {
    let depends = |service| vec![need(service, Condition::Started)];
    let db = service("db", RestartWhen::Always, vec![]);
    let web = service("web", RestartWhen::Always, depends(0));
    let mut app = Told::new(vec![db, web, service("proxy", RestartWhen::Always, depends(1))]);
    app.images().running(0).running(1).running(2);
    assert_eq!(app.tell(Input::Stop { within: s(60) }).done(), ["ask 2"]);
    assert_eq!(app.ended(2, DONE).done(), ["ask 1"]);
    let asked = app.now;
    assert_eq!(app.wait().done(), ["kill 1"]);
    assert_eq!(app.now - asked, s(10));
    assert_eq!(app.ended(1, End::Killed { signal: 9, oom: false }).done(), ["ask 0"]);
    assert!(!app.machine.is_over());
    assert!(app.ended(0, DONE).machine.is_over());
    assert_eq!(app.machine.due(), None);
}

#[test]
fn the_end_comes_in_time_whatever_containers_do() {
    let mut slow = service("slow", RestartWhen::Always, vec![]);
    slow.grace = s(3600);
    let web = service("web", RestartWhen::Always, vec![need(0, Condition::Started)]);
    let mut app = Told::new(vec![slow, web, service("starting", RestartWhen::Always, vec![])]);
    app.images().running(0).running(1);
    app.tell(Input::Stop { within: s(15) });
    let asked = app.now;
    assert_eq!((app.wait().done(), app.now - asked), (vec!["kill 1".to_owned()], s(10)));
    assert_eq!(
        (app.wait().done(), app.now - asked),
        (vec!["ask 0".to_owned(), "kill 0".to_owned()], s(15))
    );
    while !app.machine.is_over() {
        app.wait();
    }
    assert_eq!(app.now - asked, s(25));
    assert_eq!(app.states()[2], "failed: its start was not finished in time");
}

#[test]
fn an_agent_that_takes_over_goes_on_where_the_last_one_was() {
    let web = || service("web", RestartWhen::Always, vec![]);
    let plan = || Plan { services: vec![web(), web(), web(), web()] };
    let mut before = Machine::new(plan());
    for service in 0..4 {
        before.take(s(1), Input::ImageHere { service, check: checked().filter(|_| service == 0) });
    }
    for instance in 0..3 {
        before.take(s(1), Input::Running { instance, pid: 7 });
    }
    before.take(s(20), Input::Ended { instance: 2, end: BROKEN });
    let written = serde_json::to_vec(before.memory()).expect("json");
    let memory: Memory = serde_json::from_slice(&written).expect("the same");
    assert_eq!(&memory, before.memory());
    assert!(
        Machine::resume(Plan { services: vec![web()] }, memory.clone()).is_none(),
        "another plan"
    );

    let machine = Machine::resume(plan(), memory).expect("this plan");
    let mut app = Told { machine, now: s(30), actions: Vec::new() };
    assert_eq!(
        app.tell(Input::Running { instance: 0, pid: 7 }).done(),
        ["check 0", "start 2"],
        "both were due"
    );
    assert_eq!(app.tell(Input::Timer).done(), Vec::<String>::new());
    app.ended(1, BROKEN);
    app.tell(Input::Missing { instance: 3 });
    assert_eq!(app.done(), ["start 3"], "its start was not finished");
    assert_eq!(app.states(), ["running", "restarting", "starting", "starting"]);
    assert_eq!(app.machine.instances()[0].runs, 1, "the run goes on");
}

#[test]
fn what_comes_late_is_ignored() {
    let mut app = Told::new(vec![service("web", RestartWhen::Always, vec![])]);
    app.tell(Input::ImageHere { service: 0, check: checked() }).running(0).wait();
    app.ended(0, BROKEN).wait();
    app.running(0);
    app.tell(Input::Checked { instance: 0, run: 1, result: Ok(()) });
    assert_eq!(app.machine.instances()[0].health(), Some(HealthState::Starting));
    app.tell(Input::Stop { within: s(1) }).ended(0, DONE);
    app.ended(0, BROKEN).running(0);
    assert!(app.machine.is_over());
    assert_eq!(app.states(), ["exited with code 0"]);
}
