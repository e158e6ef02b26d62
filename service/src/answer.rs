//! Answers: documents, texts, and errors that say what to try.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

/// An HTTP answer, whose body may come in pieces.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Content type of JSON.
pub const JSON: &str = "application/json";

/// A document.
pub fn json(document: Vec<u8>) -> Answer {
    of_type(StatusCode::OK, JSON, document)
}

/// A refusal: `{"error": …, "hint": …}`.
pub fn refusal(status: StatusCode, error: &str, hint: &str) -> Answer {
    let document = serde_json::json!({ "error": error, "hint": hint });
    let mut answer = of_type(status, JSON, document.to_string().into_bytes());
    match status {
        StatusCode::METHOD_NOT_ALLOWED => set(&mut answer, ALLOW, "GET"),
        StatusCode::SERVICE_UNAVAILABLE => set(&mut answer, RETRY_AFTER, "1"),
        _ => {}
    }
    answer
}

/// A body of a type.
pub fn of_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    of_bytes(status, content_type, body.into())
}

/// A body of a type, of bytes that may be shared or counted.
pub fn of_bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    stream(status, content_type, Full::new(body))
}

/// A body that comes in pieces.
pub fn stream(
    status: StatusCode,
    content_type: &'static str,
    body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> Answer {
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, content_type);
    set(&mut answer, CACHE_CONTROL, "no-store");
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

/// Sets a header.
pub fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}
