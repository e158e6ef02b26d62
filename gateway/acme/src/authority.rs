//! A certification authority that speaks ACME (RFC 8555), by the crate `instant-acme` over requests
//! of our own.
//!
//! The authority names addresses and waiting times; of them only those count that lead to itself
//! and end soon. It is asked through [`Transport`], which refuses the rest before the crate sees
//! it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_domain::account::{Account, UrlError};
use gateway_domain::ari::{self, Window, WindowError};
use gateway_domain::certificate::{self, Certificate, CertificateError};
use gateway_domain::issuance::Ordered;
use gateway_domain::name::DomainName;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    AuthorizationStatus, BodyWrapper, BytesResponse, CertificateIdentifier, ChallengeType,
    HttpClient, Identifier, Key, NewOrder, OrderStatus, RetryPolicy,
};
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use ureq::http::{Request, Response, StatusCode, Uri, header};
use zeroize::Zeroizing;

use crate::dns::ProviderError;
use crate::http::{Client, HttpError, Trust};

/// How long an order may take in all, with its challenges.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the authority may take to look at challenges, or to sign.
const POLL_TIMEOUT: Duration = Duration::from_secs(90);
/// The longest time that an authority may ask to wait. The crate adds it to the clock's time, which
/// would overflow.
const MAX_RETRY_AFTER_SECS: u64 = 24 * 3600;
/// Largest stored account.
const MAX_STORED_BYTES: usize = 4 << 10;

/// An authority by its directory.
#[derive(Debug, Clone)]
pub struct Authority {
    directory: String,
    client: Client,
}

/// An account with its key, born here.
pub struct AccountKey {
    account: Account,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// Shows challenges in a zone, and takes them away.
pub trait Challenges {
    /// Shows a text at the challenge's name of `name`.
    ///
    /// # Errors
    /// If the provider does not say that it did.
    fn show(&self, name: &DomainName, text: &str) -> Result<(), ProviderError>;

    /// Takes it away again.
    ///
    /// # Errors
    /// If the provider does not say that it did.
    fn hide(&self, name: &DomainName, text: &str) -> Result<(), ProviderError>;
}

/// Why an authority gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// what the authority answered, or that it did not
    #[error("the authority: {0}")]
    Authority(#[from] instant_acme::Error),
    /// an address that is none
    #[error(transparent)]
    Url(#[from] UrlError),
    /// a challenge that cannot be shown
    #[error("the challenge: {0}")]
    Challenge(#[from] ProviderError),
    /// no challenge that could be shown
    #[error("the authority offers no challenge dns-01 for {0}")]
    NoChallenge(String),
    /// an order that came to nothing
    #[error("the order is {0:?}")]
    Order(OrderStatus),
    /// a chain that cannot be read
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// no end in time
    #[error("the order takes longer than {} seconds", ORDER_TIMEOUT.as_secs())]
    Slow,
    /// a stored account that cannot be read
    #[error("the stored account: {0}")]
    Stored(String),
    /// this process has no more threads or descriptors
    #[error("this process cannot wait: {0}")]
    Runtime(#[from] std::io::Error),
    /// no renewal windows
    #[error("the authority suggests no time for renewals")]
    NoWindows,
    /// a window that cannot be meant
    #[error(transparent)]
    Window(#[from] WindowError),
}

/// A renewal window, and when it is asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suggested {
    /// The window.
    pub window: Window,
    /// In how many seconds it is asked for again.
    pub poll_secs: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAccount {
    directory: String,
    uri: String,
    pkcs8: Zeroizing<String>,
}

impl Authority {
    /// The authority at a directory's address; asks nothing yet.
    pub fn new(directory: &str, trust: &Trust) -> Self {
        Self { directory: directory.to_owned(), client: Client::new(trust) }
    }

    /// The directory's address.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Makes an account for a new key.
    ///
    /// # Errors
    /// If the authority does not make one.
    pub fn create_account(&self) -> Result<AccountKey, AcmeError> {
        let (key, pkcs8) = Key::generate_pkcs8()?;
        let kept = Zeroizing::new(pkcs8.secret_pkcs8_der().to_vec());
        let pair = (key, PrivateKeyDer::Pkcs8(pkcs8));
        let builder = instant_acme::Account::builder_with_http(self.transport());
        let made = in_time(builder.create_from_key(pair, self.directory.clone()))?;
        let (account, _credentials) = made;
        AccountKey::new(&self.directory, account.id(), kept)
    }

    /// Orders a certificate and waits for it: the chain in DER, the leaf first. `replaces` is the
    /// certificate that it renews, for an authority that spreads renewals.
    ///
    /// # Errors
    /// If any part of it fails; challenges are taken away in any case.
    pub fn order(
        &self,
        key: &AccountKey,
        ordered: &Ordered,
        request: &[u8],
        replaces: Option<&Certificate>,
        challenges: &dyn Challenges,
    ) -> Result<Vec<Vec<u8>>, AcmeError> {
        let mut shown = Shown { challenges, texts: Vec::new() };
        let order = self.order_in(key, ordered, request, replaces, &mut shown);
        let chain = in_time(async {
            tokio::time::timeout(ORDER_TIMEOUT, order).await.map_err(|_| AcmeError::Slow)?
        });
        drop(shown);
        Ok(certificate::parse_chain(chain?.as_bytes())?)
    }

    async fn order_in(
        &self,
        key: &AccountKey,
        ordered: &Ordered,
        request: &[u8],
        replaces: Option<&Certificate>,
        shown: &mut Shown<'_>,
    ) -> Result<String, AcmeError> {
        let builder = instant_acme::Account::builder_with_http(self.transport());
        let pkcs8 = PrivatePkcs8KeyDer::from(key.pkcs8.as_slice());
        let uri = key.account.uri().to_owned();
        let account = builder.from_parts(uri, pkcs8, self.directory.clone()).await?;
        let names = ordered.names().iter().map(|name| Identifier::Dns(name.to_string()));
        let names: Vec<Identifier> = names.collect();
        let mut order = NewOrder::new(&names);
        let replaced = replaces.and_then(Certificate::renewal_id);
        if let Some((authority_key_identifier, serial)) =
            replaced.as_deref().and_then(|id| id.split_once('.'))
        {
            order = order.replaces(CertificateIdentifier {
                authority_key_identifier: authority_key_identifier.into(),
                serial: serial.into(),
            });
        }
        let mut order = account.new_order(&order).await?;
        answer_challenges(&mut order, shown).await?;
        let retries = RetryPolicy::new().timeout(POLL_TIMEOUT);
        match order.poll_ready(&retries).await? {
            OrderStatus::Ready => {}
            status => return Err(AcmeError::Order(status)),
        }
        order.finalize_csr(request).await?;
        Ok(order.poll_certificate(&retries).await?)
    }

    /// The window in which the authority wants a certificate to be renewed (RFC 9773).
    ///
    /// # Errors
    /// If it suggests none that can be meant.
    pub fn renewal_window(&self, certificate: &Certificate) -> Result<Suggested, AcmeError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Directory {
            renewal_info: Option<String>,
        }

        let id = certificate.renewal_id().ok_or(AcmeError::NoWindows)?;
        let directory = self.get(&self.directory)?;
        let directory: Directory =
            serde_json::from_slice(directory.body()).map_err(instant_acme::Error::from)?;
        let base = directory.renewal_info.ok_or(AcmeError::NoWindows)?;
        let answer = self.get(&format!("{}/{id}", base.trim_end_matches('/')))?;
        let window = Window::parse(answer.body())?;
        let poll_secs = ari::poll_secs(retry_after_secs(&answer));
        Ok(Suggested { window, poll_secs })
    }

    fn get(&self, url: &str) -> Result<Response<Vec<u8>>, AcmeError> {
        let request = Request::get(url).body(Vec::new()).map_err(instant_acme::Error::from)?;
        let answer = self.transport_to().ask(request)?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => {
                Err(instant_acme::Error::Other(format!("{url}: status {status}").into()).into())
            }
        }
    }

    fn transport(&self) -> Box<dyn HttpClient> {
        Box::new(self.transport_to())
    }

    fn transport_to(&self) -> Transport {
        let origin = self.directory.parse::<Uri>().ok().and_then(|uri| uri.into_parts().authority);
        let origin = origin.map(|authority| authority.to_string()).unwrap_or_default();
        Transport { origin, client: self.client.clone() }
    }
}

/// Shows each challenge and lets the authority look.
async fn answer_challenges(
    order: &mut instant_acme::Order,
    shown: &mut Shown<'_>,
) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let named = authorization.identifier().to_string();
        let none = || AcmeError::NoChallenge(named.clone());
        let name: DomainName =
            named.strip_prefix("*.").unwrap_or(&named).parse().map_err(|_| none())?;
        let mut challenge = authorization.challenge(ChallengeType::Dns01).ok_or_else(none)?;
        shown.show(name, challenge.key_authorization().dns_value())?;
        challenge.set_ready().await?;
    }
    Ok(())
}

/// Challenges that are shown; they are taken away at the end, whatever it is.
struct Shown<'a> {
    challenges: &'a dyn Challenges,
    texts: Vec<(DomainName, String)>,
}

impl Shown<'_> {
    fn show(&mut self, name: DomainName, text: String) -> Result<(), ProviderError> {
        // Noted first: after an error it may be there all the same.
        self.texts.push((name.clone(), text.clone()));
        self.challenges.show(&name, &text)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        for (name, text) in &self.texts {
            // What stays proves nothing about any other order.
            let _ = self.challenges.hide(name, text);
        }
    }
}

impl AccountKey {
    fn new(directory: &str, uri: &str, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, AcmeError> {
        let thumbprint = thumbprint(&pkcs8)?;
        Ok(Self { account: Account::new(directory, uri, thumbprint)?, pkcs8 })
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// For the sealed store, and for other gateways over a verified channel.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let stored = StoredAccount {
            directory: self.account.directory().to_owned(),
            uri: self.account.uri().to_owned(),
            pkcs8: Zeroizing::new(URL_SAFE_NO_PAD.encode(self.pkcs8.as_slice())),
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("strings serialise"))
    }

    /// One out of the store.
    ///
    /// # Errors
    /// If it is none; no new one is made then.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, AcmeError> {
        let stored: StoredAccount = protocol::strict_json::parse(bytes, MAX_STORED_BYTES)
            .map_err(|error| AcmeError::Stored(error.to_string()))?;
        let pkcs8 = URL_SAFE_NO_PAD.decode(stored.pkcs8.as_bytes());
        let pkcs8 = pkcs8.map_err(|_| AcmeError::Stored("the key is no base64".to_owned()))?;
        Self::new(&stored.directory, &stored.uri, Zeroizing::new(pkcs8))
    }
}

/// SHA-256 of the key as a JSON web key (RFC 7638).
fn thumbprint(pkcs8: &[u8]) -> Result<[u8; 32], AcmeError> {
    let key = SigningKey::from_pkcs8_der(pkcs8);
    let key = key.map_err(|_| AcmeError::Stored("no PKCS#8 of P-256".to_owned()))?;
    let point = key.verifying_key().to_sec1_point(false);
    let [x, y] = [&point.as_bytes()[1..33], &point.as_bytes()[33..]];
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Ok(protocol::digest::Sha256Digest::of(jwk.as_bytes()).0)
}

/// Requests to the authority's own address and nowhere else.
#[derive(Debug, Clone)]
struct Transport {
    origin: String,
    client: Client,
}

/// Why a request was not made, or its answer not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// an address elsewhere
    #[error("the authority names {found}, which is not at {expected}")]
    Elsewhere { found: Uri, expected: String },
    /// no answer
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Transport {
    fn ask(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, instant_acme::Error> {
        self.answer(request).map_err(|error| instant_acme::Error::Other(Box::new(error)))
    }

    fn answer(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refused> {
        let uri = request.uri();
        let own = uri.authority().is_some_and(|authority| authority.as_str() == self.origin);
        if uri.scheme_str() != Some("https") || !own {
            let (found, expected) = (uri.clone(), self.origin.clone());
            return Err(Refused::Elsewhere { found, expected });
        }
        let mut response = self.client.send(request)?.into_response();
        let wait = retry_after_secs(&response);
        // A date, or a time beyond any order: the crate's own steps serve.
        if wait.is_none_or(|secs| secs > MAX_RETRY_AFTER_SECS) {
            response.headers_mut().remove(header::RETRY_AFTER);
        }
        Ok(response)
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let transport = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes().to_vec(),
                Err(never) => match never {},
            };
            // It blocks: this thread is the order's own.
            let answer = transport.ask(Request::from_parts(parts, body))?;
            Ok(BytesResponse::from(answer.map(|body| Full::new(Bytes::from(body)))))
        })
    }
}

fn retry_after_secs<T>(response: &Response<T>) -> Option<u64> {
    response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Runs one piece of work of the crate on this thread.
fn in_time<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, AcmeError>
where
    AcmeError: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    Ok(runtime.block_on(work)?)
}

#[cfg(test)]
mod tests;
