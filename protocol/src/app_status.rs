//! What a guest shows of its running app on the public port: `GET /ps`, `/stats` and `/events`,
//! each only if the measured file allows.
//!
//! The guest's word, unsigned, for people and their tools. Texts in it can be what a container
//! wrote or an image is called: whoever prints them makes them printable first.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::strict_json;

/// Largest document: some hundred containers, or all events that an agent keeps with long texts.
pub const MAX_BYTES: usize = 2 << 20;
/// Longest text of a message in it; what a failed health check printed can be longer.
pub const MAX_TEXT_BYTES: usize = 1024;

/// The app: `GET /ps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppStatus {
    /// How far the app is.
    pub state: AppState,
    /// Why it is in that state, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In the order of the compose file, programs for the sandbox of Pads behind all others.
    pub containers: Vec<Container>,
}

/// How far an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppState {
    /// Images are being fetched.
    Pulling,
    /// Not every service is as the compose file asks yet.
    Starting,
    /// Every service is.
    Running,
    /// Some service cannot be.
    Failed,
    /// It was asked to end.
    Stopping,
    /// Nothing of it runs.
    Stopped,
}

/// One container, or one program for the sandbox of Pads, which is never started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// `SERVICE-N`, which names its log; of a program, which has none, the service.
    pub id: String,
    /// Its service.
    pub service: String,
    /// Its image, as the compose file names it.
    pub image: String,
    /// What it is doing.
    pub state: ContainerState,
    /// The same in words: how it ended, or why it failed.
    pub detail: String,
    /// `starting`, `healthy` or `unhealthy`; absent without a health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// When it started, in seconds since 1970 by the guest's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_secs: Option<u64>,
    /// Its addresses inside the guest.
    pub addresses: Vec<IpAddr>,
    /// What of it is reachable from outside, such as `8080->80/tcp`.
    pub ports: Vec<String>,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum ContainerState {
    Waiting,
    Starting,
    Running,
    Stopping,
    Restarting,
    Exited,
    Killed,
    Failed,
    /// A program for the sandbox of Pads that is here.
    Program,
}

/// What containers use: `GET /stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usages {
    /// In the order of the compose file, those that run.
    pub containers: Vec<Usage>,
}

/// What one container uses; absent is what the kernel does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// `SERVICE-N`.
    pub id: String,
    /// Processor time since its start, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_micros: Option<u64>,
    /// Memory in use, page cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The most that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Page cache that can be given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_cache_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Processes killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// What happened: `GET /events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// The oldest first.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Counted since the agent started: `GET /events?after=NUMBER` gives those behind it.
    pub number: u64,
    /// When, in milliseconds since 1970 by the guest's clock.
    pub at_millis: u64,
    /// The container or service; absent for the whole app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What, for people.
    pub what: String,
}

/// A document of these.
pub trait Document: Serialize + serde::de::DeserializeOwned {
    /// Parses it.
    fn parse(json: &[u8]) -> Result<Self, strict_json::JsonError> {
        strict_json::parse(json, MAX_BYTES)
    }

    /// Its bytes.
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialise")
    }
}

impl Document for AppStatus {}
impl Document for Usages {}
impl Document for Events {}

/// A text short enough for a document, and without the one character that no document may hold.
pub fn text(of: impl std::fmt::Display) -> String {
    let mut text = of.to_string().replace('\0', "\u{fffd}");
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive_their_json() {
        let container = Container {
            id: "web-1".into(),
            service: "web".into(),
            image: "nginx@sha256:00".into(),
            state: ContainerState::Exited,
            detail: "exited with code 1".into(),
            health: None,
            restarts: 2,
            started_secs: Some(7),
            addresses: vec!["172.18.0.2".parse().unwrap()],
            ports: vec!["80->80/tcp".into()],
        };
        let status =
            AppStatus { state: AppState::Running, message: None, containers: vec![container] };
        assert_eq!(AppStatus::parse(&status.to_json()), Ok(status));
        let usages = Usages {
            containers: vec![Usage { id: "web-1".into(), pids: Some(1), ..Usage::default() }],
        };
        assert_eq!(Usages::parse(&usages.to_json()), Ok(usages));
        let event = Event { number: 1, at_millis: 2, subject: None, what: text("a\0b") };
        assert_eq!(
            Events::parse(&Events { events: vec![event] }.to_json()).unwrap().events[0].what,
            "a\u{fffd}b"
        );
        assert!(AppStatus::parse(br#"{"state":"running","containers":[],"more":1}"#).is_err());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(text("\u{e4}".repeat(1000)).len(), MAX_TEXT_BYTES);
        assert_eq!(text(format!("x{}", "\u{e4}".repeat(1000))).len(), MAX_TEXT_BYTES - 1);
    }
}
