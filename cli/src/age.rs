//! Small files that open for one age key: the format of age, version 1
//! (<https://age-encryption.org/v1>), for one X25519 recipient.
//!
//! What is sealed may lie where others read: a backup, a shared disk. Whoever has the file is the
//! attacker; it learns the length of the content. age authenticates no sender: whoever knows the
//! recipient can write another file in the place of this one, so what comes out is judged as if it
//! had been plain. The program `age` reads what is written here, and the other way round.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

mod keys;

pub use keys::{Identity, MAX_IDENTITY_BYTES, Recipient};

/// Largest content: one chunk of age's, with room for whatever an owner keeps of a KMS.
pub const MAX_CONTENT_BYTES: usize = 4096;
/// Bytes of the key of one file.
const FILE_KEY_BYTES: usize = 16;
/// Bytes of the payload's nonce.
const NONCE_BYTES: usize = 16;
/// Bytes of an authentication tag.
const TAG_BYTES: usize = 16;
/// Base64 of 32 bytes, without padding.
const FIELD_BYTES: usize = 43;
/// First line.
const VERSION: &str = "age-encryption.org/v1\n";
/// Begins the one stanza.
const STANZA: &str = "-> X25519 ";
/// Begins the header's last line, which the MAC covers up to here.
const END: &str = "---";
/// Label of the key that wraps the file's key.
const WRAP_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// Bytes up to the payload.
const HEADER_BYTES: usize = VERSION.len()
    + STANZA.len()
    + FIELD_BYTES
    + 1
    + FIELD_BYTES
    + 1
    + END.len()
    + 1
    + FIELD_BYTES
    + 1;
/// Largest file.
pub const MAX_FILE_BYTES: usize = HEADER_BYTES + NONCE_BYTES + MAX_CONTENT_BYTES + TAG_BYTES;

/// Why a file is not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// a content beyond its budget
    #[error("{found} bytes are to be sealed, expected at most {MAX_CONTENT_BYTES}")]
    Content {
        /// Bytes present.
        found: usize,
    },
    /// not the one form
    #[error("no age file for one X25519 recipient: {0}")]
    Form(&'static str),
    /// a point of which every secret makes the same
    #[error("the {0} is a point of low order, which keeps nothing secret")]
    LowOrder(&'static str),
    /// another recipient's
    #[error("the file is sealed to another key")]
    Foreign,
    /// changed bytes
    #[error("the file's {0} was changed")]
    Altered(&'static str),
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
}

/// What is chosen anew for each file.
struct Fresh {
    file_key: Zeroizing<[u8; FILE_KEY_BYTES]>,
    ephemeral: Zeroizing<[u8; 32]>,
    nonce: [u8; NONCE_BYTES],
}

impl Fresh {
    fn random() -> Result<Self, AgeError> {
        let (mut file_key, mut ephemeral) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 32]));
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut file_key[..])?;
        getrandom::fill(&mut ephemeral[..])?;
        getrandom::fill(&mut nonce)?;
        Ok(Self { file_key, ephemeral, nonce })
    }
}

/// Seals `content` to one recipient.
///
/// # Errors
/// If it is too large, the recipient keeps nothing secret, or there is no randomness.
pub fn seal(recipient: &Recipient, content: &[u8]) -> Result<Vec<u8>, AgeError> {
    sealed(recipient, content, &Fresh::random()?)
}

/// Opens what was sealed to this identity's recipient.
///
/// # Errors
/// If it is no such file, sealed to another key, or was changed.
pub fn open(identity: &Identity, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let Parts { share, body, mac, payload } = Parts::parse(file)?;
    let shared = agreed(identity.secret(), &share, "file's share")?;
    let wrap = wrap_key(&shared, &share, &identity.recipient().0);
    let file_key = opened(&wrap, [0; NONCE_LEN], &body).ok_or(AgeError::Foreign)?;
    let signed = &file[..HEADER_BYTES - FIELD_BYTES - 2];
    let key = hmac::Key::new(hmac::HMAC_SHA256, &derived(&file_key, &[], b"header")[..]);
    hmac::verify(&key, signed, &mac).map_err(|_| AgeError::Altered("header"))?;
    let (nonce, chunk) = payload.split_at(NONCE_BYTES);
    opened(&derived(&file_key, nonce, b"payload"), only_chunk(), chunk)
        .ok_or(AgeError::Altered("content"))
}

fn sealed(recipient: &Recipient, content: &[u8], fresh: &Fresh) -> Result<Vec<u8>, AgeError> {
    if content.len() > MAX_CONTENT_BYTES {
        return Err(AgeError::Content { found: content.len() });
    }
    let Fresh { file_key, ephemeral, nonce } = fresh;
    let share = MontgomeryPoint::mul_base_clamped(**ephemeral).to_bytes();
    let shared = agreed(ephemeral, &recipient.0, "recipient")?;
    let wrap = wrap_key(&shared, &share, &recipient.0);
    let body = closed(&wrap, [0; NONCE_LEN], &file_key[..]);
    let (share, body) = (BASE64.encode(share), BASE64.encode(body));
    let signed = format!("{VERSION}{STANZA}{share}\n{body}\n{END}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &derived(&file_key[..], &[], b"header")[..]);
    let mac = BASE64.encode(hmac::sign(&key, signed.as_bytes()));
    let chunk = closed(&derived(&file_key[..], nonce, b"payload"), only_chunk(), content);
    Ok([signed.as_bytes(), format!(" {mac}\n").as_bytes(), nonce, &chunk].concat())
}

/// The fields of a file, none of them verified.
struct Parts<'a> {
    share: [u8; 32],
    body: [u8; 32],
    mac: [u8; 32],
    payload: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, AgeError> {
        let payload = file.get(HEADER_BYTES..).unwrap_or_default();
        let least = NONCE_BYTES + TAG_BYTES;
        let rest = after(file, VERSION, "another version than 1")?;
        let rest = after(rest, STANZA, "the first stanza is of another kind")?;
        let (share, rest) = field(rest)?;
        let (body, rest) = field(rest)?;
        let rest = after(rest, END, "more than one stanza")?;
        let (mac, _) = field(after(rest, " ", "no MAC")?)?;
        if !(least..=least + MAX_CONTENT_BYTES).contains(&payload.len()) {
            return Err(AgeError::Form("a content of another length than 0 to 4096 bytes"));
        }
        Ok(Self { share, body, mac, payload })
    }
}

fn after<'a>(bytes: &'a [u8], prefix: &str, otherwise: &'static str) -> Result<&'a [u8], AgeError> {
    bytes.strip_prefix(prefix.as_bytes()).ok_or(AgeError::Form(otherwise))
}

/// 32 bytes in base64, up to the end of the line.
fn field(bytes: &[u8]) -> Result<([u8; 32], &[u8]), AgeError> {
    const NONE: AgeError = AgeError::Form("a line that is not base64 of 32 bytes");
    let (text, rest) = bytes.split_at_checked(FIELD_BYTES).ok_or(NONE)?;
    let decoded = BASE64.decode(text).map_err(|_| NONE)?;
    Ok((decoded.try_into().map_err(|_| NONE)?, rest.strip_prefix(b"\n").ok_or(NONE)?))
}

fn agreed(
    secret: &[u8; 32],
    public: &[u8; 32],
    whose: &'static str,
) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let shared = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*secret).to_bytes());
    if *shared == [0; 32] { Err(AgeError::LowOrder(whose)) } else { Ok(shared) }
}

fn wrap_key(shared: &[u8; 32], share: &[u8; 32], recipient: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    derived(shared, &[&share[..], recipient].concat(), WRAP_LABEL)
}

fn derived(secret: &[u8], salt: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let derived = Hkdf::<Sha256>::new(Some(salt), secret).expand(label, &mut key[..]);
    derived.expect("a key is far below HKDF's 8160 bytes");
    key
}

/// The nonce of the only chunk: number 0, and the last one.
fn only_chunk() -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 1] = 1;
    nonce
}

fn closed(key: &[u8; 32], nonce: [u8; NONCE_LEN], content: &[u8]) -> Vec<u8> {
    // Sized at once: a vector that grows leaves copies of a secret behind.
    let mut bytes = Vec::with_capacity(content.len() + TAG_BYTES);
    bytes.extend_from_slice(content);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = cipher(key).seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes);
    sealed.expect("a content is far below what one nonce seals");
    bytes
}

fn opened(key: &[u8; 32], nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher(key).open_in_place(nonce, Aad::empty(), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key has 32 bytes"))
}

#[cfg(test)]
mod tests;
