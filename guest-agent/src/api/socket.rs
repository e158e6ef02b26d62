//! One service of the guest over HTTP, on a socket of containers or on the public port.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use protocol::prpc::guest::Service;
use protocol::prpc::{Arguments, PrpcError};
use service::budget::Budget;
use service::prpc::{self, CallError, Calls};
use service::{Answer, Answers};

use super::{Api, ApiError, EmitError};
use crate::anchors::AnchorError;
use crate::kms_client::KmsError;
use crate::quotes::QuoteError;

/// Connections to one socket at a time: programs of one app, each with a few.
pub const MAX_CONNECTIONS: usize = 64;
/// Bytes of answers that clients of one service have not read yet: two with the largest event log.
const MAX_HELD_BYTES: usize = 32 << 20;

/// A service and the interface that answers its calls.
#[derive(Debug)]
pub struct Socket {
    api: Arc<Api>,
    service: Service,
    budget: Budget,
}

impl Socket {
    /// Answers calls of `service`.
    pub fn new(api: Arc<Api>, service: Service) -> Self {
        Self { api, service, budget: Budget::new(MAX_HELD_BYTES) }
    }
}

#[cfg(test)]
impl Socket {
    /// The same with less room for answers.
    pub fn with_room(self, max_bytes: usize) -> Self {
        Self { budget: Budget::new(max_bytes), ..self }
    }
}

impl Answers for Socket {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        prpc::respond(self, request).await
    }
}

impl Calls for Socket {
    type Error = ApiError;

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn name(&self) -> &'static str {
        self.service.name()
    }

    fn method(&self, path: &str) -> Result<&'static str, PrpcError> {
        self.service.method(path)
    }

    async fn call(
        &self,
        method: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<Vec<u8>, ApiError> {
        self.api.answer(self.service, method, arguments).await
    }
}

impl CallError for ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Prpc(error) => prpc::status(error),
            Self::ManyCertificates
            | Self::Quote(QuoteError::Busy)
            | Self::Emit(EmitError::Busy)
            | Self::Kms(KmsError::NoAddress | KmsError::Away(_))
            | Self::Anchor(AnchorError::Busy | AnchorError::Kms(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
