//! The owner's key: Ed25519, made once for a user, in a file that nobody else reads.

use std::path::{Path, PathBuf};

use attestation::signatures::{Envelope, PayloadType, SigningKey, dsse, keys};
use protocol::app_compose::MAX_NAME_BYTES;
use protocol::channel::OwnerProof;
use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::environment as environment_format;
use protocol::kms::Cluster;
use zeroize::Zeroizing;

use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::{paths, private};

/// Name of the cluster that a user's key owns alone.
pub const LOCAL_CLUSTER: &str = "local";
const _: () = assert!(LOCAL_CLUSTER.len() <= MAX_NAME_BYTES);
/// Name of the key's file.
const FILE: &str = "owner.pem";

/// A user's key.
#[derive(Debug)]
pub struct Owner {
    key: SigningKey,
}

impl Owner {
    /// This user's key, if it was made.
    pub fn load() -> Outcome<Option<Self>> {
        Self::load_from(&file()?)
    }

    /// This user's key; it is made where there is none. Whether it was made now is told too.
    pub fn load_or_make() -> Outcome<(Self, bool)> {
        let file = file()?;
        if let Some(owner) = Self::load_from(&file)? {
            return Ok((owner, false));
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)
            .map_err(|error| Failure::new(error, "the system gives no random numbers"))?;
        let pem = SigningKey::from_seed(&seed).to_pem().hint("the owner's key", "try again")?;
        let made = private::create(&file, pem.as_bytes())
            .hint(file.display(), "is the directory writable? name another with XDG_DATA_HOME")?;
        // Another process may have been first: the key in the file counts.
        let owner = Self::load_from(&file)?;
        let owner = owner.ok_or_else(|| Failure::new("the owner's key is gone", "try again"))?;
        Ok((owner, made))
    }

    /// This user's key, which is made where there is none; a person is told of that.
    pub fn ensured(output: &Output) -> Outcome<Self> {
        let (owner, made) = Self::load_or_make()?;
        if made {
            let (key, file) = (owner.public(), file()?);
            output.step(&format!("made this user's owner key, {key}, in {}", file.display()));
        }
        Ok(owner)
    }

    /// This user's key, or what to do without one.
    pub fn expect() -> Outcome<Self> {
        Self::load()?.ok_or_else(|| {
            Failure::new("this user has no owner's key", "`dstyx kms init` makes one")
        })
    }

    #[cfg(test)]
    pub fn of_seed(byte: u8) -> Self {
        Self { key: SigningKey::from_seed(&[byte; 32]) }
    }

    /// The key in a file, which nobody else may read.
    pub fn load_from(file: &Path) -> Outcome<Option<Self>> {
        let Some(pem) = private::read(file, keys::MAX_PEM_BYTES as u64)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&pem).hint(file.display(), "the file holds no key")?;
        let key = SigningKey::from_pem(text).hint(
            file.display(),
            "put the key back; without it nothing of this owner can be signed",
        )?;
        Ok(Some(Self { key }))
    }

    /// The public half.
    pub fn public(&self) -> Ed25519Key {
        self.key.signer().key()
    }

    /// The cluster that this key owns alone.
    pub fn local_cluster(&self) -> Cluster {
        Cluster { name: LOCAL_CLUSTER.into(), owners: vec![self.public()], threshold: 1 }
    }

    /// Who the KMS of that cluster is.
    pub fn key_provider_id(&self) -> Sha256Digest {
        self.local_cluster().id()
    }

    /// The text of an envelope in which this key signs `document`.
    pub fn sign_document(
        &self,
        payload_type: &'static str,
        document: &impl serde::Serialize,
    ) -> String {
        let payload = serde_json::to_vec(document).expect("documents hold strings and numbers");
        let mut envelope = Envelope::new(PayloadType(payload_type), payload);
        envelope.sign(&self.key);
        envelope.to_json()
    }

    /// The same for an envelope that others may have signed already.
    pub fn sign_envelope(&self, envelope: &[u8], payload_type: &'static str) -> Outcome<String> {
        let mut envelope = Envelope::parse(envelope, PayloadType(payload_type))
            .hint("the envelope", "take the file as dstyx wrote it")?;
        envelope.sign(&self.key);
        Ok(envelope.to_json())
    }

    /// The payload of an envelope that this key signed.
    #[cfg(test)]
    pub fn signed_by_this(&self, envelope: &[u8], payload_type: &'static str) -> Outcome<Vec<u8>> {
        use attestation::signatures::{Trust, verify};
        let trust = Trust::new(vec![self.key.signer()], 1).expect("one of one signers");
        let signed = verify(envelope, PayloadType(payload_type), &trust)
            .map_err(|error| Failure::new(&error, error.hint()))?;
        Ok(signed.payload().to_vec())
    }

    /// Signs an environment, which counts where a policy names this key.
    pub fn sign_environment(&self, envelope: &mut environment_format::Envelope) {
        let bytes = envelope.header.signed_bytes(&envelope.digest());
        let (signer, signature) = (self.public(), self.key.sign(&bytes));
        envelope.signature = Some(environment_format::Signature { signer, signature });
    }

    /// What this owner shows on a channel: its key, and its signature of the connection.
    pub fn prove(&self, signed: &[u8]) -> OwnerProof {
        OwnerProof { key: self.public().0, signature: self.key.sign(signed) }
    }
}

/// The file of this user's key.
pub fn file() -> Outcome<PathBuf> {
    Ok(paths::data_directory()?.join(FILE))
}

const _: () = assert!(dsse::MAX_BYTES >= protocol::kms::MAX_DOCUMENT_BYTES);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn owner(byte: u8) -> Owner {
        Owner::of_seed(byte)
    }

    #[test]
    fn a_key_is_read_from_a_file_of_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        assert!(Owner::load_from(&file).unwrap().is_none());
        private::create(&file, owner(1).key.to_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(Owner::load_from(&file).unwrap().unwrap().public(), owner(1).public());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Owner::load_from(&file).is_err());
    }

    #[test]
    fn a_document_counts_under_its_own_type_and_key_only() {
        let envelope = owner(1).sign_document("a/b", &serde_json::json!({ "version": 1 }));
        let payload = owner(1).signed_by_this(envelope.as_bytes(), "a/b").unwrap();
        assert_eq!(payload, br#"{"version":1}"#);
        assert!(owner(1).signed_by_this(envelope.as_bytes(), "a/c").is_err());
        assert!(owner(2).signed_by_this(envelope.as_bytes(), "a/b").is_err());
    }

    #[test]
    fn another_key_owns_another_key_provider() {
        owner(1).local_cluster().check().unwrap();
        assert_ne!(owner(1).key_provider_id(), owner(2).key_provider_id());
    }
}
