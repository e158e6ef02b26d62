//! Certificates of the app's keys, which the KMS signs.
//!
//! A container chooses what it asks for, the KMS decides by its policy. Requests are few at a time:
//! the channel to the KMS is the guest's, and renewals need it too.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use p256::ecdsa::SigningKey;
use protocol::kms::{SignCertRequest, SignCertResponse};
use protocol::prpc::{DeriveKeyArgs, GetTlsKeyArgs, GetTlsKeyResponse};
use protocol::ra_tls;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::certificate::{self, CertificateError, KeyEvidence, Wanted};
use super::{ApiError, app_key, json};
use crate::keys::AppKeys;
use crate::kms_client::{KmsClient, KmsError};
use crate::quotes::QuoteDesk;

/// Requests to the KMS at a time, those that wait included.
const MAX_REQUESTS: usize = 8;
/// How long after a failure the certificate of `Info` is asked for again.
const RETRY: Duration = Duration::from_secs(60);
/// Subject of that certificate, which is dstack's.
const INFO_SUBJECT: &str = "demo-cert";

/// An answer that is awaited.
pub(super) type Signed<'a> =
    Pin<Box<dyn Future<Output = Result<SignCertResponse, KmsError>> + Send + 'a>>;

/// Where requests are signed: the KMS, and in tests an authority without one.
pub(super) trait SignsCertificates: fmt::Debug + Send + Sync {
    /// `SignCert`.
    fn sign_cert<'a>(&'a self, request: &'a SignCertRequest) -> Signed<'a>;
}

impl SignsCertificates for KmsClient {
    fn sign_cert<'a>(&'a self, request: &'a SignCertRequest) -> Signed<'a> {
        Box::pin(self.call("SignCert", request))
    }
}

/// Makes keys and has them certified.
#[derive(Debug)]
pub(super) struct Certifier {
    keys: Arc<AppKeys>,
    kms: Arc<dyn SignsCertificates>,
    desk: Arc<QuoteDesk>,
    requests: Semaphore,
    of_info: Mutex<OfInfo>,
}

/// The certificate that `Info` shows.
#[derive(Debug)]
enum OfInfo {
    Absent,
    Asked,
    Failed(Instant),
    Issued(String),
}

impl Certifier {
    pub(super) fn new(
        keys: Arc<AppKeys>,
        kms: Arc<dyn SignsCertificates>,
        desk: Arc<QuoteDesk>,
    ) -> Self {
        let requests = Semaphore::new(MAX_REQUESTS);
        Self { keys, kms, desk, requests, of_info: Mutex::new(OfInfo::Absent) }
    }

    /// `GetTlsKey`: a key that nobody had before.
    pub(super) async fn tls_key(&self, args: GetTlsKeyArgs) -> Result<GetTlsKeyResponse, ApiError> {
        self.certified(&certificate::key(&*random()?)?, &Wanted::try_from(args)?).await
    }

    /// `DeriveKey`: the key of a path, or one that nobody had before.
    pub(super) async fn derived(&self, args: DeriveKeyArgs) -> Result<GetTlsKeyResponse, ApiError> {
        let from = if args.random_seed { random()? } else { self.keys.k256_key.clone() };
        let key = certificate::key(&app_key::derive(&from, &args.path))?;
        self.certified(&key, &Wanted::from(args)).await
    }

    async fn certified(
        &self,
        key: &SigningKey,
        wanted: &Wanted,
    ) -> Result<GetTlsKeyResponse, ApiError> {
        let _permit = self.requests.try_acquire().map_err(|_| ApiError::ManyCertificates)?;
        let evidence = if wanted.quoted { Some(self.evidence(key).await?) } else { None };
        let request = certificate::request(key, wanted, evidence.as_ref())?;
        let signed = self.kms.sign_cert(&request).await?;
        Ok(certificate::answer(key, signed)?)
    }

    /// A quote over the key, through the door that containers' quotes have.
    async fn evidence(&self, key: &SigningKey) -> Result<KeyEvidence, ApiError> {
        let report_data = ra_tls::report_data(&certificate::public_key_info(key)?);
        let quoted = self.desk.quote_for_container(report_data).await?;
        Ok(KeyEvidence { event_log: json(&quoted.log.events()?), quote: quoted.quote })
    }

    /// The chain that `Info` shows, or nothing; then it is being asked for.
    pub(super) fn of_info(self: &Arc<Self>) -> String {
        let mut state = self.of_info.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match &*state {
            OfInfo::Issued(chain) => return chain.clone(),
            OfInfo::Asked => false,
            OfInfo::Absent => true,
            OfInfo::Failed(at) => at.elapsed() >= RETRY,
        };
        if due {
            *state = OfInfo::Asked;
            let certifier = Arc::clone(self);
            tokio::spawn(async move { certifier.ask_for_info().await });
        }
        String::new()
    }

    async fn ask_for_info(&self) {
        let args = GetTlsKeyArgs {
            subject: INFO_SUBJECT.into(),
            usage_ra_tls: true,
            usage_client_auth: true,
            ..GetTlsKeyArgs::default()
        };
        let after = match self.tls_key(args).await {
            // The key is dropped: the certificate only shows who the app is.
            Ok(GetTlsKeyResponse { certificate_chain, key }) => {
                drop(Zeroizing::new(key));
                OfInfo::Issued(certificate_chain.concat())
            }
            Err(error) => {
                tracing::warn!("no certificate for Info: {error}");
                OfInfo::Failed(Instant::now())
            }
        };
        *self.of_info.lock().unwrap_or_else(PoisonError::into_inner) = after;
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, ApiError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| CertificateError::Key)?;
    Ok(bytes)
}
