//! The public port: HTTP/1.1 with every bound stated, each connection a task that cannot outlive its time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

mod answer;
mod routes;

pub use routes::Service;

/// Connections at a time; the next ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of one request's head: a request line and what browsers add. hyper takes no less.
const MAX_HEAD_BYTES: usize = 8192;
/// Headers of one request; browsers send about twenty.
const MAX_HEADERS: usize = 48;
/// How long a request's head may take, and how long a connection may stay idle.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last in all, which also ends those that do not read their answer.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);
/// Pause after an `accept` that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until its task is ended.
pub async fn serve(listener: TcpListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let _place = place;
                    // Over time or broken off by the client: there is nobody to tell.
                    let _ = timeout(CONNECTION_WITHIN, connection(stream, service)).await;
                });
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>) -> hyper::Result<()> {
    // Answers are small and written whole: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(&request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::boot::tests::boot;
    use crate::reports::Reports;

    /// A served boot; `ask` sends bytes and gives the whole answer.
    struct Served {
        address: std::net::SocketAddr,
        _directory: tempfile::TempDir,
    }

    async fn served() -> Served {
        let directory = tempfile::tempdir().unwrap();
        let reports = Reports::to_file(tempfile::tempfile().unwrap());
        let service = Arc::new(Service::new(&boot(directory.path(), |file| file), reports));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, service));
        Served { address, _directory: directory }
    }

    impl Served {
        async fn ask(&self, request: String) -> String {
            let address = self.address;
            let exchange = move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                String::from_utf8_lossy(&answer).into_owned()
            };
            tokio::task::spawn_blocking(exchange).await.unwrap()
        }

        async fn get(&self, target: &str) -> (u16, String) {
            let answer = self.ask(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), body.to_owned())
        }
    }

    #[tokio::test]
    async fn evidence_and_info_are_served() {
        let served = served().await;
        let (status, body) = served.get(&format!("/evidence?nonce={}", "0a".repeat(32))).await;
        assert_eq!((status, protocol::evidence::parse(body.as_bytes()).unwrap().nonce), (200, [10; 32]));
        let (status, body) = served.get("/info").await;
        assert_eq!((status, protocol::info::Info::parse(body.as_bytes()).unwrap().name.as_str()), (200, "hello"));
    }

    #[tokio::test]
    async fn wrong_requests_get_an_error_with_a_hint() {
        let served = served().await;
        let nonce = "0a".repeat(32);
        for (target, expected) in [
            ("/evidence".to_owned(), 400),
            ("/evidence?nonce=".to_owned(), 400),
            (format!("/evidence?nonce={}", nonce.to_uppercase()), 400),
            (format!("/evidence?nonce={nonce}&nonce={nonce}"), 400),
            (format!("/evidence?nonce={nonce}00"), 400),
            ("/info?x=1".to_owned(), 400),
            ("/other".to_owned(), 404),
        ] {
            let (status, body) = served.get(&target).await;
            assert_eq!(status, expected, "{target}: {body}");
            assert!(body.contains("\"error\":") && body.contains("\"hint\":"), "{body}");
        }
        let posted = served.ask("POST /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into()).await;
        assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    }

    #[tokio::test]
    async fn heads_beyond_the_budgets_are_refused() {
        let served = served().await;
        let long = format!("GET /info HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEAD_BYTES));
        assert!(!served.ask(long).await.starts_with("HTTP/1.1 200"));
        let many = format!("GET /info HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
        assert!(!served.ask(many).await.starts_with("HTTP/1.1 200"));
    }
}
