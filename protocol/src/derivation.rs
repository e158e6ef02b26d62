//! What a derived key is for: the context that a KMS feeds to HKDF-SHA256 (RFC 5869) as `info`.
//!
//! Every field has its length before it, so that no two contexts have the same bytes. The labels of
//! purposes are spelled here and nowhere else.

use crate::digest::{AppId, InstanceId};

/// First field of every context.
pub const LABEL: &[u8] = b"dstyx-kms";
/// The second: another form of context has another number.
pub const VERSION: u32 = 1;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The data disk of one instance: 64 bytes, two AES-256 keys of XTS.
    Disk,
    /// The environment of an app: 32 bytes, an X25519 secret.
    Environment,
    /// The certificate authority of an app: 32 bytes, a P-256 scalar.
    AppCa,
    /// Keys that an app derives further: 32 bytes, a secp256k1 scalar.
    AppK256,
    /// The identity under which a KMS speaks: 32 bytes, an Ed25519 seed.
    Identity,
    /// The certificate authority of the whole cluster: 32 bytes, a P-256 scalar.
    RootCa,
    /// The key that signs apps' secp256k1 keys: 32 bytes, a secp256k1 scalar.
    RootK256,
    /// What a KMS stores: 32 bytes, an AES-256-GCM key.
    Store,
    /// The roots of earlier epochs, where a KMS stores them: 32 bytes, an AES-256-GCM key.
    Keyring,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Disk,
        Self::Environment,
        Self::AppCa,
        Self::AppK256,
        Self::Identity,
        Self::RootCa,
        Self::RootK256,
        Self::Store,
        Self::Keyring,
    ];

    /// Its name in a context.
    pub fn label(self) -> &'static [u8] {
        match self {
            Self::Disk => b"disk",
            Self::Environment => b"environment",
            Self::AppCa => b"app-ca",
            Self::AppK256 => b"app-k256",
            Self::Identity => b"identity",
            Self::RootCa => b"root-ca",
            Self::RootK256 => b"root-k256",
            Self::Store => b"store",
            Self::Keyring => b"keyring",
        }
    }

    /// The algorithm that the key is for; it is part of the context, so that no two algorithms get
    /// the same bytes.
    pub fn algorithm(self) -> &'static [u8] {
        match self {
            Self::Disk => b"aes-256-xts",
            Self::Environment => b"x25519",
            Self::AppCa | Self::RootCa => b"p256",
            Self::AppK256 | Self::RootK256 => b"secp256k1",
            Self::Identity => b"ed25519",
            Self::Store | Self::Keyring => b"aes-256-gcm",
        }
    }
}

/// The context of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The app; `None` for keys of the cluster.
    pub app_id: Option<&'a AppId>,
    /// The instance; `None` for keys of an app or of the cluster.
    pub instance_id: Option<&'a InstanceId>,
    /// What the key is for.
    pub purpose: Purpose,
    /// Counts up from 0 where the bytes before it were no valid scalar.
    pub attempt: u32,
}

impl Context<'_> {
    /// The bytes of `info`: label, version, app id, instance id, purpose, algorithm and attempt,
    /// each behind its length (u32, little-endian); a missing id has length 0.
    pub fn to_bytes(&self) -> Vec<u8> {
        let app_id = self.app_id.map(|id| &id.0[..]).unwrap_or_default();
        let instance_id = self.instance_id.map(|id| &id.0[..]).unwrap_or_default();
        let fields: [&[u8]; 7] = [
            LABEL,
            &VERSION.to_le_bytes(),
            app_id,
            instance_id,
            self.purpose.label(),
            self.purpose.algorithm(),
            &self.attempt.to_le_bytes(),
        ];
        length_prefixed(&fields)
    }
}

/// Joins fields, each behind its length (u32, little-endian).
///
/// # Panics
/// If a field has 4 GiB or more; every caller's fields are bounded far below.
pub fn length_prefixed(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        let length = u32::try_from(field.len()).expect("fields are below 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_contexts_have_the_same_bytes() {
        let (app, instance) = (AppId([1; 20]), InstanceId([1; 20]));
        let mut seen = BTreeSet::new();
        for purpose in Purpose::ALL {
            for app_id in [None, Some(&app)] {
                for instance_id in [None, Some(&instance)] {
                    for attempt in [0, 1] {
                        let context = Context { app_id, instance_id, purpose, attempt };
                        assert!(seen.insert(context.to_bytes()), "{context:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_context_is_spelled_as_documented() {
        let context =
            Context { app_id: None, instance_id: None, purpose: Purpose::Store, attempt: 0 };
        let expected = b"\x09\0\0\0dstyx-kms\x04\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\
            \x05\0\0\0store\x0b\0\0\0aes-256-gcm\x04\0\0\0\0\0\0\0";
        assert_eq!(context.to_bytes(), expected);
    }
}
