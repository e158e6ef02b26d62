//! `app-compose.json`: what an app is, in dstack's format. Its exact bytes are what gets measured.
//!
//! [`RawAppCompose`] takes every field that dstack knows, so that an error can say "not supported"
//! instead of "unknown"; [`AppCompose`] is what a dstyx guest runs. Nothing is ignored silently.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{ComposeHash, Ed25519Key};
use crate::strict_json;

mod differences;
mod environment;
mod files;
mod keys;
mod new;
mod owners;
mod pads;
mod ports;

pub use differences::differences;
pub use environment::EnvEnvelope;
pub use files::{AppFiles, ENVIRONMENT_FILE, FileError, MAX_FILES, check_path};
pub use keys::{
    KEY_PROVIDER_KMS, KeyProvider, KmsBounds, MIN_ANCHOR_AGE_SECS, StorageFs,
    TCB_EVALUATION_AT_BUILD, WithoutKms,
};
pub use new::{NewApp, generate};
pub use owners::MAX_OWNERS;
pub use pads::MAX_PAD_SERVICES;
pub use ports::{PortPolicy, PortPolicyError, RawPort, RawPortPolicy};

/// Largest file: in base64 it fits a launch block with room for everything else.
pub const MAX_BYTES: usize = 512 * 1024;
/// Longest app name; it becomes part of file names.
pub const MAX_NAME_BYTES: usize = 64;
/// More registries without TLS than an app has any use for.
pub const MAX_INSECURE_REGISTRIES: usize = 16;
/// The runner that a dstyx guest has.
pub const RUNNER: &str = "docker-compose";

/// Why an app-compose was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppComposeError {
    /// not the JSON of an app-compose
    #[error("app-compose.json: {0}")]
    Json(#[from] strict_json::JsonError),
    /// a value that this guest refuses, with the alternative
    #[error("app-compose.json: {field}: {what}")]
    Refused {
        /// The key.
        field: &'static str,
        /// Why, and what to do instead.
        what: String,
    },
    /// a file that cannot travel
    #[error("app-compose.json: files: {0}")]
    Files(#[from] FileError),
}

/// The file as written; field meanings are dstack's (`dstack-types`, `AppCompose`), the last
/// twelve are dstyx's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // one line a field would repeat the table in the module's source
pub struct RawAppCompose {
    pub manifest_version: Value,
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    pub runner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshotter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_compose_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bash_script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_script: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_launch_script: Option<String>,
    #[serde(default)]
    pub public_logs: bool,
    #[serde(default)]
    pub public_sysinfo: bool,
    #[serde(default = "yes")]
    pub public_tcbinfo: bool,
    #[serde(default)]
    pub kms_enabled: bool,
    #[serde(default, alias = "tproxy_enabled")]
    pub gateway_enabled: bool,
    #[serde(default)]
    pub local_key_provider_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_provider: Option<String>,
    #[serde(default)]
    pub key_provider_id: String,
    #[serde(default)]
    pub allowed_envs: Vec<String>,
    #[serde(default)]
    pub no_instance_id: bool,
    #[serde(default = "yes")]
    pub secure_time: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_fs: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_size: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log_version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_policy: Option<RawPortPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity_volumes: Option<Value>,
    #[serde(
        default,
        deserialize_with = "strict_json::unique_map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub files: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_privileged: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_host_readable_disk: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_unsigned_env: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_envelope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tcb_evaluation: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_kms_list_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor_max_age_secs: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_kms: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insecure_registries: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pad_services: Vec<String>,
}

/// What a guest runs: the file after every refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppCompose {
    /// The app's name: 1 to [`MAX_NAME_BYTES`] of `a-z A-Z 0-9 - _ .`.
    pub name: String,
    /// The compose file's text.
    pub docker_compose_file: String,
    /// Whether container logs may leave the guest.
    pub public_logs: bool,
    /// Whether system figures may leave the guest.
    pub public_sysinfo: bool,
    /// Whether registers and event log are shown without being asked for as evidence.
    pub public_tcbinfo: bool,
    /// Whether the instance id stays empty.
    pub no_instance_id: bool,
    /// Who gives the guest its keys.
    pub key_provider: KeyProvider,
    /// What the guest asks of its KMS beyond that it is the pinned one.
    pub kms_bounds: KmsBounds,
    /// The file system of the data disk, and whether the disk is encrypted and kept.
    pub storage_fs: StorageFs,
    /// Files of the app directory, which compose files refer to.
    pub files: AppFiles,
    /// Whether services may ask for what breaks their confinement.
    pub danger_privileged: bool,
    /// Variables that an encrypted environment may bring.
    pub allowed_envs: Vec<String>,
    /// Which environments are taken.
    pub env_envelope: EnvEnvelope,
    /// Registries, `host[:port]`, that are asked without TLS and without credentials.
    pub insecure_registries: Vec<String>,
    /// Keys whose holders may read what is not public, ascending, each once.
    pub owners: Vec<Ed25519Key>,
    /// Services that may have programs run on Pads, ascending, each once.
    pub pad_services: Vec<String>,
    /// Whether gateways lead clients to the app.
    pub gateway_enabled: bool,
    /// To which of its ports.
    pub port_policy: PortPolicy,
    /// Hash of the exact bytes.
    pub hash: ComposeHash,
}

/// Parses and resolves the exact bytes of an `app-compose.json`.
pub fn parse(bytes: &[u8]) -> Result<AppCompose, AppComposeError> {
    let raw: RawAppCompose = strict_json::parse(bytes, MAX_BYTES)?;
    check_version(&raw.manifest_version)?;
    refuse_what_is_not_here(&raw)?;
    check_name(&raw.name)?;
    check_registries(&raw.insecure_registries)?;
    let key_provider = keys::key_provider(&raw)?;
    let kms_bounds = keys::kms_bounds(&raw, key_provider)?;
    let storage_fs = keys::storage_fs(&raw, key_provider)?;
    let env_envelope = environment::check(&raw, key_provider)?;
    let port_policy = ports::check(&raw, key_provider)?;
    let docker_compose_file = raw.docker_compose_file.ok_or_else(|| AppComposeError::Refused {
        field: "docker_compose_file",
        what: "missing; put the text of docker-compose.yml here".into(),
    })?;
    Ok(AppCompose {
        name: raw.name,
        docker_compose_file,
        public_logs: raw.public_logs,
        public_sysinfo: raw.public_sysinfo,
        public_tcbinfo: raw.public_tcbinfo,
        no_instance_id: raw.no_instance_id,
        key_provider,
        kms_bounds,
        storage_fs,
        files: files::decode(&raw.files)?,
        danger_privileged: raw.danger_privileged,
        allowed_envs: raw.allowed_envs,
        env_envelope,
        insecure_registries: raw.insecure_registries,
        owners: owners::parse(&raw.owners)?,
        pad_services: pads::parse(raw.pad_services)?,
        gateway_enabled: raw.gateway_enabled,
        port_policy,
        hash: ComposeHash::of(bytes),
    })
}

fn check_version(version: &Value) -> Result<(), AppComposeError> {
    match version {
        Value::Number(number) if matches!(number.as_u64(), Some(1 | 2)) => Ok(()),
        Value::String(text) if text == "3" => Ok(()),
        other => Err(refused(
            "manifest_version",
            &format!("{other} is unknown; known are 1, 2 and \"3\""),
        )),
    }
}

fn refuse_what_is_not_here(raw: &RawAppCompose) -> Result<(), AppComposeError> {
    const SCRIPT: &str =
        "scripts are refused, the guest has no shell; make it a service of the compose file";
    let refusals = [
        (raw.runner != RUNNER, "runner", "only docker-compose is supported"),
        (raw.snapshotter.is_some(), "snapshotter", "belongs to nerdctl, which is not here"),
        (raw.bash_script.is_some(), "bash_script", SCRIPT),
        (raw.init_script.is_some(), "init_script", SCRIPT),
        (raw.pre_launch_script.is_some(), "pre_launch_script", SCRIPT),
        (!raw.features.is_empty(), "features", "deprecated; use kms_enabled and gateway_enabled"),
        (raw.swap_size.is_some(), "swap_size", "not supported"),
        (
            raw.event_log_version.is_some_and(|v| v != 1),
            "event_log_version",
            "only version 1 is supported",
        ),
        (raw.requirements.is_some(), "requirements", "not supported yet"),
        (raw.verity_volumes.is_some(), "verity_volumes", "not supported yet"),
    ];
    match refusals.into_iter().find(|(applies, ..)| *applies) {
        Some((_, field, what)) => Err(refused(field, what)),
        None => Ok(()),
    }
}

fn check_registries(registries: &[String]) -> Result<(), AppComposeError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'[' | b']');
    let fits = |name: &String| (1..=255).contains(&name.len()) && name.bytes().all(legal);
    if registries.len() <= MAX_INSECURE_REGISTRIES && registries.iter().all(fits) {
        return Ok(());
    }
    Err(refused(
        "insecure_registries",
        &format!("at most {MAX_INSECURE_REGISTRIES} of the form host or host:port"),
    ))
}

/// Refuses names that could not be a file name or a label everywhere.
pub fn check_name(name: &str) -> Result<(), AppComposeError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
    if fits && !name.starts_with('.') && name.bytes().all(legal) {
        return Ok(());
    }
    Err(refused(
        "name",
        &format!("1 to {MAX_NAME_BYTES} of a-z A-Z 0-9 - _ . are legal, not starting with a dot"),
    ))
}

fn refused(field: &'static str, what: &str) -> AppComposeError {
    AppComposeError::Refused { field, what: what.to_owned() }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_file_is_accepted_and_canonical() {
        let bytes = generate("hello", "services: {}\n").unwrap();
        assert!(
            bytes.starts_with(br#"{"allowed_envs":[],"docker_compose_file":"services: {}\n","#)
        );
        let app = parse(&bytes).unwrap();
        assert_eq!((app.name.as_str(), app.hash), ("hello", ComposeHash::of(&bytes)));
    }

    #[test]
    fn dstacks_own_example_is_refused_by_name_not_as_unknown() {
        let bytes = include_bytes!("../../tests/vectors/protocol/dstack-app-compose.json");
        let error = parse(bytes).unwrap_err();
        assert!(
            matches!(error, AppComposeError::Refused { field: "pre_launch_script", .. }),
            "{error}"
        );
    }

    /// docs/app-compose.md: every field, with values, and what happens to them.
    #[test]
    fn the_documented_table_is_what_happens() {
        let good: Value = serde_json::from_slice(&generate("a", "x").unwrap()).unwrap();
        let table = include_str!("../../docs/app-compose.md");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
        let mut documented = std::collections::BTreeSet::new();
        for (field, rest) in rows {
            let (value, what) = rest.split_once("` | ").unwrap();
            // A value may bring further fields: `"a", "other": "b"`.
            let fields: serde_json::Map<String, Value> =
                serde_json::from_str(&format!("{{\"{field}\": {value}}}")).unwrap();
            let mut changed = good.clone();
            changed.as_object_mut().unwrap().extend(fields);
            let parsed = parse(&serde_json::to_vec(&changed).unwrap());
            let refused = what.starts_with("refused");
            assert!(
                refused
                    || ["honoured", "mapped", "without effect"]
                        .iter()
                        .any(|word| what.starts_with(word))
            );
            assert_eq!(parsed.is_err(), refused, "{field} {value}: {parsed:?}");
            if let Err(error) = parsed {
                assert!(
                    error.to_string().starts_with(&format!("app-compose.json: {field}: ")),
                    "{error}"
                );
            }
            documented.insert(field.to_owned());
        }
        // serde tells all fields when it meets one that it does not know.
        let all = serde_json::from_str::<RawAppCompose>(r#"{"?": 0}"#).unwrap_err().to_string();
        let mut names = all.split("expected one of ").nth(1).unwrap().split('`');
        let mut known = std::collections::BTreeSet::new();
        while let (Some(_), Some(name)) = (names.next(), names.next()) {
            known.insert(name.to_owned());
        }
        known.remove("tproxy_enabled");
        assert_eq!(documented, known);
    }

    #[test]
    fn every_refusal_names_its_key() {
        let good: Value = serde_json::from_slice(&generate("a", "x").unwrap()).unwrap();
        let rows: [(&str, Value); 9] = [
            ("manifest_version", 4.into()),
            ("runner", "bash".into()),
            ("bash_script", "x".into()),
            ("key_provider", "tpm".into()),
            ("kms_enabled", true.into()),
            ("gateway_enabled", true.into()),
            ("storage_fs", "xfs".into()),
            ("requirements", serde_json::json!({})),
            ("name", "../x".into()),
        ];
        for (key, value) in rows {
            let mut changed = good.clone();
            changed[key] = value;
            let error = parse(&serde_json::to_vec(&changed).unwrap()).unwrap_err();
            assert!(
                matches!(error, AppComposeError::Refused { field, .. } if field == key),
                "{key}: {error}"
            );
        }
        let mut unknown = good;
        unknown["more"] = 1.into();
        assert!(matches!(
            parse(&serde_json::to_vec(&unknown).unwrap()),
            Err(AppComposeError::Json(_))
        ));
    }
}
