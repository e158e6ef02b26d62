//! The running app as documents: its containers, what they use, and what happened to them.

use std::time::{SystemTime, UNIX_EPOCH};

use compose::{Protocol, PublishedPort};
use container_helper::End;
use containers::app::{
    App, AppState as State, ContainerState as Doing, ContainerStatus, Happening, ProgramState,
    ProgramStatus,
};
use containers::container::Statistics;
use protocol::app_status::{
    AppState, AppStatus, Container, ContainerState, Event, Events, Usage, Usages, text,
};

/// `GET /ps`.
pub fn status(app: &App) -> AppStatus {
    let (state, message) = match app.state() {
        State::Pulling(pull) => {
            let delayed = pull.delayed.iter().map(|message| format!("; asked again: {message}"));
            let message = format!("{} of {} images are here", pull.done, pull.images)
                + &delayed.collect::<String>();
            (AppState::Pulling, Some(text(message)))
        }
        State::Starting => (AppState::Starting, None),
        State::Running => (AppState::Running, None),
        State::Failed(failure) => (AppState::Failed, Some(text(failure.message))),
        State::Stopping => (AppState::Stopping, None),
        State::Stopped => (AppState::Stopped, None),
    };
    let (containers, programs) = (app.status(), app.programs());
    let containers = containers.iter().map(container).chain(programs.iter().map(program));
    AppStatus { state, message, containers: containers.collect() }
}

/// `GET /stats`: what runs.
pub fn usages(app: &App) -> Usages {
    let running =
        app.status().into_iter().filter(|status| matches!(status.state, Doing::Running { .. }));
    Usages { containers: running.filter_map(|status| usage(&status.id)).collect() }
}

/// What a container uses; nothing once it has ended.
fn usage(id: &str) -> Option<Usage> {
    let used = Statistics::of_container(id).ok()?;
    Some(Usage {
        id: id.to_owned(),
        cpu_micros: used.cpu_micros,
        memory_bytes: used.memory_bytes,
        memory_limit_bytes: used.memory_limit_bytes,
        memory_cache_bytes: used.memory_cache_bytes,
        pids: used.pids,
        oom_kills: used.oom_kills,
    })
}

/// `GET /events`: those behind number `after`. What a health check printed is a container's output,
/// and shown only with the logs.
pub fn events(app: &App, after: u64, with_output: bool) -> Events {
    let shown = |what: &Happening| match what {
        Happening::CheckFailed { .. } if !with_output => "health check failed".to_owned(),
        what => text(what),
    };
    let events = app.events_after(after).into_iter().map(|event| Event {
        number: event.number,
        at_millis: millis(event.at),
        subject: event.subject,
        what: shown(&event.what),
    });
    Events { events: events.collect() }
}

fn container(status: &ContainerStatus) -> Container {
    Container {
        id: status.id.clone(),
        service: status.service.clone(),
        image: text(&status.image),
        state: doing(&status.state),
        detail: text(&status.state),
        health: status.health.map(|health| health.to_string()),
        restarts: status.restarts,
        started_secs: status.started.map(|started| millis(started) / 1000),
        addresses: status.addresses.clone(),
        ports: status.ports.iter().map(port).collect(),
    }
}

fn program(status: &ProgramStatus) -> Container {
    let state = match &status.state {
        ProgramState::Awaited | ProgramState::Delayed { .. } => ContainerState::Waiting,
        ProgramState::Here(_) => ContainerState::Program,
        ProgramState::Refused(_) => ContainerState::Failed,
    };
    Container {
        id: status.service.clone(),
        service: status.service.clone(),
        image: text(&status.image),
        state,
        detail: text(&status.state),
        health: None,
        restarts: 0,
        started_secs: None,
        addresses: Vec::new(),
        ports: Vec::new(),
    }
}

fn port(port: &PublishedPort) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}->{}/{protocol}", port.published, port.target)
}

fn doing(state: &Doing) -> ContainerState {
    match state {
        Doing::Waiting => ContainerState::Waiting,
        Doing::Starting => ContainerState::Starting,
        Doing::Running { .. } => ContainerState::Running,
        Doing::Stopping => ContainerState::Stopping,
        Doing::Restarting => ContainerState::Restarting,
        Doing::Ended(End::Exited { .. }) => ContainerState::Exited,
        Doing::Ended(End::Killed { .. }) => ContainerState::Killed,
        Doing::Ended(End::Failed { .. }) => ContainerState::Failed,
    }
}

/// Since 1970; a clock before that shows 0.
fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
