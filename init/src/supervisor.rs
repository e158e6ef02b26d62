//! What PID 1 does after the boot: keeps the agent running, reaps, renews the lease, writes reports
//! down, and shuts down when asked.
//!
//! One loop, one wait. The agent is trusted to report, not to live: when it ends, it is started
//! again and takes over the containers, which go on meanwhile, each with a helper process that has
//! become a child of PID 1. Everything is killed at the shutdown, and when an agent that keeps
//! ending is given up.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use protocol::status::{Phase, Refusal, Report};

use crate::agent::{self, Agent, Restarts};
use crate::halt::Halt;
use crate::memory::AgentMemory;
use crate::network::{Network, poll_timeout};
use crate::phases::Networked;
use crate::sockets::Sockets;
use crate::{console, shutdown, signals, status};

/// How long the agent may take to stop the app: it gives all services together 80 seconds, and
/// removes what is left of them.
const STOP_GRACE: Duration = Duration::from_secs(90);
/// How long killed processes may take to end: one that waits for a device cannot be waited for
/// without end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often that is looked at.
const KILL_POLL: Duration = Duration::from_millis(5);
/// Everything but PID 1 itself.
const EVERYBODY: Pid = Pid::from_raw(-1);

/// The agent, or the time at which it starts again.
enum Slot {
    Running(Agent),
    Waiting { until: Instant },
}

struct Supervisor {
    network: Network,
    sockets: Sockets,
    memory: AgentMemory,
    signals: SignalFd,
    slot: Slot,
    restarts: Restarts,
    /// Set once the machine shuts down: when the timeout ends.
    stopping: Option<Instant>,
}

/// Runs until the machine is powered off.
pub fn run(networked: Networked) -> ! {
    match supervise(networked) {
        Ok(()) => shutdown::power_off(),
        Err(halt) => {
            kill_everybody();
            halt.power_off()
        }
    }
}

fn supervise(Networked { network, pad_services }: Networked) -> Result<(), Halt> {
    let internal = |errno: Errno| Halt::new(Phase::AgentStarted, Refusal::Internal, errno);
    let signals = signals::open().map_err(internal)?;
    agent::set_limits()
        .map_err(|error| Halt::new(Phase::AgentStarted, Refusal::Internal, error))?;
    let sockets = Sockets::open(&pad_services)
        .map_err(|error| Halt::new(Phase::AgentStarted, Refusal::Internal, error))?;
    let memory = AgentMemory::new()
        .map_err(|error| Halt::new(Phase::AgentStarted, Refusal::Internal, error))?;
    let slot = Slot::Waiting { until: Instant::now() };
    let mut supervisor = Supervisor {
        network,
        sockets,
        memory,
        signals,
        slot,
        restarts: Restarts::default(),
        stopping: None,
    };
    while !supervisor.is_over(Instant::now()) {
        supervisor.start_if_due(Instant::now())?;
        let ready = supervisor.wait();
        if ready.reports {
            supervisor.take_report()?;
        }
        if let Err(error) = supervisor.network.advance(Instant::now()) {
            console::say(&format!("network: {error}"));
        }
        if ready.signals {
            supervisor.take_signals(Instant::now())?;
        }
    }
    kill_everybody();
    Ok(())
}

/// Which descriptors have something to read.
struct Ready {
    signals: bool,
    reports: bool,
}

impl Supervisor {
    /// Whether the shutdown has run its course: the agent has ended, or its time has.
    fn is_over(&self, now: Instant) -> bool {
        self.stopping.is_some_and(|end| now >= end || matches!(self.slot, Slot::Waiting { .. }))
    }

    fn start_if_due(&mut self, now: Instant) -> Result<(), Halt> {
        if let Slot::Waiting { until } = self.slot
            && now >= until
        {
            let agent = Agent::start(now, &self.sockets, &self.memory)
                .map_err(|error| Halt::new(Phase::AgentStarted, Refusal::AgentFailed, error))?;
            self.slot = Slot::Running(agent);
        }
        Ok(())
    }

    fn wait(&self) -> Ready {
        let mut events = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.network.socket(), PollFlags::POLLIN),
        ];
        let mut deadline = self.network.deadline();
        match &self.slot {
            Slot::Running(agent) => {
                events.extend(agent.reports().map(|pipe| PollFd::new(pipe, PollFlags::POLLIN)))
            }
            Slot::Waiting { until } => deadline = deadline.min(*until),
        }
        deadline = self.stopping.map_or(deadline, |end| deadline.min(end));
        let wait = deadline.saturating_duration_since(Instant::now());
        // An interrupted wait is a short one.
        let _ = poll(&mut events, poll_timeout(wait));
        let readable =
            |event: Option<&PollFd<'_>>| event.is_some_and(|event| event.any().unwrap_or(false));
        Ready { signals: readable(events.first()), reports: readable(events.get(2)) }
    }

    fn take_report(&mut self) -> Result<(), Halt> {
        let Slot::Running(agent) = &mut self.slot else { return Ok(()) };
        agent.read_report().map_or(Ok(()), write_down)
    }

    fn take_signals(&mut self, now: Instant) -> Result<(), Halt> {
        let wanted = signals::read(&mut self.signals);
        if wanted.stop && self.stopping.is_none() {
            status::reached(Phase::Stopping);
            console::say("shutting down");
            self.stopping = Some(now + STOP_GRACE);
            if let Slot::Running(agent) = &self.slot {
                agent.stop();
            }
        }
        match wanted.reap {
            true => self.reap(now),
            false => Ok(()),
        }
    }

    /// Collects every child that has ended; the agent's end is an event.
    fn reap(&mut self, now: Instant) -> Result<(), Halt> {
        while let Ok(ended) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if ended == WaitStatus::StillAlive {
                break;
            }
            if let Slot::Running(agent) = &mut self.slot
                && ended.pid() == Some(agent.pid())
            {
                console::say(&format!("the agent has ended: {ended:?}"));
                // Its last words are still in the pipe.
                while let Some(report) = agent.read_report() {
                    write_down(report)?;
                }
                let lived = agent.lived(now);
                self.agent_ended(lived, now)?;
            }
        }
        Ok(())
    }

    fn agent_ended(&mut self, lived: Duration, now: Instant) -> Result<(), Halt> {
        self.slot = Slot::Waiting { until: now };
        if self.stopping.is_some() {
            return Ok(());
        }
        status::record(Phase::AgentStarted, Refusal::AgentFailed);
        let wait = self.restarts.after(lived).ok_or_else(|| {
            Halt::new(
                Phase::AgentStarted,
                Refusal::AgentFailed,
                "the agent keeps ending, it is not started again",
            )
        })?;
        self.slot = Slot::Waiting { until: now + wait };
        Ok(())
    }
}

/// Puts the agent's report on record. Without keys, or without a data disk that is its own, the
/// machine ends as it does where init's own phases are refused.
fn write_down(report: Report) -> Result<(), Halt> {
    if report.ends_the_guest() {
        let Report { phase, refusal, .. } = report;
        return Err(Halt::new(phase, refusal, "as the agent said"));
    }
    status::record_report(report);
    Ok(())
}

/// Kills all processes but this one and collects them, so that nothing holds a mount or writes on.
fn kill_everybody() {
    // It fails only where there is nobody.
    let _ = kill(EVERYBODY, Signal::SIGKILL);
    let end = Instant::now() + KILL_TIMEOUT;
    while let Ok(ended) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match ended {
            WaitStatus::StillAlive if Instant::now() >= end => {
                return console::say("a process cannot be killed");
            }
            WaitStatus::StillAlive => std::thread::sleep(KILL_POLL),
            _ => {}
        }
    }
}
