//! Calls of a guest that has keys, with the certificate authority of a KMS behind them.

use kms_rules::Root;
use kms_rules::certificates::AppAuthority;
use kms_rules::derivation::app_key_signed;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use protocol::digest::AppId;
use protocol::kms::{AppKeyResponse, SignCertRequest, SignCertResponse};
use protocol::prpc::{
    AppInfo, DeriveKeyArgs, GetAttestationForAppKeyRequest, GetKeyArgs, GetKeyResponse,
    GetTlsKeyArgs, GetTlsKeyResponse, SignRequest, SignResponse, VerifyRequest,
};
use protocol::ra_tls;
use x509_cert::Certificate;
use x509_cert::der::{DecodePem as _, Encode as _};
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};
use x509_cert::spki::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::certifier::Signed;
use super::tests::ask;
use super::*;
use crate::boot::tests::boot;
use crate::keys::tests::response;
use crate::reports::Reports;

const NOW: u64 = 1_796_000_000;
/// That of test boots.
const APP: AppId = AppId([1; 20]);

/// The app's authority without the channel before it; it lists `web.example`.
#[derive(Debug)]
enum Kms {
    Serving,
    Away,
    /// Answers every request with the certificate of one key.
    Foreign,
}

impl SignsCertificates for Kms {
    fn sign_cert<'a>(&'a self, request: &'a SignCertRequest) -> Signed<'a> {
        Box::pin(async move {
            let request = match self {
                Self::Serving => request.clone(),
                Self::Away => return Err(KmsError::Away("nobody".into())),
                Self::Foreign => certificate_request_of_another_key(),
            };
            let listed = |names: &[String]| match names.iter().find(|name| *name != "web.example") {
                Some(name) => Err(kms_rules::Refused::NameNotListed(name.clone())),
                None => Ok(()),
            };
            let authority = AppAuthority::of(&root(), APP).unwrap();
            let signed = authority.sign(&request, listed, NOW);
            let refused = |error: kms_rules::certificates::CertificateRefusal| {
                KmsError::Refused(error.to_string())
            };
            signed.map(|certificate_chain| SignCertResponse { certificate_chain }).map_err(refused)
        })
    }
}

fn certificate_request_of_another_key() -> SignCertRequest {
    let key = SigningKey::from_slice(&[3; 32]).unwrap();
    certificate::request(&key, &certificate::Wanted::default(), None).unwrap()
}

/// An interface over software registers that was given keys.
pub fn api(directory: &std::path::Path) -> Api {
    with(directory, Kms::Serving)
}

fn with(directory: &std::path::Path, kms: Kms) -> Api {
    let mut boot = boot(directory, |file| file);
    boot.keys = Some(Arc::new(AppKeys::of(released()).unwrap()));
    let reports = Reports::to_file(tempfile::tempfile().unwrap());
    let desk = QuoteDesk::new(Arc::clone(&boot.log), reports);
    Api::with(&boot, Arc::new(desk), Some(Arc::new(kms)))
}

fn root() -> Root {
    Root::from_bytes(Zeroizing::new([5; 32]))
}

/// Compressed SEC1 of the key that signs apps' keys, in hex.
pub fn root_k256() -> String {
    hex::encode(root().root_k256().verifying_key().to_sec1_point(true).as_bytes())
}

/// An answer whose chain leads to that key; the app's own key is that of the vectors.
fn released() -> AppKeyResponse {
    let keys = response();
    let app = k256::ecdsa::SigningKey::from_slice(&keys.k256_key).unwrap();
    let signature = app_key_signed(&root().root_k256(), &APP, app.verifying_key());
    AppKeyResponse { k256_signature: signature.to_vec(), ..keys }
}

async fn once<M: Message>(
    api: &Api,
    service: Service,
    method: &str,
    args: &impl Message,
) -> Result<M, String> {
    let sent = protocol::prpc::encode(args, Encoding::Json);
    let answer = api.answer(service, method, Arguments::Body(Encoding::Json, &sent)).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(Arguments::Body(Encoding::Json, &answer).decode().unwrap())
}

async fn tls_key(api: &Api, args: GetTlsKeyArgs) -> Result<GetTlsKeyResponse, String> {
    once(api, Service::DstackGuest, "GetTlsKey", &args).await
}

/// The leaf, and its key in DER as the certificate and the private key have it.
fn leaf(answer: &GetTlsKeyResponse) -> (Certificate, Vec<u8>) {
    assert_eq!(answer.certificate_chain.len(), 3);
    let leaf = Certificate::from_pem(&answer.certificate_chain[0]).unwrap();
    let key = SigningKey::from_pkcs8_pem(&answer.key).unwrap();
    let public = SubjectPublicKeyInfo::from_key(key.verifying_key()).unwrap();
    assert_eq!(*leaf.tbs_certificate().subject_public_key_info(), public);
    (leaf, public.to_der().unwrap())
}

fn names(leaf: &Certificate) -> String {
    let names = leaf.tbs_certificate().get_extension::<SubjectAltName>();
    format!("{:?}", names.unwrap().unwrap().1)
}

#[tokio::test]
async fn keys_and_signatures_are_the_same_in_every_call_and_encoding() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path());
    let args =
        GetKeyArgs { path: "vms".into(), purpose: "signing".into(), ..GetKeyArgs::default() };
    let key: GetKeyResponse = ask(&api, Service::DstackGuest, "GetKey", &args).await.unwrap();
    let older: DeriveK256KeyResponse =
        ask(&api, Service::Tappd, "DeriveK256Key", &args).await.unwrap();
    assert_eq!((&key.key, &key.signature_chain), (&older.k256_key, &older.k256_signature_chain));

    let request = SignRequest { algorithm: "secp256k1".into(), data: b"data".to_vec() };
    let signed: SignResponse = ask(&api, Service::DstackGuest, "Sign", &request).await.unwrap();
    assert_eq!(signed.signature_chain[1..], key.signature_chain);
    let verify = VerifyRequest {
        algorithm: request.algorithm,
        data: request.data,
        signature: signed.signature,
        public_key: signed.public_key,
    };
    let verified: VerifyResponse =
        ask(&api, Service::DstackGuest, "Verify", &verify).await.unwrap();
    assert!(verified.valid);
    let unknown = GetKeyArgs { algorithm: "rsa".into(), ..args };
    let refused = ask::<Empty>(&api, Service::DstackGuest, "GetKey", &unknown).await.unwrap_err();
    assert!(refused.contains("Unsupported algorithm"), "{refused}");
}

#[tokio::test]
async fn a_tls_key_has_a_chain_for_what_was_asked_and_is_never_given_twice() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path());
    let args = GetTlsKeyArgs {
        subject: "web.example".into(),
        alt_names: vec!["web.example".into()],
        usage_server_auth: true,
        not_before: Some(NOW),
        not_after: Some(NOW + 60),
        ..GetTlsKeyArgs::default()
    };
    let answer = tls_key(&api, args.clone()).await.unwrap();
    let (leaf, key) = leaf(&answer);
    let says = leaf.tbs_certificate();
    assert_eq!(says.subject().to_string(), "CN=web.example");
    assert!(names(&leaf).contains("web.example"));
    assert_eq!(says.validity().not_after.to_unix_duration().as_secs(), NOW + 60);
    let (_, usages) = says.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    assert_eq!(usages.0.len(), 1);
    let again = tls_key(&api, args.clone()).await.unwrap();
    assert_ne!(self::leaf(&again).1, key);

    let alt_names = vec!["bank.example".into()];
    let refused = tls_key(&api, GetTlsKeyArgs { alt_names, ..args.clone() }).await.unwrap_err();
    assert!(refused.contains("bank.example"), "{refused}");
    let subject = "a".repeat(65);
    let refused = tls_key(&api, GetTlsKeyArgs { subject, ..args.clone() }).await.unwrap_err();
    assert!(refused.contains("65 characters"), "{refused}");
    let refused = tls_key(&api, GetTlsKeyArgs { with_app_info: true, ..args }).await.unwrap_err();
    assert!(refused.contains("with_app_info"), "{refused}");
}

#[tokio::test]
async fn a_quote_in_a_certificate_covers_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path());
    let args = GetTlsKeyArgs { usage_ra_tls: true, ..GetTlsKeyArgs::default() };
    let (leaf, key) = leaf(&tls_key(&api, args).await.unwrap());
    let extensions = leaf.tbs_certificate().extensions().unwrap();
    let value = |oid: &str| {
        let found = extensions.iter().find(|extension| extension.extn_id.to_string() == oid);
        found.unwrap().extn_value.as_bytes()
    };
    // Software registers' quotes are RTMR3 and report data, behind the OCTET STRING's header.
    let report_data = ra_tls::report_data(&key);
    assert!(value(ra_tls::QUOTE).ends_with(&report_data.0));
    let log = String::from_utf8_lossy(value(ra_tls::EVENT_LOG)).into_owned();
    assert!(log.contains("system-ready"), "{log}");
}

#[tokio::test]
async fn a_derived_key_follows_from_its_path_unless_it_is_to_be_random() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path());
    let derive = async |path: &str, random_seed: bool| {
        let (path, subject) = (path.to_owned(), path.to_owned());
        let args = DeriveKeyArgs { path, subject, random_seed, ..DeriveKeyArgs::default() };
        once::<GetTlsKeyResponse>(&api, Service::Tappd, "DeriveKey", &args).await.unwrap()
    };
    let first = derive("tls", false).await;
    leaf(&first);
    assert_eq!(first.key, derive("tls", false).await.key);
    assert_ne!(first.key, derive("/other.v1", false).await.key);
    assert_ne!(derive("tls", true).await.key, derive("tls", true).await.key);
    // The last row of the vectors is the key of this path.
    let vectors = include_str!("../../../tests/vectors/prpc/app-keys.txt");
    let row = vectors.lines().find(|line| line.starts_with("p256 tls ")).unwrap();
    let key = SigningKey::from_pkcs8_pem(&first.key).unwrap();
    assert_eq!(row.split(' ').nth(3).unwrap(), hex::encode(key.to_bytes()));
}

#[tokio::test]
async fn an_answer_for_another_key_and_a_kms_that_is_away_give_no_certificate() {
    let args = GetTlsKeyArgs::default;
    let directory = tempfile::tempdir().unwrap();
    let refused = tls_key(&with(directory.path(), Kms::Foreign), args()).await.unwrap_err();
    assert!(refused.contains("begins with this key's"), "{refused}");
    let directory = tempfile::tempdir().unwrap();
    let refused = tls_key(&with(directory.path(), Kms::Away), args()).await.unwrap_err();
    assert!(refused.contains("nobody"), "{refused}");
}

#[tokio::test]
async fn anybody_gets_a_quote_over_the_signing_key() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path());
    let args = GetAttestationForAppKeyRequest { algorithm: "ed25519".into() };
    let quoted: GetQuoteResponse =
        ask(&api, Service::Worker, "GetAttestationForAppKey", &args).await.unwrap();
    assert_eq!(quoted.quote[48..], quoted.report_data);
    assert!(quoted.report_data.starts_with(b"dip1::ed25519-pk:"));
    let unknown = GetAttestationForAppKeyRequest { algorithm: "".into() };
    let method = "GetAttestationForAppKey";
    let refused = ask::<Empty>(&api, Service::Worker, method, &unknown).await.unwrap_err();
    assert!(refused.contains("Unsupported algorithm"), "{refused}");
}

#[tokio::test]
async fn info_shows_the_verified_image_and_a_certificate_once_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path());
    let info =
        async || once::<AppInfo>(&api, Service::DstackGuest, "Info", &Empty {}).await.unwrap();
    assert_eq!(info().await.os_image_hash, vec![5; 32]);
    for _ in 0..500 {
        let shown = info().await.app_cert;
        if !shown.is_empty() {
            assert_eq!(shown.matches("-----BEGIN CERTIFICATE-----").count(), 3);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no certificate was issued");
}
