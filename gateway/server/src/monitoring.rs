//! What Prometheus reads, on a port of its own: counters of the edge, and until when each base
//! domain has a certificate.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use service::answer::{Answer, of_type, refusal};
use service::server::Answers;

use crate::own_pages::Own;

/// Connections at a time.
pub const MAX_CONNECTIONS: usize = 8;
/// The type of the text (Prometheus, exposition formats, version 0.0.4).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers Prometheus.
pub struct Monitoring<F> {
    /// Gives the counters as a text.
    pub counters: F,
    /// What is known of the base domains.
    pub own: Arc<Own>,
}

impl<F: Fn() -> String + Send + Sync + 'static> Answers for Monitoring<F> {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => {
                let text = (self.counters)() + &self.certificates();
                of_type(StatusCode::OK, TEXT, text.into_bytes())
            }
            _ => refusal(StatusCode::NOT_FOUND, "no such page", "the page is /metrics"),
        }
    }
}

impl<F> Monitoring<F> {
    /// Labels are base domains, which the measured file names.
    fn certificates(&self) -> String {
        let domains = self.own.domains.all();
        let mut text = String::new();
        let until = "dstyx_gateway_certificate_not_after_seconds";
        let failed = "dstyx_gateway_issuance_failed";
        let _ = writeln!(text, "# TYPE {until} gauge");
        for (name, domain) in &domains {
            // At any time: one that expired is seen as such.
            let served = domain.standing.served(0);
            let secs = served.map_or(0, |one| one.certificate().validity().not_after_secs);
            let _ = writeln!(text, "{until}{{base=\"{name}\"}} {secs}");
        }
        let _ = writeln!(text, "# TYPE {failed} gauge");
        for (name, domain) in &domains {
            let value = u8::from(domain.standing.failure().is_some());
            let _ = writeln!(text, "{failed}{{base=\"{name}\"}} {value}");
        }
        text
    }
}
