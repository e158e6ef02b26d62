//! HTTP/1.1 with every bound stated: connections, heads, bodies and time.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::answers::{self, Answer, MAX_BODY_BYTES, Refused};
use crate::store::Store;

/// Further connections wait in the kernel's queue. Each may hold a page of notes: about a MiB, if
/// every character of them is escaped.
const MAX_CONNECTIONS: usize = 32;
/// Bytes of one request's head: a request line and what browsers add. hyper takes no less.
const MAX_HEAD_BYTES: usize = 8192;
/// How long a head or a body may take, and how long a connection may stay idle.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last; a browser opens another one.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);
/// Pause after an `accept` that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long changes under way may take when the program is asked to end: less than a container's
/// ten seconds.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Serves `store` on `port` until SIGTERM or SIGINT.
pub fn run(store: Arc<Store>, port: u16) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_CONNECTIONS)
        .build()?;
    let served = runtime.block_on(async {
        // The first process of a container is deaf to signals that it does not ask for.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        tokio::select! {
            () = serve(listener, store) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    });
    runtime.shutdown_timeout(END_WITHIN);
    served
}

async fn serve(listener: TcpListener, store: Arc<Store>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place =
            Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((client, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let _place = place;
            // Over time or broken off by the client: there is nobody to tell.
            let _ = timeout(CONNECTION_WITHIN, connection(client, store)).await;
        });
    }
}

async fn connection(client: TcpStream, store: Arc<Store>) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let store = Arc::clone(&store);
        async move { Ok::<_, Infallible>(answer(store, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(client), service)
        .await
}

/// Reads the whole request; the database syncs, so its calls have threads of their own.
async fn answer(store: Arc<Store>, request: Request<Incoming>) -> Answer {
    let request = match whole(request).await {
        Ok(request) => request,
        Err(refused) => return answers::refusal(&refused),
    };
    let done = tokio::task::spawn_blocking(move || answers::answer(&store, &request));
    done.await.expect("answers do not panic, and the runtime outlives them")
}

async fn whole(request: Request<Incoming>) -> Result<Request<Bytes>, Refused> {
    let (head, body) = request.into_parts();
    let most = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX);
    if body.size_hint().lower() > most {
        return Err(Refused::TooLarge);
    }
    let body = timeout(REQUEST_WITHIN, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match body.map_err(|_| Refused::Late)? {
        Ok(body) => Ok(Request::from_parts(head, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Err(_) => Err(Refused::Late),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// What a server answers to `request`, until it closes the connection.
    fn exchange(request: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = request.to_vec();
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let served = tokio::spawn(serve(listener, store));
            let answer = tokio::task::spawn_blocking(move || {
                let mut server = std::net::TcpStream::connect(address).unwrap();
                server.write_all(&request).unwrap();
                let mut answer = Vec::new();
                // A reset after a refusal is as good as an end.
                let _ = server.read_to_end(&mut answer);
                String::from_utf8(answer).unwrap()
            });
            let answer = answer.await.unwrap();
            served.abort();
            answer
        })
    }

    #[test]
    fn a_form_is_answered_over_a_connection() {
        let answer = exchange(
            b"POST /notes HTTP/1.1\r\nhost: a\r\n\
              content-type: application/x-www-form-urlencoded\r\ncontent-length: 6\r\n\r\ntext=a\
              GET /notes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 303 See Other\r\n"), "{answer}");
        assert!(
            answer.contains("HTTP/1.1 200 OK\r\n") && answer.contains("\"text\":\"a\""),
            "{answer}"
        );
    }

    #[test]
    fn large_bodies_are_refused_stated_or_not() {
        let stated = exchange(b"POST /notes HTTP/1.1\r\nhost: a\r\ncontent-length: 24593\r\n\r\n");
        assert!(stated.starts_with("HTTP/1.1 413 "), "{stated}");
        let mut chunks =
            b"POST /notes HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        chunks
            .extend(b"1000\r\n".iter().chain(&[b'x'; 4096]).chain(b"\r\n").cycle().take(7 * 4104));
        let unstated = exchange(&chunks);
        assert!(unstated.starts_with("HTTP/1.1 413 "), "{unstated}");
    }

    #[test]
    fn bytes_that_are_no_request_are_refused() {
        let long = [b"GET /", &[b'a'; 9000][..], b" HTTP/1.1\r\n\r\n"].concat();
        let both =
            b"POST /notes HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n";
        for bytes in [&b"\0\r\n\r\n"[..], b"GET / HTTP/3\r\n\r\n", &long, both] {
            let answer = exchange(bytes);
            assert!(answer.starts_with("HTTP/1.1 4"), "{}: {answer}", bytes[..16].escape_ascii());
        }
    }
}
