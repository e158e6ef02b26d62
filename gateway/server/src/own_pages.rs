//! The gateway's own pages: whether it serves, by which certificates, and the evidence about their
//! keys. All of it is public.

mod acme_info;
mod page;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_rules::names::DomainName;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, StatusCode};
use service::answer::{Answer, JSON, json, of_bytes, of_type, refusal};
use service::server::{Answers, Bounds};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::certificates::Certificates;
use crate::domains::{CertifiedBy, Domains};

pub use acme_info::acme_info;
pub use page::described;

/// Where the lines of published evidence are.
pub const EVIDENCE: &str = "/.dstyx/evidence";
/// Where the certificate of a local authority is.
pub const LOCAL_CA: &str = "/.dstyx/local-ca.pem";
/// dstack's place for what the guest says of itself.
const APP_INFO: &str = "/.dstack/app-info";
/// dstack's place for the account and the certificates' keys.
const ACME_INFO: &str = "/.dstack/acme-info";
/// Content type of lines of JSON.
const LINES: &str = "application/jsonl";

/// Which page a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// What the gateway serves under a base domain.
    Gateway(DomainName),
    /// Whether it serves.
    Health,
}

/// What the pages are made of.
#[derive(Debug, Default)]
pub struct Own {
    /// What is served to clients.
    pub certificates: Arc<Certificates>,
    /// What is known of the base domains.
    pub domains: Domains,
    guest: RwLock<Guest>,
}

/// What the guest says of itself, and its published evidence: shared by all answers.
#[derive(Debug, Default)]
struct Guest {
    app_info: Bytes,
    evidence: Bytes,
}

impl Own {
    /// Shows what the guest's agent says, in JSON.
    pub fn show_app_info(&self, json: Vec<u8>) {
        self.guest.write().unwrap_or_else(PoisonError::into_inner).app_info = json.into();
    }

    /// Shows the lines of evidence.
    pub fn show_evidence(&self, lines: String) {
        self.guest.write().unwrap_or_else(PoisonError::into_inner).evidence = lines.into();
    }

    fn answer(&self, base: &DomainName, path: &str) -> Option<Answer> {
        let guest = self.guest.read().unwrap_or_else(PoisonError::into_inner);
        let domain = self.domains.get(base);
        match path {
            "/" => {
                let domain = domain?;
                Some(page::html(base, &domain, now_secs()))
            }
            "/served.json" => self.certificates.described(base).map(json),
            EVIDENCE => Some(of_bytes(StatusCode::OK, LINES, guest.evidence.clone())),
            APP_INFO if !guest.app_info.is_empty() => {
                Some(of_bytes(StatusCode::OK, JSON, guest.app_info.clone()))
            }
            ACME_INFO => {
                let info = domain?.acme_info;
                (!info.is_empty()).then(|| of_bytes(StatusCode::OK, JSON, info))
            }
            LOCAL_CA => match domain?.certified_by {
                CertifiedBy::DangerLocal { root_pem } => {
                    let pem = root_pem.into_bytes();
                    Some(of_type(StatusCode::OK, "application/x-pem-file", pem))
                }
                CertifiedBy::Authority(_) => None,
            },
            _ => None,
        }
    }
}

struct Pages {
    page: Page,
    own: Arc<Own>,
    ending: bool,
}

impl Answers for Pages {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered", "use GET");
        }
        let path = request.uri().path();
        let found = match &self.page {
            Page::Health if self.ending => {
                let hint = "another gateway takes new connections";
                let gone = StatusCode::SERVICE_UNAVAILABLE;
                return refusal(gone, "this gateway is ending", hint);
            }
            Page::Health if path == "/" => {
                Some(of_type(StatusCode::OK, "text/plain", b"serving\n".to_vec()))
            }
            Page::Health => None,
            Page::Gateway(base) => self.own.answer(base, path),
        };
        let none = || refusal(StatusCode::NOT_FOUND, "no such page", "the page is /");
        found.unwrap_or_else(none)
    }
}

/// Serves a page on a connection until its client has ended, within the time of strangers.
pub async fn serve<S>(stream: S, page: Page, own: Arc<Own>, ending: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pages = Arc::new(Pages { page, own, ending });
    // Over time or broken off by the client: there is nobody to tell.
    let _ = service::server::connection(stream, pages, Bounds::OF_STRANGERS).await;
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
