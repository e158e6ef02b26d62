//! Image configurations: what an image says about the process to run in it, and the names of its
//! archives.
//!
//! Checked by digest before it comes here, and hostile all the same: what it says holds only as far
//! as the compose file does not say otherwise. Sources: OCI image specification 1.1, `config.md`,
//! and Docker's "Image JSON" for `Healthcheck`, whose durations are nanoseconds. Keys that only
//! describe are skipped; `ExposedPorts` is one, since it opens and closes nothing in a guest.

use std::collections::BTreeMap;
use std::time::Duration;

use compose::digest::ContentDigest;
use compose::model::HealthCheck;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::manifest::{ManifestError, PLATFORM};

/// What Docker runs the shell form of a health check with.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What an image says about the process to run in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers; empty for root.
    pub user: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after the entry point, or the whole command.
    pub command: Vec<String>,
    /// Where it starts; empty for `/`.
    pub working_dir: String,
    /// The signal that asks it to end, such as `SIGQUIT`.
    pub stop_signal: Option<String>,
    /// How its health is found out; `None` if the image does not say, or says `NONE`. With a value,
    /// `test` is given.
    pub health: Option<HealthCheck>,
    /// Absolute directories whose content shall outlive the container; sorted, each once.
    pub volumes: Vec<String>,
    /// Names and values without a meaning; sorted by name.
    pub labels: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct RawConfig {
    os: String,
    architecture: String,
    #[serde(default)]
    config: Option<RawProcess>,
    rootfs: RawRootfs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawProcess {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    healthcheck: Option<RawHealth>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealth {
    test: Option<Vec<String>>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
}

#[derive(Deserialize)]
struct RawRootfs {
    r#type: String,
    diff_ids: Vec<ContentDigest>,
}

/// Reads a configuration for `layers` layers: the process, and the digest of each uncompressed
/// archive, lowest first.
pub fn parse_config(
    bytes: &[u8],
    layers: usize,
) -> Result<(ImageConfig, Vec<ContentDigest>), ManifestError> {
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if (raw.os.as_str(), raw.architecture.as_str()) != PLATFORM {
        return Err(ManifestError::Platform { os: raw.os, architecture: raw.architecture });
    }
    if raw.rootfs.r#type != "layers" || raw.rootfs.diff_ids.len() != layers {
        return Err(ManifestError::DiffIds { layers, diff_ids: raw.rootfs.diff_ids.len() });
    }
    Ok((process(raw.config.unwrap_or_default())?, raw.rootfs.diff_ids))
}

fn process(raw: RawProcess) -> Result<ImageConfig, ManifestError> {
    let volumes: Vec<String> = raw.volumes.unwrap_or_default().into_keys().collect();
    if let Some(volume) = volumes.iter().find(|volume| !valid_volume(volume)) {
        return Err(ManifestError::Volume(volume.clone()));
    }
    Ok(ImageConfig {
        user: raw.user.unwrap_or_default(),
        environment: raw.env.unwrap_or_default(),
        entrypoint: raw.entrypoint.unwrap_or_default(),
        command: raw.cmd.unwrap_or_default(),
        working_dir: raw.working_dir.unwrap_or_default(),
        stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
        health: raw.healthcheck.map(health).transpose()?.flatten(),
        volumes,
        labels: raw.labels.unwrap_or_default().into_iter().collect(),
    })
}

/// A volume is mounted where its path says: below the root, and nowhere by way of `..`.
fn valid_volume(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    path.starts_with('/')
        && !path.contains('\0')
        && parts.peek().is_some()
        && parts.all(|part| part != "..")
}

fn health(raw: RawHealth) -> Result<Option<HealthCheck>, ManifestError> {
    let test = raw.test.unwrap_or_default();
    let test = match test.split_first().map(|(kind, arguments)| (kind.as_str(), arguments)) {
        // Nothing is inherited any more once an image is built.
        None | Some(("NONE", _)) => return Ok(None),
        Some(("CMD", arguments)) if !arguments.is_empty() => arguments.to_vec(),
        Some(("CMD-SHELL", [line])) => {
            SHELL.iter().map(|word| word.to_string()).chain([line.clone()]).collect()
        }
        Some(_) => return Err(ManifestError::Health(test.join(" "))),
    };
    // Zero means that the image does not say.
    let time = |nanoseconds: u64| (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds));
    Ok(Some(HealthCheck {
        test: Some(test),
        interval: time(raw.interval),
        timeout: time(raw.timeout),
        retries: (raw.retries > 0).then_some(raw.retries),
        start_period: time(raw.start_period),
        start_interval: time(raw.start_interval),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(process: &str) -> Result<ImageConfig, ManifestError> {
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[]}},"config":{process}}}"#
        );
        parse_config(text.as_bytes(), 0).map(|(config, _)| config)
    }

    #[test]
    fn configurations_must_fit_manifest_and_platform() {
        let text = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},"config":null}"#;
        assert!(parse_config(text.as_bytes(), 0).is_ok());
        assert!(matches!(parse_config(text.as_bytes(), 1), Err(ManifestError::DiffIds { .. })));
        let arm = text.replace("amd64", "arm64");
        assert!(matches!(parse_config(arm.as_bytes(), 0), Err(ManifestError::Platform { .. })));
    }

    #[test]
    fn what_an_image_says_of_its_process_is_read() {
        let config = config(
            r#"{"Volumes":{"/data":{},"/a/b":{}},"ExposedPorts":{"8080/TCP":{},"0/tcp":{},"9-8":{},"80/quic":{},"":{}},
                "Labels":{"b":"2","a":"1"},"Healthcheck":{"Test":["CMD-SHELL","curl x"],"Interval":5000000000,"Retries":2}}"#,
        )
        .expect("configuration");
        assert_eq!(config.volumes, ["/a/b", "/data"]);
        assert_eq!(config.labels[0], ("a".to_owned(), "1".to_owned()));
        let health = config.health.expect("a check");
        assert_eq!(health.test.expect("arguments"), ["/bin/sh", "-c", "curl x"]);
        assert_eq!((health.interval, health.retries), (Some(Duration::from_secs(5)), Some(2)));
        assert_eq!((health.timeout, health.start_period), (None, None));
    }

    #[test]
    fn no_check_is_no_check_and_nonsense_is_refused() {
        for none in [
            r#"{"Healthcheck":{"Test":["NONE"]}}"#,
            r#"{"Healthcheck":{"Test":[]}}"#,
            r#"{"Healthcheck":{}}"#,
        ] {
            assert_eq!(config(none).expect(none).health, None);
        }
        for (bad, expected) in [
            (r#"{"Healthcheck":{"Test":["CMD"]}}"#, "health check"),
            (r#"{"Healthcheck":{"Test":["RUN","x"]}}"#, "health check"),
            (r#"{"Healthcheck":{"Test":["CMD-SHELL","a","b"]}}"#, "health check"),
            (r#"{"Healthcheck":{"Test":["CMD","a"],"Interval":-1}}"#, "not an image document"),
            (r#"{"Volumes":{"data":{}}}"#, "volume"),
            (r#"{"Volumes":{"/":{}}}"#, "volume"),
            (r#"{"Volumes":{"/a/../../b":{}}}"#, "volume"),
            (r#"{"Labels":{"a":1}}"#, "not an image document"),
        ] {
            let error = config(bad).expect_err(bad).to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
