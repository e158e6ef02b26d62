//! Phase `EnvironmentOpened`: the variables that the host must not know are here, if the launch
//! block has any.
//!
//! The envelope comes through the host, which may have kept an older one or sealed one of its own:
//! who signed it, and whether a newer one was accepted, the KMS says. One that does not open or is
//! refused ends the guest; it never becomes an empty environment. An agent that is started again
//! opens the envelope with the keys that it kept, so that no value outlives it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use compose::Environment;
use environment::{OpenError, Variables, open, open_dstack};
use protocol::app_compose::EnvEnvelope;
use protocol::digest::Sha256Digest;
use protocol::environment::Envelope;
use protocol::kms::{AcceptEnvVersionRequest, AcceptEnvVersionResponse};
use protocol::status::{Phase, Refusal};

use super::{BootError, DiskOpened, HandoverRead, PhaseError};
use crate::keys::AppKeys;
use crate::kms_client::KmsError;
use crate::memory::Memory;

/// The call.
const METHOD: &str = "AcceptEnvVersion";

/// Holding one says: every variable of the encrypted environment is one that the measured file
/// allows, and the environment counts for the KMS, unless the measured file takes any.
#[derive(Debug)]
pub struct EnvironmentOpened {
    pub(super) disk: DiskOpened,
    pub(super) environment: Environment,
}

/// Why an environment is not used; names stand in it, values never.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentFault {
    /// not what init hands over
    #[error("the encrypted environment of the launch block: {0}")]
    Base64(#[from] base64::DecodeError),
    /// an environment for an app without keys
    #[error("an encrypted environment was handed over, and the measured file names no KMS for it")]
    NoKeys,
    /// an envelope that does not open
    #[error(transparent)]
    Unopened(#[from] OpenError),
    /// an envelope of anybody
    #[error("the encrypted environment has no signature, and danger_unsigned_env is not set")]
    Unsigned,
    /// an envelope that does not count
    #[error("the KMS refuses the encrypted environment: {0}")]
    Refused(String),
    /// a variable too many
    #[error("the encrypted environment has the variable {0}, which is not in allowed_envs")]
    NotAllowed(String),
}

impl EnvironmentFault {
    /// The code for the status disk.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Base64(_) | Self::NoKeys | Self::Unopened(_) => Refusal::EnvironmentUnopened,
            Self::Unsigned => Refusal::EnvironmentUnsigned,
            Self::Refused(_) => Refusal::EnvironmentRefused,
            Self::NotAllowed(_) => Refusal::EnvironmentNotAllowed,
        }
    }
}

impl EnvironmentOpened {
    /// Opens the environment of the launch block; waits for a KMS that is away.
    pub async fn enter(disk: DiskOpened, memory: &Memory) -> Result<Self, PhaseError> {
        let (read, released) = (&disk.keys.read, disk.keys.released.as_ref());
        let accept = async |request: AcceptEnvVersionRequest| match released {
            Some(released) => released.kms.wait_for(Phase::DiskOpened, METHOD, &request).await,
            None => Err(KmsError::NoAddress),
        };
        let keys = released.map(|released| &*released.keys);
        let environment = opened(read, keys, memory, accept).await;
        let environment = environment.map_err(BootError::entering(Phase::EnvironmentOpened))?;
        Ok(Self { disk, environment })
    }

    /// Whether the launch block has an environment, or the measured file would take one.
    pub fn is_asked_for(&self) -> bool {
        let read = &self.disk.keys.read;
        read.handover.encrypted_env.is_some() || !read.app.allowed_envs.is_empty()
    }

    /// Of a launch without an environment.
    #[cfg(test)]
    pub(super) fn without(disk: DiskOpened) -> Self {
        Self { disk, environment: Environment::default() }
    }
}

/// The variables of the launch block's environment; `accept` asks the KMS, once in a boot.
async fn opened(
    read: &HandoverRead,
    keys: Option<&AppKeys>,
    memory: &Memory,
    accept: impl AsyncFnOnce(AcceptEnvVersionRequest) -> Result<AcceptEnvVersionResponse, KmsError>,
) -> Result<Environment, BootError> {
    let Some(text) = &read.handover.encrypted_env else { return Ok(Environment::default()) };
    let bytes = STANDARD.decode(text).map_err(EnvironmentFault::Base64)?;
    let keys = keys.ok_or(EnvironmentFault::NoKeys)?;
    let (variables, envelope) = match read.app.env_envelope {
        EnvEnvelope::DangerDstack => (with_any(keys, |secret| open_dstack(&bytes, secret))?, None),
        EnvEnvelope::Signed | EnvEnvelope::DangerUnsigned => {
            let envelope = Envelope::parse(&bytes).map_err(OpenError::Envelope);
            let envelope = envelope.map_err(EnvironmentFault::Unopened)?;
            let handover = &read.handover;
            let variables = with_any(keys, |secret| {
                open(&envelope, secret, handover.app_id, handover.compose_hash)
            });
            (variables?, Some(envelope))
        }
    };
    check_names(&variables, &read.app.allowed_envs)?;
    let digest = Sha256Digest::of(&bytes);
    if let Some(envelope) = envelope
        && memory.read()?.environment != Some(digest)
    {
        match request(&envelope) {
            Some(request) => {
                accept(request).await.map_err(of_kms)?;
                memory.update(|kept| kept.environment = Some(digest))?;
            }
            None if read.app.env_envelope == EnvEnvelope::DangerUnsigned => {}
            None => return Err(EnvironmentFault::Unsigned.into()),
        }
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(variables.iter().map(owned).collect())
}

/// What the app's key opens, or that of an earlier epoch: an environment stays encrypted to the one
/// that it was sealed to.
fn with_any(
    keys: &AppKeys,
    open: impl Fn(&[u8; 32]) -> Result<Variables, OpenError>,
) -> Result<Variables, EnvironmentFault> {
    let opened = open(&keys.environment).or_else(|error| {
        let mut earlier = keys.earlier.iter();
        earlier.find_map(|keys| open(&keys.environment).ok()).ok_or(error)
    });
    opened.map_err(EnvironmentFault::Unopened)
}

fn check_names(variables: &Variables, allowed: &[String]) -> Result<(), EnvironmentFault> {
    let mut names = variables.iter().map(|(name, _)| name);
    match names.find(|name| !allowed.iter().any(|known| known == name)) {
        Some(name) => Err(EnvironmentFault::NotAllowed(name.to_owned())),
        None => Ok(()),
    }
}

/// What the KMS is asked; none for an envelope without a signature, of which it knows nothing.
fn request(envelope: &Envelope) -> Option<AcceptEnvVersionRequest> {
    let signature = envelope.signature.as_ref()?;
    Some(AcceptEnvVersionRequest {
        counter: envelope.header.counter,
        suite: (envelope.header.suite as u16).into(),
        digest: envelope.digest().0.to_vec(),
        signer: signature.signer.0.to_vec(),
        signature: signature.signature.to_vec(),
    })
}

fn of_kms(error: KmsError) -> BootError {
    match error {
        KmsError::Refused(text) => EnvironmentFault::Refused(text).into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::app_compose::{self, AppFiles, KeyProvider, NewApp};
    use protocol::digest::{AppId, ComposeHash};
    use protocol::environment::{Header, Signature, Suite};
    use protocol::handover::Handover;
    use protocol::kms::AppKeyResponse;
    use tee::fixtures::SoftwareTee;
    use zeroize::Zeroizing;

    use super::super::tests::{handover, measured_log};
    use super::*;
    use crate::keys::tests::response;
    use crate::memory::tests::memory;
    use crate::quotes::SharedTee;

    /// The app of `handover`.
    const APP: AppId = AppId([1; 20]);

    /// A measured file with KEY and B allowed, and further fields.
    fn file(more: &str) -> Vec<u8> {
        let (files, allowed_envs) = (AppFiles::new(), ["KEY".to_owned(), "B".to_owned()]);
        let key_provider = KeyProvider::Kms { id: Sha256Digest([7; 32]) };
        let compose = "services: {}\n";
        let new = NewApp {
            key_provider,
            allowed_envs: &allowed_envs,
            ..NewApp::of("a", compose, &files)
        };
        let file = String::from_utf8(new.generate().unwrap()).unwrap();
        file.replacen('{', &format!("{{{more}"), 1).into_bytes()
    }

    fn read(file: &[u8], envelope: Option<&[u8]>) -> HandoverRead {
        let directory = tempfile::tempdir().unwrap();
        let tee: SharedTee = Arc::new(SoftwareTee::default());
        let mut handover = Handover::parse(&handover(file)).unwrap();
        handover.encrypted_env = envelope.map(|bytes| STANDARD.encode(bytes));
        HandoverRead::of(&handover.to_json(), measured_log(directory.path(), tee)).unwrap()
    }

    fn keys() -> AppKeys {
        AppKeys::of(response()).unwrap()
    }

    /// An envelope to the environment key of `response`.
    fn sealed(file: &[u8], names: &[&str]) -> Envelope {
        let public = curve25519_public(&keys().environment);
        let variable = |name: &&str| ((*name).to_owned(), Zeroizing::new(format!("{name}-secret")));
        let variables = Variables::of(names.iter().map(variable)).unwrap();
        let mut envelope =
            environment::seal(&variables, &public, APP, ComposeHash::of(file), 7).unwrap();
        let signer = protocol::digest::Ed25519Key([3; 32]);
        envelope.signature = Some(Signature { signer, signature: [4; 64] });
        envelope
    }

    fn curve25519_public(secret: &[u8; 32]) -> [u8; 32] {
        kms_rules::derivation::x25519_public_key(secret)
    }

    async fn with(
        read: &HandoverRead,
        memory: &Memory,
        says: Result<(), KmsError>,
    ) -> Result<Environment, BootError> {
        let accept = async |request: AcceptEnvVersionRequest| {
            says.map(|()| AcceptEnvVersionResponse { counter: request.counter })
        };
        opened(read, Some(&keys()), memory, accept).await
    }

    fn code(error: &BootError) -> Refusal {
        assert!(!error.to_string().contains("secret"), "{error}");
        error.refusal().unwrap()
    }

    #[tokio::test]
    async fn what_the_kms_accepts_is_opened_and_an_agent_that_is_started_again_asks_no_more() {
        let file = file("");
        let envelope = sealed(&file, &["KEY", "B"]);
        let (read, memory) = (read(&file, Some(&envelope.to_bytes())), memory());
        let expected = Header {
            suite: Suite::X25519Sha256Aes256Gcm,
            app_id: APP,
            compose_hash: ComposeHash::of(&file),
            counter: 7,
        };
        assert_eq!(envelope.header, expected);
        let accept = async |request: AcceptEnvVersionRequest| {
            assert_eq!((request.counter, request.suite), (7, 1));
            assert_eq!(request.digest, envelope.digest().0);
            assert_eq!((request.signer, request.signature), (vec![3; 32], vec![4; 64]));
            Ok(AcceptEnvVersionResponse { counter: 7 })
        };
        let variables = opened(&read, Some(&keys()), &memory, accept).await.unwrap();
        assert_eq!(variables.get("KEY"), Some("KEY-secret"));
        let never = async |_| panic!("it was accepted in this boot");
        let again = opened(&read, Some(&keys()), &memory, never).await.unwrap();
        assert_eq!(again, variables);
    }

    #[tokio::test]
    async fn an_environment_that_was_sealed_in_an_earlier_epoch_opens_until_that_is_retired() {
        let file = file("");
        let envelope = sealed(&file, &["KEY"]).to_bytes();
        let read = read(&file, Some(&envelope));
        let mut earlier = crate::keys::tests::earlier(1, 3);
        earlier.env_crypt_key = keys().environment.to_vec();
        let newer = |earlier| AppKeyResponse {
            epoch: 3,
            env_crypt_key: vec![9; 32],
            earlier,
            ..response()
        };
        let accept = async |request: AcceptEnvVersionRequest| {
            Ok(AcceptEnvVersionResponse { counter: request.counter })
        };
        let both = AppKeys::of(newer(vec![crate::keys::tests::earlier(2, 8), earlier])).unwrap();
        let variables = opened(&read, Some(&both), &memory(), accept).await.unwrap();
        assert_eq!(variables.get("KEY"), Some("KEY-secret"));
        let retired = AppKeys::of(newer(vec![crate::keys::tests::earlier(2, 8)])).unwrap();
        let refused = opened(&read, Some(&retired), &memory(), accept).await.unwrap_err();
        assert_eq!(code(&refused), Refusal::EnvironmentUnopened);
    }

    #[tokio::test]
    async fn an_environment_that_does_not_count_ends_the_guest_and_is_not_remembered() {
        let file = file("");
        let envelope = sealed(&file, &["KEY"]).to_bytes();
        let (read, memory) = (read(&file, Some(&envelope)), memory());
        let refused = with(&read, &memory, Err(KmsError::Refused("older".into()))).await;
        assert_eq!(code(&refused.unwrap_err()), Refusal::EnvironmentRefused);
        let superseded = with(&read, &memory, Err(KmsError::Superseded("later".into()))).await;
        assert_eq!(code(&superseded.unwrap_err()), Refusal::Superseded);
        assert_eq!(memory.read().unwrap().environment, None);
    }

    #[tokio::test]
    async fn what_does_not_open_is_never_an_empty_environment() {
        let file = file("");
        let good = sealed(&file, &["KEY"]);
        let mut for_others = good.clone();
        for_others.header.app_id = AppId([9; 20]);
        let mut older_file = good.clone();
        older_file.header.compose_hash = ComposeHash([9; 32]);
        let mut changed = good.clone();
        changed.ciphertext[0] ^= 1;
        let dstack = [0; 80];
        for bytes in [
            for_others.to_bytes(),
            older_file.to_bytes(),
            changed.to_bytes(),
            dstack.to_vec(),
            Vec::new(),
        ] {
            let refused = with(&read(&file, Some(&bytes)), &memory(), Ok(())).await.unwrap_err();
            assert_eq!(code(&refused), Refusal::EnvironmentUnopened, "{refused}");
        }
        let never = async |_| panic!("there is no KMS");
        let plain = app_compose::generate("a", "services: {}\n").unwrap();
        let read = read(&plain, Some(&good.to_bytes()));
        let refused = opened(&read, None, &memory(), never).await.unwrap_err();
        assert_eq!(code(&refused), Refusal::EnvironmentUnopened);
    }

    #[tokio::test]
    async fn a_variable_that_is_not_allowed_is_named_and_the_kms_is_not_asked() {
        let file = file("");
        let envelope = sealed(&file, &["KEY", "LD_PRELOAD"]).to_bytes();
        let never = async |_| panic!("nothing is accepted");
        let read = read(&file, Some(&envelope));
        let refused = opened(&read, Some(&keys()), &memory(), never).await.unwrap_err();
        assert_eq!(code(&refused), Refusal::EnvironmentNotAllowed);
        assert!(refused.to_string().contains("LD_PRELOAD"), "{refused}");
    }

    #[tokio::test]
    async fn an_envelope_without_a_signature_needs_the_word_of_danger() {
        for (more, taken) in [("", false), (r#""danger_unsigned_env":true,"#, true)] {
            let file = file(more);
            let unsigned = Envelope { signature: None, ..sealed(&file, &["KEY"]) };
            let read = read(&file, Some(&unsigned.to_bytes()));
            let never = async |_| panic!("the KMS knows nothing of it");
            match opened(&read, Some(&keys()), &memory(), never).await {
                Ok(variables) => assert!(taken && variables.get("KEY").is_some()),
                Err(refused) => {
                    assert!(!taken);
                    assert_eq!(code(&refused), Refusal::EnvironmentUnsigned);
                }
            }
        }
        // One with a signature is judged all the same.
        let file = file(r#""danger_unsigned_env":true,"#);
        let read = read(&file, Some(&sealed(&file, &["KEY"]).to_bytes()));
        let refused = with(&read, &memory(), Err(KmsError::Refused("older".into()))).await;
        assert_eq!(code(&refused.unwrap_err()), Refusal::EnvironmentRefused);
    }

    #[tokio::test]
    async fn dstack_s_envelope_is_taken_only_where_the_measured_file_says_so() {
        let dstack = include_str!("../../../tests/vectors/environment/dstack.hex");
        let dstack = hex::decode(dstack.trim()).unwrap();
        let file = file(r#""danger_unsigned_env":true,"env_envelope":"dstack","#);
        let file = String::from_utf8(file).unwrap();
        let file = file.replace(r#"["KEY","B"]"#, r#"["A","DB_PASSWORD","TEXT"]"#).into_bytes();
        let read = read(&file, Some(&dstack));
        let mut keys = keys();
        keys.environment = Zeroizing::new([0x42; 32]);
        let never = async |_| panic!("the KMS knows nothing of it");
        let variables = opened(&read, Some(&keys), &memory(), never).await.unwrap();
        assert_eq!(
            (variables.get("A"), variables.get("DB_PASSWORD")),
            (Some("\\"), Some("pass word"))
        );
        let ours = sealed(&file, &["A"]).to_bytes();
        let read = super::tests::read(&file, Some(&ours));
        let refused = opened(&read, Some(&keys), &memory(), never).await.unwrap_err();
        assert_eq!(code(&refused), Refusal::EnvironmentUnopened);
    }

    #[tokio::test]
    async fn without_an_envelope_there_are_no_variables_and_nobody_is_asked() {
        let never = async |_| panic!("there is nothing to accept");
        let read = read(&file(""), None);
        let variables = opened(&read, Some(&keys()), &memory(), never).await.unwrap();
        assert!(variables.is_empty());
    }
}
