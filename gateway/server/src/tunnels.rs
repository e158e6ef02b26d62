//! Tunnels that guests dial, as the carrier of streams to them.
//!
//! A tunnel belongs to the guest that the channel's evidence proved; nothing that is sent inside it
//! says who that is. A newer guest of the same identity ends the older one's.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gateway_rules::guests::{AdmitError, GuestFacts, Guests, TunnelId};
use protocol::digest::InstanceId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tunnel::{Ended, Side, Tunnel, TunnelStream};

use crate::carrier::Carrier;
use crate::slots::locked;

/// All tunnels of a gateway.
#[derive(Debug)]
pub struct Tunnels {
    guests: Arc<Mutex<Guests>>,
    open: Mutex<BTreeMap<TunnelId, Tunnel>>,
    next: AtomicU64,
    begun: Instant,
}

impl Tunnels {
    /// None yet; `guests` learns of those that come.
    pub fn new(guests: Arc<Mutex<Guests>>) -> Arc<Self> {
        let (open, next) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { guests, open, next, begun: Instant::now() })
    }

    /// Runs the tunnel of a guest that was judged for this very connection, until it ends; `stated`
    /// is told what the guest shows of its KMS meanwhile.
    ///
    /// # Errors
    /// If the guest is not admitted; its connection is closed then.
    pub(crate) async fn run<S>(
        &self,
        facts: GuestFacts,
        stream: S,
        stated: impl FnMut(Vec<u8>),
    ) -> Result<Ended, AdmitError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (id, instance) = (TunnelId(self.next.fetch_add(1, Ordering::Relaxed)), facts.instance);
        let older = locked(&self.guests).admit(facts, id, self.begun.elapsed())?;
        let tunnel = Tunnel::new(Side::Gateway);
        let leaving = Leaving { tunnels: self, instance, id };
        {
            let mut open = locked(&self.open);
            older.iter().filter_map(|older| open.remove(older)).for_each(|older| older.close());
            open.insert(id, tunnel.clone());
        }
        let ready = |ready| locked(&self.guests).ready(instance, id, ready);
        // The mux refuses streams that a guest opens.
        let ended = tunnel.run(stream, ready, |_, _| {}, stated).await;
        drop(leaving);
        Ok(ended)
    }

    /// Shows all guests what the KMS says of this gateway now.
    pub(crate) fn say_statement(&self, statement: &[u8]) {
        for tunnel in locked(&self.open).values() {
            if !tunnel.say_statement(statement) {
                tracing::debug!("a tunnel takes no statement");
            }
        }
    }
}

/// Forgets a tunnel when its task ends, however it ends.
struct Leaving<'a> {
    tunnels: &'a Tunnels,
    instance: InstanceId,
    id: TunnelId,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        locked(&self.tunnels.open).remove(&self.id);
        let now = self.tunnels.begun.elapsed();
        locked(&self.tunnels.guests).leave(self.instance, self.id, now);
    }
}

impl Carrier for Arc<Tunnels> {
    type Stream = TunnelStream;

    // The tunnel has its own already.
    const DESCRIPTORS: u32 = 0;

    fn open(
        &self,
        tunnel: TunnelId,
        port: NonZeroU16,
    ) -> impl Future<Output = io::Result<TunnelStream>> + Send {
        let tunnel = locked(&self.open).get(&tunnel).cloned();
        async move { tunnel.ok_or(io::ErrorKind::NotConnected)?.open(port).await }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_rules::names::RouteId;
    use protocol::app_compose::PortPolicy;
    use protocol::digest::AppId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    fn port() -> NonZeroU16 {
        NonZeroU16::new(80).unwrap()
    }

    fn facts(open_counter: u64) -> GuestFacts {
        let (app, instance) = (AppId([1; 20]), InstanceId([10; 20]));
        GuestFacts { app, instance, open_counter, ports: PortPolicy::default() }
    }

    /// Whether the guest is reached, and whether it is ready.
    fn found(tunnels: &Tunnels) -> Option<bool> {
        let guests = locked(&tunnels.guests);
        guests.find(RouteId([1; 20]), port())?.1.first().map(|candidate| candidate.ready)
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 5 s: {what}");
    }

    type Run = JoinHandle<Result<Ended, AdmitError>>;

    /// A guest whose app sends back what it gets.
    fn dial(tunnels: &Arc<Tunnels>, open_counter: u64) -> (Tunnel, Run) {
        let (left, right) = duplex(65536);
        let (own, guest) = (Arc::clone(tunnels), Tunnel::new(Side::Guest));
        let run = tokio::spawn(async move { own.run(facts(open_counter), left, |_| {}).await });
        let task = guest.clone();
        tokio::spawn(async move {
            let opened = |stream: TunnelStream, _| {
                task.connect(&stream);
                tokio::spawn(async move {
                    let (mut reads, mut writes) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                    let _ = writes.shutdown().await;
                });
            };
            task.run(right, |_| {}, opened, |_| {}).await
        });
        (guest, run)
    }

    #[tokio::test]
    async fn a_guest_that_dialled_is_reached_through_its_tunnel_until_it_is_gone() {
        let tunnels = Tunnels::new(Arc::default());
        let (guest, run) = dial(&tunnels, 1);
        until("it is admitted", || found(&tunnels) == Some(false)).await;
        guest.say_ready(true);
        until("its app is ready", || found(&tunnels) == Some(true)).await;
        let mut stream = tunnels.open(TunnelId(0), port()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"hello");
        guest.close();
        run.await.unwrap().unwrap();
        assert_eq!(found(&tunnels), None);
        assert!(tunnels.open(TunnelId(0), port()).await.is_err());
    }

    #[tokio::test]
    async fn a_newer_guest_of_the_same_identity_ends_the_older_one_s_tunnel() {
        let tunnels = Tunnels::new(Arc::default());
        let (_older, run) = dial(&tunnels, 1);
        until("it is admitted", || found(&tunnels).is_some()).await;
        let mut stream = tunnels.open(TunnelId(0), port()).await.unwrap();
        let (_newer, _run) = dial(&tunnels, 2);
        assert!(matches!(run.await.unwrap(), Ok(Ended::Closed)));
        assert!(stream.read(&mut [0]).await.is_err(), "no stream goes on to the older one");
        assert!(found(&tunnels).is_some());
        let (_again, refused) = dial(&tunnels, 1);
        assert!(matches!(refused.await.unwrap(), Err(AdmitError::Older { found: 1, newest: 2 })));
        assert!(tunnels.open(TunnelId(1), port()).await.is_ok());
    }
}
