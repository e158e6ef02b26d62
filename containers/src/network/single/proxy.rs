//! A published port: connections to the guest are passed on to a service, byte by byte.
//!
//! Peers are anybody. Connections are bounded; when all places are taken, new ones wait in the kernel's
//! queue. Nothing is interpreted, and a service sees the guest's address, not the peer's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::network::NetworkError;

/// Connections of one port at a time: some 20 KiB each while bytes flow.
const MAX_CONNECTIONS: usize = 1024;
/// A service on the same machine accepts at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After an error of `accept` (no file descriptors left, mostly) there is no use in trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening port; closed, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    task: JoinHandle<()>,
    listening: SocketAddr,
}

impl Proxy {
    /// Listens on `listen` and passes connections on to `target`.
    pub async fn publish(listen: SocketAddr, target: SocketAddr) -> Result<Self, NetworkError> {
        let failed = |error| NetworkError::Publish { address: listen, error };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let listening = listener.local_addr().map_err(failed)?;
        Ok(Self { task: tokio::spawn(accept(listener, target)), listening })
    }

    /// Where it really listens.
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends only by being aborted, and its connections with it.
async fn accept(listener: TcpListener, target: SocketAddr) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((peer, _)) => {
                connections.spawn(async move {
                    let _place = place;
                    // A broken connection is its two ends' affair.
                    let _ = pass(peer, target).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn pass(mut peer: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut service = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await??;
    peer.set_nodelay(true)?;
    service.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut peer, &mut service).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_halves_close() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let service = TcpListener::bind(any).await.expect("service");
        let target = service.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = service.accept().await.expect("peer");
            let mut question = Vec::new();
            stream.read_to_end(&mut question).await.expect("question");
            stream.write_all(&[&question[..], b" answered"].concat()).await.expect("answer");
        });
        let proxy = Proxy::publish(any, target).await.expect("proxy");
        let mut client = TcpStream::connect(proxy.listening()).await.expect("connect");
        client.write_all(b"question").await.expect("write");
        client.shutdown().await.expect("half close");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, "question answered");
        let address = proxy.listening();
        drop(proxy);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(TcpStream::connect(address).await.is_err(), "closed");
    }
}
