//! Writing an app-compose: compact JSON with sorted keys, as dstack's SDKs write it.

use std::collections::BTreeMap;

use super::{AppComposeError, AppFiles, KeyProvider, RUNNER, files, parse};
use crate::digest::Ed25519Key;

/// The file that is made for a directory with nothing but a compose file.
pub fn generate(name: &str, docker_compose_file: &str) -> Result<Vec<u8>, AppComposeError> {
    NewApp::of(name, docker_compose_file, &AppFiles::new()).generate()
}

/// What an app-compose is made from.
#[derive(Debug, Clone)]
pub struct NewApp<'a> {
    /// See [`super::AppCompose::name`].
    pub name: &'a str,
    /// The compose file's text.
    pub docker_compose_file: &'a str,
    /// The files that it refers to.
    pub files: &'a AppFiles,
    /// See [`super::AppCompose::danger_privileged`].
    pub danger_privileged: bool,
    /// See [`super::AppCompose::key_provider`].
    pub key_provider: KeyProvider,
    /// Whether the data disk is kept without encryption; see [`super::StorageFs::BtrfsPlain`].
    pub danger_host_readable_disk: bool,
    /// See [`super::AppCompose::allowed_envs`].
    pub allowed_envs: &'a [String],
    /// See [`super::AppCompose::owners`].
    pub owners: &'a [Ed25519Key],
    /// See [`super::AppCompose::pad_services`].
    pub pad_services: &'a [String],
    /// See [`super::AppCompose::gateway_enabled`].
    pub gateway_enabled: bool,
}

impl<'a> NewApp<'a> {
    /// An app without keys and without any danger.
    pub fn of(name: &'a str, docker_compose_file: &'a str, files: &'a AppFiles) -> Self {
        Self {
            name,
            docker_compose_file,
            files,
            danger_privileged: false,
            key_provider: KeyProvider::None,
            danger_host_readable_disk: false,
            allowed_envs: &[],
            owners: &[],
            pad_services: &[],
            gateway_enabled: false,
        }
    }

    /// [`generate`] for an app that is more than a compose file.
    ///
    /// # Errors
    /// If no guest would accept the file.
    pub fn generate(&self) -> Result<Vec<u8>, AppComposeError> {
        let kms_enabled = self.key_provider != KeyProvider::None;
        let mut fields = BTreeMap::from([
            ("allowed_envs", self.allowed_envs.into()),
            ("docker_compose_file", self.docker_compose_file.into()),
            ("gateway_enabled", self.gateway_enabled.into()),
            ("key_provider", self.key_provider.name().into()),
            ("kms_enabled", kms_enabled.into()),
            ("manifest_version", 2.into()),
            ("name", self.name.into()),
            ("public_logs", false.into()),
            ("public_sysinfo", false.into()),
            ("public_tcbinfo", true.into()),
            ("runner", RUNNER.into()),
            ("secure_time", false.into()),
        ]);
        if let KeyProvider::Kms { id } = self.key_provider {
            fields.insert("key_provider_id", id.to_string().into());
        }
        if self.danger_privileged {
            fields.insert("danger_privileged", true.into());
        }
        if self.danger_host_readable_disk {
            fields.insert("danger_host_readable_disk", true.into());
        }
        if !self.owners.is_empty() {
            let keys: Vec<_> = self.owners.iter().map(Ed25519Key::to_string).collect();
            fields.insert("owners", keys.into());
        }
        if !self.pad_services.is_empty() {
            fields.insert("pad_services", self.pad_services.into());
        }
        if !self.files.is_empty() {
            fields.insert("files", serde_json::json!(files::encode(self.files)));
        }
        let bytes = serde_json::to_vec(&fields).expect("strings and booleans serialise");
        parse(&bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app_compose::StorageFs;
    use crate::digest::Sha256Digest;

    #[test]
    fn owners_are_written_as_they_are_read() {
        let files = AppFiles::new();
        let owners = [1, 2].map(|byte| Ed25519Key([byte; 32]));
        let new = NewApp { owners: &owners, ..NewApp::of("a", "x", &files) };
        assert_eq!(parse(&new.generate().unwrap()).unwrap().owners, owners);
        let backwards = [owners[1], owners[0]];
        assert!(NewApp { owners: &backwards, ..new }.generate().is_err());
    }

    #[test]
    fn an_app_behind_a_gateway_is_written_as_it_is_read_and_has_a_kms() {
        let files = AppFiles::new();
        let key_provider = KeyProvider::Kms { id: Sha256Digest([7; 32]) };
        let new = NewApp { gateway_enabled: true, ..NewApp::of("a", "x", &files) };
        let refused = new.generate().unwrap_err().to_string();
        assert!(refused.contains("gateway_enabled: needs a KMS"), "{refused}");
        let app = parse(&NewApp { key_provider, ..new }.generate().unwrap()).unwrap();
        assert!(app.gateway_enabled);
    }

    #[test]
    fn keys_and_a_plain_disk_are_written_as_they_are_read() {
        let files = AppFiles::new();
        let key_provider = KeyProvider::Kms { id: Sha256Digest([7; 32]) };
        let new = NewApp { key_provider, ..NewApp::of("a", "x", &files) };
        let app = parse(&new.generate().unwrap()).unwrap();
        assert_eq!((app.key_provider, app.storage_fs), (key_provider, StorageFs::Btrfs));
        let new = NewApp { danger_host_readable_disk: true, ..NewApp::of("a", "x", &files) };
        let app = parse(&new.generate().unwrap()).unwrap();
        assert_eq!((app.key_provider, app.storage_fs), (KeyProvider::None, StorageFs::BtrfsPlain));
        let both = NewApp { key_provider, ..new };
        assert!(both.generate().unwrap_err().to_string().contains("danger_host_readable_disk"));
    }
}
