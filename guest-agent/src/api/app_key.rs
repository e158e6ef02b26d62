//! `GetKey`, `Sign` and what else comes from the app's secp256k1 key.
//!
//! Keys, signatures and their chains are dstack's: the same 32 bytes of a path serve every
//! algorithm, the purpose enters only the signature, and `Sign` uses the path `vms`. A chain leads
//! from the key over the app's to the cluster's, whose public half a verifier has from the KMS.
//! Source: dstack, `guest-agent` and `ra-tls`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use hkdf::Hkdf;
use k256::ecdsa::signature::hazmat::PrehashSigner as _;
use protocol::digest::ReportData;
use protocol::prpc::{GetKeyArgs, GetKeyResponse, SignRequest, SignResponse};
use sha2::Sha256;
use sha3::{Digest as _, Keccak256};
use zeroize::Zeroizing;

use super::report_data::padded;
use super::signature::{Algorithm, DIGEST_BYTES, SignatureError};
use crate::keys::AppKeys;

/// Salt of the derivation.
const SALT: &[u8] = b"RATLS";
/// Path of the key that `Sign` uses and an app key's quote names.
const SIGNING_PATH: &str = "vms";
/// What that key's signature says that it is for.
const SIGNING_PURPOSE: &str = "signing";

/// A key of a path, with who vouches for it.
pub(super) struct AppKey {
    key: Zeroizing<[u8; 32]>,
    public_key: Vec<u8>,
    signature_chain: Vec<Vec<u8>>,
}

/// The key that `args` names; of an earlier epoch until that is retired.
pub(super) fn get(keys: &AppKeys, args: &GetKeyArgs) -> Result<GetKeyResponse, SignatureError> {
    let algorithm = match args.algorithm.as_str() {
        "" => Algorithm::Secp256k1,
        named => Algorithm::named(named)?,
    };
    let AppKey { key, signature_chain, .. } =
        app_key(of_epoch(keys, args.epoch)?, &args.path, &args.purpose, algorithm)?;
    Ok(GetKeyResponse { key: key.to_vec(), signature_chain })
}

/// A signature by the signing key; its chain begins with itself.
pub(super) fn sign(keys: &AppKeys, request: &SignRequest) -> Result<SignResponse, SignatureError> {
    let algorithm = Algorithm::named(&request.algorithm)?;
    let AppKey { key, public_key, signature_chain } =
        app_key(of_epoch(keys, 0)?, SIGNING_PATH, SIGNING_PURPOSE, algorithm)?;
    let signature = match algorithm {
        Algorithm::Ed25519 => {
            ed25519_dalek::SigningKey::from_bytes(&key).sign(&request.data).to_vec()
        }
        Algorithm::Secp256k1 => {
            let signature: k256::ecdsa::Signature = secp256k1(&key)?.sign(&request.data);
            signature.to_vec()
        }
        Algorithm::Secp256k1Prehashed if request.data.len() != DIGEST_BYTES => {
            return Err(SignatureError::Digest(request.data.len()));
        }
        Algorithm::Secp256k1Prehashed => {
            let signature: k256::ecdsa::Signature =
                secp256k1(&key)?.sign_prehash(&request.data).map_err(|_| SignatureError::Key)?;
            signature.to_vec()
        }
    };
    let signature_chain = std::iter::once(signature.clone()).chain(signature_chain).collect();
    Ok(SignResponse { signature, signature_chain, public_key })
}

/// Report data that names the signing key: its algorithm and public half as text.
pub(super) fn report_data(keys: &AppKeys, algorithm: &str) -> Result<ReportData, SignatureError> {
    let algorithm = Algorithm::named(algorithm)?;
    let key = app_key(of_epoch(keys, 0)?, SIGNING_PATH, SIGNING_PURPOSE, algorithm)?;
    let label = match algorithm {
        Algorithm::Ed25519 => "dip1::ed25519-pk:",
        Algorithm::Secp256k1 | Algorithm::Secp256k1Prehashed => "dip1::secp256k1c-pk:",
    };
    let text = format!("{label}{}", URL_SAFE_NO_PAD.encode(key.public_key));
    Ok(padded(text.as_bytes()).expect("a label and 44 digits have at most 64 bytes"))
}

/// `HKDF-SHA256(from, salt "RATLS", info = path)`.
pub(super) fn derive(from: &[u8; 32], path: &str) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let derivation = Hkdf::<Sha256>::new(Some(SALT), from);
    derivation.expand(path.as_bytes(), &mut *key).expect("one block is not too long for HKDF");
    key
}

/// The app's key of one epoch, from which its others are derived.
#[derive(Clone, Copy)]
struct OfEpoch<'a> {
    key: &'a [u8; 32],
    signature: &'a [u8],
}

/// The app's key of an epoch; 0 is the one that the instance runs on.
fn of_epoch(keys: &AppKeys, epoch: u32) -> Result<OfEpoch<'_>, SignatureError> {
    if epoch == 0 || epoch == keys.epoch {
        return Ok(OfEpoch { key: &keys.k256_key, signature: &keys.k256_signature });
    }
    let earlier = keys.earlier.iter().find(|earlier| earlier.epoch == epoch);
    let unknown = SignatureError::Epoch { found: epoch, runs_on: keys.epoch };
    let earlier = earlier.ok_or(unknown)?;
    Ok(OfEpoch { key: &earlier.k256_key, signature: &earlier.k256_signature })
}

fn app_key(
    of_epoch: OfEpoch<'_>,
    path: &str,
    purpose: &str,
    algorithm: Algorithm,
) -> Result<AppKey, SignatureError> {
    let key = derive(of_epoch.key, path);
    let public_key = match algorithm {
        Algorithm::Ed25519 => {
            ed25519_dalek::SigningKey::from_bytes(&key).verifying_key().to_bytes().to_vec()
        }
        Algorithm::Secp256k1 | Algorithm::Secp256k1Prehashed => {
            secp256k1(&key)?.verifying_key().to_sec1_bytes().to_vec()
        }
    };
    let signed = Keccak256::digest(format!("{purpose}:{}", hex::encode(&public_key)));
    let (signature, recovery) = secp256k1(of_epoch.key)?.sign_prehash_recoverable(&signed);
    let mut by_app = signature.to_vec();
    by_app.push(recovery.to_byte());
    let signature_chain = vec![by_app, of_epoch.signature.to_vec()];
    Ok(AppKey { key, public_key, signature_chain })
}

fn secp256k1(key: &[u8; 32]) -> Result<k256::ecdsa::SigningKey, SignatureError> {
    k256::ecdsa::SigningKey::from_slice(key).map_err(|_| SignatureError::Key)
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
    use protocol::prpc::VerifyRequest;

    use super::*;
    use crate::keys::tests::response;

    /// Lines of `algorithm path purpose key public-key signature`.
    const VECTORS: &str = include_str!("../../../tests/vectors/prpc/app-keys.txt");

    fn keys() -> AppKeys {
        AppKeys::of(response()).unwrap()
    }

    fn rows() -> Vec<[String; 6]> {
        let field = |field: &str| field.trim_matches('-').to_owned();
        let rows = VECTORS.lines().filter(|line| !line.starts_with('#'));
        rows.map(|line| line.split(' ').map(field).collect::<Vec<_>>().try_into().unwrap())
            .collect()
    }

    #[test]
    fn keys_and_their_chains_are_those_that_dstack_s_formula_gives() {
        let mut seen = 0;
        for [algorithm, path, purpose, key, public_key, signature] in rows() {
            assert_eq!(hex::encode(*derive(&keys().k256_key, &path)), key, "{path}");
            if algorithm == "p256" {
                continue;
            }
            let (purpose, algorithm) = (purpose.clone(), algorithm.clone());
            let args = GetKeyArgs {
                path,
                purpose: purpose.clone(),
                algorithm: algorithm.clone(),
                epoch: 0,
            };
            let found = get(&keys(), &args).unwrap();
            assert_eq!(hex::encode(found.key), key);
            let [by_app, by_cluster] = &found.signature_chain[..] else { panic!() };
            assert_eq!(hex::encode(by_app), signature, "{algorithm} {purpose}");
            assert_eq!(*by_cluster, keys().k256_signature);
            // As a verifier does: the signature over purpose and key leads to the app's key.
            let digest = Keccak256::digest(format!("{purpose}:{public_key}"));
            let recovered = VerifyingKey::recover_from_prehash(
                &digest,
                &Signature::from_slice(&by_app[..64]).unwrap(),
                RecoveryId::from_byte(by_app[64]).unwrap(),
            );
            assert_eq!(&recovered.unwrap(), secp256k1(&keys().k256_key).unwrap().verifying_key());
            seen += 1;
        }
        assert_eq!(seen, 5);
    }

    #[test]
    fn a_key_of_an_earlier_epoch_can_be_had_while_the_kms_gives_it() {
        let before = get(&keys(), &GetKeyArgs::default()).unwrap();
        let mut moved = response();
        let earlier = protocol::kms::EarlierKeys {
            epoch: 1,
            k256_key: std::mem::replace(&mut moved.k256_key, vec![9; 32]),
            k256_signature: std::mem::replace(&mut moved.k256_signature, vec![8; 65]),
            env_crypt_key: vec![7; 32],
        };
        (moved.epoch, moved.earlier) = (2, vec![earlier]);
        let moved = AppKeys::of(moved).unwrap();
        let of = |epoch| get(&moved, &GetKeyArgs { epoch, ..GetKeyArgs::default() });
        assert_eq!(of(1).unwrap(), before);
        assert_eq!(of(0), of(2));
        assert_ne!(of(0).unwrap(), before);
        assert_eq!(of(3), Err(SignatureError::Epoch { found: 3, runs_on: 2 }));
    }

    #[test]
    fn what_is_signed_verifies_and_its_chain_begins_with_it() {
        for algorithm in ["ed25519", "secp256k1", "k256", "secp256k1_prehashed"] {
            let data = vec![7; 32];
            let request = SignRequest { algorithm: algorithm.into(), data: data.clone() };
            let SignResponse { signature, signature_chain, public_key } =
                sign(&keys(), &request).unwrap();
            assert_eq!((signature_chain.len(), &signature_chain[0]), (3, &signature));
            let algorithm = algorithm.to_owned();
            let mut verify = VerifyRequest { algorithm, data, signature, public_key };
            assert_eq!(super::super::signature::verify(&verify), Ok(true), "{verify:?}");
            verify.data[0] ^= 1;
            assert_eq!(super::super::signature::verify(&verify), Ok(false), "{verify:?}");
        }
        let short = SignRequest { algorithm: "secp256k1_prehashed".into(), data: vec![7; 31] };
        assert_eq!(sign(&keys(), &short), Err(SignatureError::Digest(31)));
        for unknown in ["", "rsa", "ED25519"] {
            let request = SignRequest { algorithm: unknown.into(), data: vec![] };
            assert_eq!(sign(&keys(), &request), Err(SignatureError::Algorithm(unknown.into())));
        }
    }

    #[test]
    fn report_data_names_the_signing_key() {
        let rows = rows();
        for (row, algorithm, label) in [
            (0, "secp256k1", "dip1::secp256k1c-pk:"),
            (0, "secp256k1_prehashed", "dip1::secp256k1c-pk:"),
            (1, "ed25519", "dip1::ed25519-pk:"),
        ] {
            let public_key = hex::decode(&rows[row][4]).unwrap();
            let text = format!("{label}{}", URL_SAFE_NO_PAD.encode(public_key));
            let found = report_data(&keys(), algorithm).unwrap();
            assert_eq!(found, padded(text.as_bytes()).unwrap(), "{algorithm}");
        }
    }
}
