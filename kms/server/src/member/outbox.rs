//! What the threads that answer calls hand to the tasks that talk to other members.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::digest::Ed25519Key;
use tokio::sync::{mpsc, watch};

/// Proposals that wait for one member; decisions of a process take turns, and refusals of its
/// guests are few.
const MAX_WAITING: usize = 8;

/// An entry for the member that leads.
#[derive(Debug)]
pub struct Proposal {
    /// The entry's line.
    pub line: String,
    /// Takes whether it is the next one.
    pub taken: SyncSender<bool>,
}

/// The way to each member that is reached.
#[derive(Debug)]
pub(super) struct Outbox {
    lines: Mutex<BTreeMap<Ed25519Key, mpsc::Sender<Proposal>>>,
    changes: watch::Sender<u64>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { lines: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Outbox {
    /// Proposals for this member from now on.
    pub(super) fn reaches(&self, member: Ed25519Key) -> mpsc::Receiver<Proposal> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Keys die with their processes.
        lines.retain(|_, line| !line.is_closed());
        lines.insert(member, sender);
        receiver
    }

    /// Tells whenever there may be something to say to others.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn wake(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Proposes; `None` without an answer in time.
    pub(super) fn propose(&self, to: &Ed25519Key, line: String, within: Duration) -> Option<bool> {
        let (taken, answer) = sync_channel(1);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(to)?.try_send(Proposal { line, taken }).ok()?;
        drop(lines);
        answer.recv_timeout(within).ok()
    }
}
