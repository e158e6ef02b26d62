//! What the guest recorded and what its app is, as far as the evidence shows it: the event log and
//! the compose file.

use attestation::{CheckName, CheckVerdict};
use maud::{Markup, html};
use protocol::app_compose;
use protocol::digest::ComposeHash;
use protocol::event_log::{RUNTIME_REGISTER, RawEvent};

use super::text;
use crate::judge::Judged;

/// Most events that are shown; a boot has about 20.
const MAX_EVENTS: usize = 64;

/// The run-time events in their order.
pub fn events(judged: &Judged) -> Markup {
    let log = &judged.gathered.converted.evidence.event_log;
    let events: Vec<_> = log.iter().filter(|event| event.imr == RUNTIME_REGISTER).collect();
    html! {
        @if !events.is_empty() {
            h4 { "The events, in order" }
            ol.events {
                @for event in events.iter().take(MAX_EVENTS) {
                    li { b { (text::line(&event.event)) } " " code { (payload(event)) } }
                }
            }
            @if events.len() > MAX_EVENTS {
                p.dim { (events.len() - MAX_EVENTS) " more events are not shown." }
            }
        }
    }
}

/// The compose file, where the guest published the one that was measured.
pub fn compose_file(judged: &Judged) -> Markup {
    let published = judged.gathered.converted.evidence.app_compose.as_deref();
    let measured = judged.appraisal.facts.compose_hash.as_deref();
    let shown =
        published.filter(|file| Some(ComposeHash::of(file).to_string().as_str()) == measured);
    let replayed = judged
        .appraisal
        .check(CheckName::Rtmr3)
        .is_some_and(|row| row.verdict == CheckVerdict::Pass);
    let whose = if replayed {
        "is the one in RTMR3"
    } else {
        "is in the log, which is not that of the quote"
    };
    let compose = shown
        .and_then(|file| app_compose::parse(file).ok())
        .map(|settings| settings.docker_compose_file);
    html! {
        @if let Some(compose) = compose {
            h4 { "docker-compose.yml" }
            p.dim { "As the guest published it; the hash of the file that holds it " (whose) "." }
            pre tabindex="0" { code { (text::file(&compose)) } }
        }
    }
}

fn payload(event: &RawEvent) -> String {
    // Hex that does not decode fails a row of its own; here it is shown as it is.
    hex::decode(&event.event_payload)
        .map_or_else(|_| text::line(&event.event_payload), |bytes| text::payload(&bytes))
}
