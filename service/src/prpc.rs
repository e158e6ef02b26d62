//! `prpc` over HTTP: a method in the path, arguments in the body or the query, the answer in their
//! encoding.

use std::fmt::Display;
use std::future::Future;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use protocol::prpc::{Arguments, Encoding, MAX_REQUEST_BYTES, PrpcError, encode_error};

use crate::answer::{self, Answer};
use crate::budget::Budget;

/// Error of an answer that finds no room.
const FULL: &str = "too many answers are being read: read them, and ask again";

/// A service and its methods.
pub trait Calls: Sync {
    /// A refused call; its text is what the client reads.
    type Error: CallError;

    /// What answers may cost in memory while their clients read them.
    fn budget(&self) -> &Budget;

    /// The service's name.
    fn name(&self) -> &'static str;

    /// The method that a path names.
    fn method(&self, path: &str) -> Result<&'static str, PrpcError>;

    /// The answer to one call, in the encoding of its arguments.
    fn call(
        &self,
        method: &'static str,
        arguments: Arguments<'_>,
    ) -> impl Future<Output = Result<Vec<u8>, Self::Error>> + Send;
}

/// A refused call as HTTP shows it.
pub trait CallError: Display + From<PrpcError> + Send {
    /// The status of the answer; dstack has 400 for whatever a method refuses.
    fn status(&self) -> StatusCode;
}

/// The status of a call that was not understood.
pub fn status(error: &PrpcError) -> StatusCode {
    match error {
        PrpcError::NotFound(_) => StatusCode::NOT_FOUND,
        PrpcError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PrpcError::Arguments(_) => StatusCode::BAD_REQUEST,
    }
}

/// One HTTP request's answer.
pub async fn respond<C: Calls>(calls: &C, request: Request<Incoming>) -> Answer {
    let encoding = encoding(&request);
    match called(calls, request, encoding).await {
        Ok(body) => match calls.budget().hold(body) {
            Some(body) => answer::of_bytes(StatusCode::OK, encoding.content_type(), body),
            None => {
                let error = encode_error(FULL, encoding);
                answer::of_type(StatusCode::SERVICE_UNAVAILABLE, encoding.content_type(), error)
            }
        },
        Err(error) => {
            let text = error.to_string();
            // Not louder: a client that is refused again and again would fill the console.
            tracing::debug!("{}: {text}", calls.name());
            answer::of_type(error.status(), encoding.content_type(), encode_error(&text, encoding))
        }
    }
}

async fn called<C: Calls>(
    calls: &C,
    request: Request<Incoming>,
    encoding: Encoding,
) -> Result<Vec<u8>, C::Error> {
    let method = calls.method(request.uri().path())?;
    if request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        return calls.call(method, Arguments::Query(query)).await;
    }
    let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect().await;
    // Either too large, or broken off by the client, who then reads nothing.
    let body = body.map_err(|_| PrpcError::TooLarge { found: MAX_REQUEST_BYTES + 1 })?.to_bytes();
    calls.call(method, Arguments::Body(encoding, &body)).await
}

/// JSON for a GET, for `?json`, and for a body that says so; everything else is protobuf.
fn encoding<B>(request: &Request<B>) -> Encoding {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let asked =
        pairs.into_iter().any(|pair| matches!(pair, "json" | "json=" | "json=1" | "json=true"));
    let stated = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = stated.split(';').next().unwrap_or_default().trim();
    let json = request.method() == Method::GET
        || asked
        || essence.eq_ignore_ascii_case("application/json");
    if json { Encoding::Json } else { Encoding::Protobuf }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_json_only_where_the_request_says_so() {
        let of = |method: Method, uri: &str, content_type: &str| {
            let request = Request::builder().method(method).uri(uri);
            encoding(&request.header(CONTENT_TYPE, content_type).body(()).unwrap())
        };
        let rows = [
            (of(Method::GET, "/Info", ""), Encoding::Json),
            (of(Method::POST, "/Info?a=1&json", ""), Encoding::Json),
            (of(Method::POST, "/Info", "Application/JSON; charset=utf-8"), Encoding::Json),
            (of(Method::POST, "/Info?jsonp", "text/json"), Encoding::Protobuf),
        ];
        for (found, expected) in rows {
            assert_eq!(found, expected);
        }
    }
}
