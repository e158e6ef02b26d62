//! The calls on `pads.sock`, by which a service of a guest has programs run on Pads: documents in
//! JSON beside files that are named by their SHA-256.
//!
//! Whoever calls is a container of the app, which is believed nothing: a run is judged by its
//! signed run, its Pads' policies and their custodians' delegators.

use serde::{Deserialize, Serialize};

use crate::derivation::length_prefixed;
use crate::digest::{AppId, ComposeHash, InstanceId, Sha256Digest};
use crate::prpc::hex_bytes;
use crate::strict_json;

/// Where a service of the measured file's `pad_services` finds the socket.
pub const SOCKET: &str = "/run/dstyx/pads.sock";
/// Largest document that is sent to the socket: a plain input and a signed run in hexadecimal
/// digits, with the enrolments of some custodians.
pub const MAX_BYTES: usize = 4 << 20;
/// Custodians of a run.
pub const MAX_PARTIES: usize = 64;
/// Longest run of a program, which its caller waits for.
pub const MAX_WALL_MILLIS: u64 = 600_000;
/// First field of what stands in a guest for keying material of a channel.
const EXPORTER_LABEL: &[u8] = b"dstyx-pads-guest-1";
/// First part of a program's name that is a service of the compose file.
const SERVICE: &str = "service:";

/// What an owner signs in the place of keying material of a channel: the app and its instance, as
/// evidence of the guest proves them. The calls come over a socket inside the guest, and not over a
/// channel of the owner's.
pub fn exporter(app: &ComposeHash, app_id: &AppId, instance: Option<&InstanceId>) -> [u8; 32] {
    let instance = instance.map_or(&[][..], |instance| &instance.0);
    Sha256Digest::of(&length_prefixed(&[EXPORTER_LABEL, &app.0, &app_id.0, instance])).0
}

/// `POST /draw`: a run id, which is taken once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// The id; 16 bytes.
    #[serde(with = "hex_bytes")]
    pub run: Vec<u8>,
    /// See [`exporter`]; 32 bytes.
    #[serde(with = "hex_bytes")]
    pub exporter: Vec<u8>,
}

/// A file of the calling service: `PUT /files/SHA256`, and in the list of `GET /files`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInfo {
    /// Its SHA-256, by which it is named.
    pub sha256: Sha256Digest,
    /// Its length.
    pub bytes: u64,
}

/// `POST /run`: a run, whose files were put before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The id that was drawn; 16 bytes.
    #[serde(with = "hex_bytes")]
    pub run: Vec<u8>,
    /// The program.
    pub program: Program,
    /// The engines.
    pub engines: Vec<Sha256Digest>,
    /// The Pads, in the order in which the program sees them, by the SHA-256 of their files.
    pub pads: Vec<Sha256Digest>,
    /// The plain input; empty if there is none.
    #[serde(default, with = "hex_bytes", skip_serializing_if = "Vec::is_empty")]
    pub plain: Vec<u8>,
    /// The signed run of the program's owner; empty if nobody owns it.
    #[serde(default, with = "hex_bytes", skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<u8>,
    /// Custodians and their delegators.
    pub parties: Vec<Party>,
    /// What the program may use.
    #[serde(default)]
    pub limits: RunLimits,
}

/// `POST /update`: other policies for a Pad, whose owners agreed on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// The id that was drawn; 16 bytes.
    #[serde(with = "hex_bytes")]
    pub run: Vec<u8>,
    /// The engines of the old policies and of the new ones.
    pub engines: Vec<Sha256Digest>,
    /// The Pad, by the SHA-256 of its file.
    pub pad: Sha256Digest,
    /// The new policies, each as a Pad has it.
    #[serde(with = "hex_bytes::list")]
    pub policies: Vec<Vec<u8>>,
    /// The signed update of the owners.
    #[serde(with = "hex_bytes")]
    pub signed: Vec<u8>,
    /// The Pad's custodian and its delegator.
    pub party: Party,
}

/// A program: the SHA-256 of its file, or `service:NAME` of a service of the compose file whose
/// image is a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Program {
    /// A file that was put.
    File(Sha256Digest),
    /// A service.
    Service(String),
}

impl TryFrom<String> for Program {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix(SERVICE) {
            Some(name) => Ok(Self::Service(name.to_owned())),
            None => Sha256Digest::from_hex(&text).map(Self::File).map_err(|error| {
                format!("{error}: a program is the SHA-256 of its file, or {SERVICE}NAME")
            }),
        }
    }
}

impl From<Program> for String {
    fn from(program: Program) -> Self {
        match program {
            Program::File(digest) => digest.to_string(),
            Program::Service(name) => format!("{SERVICE}{name}"),
        }
    }
}

/// A custodian of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Its signed enrolment, which names the delegator.
    #[serde(with = "hex_bytes")]
    pub enrolment: Vec<u8>,
    /// Where the delegator may be, `https://HOST:PORT`: a hint, whatever answers there has to prove
    /// that it is the one. Without it the addresses of the guest's own KMS count, if that is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What a program may use; what is absent has a default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunLimits {
    /// Bytes of linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Elements of tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u32>,
    /// Bytes of data that its Pads may have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// Milliseconds from the start of its process to its end; at most [`MAX_WALL_MILLIS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_millis: Option<u64>,
    /// Outputs that it may propose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposals: Option<u32>,
}

/// The answer to `POST /run` and `POST /update`, and to `GET /runs/ID` when the run has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The run; 16 bytes.
    #[serde(with = "hex_bytes")]
    pub run: Vec<u8>,
    /// Why the program did not end well, or the run did not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What was refused, each with the rule, the Pad and the figure where there is one.
    pub refusals: Vec<String>,
    /// What left, in the order in which it was proposed: files of the calling service.
    pub outputs: Vec<Output>,
}

/// What left a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// What it is.
    pub kind: OutputKind,
    /// The SHA-256 of its file.
    pub sha256: Sha256Digest,
    /// Its length.
    pub bytes: u64,
}

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// A new Pad.
    Pad,
    /// A result in plain, sealed for the program's owner.
    Result,
}

/// Reads a document of a caller.
///
/// # Errors
/// If it is larger than [`MAX_BYTES`] or not exactly such a document.
pub fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, strict_json::JsonError> {
    strict_json::parse(json, MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_as_it_is_written_and_nothing_more_is() {
        let digest = Sha256Digest([7; 32]);
        let run = RunRequest {
            run: vec![1; 16],
            program: Program::File(digest),
            engines: vec![digest],
            pads: vec![digest],
            plain: vec![],
            signed: vec![2, 3],
            parties: vec![Party { enrolment: vec![4], address: None }],
            limits: RunLimits { proposals: Some(1), ..RunLimits::default() },
        };
        let json = serde_json::to_string(&run).unwrap();
        assert_eq!(parse::<RunRequest>(json.as_bytes()).unwrap(), run);
        let service =
            json.replace(&format!("\"program\":\"{digest}\""), "\"program\":\"service:a\"");
        let service: RunRequest = parse(service.as_bytes()).unwrap();
        assert_eq!(service.program, Program::Service("a".into()));
        for (from, to) in [
            ("\"engines\"", "\"engine\""),
            ("\"program\":\"07", "\"program\":\"7"),
            ("{\"run\"", "{\"plan\":1,\"run\""),
            ("\"proposals\":1", "\"proposals\":-1"),
            ("\"signed\":\"0203\"", "\"signed\":\"020\""),
        ] {
            let other = json.replacen(from, to, 1);
            assert_ne!(other, json, "{from}");
            assert!(parse::<RunRequest>(other.as_bytes()).is_err(), "{to}");
        }
        let long = format!("{json}{}", " ".repeat(MAX_BYTES));
        assert!(parse::<RunRequest>(long.as_bytes()).is_err());
    }

    #[test]
    fn what_stands_for_a_channel_differs_with_app_id_and_instance() {
        let of = |app: u8, id: u8, instance: Option<u8>| {
            let instance = instance.map(|byte| InstanceId([byte; 20]));
            exporter(&ComposeHash([app; 32]), &AppId([id; 20]), instance.as_ref())
        };
        let all = [of(1, 1, Some(1)), of(2, 1, Some(1)), of(1, 2, Some(1)), of(1, 1, None)];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other != one));
        }
    }
}
