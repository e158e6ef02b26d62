//! Our own envelope: HPKE (RFC 9180), base mode, with the header as associated data.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use protocol::digest::{AppId, ComposeHash};
use protocol::environment::{Envelope, Header, INFO, Suite};
use zeroize::Zeroizing;

use crate::{OpenError, SealError, Variables};

/// Seals an environment for an app's key; the envelope is not signed yet.
///
/// # Errors
/// If the key is none, or the variables are too large together.
///
/// # Panics
/// If the operating system has no randomness.
pub fn seal(
    variables: &Variables,
    public_key: &[u8; 32],
    app_id: AppId,
    compose_hash: ComposeHash,
    counter: u64,
) -> Result<Envelope, SealError> {
    let header = Header { suite: Suite::X25519Sha256Aes256Gcm, app_id, compose_hash, counter };
    let public_key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public_key)
        .map_err(|_| SealError::PublicKey)?;
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public_key,
            INFO,
            &variables.to_json()?,
            &header.to_bytes(),
        )
        .map_err(|_| SealError::PublicKey)?;
    let encapsulated = encapsulated.to_bytes().into();
    Ok(Envelope { header, encapsulated, ciphertext, signature: None })
}

/// Opens an environment for this app and this measured file with the app's secret.
///
/// # Errors
/// If it is for others, does not open, or holds no environment.
pub fn open(
    envelope: &Envelope,
    secret: &[u8; 32],
    app_id: AppId,
    compose_hash: ComposeHash,
) -> Result<Variables, OpenError> {
    let header = envelope.header;
    if header.app_id != app_id {
        return Err(OpenError::App { found: header.app_id, expected: app_id });
    }
    if header.compose_hash != compose_hash {
        return Err(OpenError::File { found: header.compose_hash, expected: compose_hash });
    }
    let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret);
    let secret = secret.map_err(|_| OpenError::Sealed)?;
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&envelope.encapsulated);
    let content = hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &encapsulated.map_err(|_| OpenError::Sealed)?,
        INFO,
        &envelope.ciphertext,
        &header.to_bytes(),
    );
    let content = Zeroizing::new(content.map_err(|_| OpenError::Sealed)?);
    Ok(Variables::parse(&content)?)
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::MontgomeryPoint;

    use super::*;

    const SECRET: [u8; 32] = [0x42; 32];
    const APP: AppId = AppId([0xaa; 20]);
    const FILE: ComposeHash = ComposeHash([0xcc; 32]);

    fn variables() -> Variables {
        let variable = |name: &str, value: &str| (name.into(), Zeroizing::new(value.into()));
        Variables::of([variable("A", "\\"), variable("DB_PASSWORD", "pass word")]).unwrap()
    }

    fn sealed() -> Envelope {
        let public_key = MontgomeryPoint::mul_base_clamped(SECRET).to_bytes();
        seal(&variables(), &public_key, APP, FILE, 7).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_with_the_app_s_secret_alone() {
        let envelope = sealed();
        assert_eq!(open(&envelope, &SECRET, APP, FILE), Ok(variables()));
        assert_eq!(open(&envelope, &[0x43; 32], APP, FILE), Err(OpenError::Sealed));
        assert_ne!(sealed().encapsulated, envelope.encapsulated);
    }

    #[test]
    fn an_environment_of_another_app_or_file_is_told_from_one_that_does_not_open() {
        let envelope = sealed();
        let (app, file) = (AppId([1; 20]), ComposeHash([1; 32]));
        let other = open(&envelope, &SECRET, app, FILE).unwrap_err();
        assert_eq!(other, OpenError::App { found: APP, expected: app });
        let other = open(&envelope, &SECRET, APP, file).unwrap_err();
        assert_eq!(other, OpenError::File { found: FILE, expected: file });
    }

    #[test]
    fn a_change_anywhere_opens_nothing() {
        let changes: [fn(&mut Envelope); 5] = [
            |envelope| envelope.header.counter += 1,
            |envelope| envelope.encapsulated[5] ^= 1,
            |envelope| envelope.ciphertext[0] ^= 1,
            |envelope| envelope.ciphertext.truncate(30),
            |envelope| envelope.encapsulated = [0; 32],
        ];
        for change in changes {
            let mut envelope = sealed();
            change(&mut envelope);
            assert_eq!(open(&envelope, &SECRET, APP, FILE), Err(OpenError::Sealed));
        }
        // The host moves an envelope to its own app: the header says so, the encryption does not.
        let mut moved = sealed();
        moved.header.app_id = AppId([1; 20]);
        assert_eq!(open(&moved, &SECRET, AppId([1; 20]), FILE), Err(OpenError::Sealed));
    }

    #[test]
    fn a_point_of_low_order_is_no_key() {
        let refused = seal(&variables(), &[0; 32], APP, FILE, 7);
        assert_eq!(refused, Err(SealError::PublicKey));
    }

    /// docs/environment.md: made apart from this code.
    #[test]
    fn the_documented_envelope_opens() {
        let bytes = include_bytes!("../../tests/vectors/environment/sealed.bin");
        let envelope = Envelope::parse(bytes).unwrap();
        assert_eq!((envelope.header.counter, &envelope.to_bytes()[..]), (7, &bytes[..]));
        assert_eq!(open(&envelope, &SECRET, APP, FILE), Ok(variables()));
    }
}
