//! `prpc` over HTTP: a method in the path, arguments in the body or the query, the answer in their
//! encoding.

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use protocol::prpc::guest::Service;
use protocol::prpc::{Arguments, Encoding, MAX_REQUEST_BYTES, PrpcError, encode_error};

use super::{Api, ApiError};
use crate::http::answer;
use crate::quotes::QuoteError;
use crate::server::{Answer, Answers};

/// Connections to one socket at a time: programs of one app, each with a few.
pub const MAX_CONNECTIONS: usize = 64;

/// One socket of containers: its service.
#[derive(Debug)]
pub struct Socket {
    api: std::sync::Arc<Api>,
    service: Service,
}

impl Socket {
    /// Answers calls of `service`.
    pub fn new(api: std::sync::Arc<Api>, service: Service) -> Self {
        Self { api, service }
    }
}

impl Answers for Socket {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.api.respond(self.service, request).await
    }
}

impl Api {
    /// One HTTP request's answer.
    pub async fn respond(&self, service: Service, request: Request<Incoming>) -> Answer {
        let encoding = encoding(&request);
        match self.called(service, request, encoding).await {
            Ok(body) => answer::of_type(StatusCode::OK, encoding.content_type(), body),
            Err(error) => {
                let text = error.to_string();
                // Not louder: a container that is refused again and again would fill the console.
                tracing::debug!("{}: {text}", service.name());
                answer::of_type(
                    status(&error),
                    encoding.content_type(),
                    encode_error(&text, encoding),
                )
            }
        }
    }

    async fn called(
        &self,
        service: Service,
        request: Request<Incoming>,
        encoding: Encoding,
    ) -> Result<Vec<u8>, ApiError> {
        let method = service.method(request.uri().path())?;
        if request.method() == Method::GET {
            let query = request.uri().query().unwrap_or_default();
            return self.answer(service, method, Arguments::Query(query)).await;
        }
        let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect().await;
        // Either too large, or broken off by the client, who then reads nothing.
        let body =
            body.map_err(|_| PrpcError::TooLarge { found: MAX_REQUEST_BYTES + 1 })?.to_bytes();
        self.answer(service, method, Arguments::Body(encoding, &body)).await
    }
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

/// dstack's statuses: 400 for whatever a method refuses.
fn status(error: &ApiError) -> StatusCode {
    match error {
        ApiError::Prpc(PrpcError::NotFound(_)) => StatusCode::NOT_FOUND,
        ApiError::Prpc(PrpcError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        ApiError::Quote(QuoteError::Busy) | ApiError::Emit(super::EmitError::Busy) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_REQUEST,
    }
}
