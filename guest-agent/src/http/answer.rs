//! Answers: JSON documents, and errors that say what to try.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// What the port sends.
pub type Answer = Response<Full<Bytes>>;

/// A document.
pub fn json(document: Vec<u8>) -> Answer {
    with_status(StatusCode::OK, document)
}

/// A refusal: `{"error": …, "hint": …}`.
pub fn refusal(status: StatusCode, error: &str, hint: &str) -> Answer {
    let document = serde_json::json!({ "error": error, "hint": hint });
    let mut answer = with_status(status, document.to_string().into_bytes());
    match status {
        StatusCode::METHOD_NOT_ALLOWED => set(&mut answer, ALLOW, "GET"),
        StatusCode::SERVICE_UNAVAILABLE => set(&mut answer, RETRY_AFTER, "1"),
        _ => {}
    }
    answer
}

fn with_status(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, "application/json");
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

fn set(answer: &mut Answer, name: hyper::header::HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}
