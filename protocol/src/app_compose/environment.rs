//! Which variables an encrypted environment may bring, and which envelopes are taken.

use std::collections::BTreeSet;

use super::{AppComposeError, KeyProvider, RawAppCompose, refused};
use crate::environment::{MAX_NAME_BYTES, MAX_VARIABLES, is_name};

/// Which encrypted environments a guest takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EnvEnvelope {
    /// One that a signer of the KMS's policy signed.
    #[default]
    Signed,
    /// Such a one, and one without a signature, which anybody can have sealed.
    DangerUnsigned,
    /// dstack's alone, which anybody can have sealed, and which is for no version of the app.
    DangerDstack,
}

/// Checks all that a file says of environments; `key_provider` must be this file's.
pub(super) fn check(
    raw: &RawAppCompose,
    key_provider: KeyProvider,
) -> Result<EnvEnvelope, AppComposeError> {
    check_names(&raw.allowed_envs)?;
    if key_provider == KeyProvider::None && !raw.allowed_envs.is_empty() {
        return Err(refused(
            "allowed_envs",
            "encrypted variables need a KMS, under whose key they arrive; write key_provider kms \
             and key_provider_id, or put variables into .env, which is public",
        ));
    }
    match (raw.env_envelope.as_deref(), raw.danger_unsigned_env) {
        (None | Some("dstyx"), false) => Ok(EnvEnvelope::Signed),
        (None | Some("dstyx"), true) => Ok(EnvEnvelope::DangerUnsigned),
        (Some("dstack"), true) => Ok(EnvEnvelope::DangerDstack),
        (Some("dstack"), false) => Err(refused(
            "env_envelope",
            "dstack's envelope names no sender: write danger_unsigned_env true too",
        )),
        (Some(_), _) => Err(refused("env_envelope", "known are dstyx and dstack")),
    }
}

fn check_names(names: &[String]) -> Result<(), AppComposeError> {
    if names.len() > MAX_VARIABLES {
        let what = format!("{} names, at most {MAX_VARIABLES} are accepted", names.len());
        return Err(refused("allowed_envs", &what));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !is_name(name) || !seen.insert(*name)) {
        Some(name) => Err(refused(
            "allowed_envs",
            &format!(
                "{name:?} is there twice, or no letter or underscore with letters, digits and \
                 underscores behind it, at most {MAX_NAME_BYTES}"
            ),
        )),
        None => Ok(()),
    }
}
