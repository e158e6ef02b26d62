//! Slots of channels: strangers and each kind of peer have their own.
//!
//! Anybody can connect, and nothing is known of a connection before its peer has proved itself. So
//! all connections that wait for that share slots, and where none is left a new one takes that of
//! another one, drawn at random: a stranger who fills all slots keeps nobody out for longer than
//! it goes on to open connections, faster than others need to prove themselves. What has proved
//! itself has a slot among its own kind alone, so that neither strangers nor guests take those of
//! the members, without whose channels nothing is decided.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::judge::Peer;

/// Channels of guests at a time: they come at boot, and then every few minutes.
const MAX_GUESTS: usize = 128;
/// Channels of guests' middleware: each keeps one open for its runs.
const MAX_MIDDLEWARE: usize = 64;
/// Channels of custodians' tools, which come when a Pad is made or its conditions change.
const MAX_CUSTODIANS: usize = 32;
/// Channels of owners' tools: an owner has one or two.
const MAX_OWNERS: usize = 32;
/// Channels of other processes: six at most, and those of a process that ended until they time out.
const MAX_PROCESSES: usize = 32;

/// Connections whose peers have proved nothing yet.
#[derive(Debug)]
pub(super) struct Openings {
    most: usize,
    tasks: Vec<AbortHandle>,
}

impl Openings {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, tasks: Vec::with_capacity(most) }
    }

    /// Lets a connection be opened, in the slot of another one if there is no room.
    pub(super) fn admit(&mut self, opening: impl Future<Output = ()> + Send + 'static) {
        self.tasks.retain(|task| !task.is_finished());
        if self.tasks.len() >= self.most {
            self.tasks.swap_remove(drawn(self.tasks.len())).abort();
        }
        self.tasks.push(tokio::spawn(opening).abort_handle());
    }
}

/// A number below `count`.
fn drawn(count: usize) -> usize {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => (u64::from_le_bytes(bytes) % count as u64) as usize,
        // The one that has waited longest, more or less.
        Err(_) => 0,
    }
}

/// Slots of channels that are open.
#[derive(Debug)]
pub(super) struct Slots {
    guests: Arc<Semaphore>,
    middleware: Arc<Semaphore>,
    owners: Arc<Semaphore>,
    custodians: Arc<Semaphore>,
    processes: Arc<Semaphore>,
}

impl Slots {
    /// All of them, free.
    pub(super) fn new() -> Self {
        let room = |most| Arc::new(Semaphore::new(most));
        Self {
            guests: room(MAX_GUESTS),
            middleware: room(MAX_MIDDLEWARE),
            owners: room(MAX_OWNERS),
            custodians: room(MAX_CUSTODIANS),
            processes: room(MAX_PROCESSES),
        }
    }

    /// A slot among the peer's kind, as long as what is given is held; `None` if all are taken.
    pub(super) fn take(&self, peer: &Peer) -> Option<OwnedSemaphorePermit> {
        let kind = match peer {
            Peer::Guest(_) => &self.guests,
            Peer::Middleware(_) => &self.middleware,
            Peer::Owner(_) => &self.owners,
            Peer::Custodian(_) => &self.custodians,
            Peer::Process(_) => &self.processes,
        };
        Arc::clone(kind).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use protocol::digest::Ed25519Key;

    use super::*;
    use crate::member::fixtures::guest;

    #[test]
    fn no_kind_of_peer_takes_the_slots_of_another() {
        let slots = Slots::new();
        let guest = Peer::Guest(Box::new(guest(1)));
        let held: Vec<_> = std::iter::from_fn(|| slots.take(&guest)).collect();
        assert_eq!(held.len(), MAX_GUESTS);
        let owner = Peer::Owner(Ed25519Key([1; 32]));
        let owners: Vec<_> = std::iter::from_fn(|| slots.take(&owner)).collect();
        assert_eq!(owners.len(), MAX_OWNERS);
        assert_eq!(slots.processes.available_permits(), MAX_PROCESSES);
        assert_eq!(slots.middleware.available_permits(), MAX_MIDDLEWARE);
        assert_eq!(slots.custodians.available_permits(), MAX_CUSTODIANS);
        drop(held);
        assert!(slots.take(&guest).is_some() && slots.take(&owner).is_none());
    }

    #[tokio::test]
    async fn a_connection_that_comes_when_all_slots_are_taken_ends_one_that_waits() {
        /// Counts the connections that are open.
        struct Open(Arc<AtomicUsize>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let open = Arc::new(AtomicUsize::new(0));
        let mut openings = Openings::new(4);
        for _ in 0..20 {
            open.fetch_add(1, Ordering::Relaxed);
            let waits = Open(Arc::clone(&open));
            openings.admit(async move {
                let _waits = waits;
                std::future::pending().await
            });
            tokio::task::yield_now().await;
        }
        assert_eq!((open.load(Ordering::Relaxed), openings.tasks.len()), (4, 4));
        // One that has ended is replaced by the next.
        let (done, ended) = tokio::sync::oneshot::channel();
        openings.admit(async move { done.send(()).unwrap() });
        ended.await.unwrap();
        tokio::task::yield_now().await;
        openings.admit(std::future::pending());
        assert_eq!(openings.tasks.len(), 4);
        assert_eq!(open.load(Ordering::Relaxed), 3);
    }
}
