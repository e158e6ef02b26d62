//! The private keys of a custodian's member: Ed25519, which signs, and X25519, to which results in
//! plain are sealed. Both are in one file of two PEM blocks, as other tools make them (RFC 8410).

use std::path::Path;

use attestation::signatures::{SigningKey, keys::MAX_PEM_BYTES};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pad_format::Custodian;
use pad_format::custodian::Signatures;
use pad_format::enrolment::ResultKey;
use pad_format::sealed::ResultSecret;
use protocol::digest::Ed25519Key;
use zeroize::Zeroizing;

use crate::failure::{Failure, Hint as _, Outcome};
use crate::private;

/// What stands before the 32 bytes of an X25519 key in PKCS #8 (RFC 8410, section 7).
const X25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const END: &str = "-----END PRIVATE KEY-----\n";
/// What to do about a file that holds no such keys.
const HINT: &str = "`dstyx pad keygen` makes such a file; put it back as it was written";

/// The keys of a member. They are never printed, and cleared when they are dropped.
pub struct MemberKeys {
    signing: SigningKey,
    results: Zeroizing<[u8; 32]>,
}

impl MemberKeys {
    /// Makes keys from the operating system's randomness.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Outcome<Self> {
        let mut seeds = [(); 2].map(|()| Zeroizing::new([0; 32]));
        for seed in &mut seeds {
            getrandom::fill(&mut seed[..])
                .map_err(|error| Failure::new(error, "the system gives no random numbers"))?;
        }
        let [seed, results] = seeds;
        Ok(Self { signing: SigningKey::from_seed(&seed), results })
    }

    /// The keys in a file, which nobody else may read.
    ///
    /// # Errors
    /// If there is no such file, others may read it, or it holds anything else.
    pub fn load(file: &Path) -> Outcome<Self> {
        let text = private::read(file, 2 * MAX_PEM_BYTES as u64)?.ok_or_else(|| {
            Failure::new(format!("{}: there is no such file", file.display()), HINT)
        })?;
        std::str::from_utf8(&text).ok().and_then(Self::parse).ok_or_else(|| {
            let what = "no private keys of a custodian (an Ed25519 and an X25519 key in PEM)";
            Failure::new(format!("{}: {what}", file.display()), HINT)
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let at = text.find(END)? + END.len();
        let (signing, results) = text.split_at(at);
        let signing = SigningKey::from_pem(signing).ok()?;
        let base64 = results.strip_prefix(BEGIN)?.strip_suffix(END)?.trim_end();
        // A key of another length does not fit, and none is left behind in a buffer that grew.
        let mut der = Zeroizing::new([0; X25519_PREFIX.len() + 32]);
        let length = STANDARD.decode_slice(base64, &mut der[..]).ok()?;
        let (prefix, key) = der.split_at(X25519_PREFIX.len());
        if length != der.len() || prefix != X25519_PREFIX {
            return None;
        }
        let mut results = Zeroizing::new([0; 32]);
        results.copy_from_slice(key);
        Some(Self { signing, results })
    }

    /// The text of their file.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn to_pem(&self) -> Outcome<Zeroizing<String>> {
        let signing = self.signing.to_pem().hint("the custodian's key", "try again")?;
        let mut der = Zeroizing::new([0; X25519_PREFIX.len() + 32]);
        der[..X25519_PREFIX.len()].copy_from_slice(&X25519_PREFIX);
        der[X25519_PREFIX.len()..].copy_from_slice(&self.results[..]);
        let base64 = Zeroizing::new(STANDARD.encode(&der[..]));
        // Sized at once: a text that grows leaves copies of a secret behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * MAX_PEM_BYTES));
        for part in [&signing, BEGIN, &base64, "\n", END] {
            text.push_str(part);
        }
        Ok(text)
    }

    /// The public half of the key that signs.
    pub fn public(&self) -> Ed25519Key {
        self.signing.signer().key()
    }

    /// The custodian that this member is alone.
    pub fn custodian(&self) -> Custodian {
        Custodian::single(self.public())
    }

    /// The key to which results in plain are sealed.
    pub fn result_key(&self) -> ResultKey {
        self.results().public()
    }

    /// The secret that opens results in plain, and records.
    pub fn results(&self) -> ResultSecret {
        ResultSecret::from_bytes(self.results.clone())
    }

    /// Signs bytes that begin with a label of what they are.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes)
    }
}

/// Signatures of all of these members over one message.
pub fn signed_by(members: &[MemberKeys], message: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    for member in members {
        signatures.add(member.public(), member.sign(message));
    }
    signatures
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_written_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.key");
        let keys = MemberKeys::generate().unwrap();
        private::create(&file, keys.to_pem().unwrap().as_bytes()).unwrap();
        let read = MemberKeys::load(&file).unwrap();
        assert_eq!((read.public(), read.result_key()), (keys.public(), keys.result_key()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = MemberKeys::load(&file).map(drop).unwrap_err();
        assert!(refused.to_string().contains("mode 640; expected 600"), "{refused}");
    }

    #[test]
    fn other_files_are_no_keys() {
        let pem = MemberKeys::generate().unwrap().to_pem().unwrap();
        let at = pem.find(END).unwrap() + END.len();
        let (signing, results) = pem.split_at(at);
        for text in [
            "",
            signing,
            results,
            &format!("{results}{signing}"),
            &format!("{signing}{signing}"),
            &format!("{}{results}", &*pem),
            &format!("{}\n", &*pem),
            &pem[1..],
            &pem[..pem.len() - 2],
        ] {
            assert!(MemberKeys::parse(text).is_none(), "{text}");
        }
    }
}
