//! The gateway's own pages: whether it serves, and by which certificates.

use std::sync::Arc;

use gateway_rules::names::DomainName;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use service::answer::{Answer, json, of_type, refusal};
use service::server::{Answers, Bounds};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::certificates::Certificates;

/// Which page a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// What the gateway serves under a base domain.
    Gateway(DomainName),
    /// Whether it serves.
    Health,
}

struct Pages {
    page: Page,
    /// The page of the base domain as it was when the connection began.
    document: Option<Vec<u8>>,
    ending: bool,
}

impl Answers for Pages {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered", "use GET");
        }
        match (&self.page, request.uri().path(), &self.document) {
            (Page::Health, _, _) if self.ending => {
                let hint = "another gateway takes new connections";
                refusal(StatusCode::SERVICE_UNAVAILABLE, "this gateway is ending", hint)
            }
            (Page::Health, "/", _) => of_type(StatusCode::OK, "text/plain", b"serving\n".to_vec()),
            (Page::Gateway(_), "/", Some(document)) => json(document.clone()),
            _ => refusal(StatusCode::NOT_FOUND, "no such page", "the page is /"),
        }
    }
}

/// Serves a page on a connection until its client has ended, within the time of strangers.
pub async fn serve<S>(stream: S, page: Page, certificates: &Certificates, ending: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let document = match &page {
        Page::Gateway(base) => certificates.described(base),
        Page::Health => None,
    };
    let pages = Arc::new(Pages { page, document, ending });
    // Over time or broken off by the client: there is nobody to tell.
    let _ = service::server::connection(stream, pages, Bounds::OF_STRANGERS).await;
}
