//! What dstack's SDKs ask of a guest, on the sockets of containers and on the public port: one
//! implementation for all three services.
//!
//! Names, numbers and meanings are dstack's, where they can be; `docs/guest-api.md` has the table
//! with the differences. A client is a container of the app, or anybody: requests are bounded where
//! they are read, quotes and events are made one at a time, and nothing here can name a file or a
//! program.

use std::sync::Arc;

use protocol::digest::ReportData;
use protocol::kms::AnchorResponse;
use protocol::prpc::guest::{Request, Service};
use protocol::prpc::{
    Arguments, AttestResponse, DeriveK256KeyResponse, Empty, Encoding, GetQuoteResponse, Message,
    PrpcError, RawQuoteArgs, ReleaseResponse, TdxQuoteArgs, TdxQuoteResponse, VerifyResponse,
    WorkerVersion,
};
use tee::TeeError;
use tokio::sync::Semaphore;
use zeroize::Zeroize as _;

use crate::anchors::AnchorError;
use crate::boot::Boot;
use crate::keys::AppKeys;
use crate::kms_client::KmsError;
use crate::quotes::{QuoteDesk, QuoteError, Quoted};

mod app_key;
mod certificate;
mod certifier;
mod events;
mod info;
mod report_data;
mod signature;
pub mod socket;
#[cfg(test)]
pub mod with_keys;

pub use certificate::CertificateError;
pub use events::EmitError;
pub use report_data::ReportDataError;
pub use signature::SignatureError;

use certifier::{Certifier, SignsCertificates};
use events::Emitter;

/// Why a call has no answer; the text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// the call was not understood
    #[error(transparent)]
    Prpc(#[from] PrpcError),
    /// keys come from a key provider
    #[error(
        "no key provider: this guest was given no keys (key_provider is none in its app-compose.json)"
    )]
    NoKeyProvider,
    /// a disk without anchors
    #[error(
        "no anchor: no KMS keeps one of this guest's data disk (key_provider is none in its \
         app-compose.json)"
    )]
    NoAnchors,
    /// no release statement
    #[error("no release statement: the KMS has given this guest none, or there is no KMS")]
    NoRelease,
    /// no anchor now
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// bytes for a quote
    #[error(transparent)]
    ReportData(#[from] ReportDataError),
    /// the quote
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// an event of the app
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// a signature, or its key
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// a certificate
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// what the KMS answered, or that it did not
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// too many are asking
    #[error("too many certificates are being asked for: ask again")]
    ManyCertificates,
    /// registers
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// the event log
    #[error(transparent)]
    EventLog(#[from] tee::event_log::EventLogError),
    /// a thread that was lost
    #[error("the answer was not finished: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// Answers calls.
#[derive(Debug)]
pub struct Api {
    boot: Boot,
    desk: Arc<QuoteDesk>,
    certifier: Option<Arc<Certifier>>,
    emitter: Emitter,
    writing: Arc<Semaphore>,
}

impl Api {
    /// For a completed boot.
    pub fn new(boot: &Boot, desk: Arc<QuoteDesk>) -> Self {
        let kms = boot.kms.clone().map(|kms| kms as Arc<dyn SignsCertificates>);
        Self::with(boot, desk, kms)
    }

    /// The same with whatever signs certificates.
    fn with(boot: &Boot, desk: Arc<QuoteDesk>, kms: Option<Arc<dyn SignsCertificates>>) -> Self {
        let writing = Arc::new(Semaphore::new(1));
        let certifier = boot
            .keys
            .clone()
            .zip(kms)
            .map(|(keys, kms)| Arc::new(Certifier::new(keys, kms, Arc::clone(&desk))));
        Self { boot: boot.clone(), desk, certifier, emitter: Emitter::default(), writing }
    }

    /// The answer to one call, in the encoding of its arguments.
    pub async fn answer(
        &self,
        service: Service,
        method: &str,
        sent: Arguments<'_>,
    ) -> Result<Vec<u8>, ApiError> {
        let encoding = sent.encoding();
        match service.read(method, sent)? {
            Request::GetQuote(args) => self.get_quote(args, encoding).await,
            Request::TdxQuote(args) => self.tdx_quote(args, encoding).await,
            Request::Attest(args) => self.attest(args, encoding).await,
            Request::EmitEvent(args) => {
                self.emitter.emit(&self.boot, args).await?;
                reply(&(), encoding)
            }
            Request::Info => {
                let (boot, public) = (self.boot.clone(), service == Service::Worker);
                let app_cert = self.certifier.as_ref().map(Certifier::of_info).unwrap_or_default();
                self.written(move || reply(&info::info(&boot, app_cert, public)?, encoding)).await
            }
            Request::GpuInfo => reply(&Empty {}, encoding),
            Request::Verify(args) => {
                reply(&VerifyResponse { valid: signature::verify(&args)? }, encoding)
            }
            Request::Version => reply(&version(), encoding),
            Request::Anchor => {
                let anchors = self.boot.anchors.as_ref().ok_or(ApiError::NoAnchors)?;
                let anchor = anchors.anchor().await?;
                reply(&AnchorResponse { anchor, ..AnchorResponse::default() }, encoding)
            }
            Request::Release => reply(&self.release()?, encoding),
            Request::GetKey(args) => {
                let found = app_key::get(self.keys()?, &args)?;
                reply_and_clear(found, encoding, |found| found.key.zeroize())
            }
            Request::DeriveK256Key(args) => {
                let found = app_key::get(self.keys()?, &args)?;
                let (k256_key, k256_signature_chain) = (found.key, found.signature_chain);
                let found = DeriveK256KeyResponse { k256_key, k256_signature_chain };
                reply_and_clear(found, encoding, |found| found.k256_key.zeroize())
            }
            Request::Sign(args) => reply(&app_key::sign(self.keys()?, &args)?, encoding),
            Request::GetTlsKey(args) => {
                let made = self.certifier()?.tls_key(args).await?;
                reply_and_clear(made, encoding, |made| made.key.zeroize())
            }
            Request::DeriveKey(args) => {
                let made = self.certifier()?.derived(args).await?;
                reply_and_clear(made, encoding, |made| made.key.zeroize())
            }
            Request::GetAttestationForAppKey(args) => {
                let report_data = app_key::report_data(self.keys()?, &args.algorithm)?;
                self.quoted(self.desk.of_app_key(report_data).await?, report_data, encoding).await
            }
        }
    }

    /// What the KMS said of this guest with the last anchor.
    fn release(&self) -> Result<ReleaseResponse, ApiError> {
        let stated = self.boot.anchors.as_ref().and_then(|anchors| anchors.release());
        let (release, kms) = stated.zip(self.boot.kms.as_ref()).ok_or(ApiError::NoRelease)?;
        Ok(ReleaseResponse { release: release.to_string(), time_secs: kms.now_secs() })
    }

    fn keys(&self) -> Result<&AppKeys, ApiError> {
        self.boot.keys.as_deref().ok_or(ApiError::NoKeyProvider)
    }

    fn certifier(&self) -> Result<&Certifier, ApiError> {
        self.certifier.as_deref().ok_or(ApiError::NoKeyProvider)
    }

    async fn get_quote(&self, args: RawQuoteArgs, encoding: Encoding) -> Result<Vec<u8>, ApiError> {
        let report_data = report_data::padded(&args.report_data)?;
        self.quoted(self.desk.quote_for_container(report_data).await?, report_data, encoding).await
    }

    async fn quoted(
        &self,
        Quoted { quote, log }: Quoted,
        report_data: ReportData,
        encoding: Encoding,
    ) -> Result<Vec<u8>, ApiError> {
        let vm_config = info::vm_config(&self.boot);
        let report_data = report_data.0.to_vec();
        self.written(move || {
            let event_log = json(&log.events()?);
            reply(&GetQuoteResponse { quote, event_log, report_data, vm_config }, encoding)
        })
        .await
    }

    async fn tdx_quote(&self, args: TdxQuoteArgs, encoding: Encoding) -> Result<Vec<u8>, ApiError> {
        let hashed = report_data::hashed(&args)?;
        let Quoted { quote, log } = self.desk.quote_for_container(hashed.report_data).await?;
        self.written(move || {
            let (event_log, hash_algorithm) = (json(&log.events()?), hashed.algorithm.to_owned());
            let prefix = hashed.prefix;
            reply(&TdxQuoteResponse { quote, event_log, hash_algorithm, prefix }, encoding)
        })
        .await
    }

    async fn attest(&self, args: RawQuoteArgs, encoding: Encoding) -> Result<Vec<u8>, ApiError> {
        let report_data = report_data::padded(&args.report_data)?;
        let Quoted { quote, log } = self.desk.quote_for_container(report_data).await?;
        let vm_config = info::vm_config(&self.boot);
        self.written(move || {
            let events = log.events()?;
            let attestation =
                protocol::foreign::scale::encode(&quote, &events, &report_data, &vm_config);
            reply(&AttestResponse { attestation }, encoding)
        })
        .await
    }

    /// Writes an answer with an event log in it: one at a time, since that takes a multiple of the
    /// log's size, and on a thread of its own.
    async fn written(
        &self,
        write: impl FnOnce() -> Result<Vec<u8>, ApiError> + Send + 'static,
    ) -> Result<Vec<u8>, ApiError> {
        let turn = Arc::clone(&self.writing).acquire_owned().await;
        let turn = turn.expect("the semaphore is never closed");
        // The turn moves along: a client that hangs up does not let the next one write beside it.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            write()
        })
        .await?
    }
}

fn reply<M: Message>(message: &M, encoding: Encoding) -> Result<Vec<u8>, ApiError> {
    Ok(protocol::prpc::encode(message, encoding))
}

/// The same for a message with a key in it, which does not stay in memory.
fn reply_and_clear<M: Message>(
    mut message: M,
    encoding: Encoding,
    clear: impl FnOnce(&mut M),
) -> Result<Vec<u8>, ApiError> {
    let answer = reply(&message, encoding);
    clear(&mut message);
    answer
}

fn version() -> WorkerVersion {
    WorkerVersion { version: env!("CARGO_PKG_VERSION").to_owned(), rev: String::new() }
}

fn json(of: &impl serde::Serialize) -> String {
    serde_json::to_string(of).expect("events hold strings and numbers")
}

#[cfg(test)]
pub mod tests {
    use protocol::event_log::{self, MAX_EVENTS};
    use protocol::prpc::{AppInfo, EmitEventArgs, GetKeyArgs, VerifyRequest};
    use protocol::report_data::{self as report_data_of, Role};

    use super::*;
    use crate::boot::tests::boot;
    use crate::reports::Reports;

    /// An interface over software registers.
    pub fn api(directory: &std::path::Path, change: impl Fn(String) -> String) -> Api {
        let boot = boot(directory, change);
        let desk =
            QuoteDesk::new(Arc::clone(&boot.log), Reports::to_file(tempfile::tempfile().unwrap()));
        Api::new(&boot, Arc::new(desk))
    }

    pub async fn ask<M: Message + PartialEq + std::fmt::Debug>(
        api: &Api,
        service: Service,
        method: &str,
        args: &impl Message,
    ) -> Result<M, String> {
        let mut answers = Vec::new();
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let sent = protocol::prpc::encode(args, encoding);
            let answer = api.answer(service, method, Arguments::Body(encoding, &sent)).await;
            let answer = answer.map_err(|error| error.to_string())?;
            answers.push(Arguments::Body(encoding, &answer).decode::<M>().unwrap());
        }
        assert_eq!(answers[0], answers[1], "{method} in JSON and protobuf");
        Ok(answers.remove(0))
    }

    #[tokio::test]
    async fn quotes_hold_what_was_asked_in_every_form() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| file);
        let args = RawQuoteArgs { report_data: vec![7; 3] };
        let quoted: GetQuoteResponse =
            ask(&api, Service::DstackGuest, "GetQuote", &args).await.unwrap();
        assert_eq!(quoted.quote[48..], quoted.report_data);
        assert_eq!(
            (&quoted.report_data[..4], quoted.report_data.len()),
            ([7, 7, 7, 0].as_slice(), 64)
        );
        let events =
            event_log::runtime_events(&event_log::parse(quoted.event_log.as_bytes()).unwrap())
                .unwrap();
        assert_eq!(quoted.quote[..48], event_log::replay(&events).0);

        let attested: AttestResponse =
            ask(&api, Service::DstackGuest, "Attest", &args).await.unwrap();
        let read = protocol::foreign::read(&attested.attestation, &[]).unwrap();
        assert_eq!(
            (read.evidence.quote, read.stated_report_data),
            (quoted.quote, Some(quoted.report_data))
        );
        assert_eq!(read.evidence.claims.shape.memory_mib, 2048);

        let long = RawQuoteArgs { report_data: vec![7; 65] };
        for method in ["GetQuote", "Attest"] {
            let refused = ask::<GetQuoteResponse>(&api, Service::DstackGuest, method, &long)
                .await
                .unwrap_err();
            assert!(refused.contains("65 bytes"), "{refused}");
        }
    }

    #[tokio::test]
    async fn the_older_interface_hashes_and_says_how() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| file);
        let args =
            TdxQuoteArgs { report_data: b"test content".to_vec(), ..TdxQuoteArgs::default() };
        let quoted: TdxQuoteResponse = ask(&api, Service::Tappd, "TdxQuote", &args).await.unwrap();
        assert_eq!(
            (quoted.hash_algorithm.as_str(), quoted.prefix.as_str()),
            ("sha512", "app-data")
        );
        assert_eq!(hex::encode(&quoted.quote[48..52]), "7ea0b744", "dstack's own vector");
        let raw = RawQuoteArgs { report_data: vec![7; 64] };
        let quoted: TdxQuoteResponse = ask(&api, Service::Tappd, "RawQuote", &raw).await.unwrap();
        assert_eq!(
            (quoted.hash_algorithm.as_str(), &quoted.quote[48..]),
            ("raw", [7; 64].as_slice())
        );
    }

    #[tokio::test]
    async fn no_call_quotes_report_data_of_the_guest_s_own_roles() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| file);
        let calls = async |report_data: &[u8]| {
            let padded = report_data::padded(report_data).unwrap().0.to_vec();
            let raw = |report_data: &[u8]| RawQuoteArgs { report_data: report_data.to_vec() };
            let hashed = TdxQuoteArgs {
                report_data: padded.clone(),
                hash_algorithm: "raw".into(),
                ..TdxQuoteArgs::default()
            };
            let (new, old) = (Service::DstackGuest, Service::Tappd);
            [
                ask::<GetQuoteResponse>(&api, new, "GetQuote", &raw(report_data)).await.map(drop),
                ask::<AttestResponse>(&api, new, "Attest", &raw(report_data)).await.map(drop),
                ask::<TdxQuoteResponse>(&api, old, "TdxQuote", &hashed).await.map(drop),
                ask::<TdxQuoteResponse>(&api, old, "RawQuote", &raw(&padded)).await.map(drop),
            ]
        };
        let evidence = report_data_of::evidence(&[5; 32]);
        let own = Role::ALL.into_iter().filter(|role| *role != Role::App).map(|role| role.tag());
        let mut reserved: Vec<&[u8]> = own.map(|tag| tag.as_slice()).collect();
        reserved.extend([&evidence.0[..], b"dstyx-", b"dstyx-chan-app-", b"dstyx-x"]);
        for report_data in reserved {
            for answer in calls(report_data).await {
                assert!(answer.unwrap_err().contains("is reserved"), "{report_data:?}");
            }
        }
        for report_data in [Role::App.tag().as_slice(), b"dstyx", b"dstyX-evidence-2", b"Dstyx-"] {
            for answer in calls(report_data).await {
                assert_eq!(answer, Ok(()), "{report_data:?}");
            }
        }
    }

    #[tokio::test]
    async fn keys_have_no_provider() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| file);
        for (service, method) in [
            (Service::DstackGuest, "GetTlsKey"),
            (Service::DstackGuest, "GetKey"),
            (Service::DstackGuest, "Sign"),
            (Service::Tappd, "DeriveKey"),
            (Service::Tappd, "DeriveK256Key"),
            (Service::Worker, "GetAttestationForAppKey"),
        ] {
            let refused =
                ask::<Empty>(&api, service, method, &GetKeyArgs::default()).await.unwrap_err();
            assert!(refused.starts_with("no key provider"), "{method}: {refused}");
        }
        ask::<Empty>(&api, Service::DstackGuest, "GpuInfo", &Empty {}).await.unwrap();
        let version: WorkerVersion = ask(&api, Service::Tappd, "Version", &Empty {}).await.unwrap();
        assert!(!version.version.is_empty());
    }

    #[tokio::test]
    async fn info_hides_registers_from_the_network_only() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| {
            file.replace(r#""public_tcbinfo":true"#, r#""public_tcbinfo":false"#)
        });
        let inside: AppInfo = ask(&api, Service::DstackGuest, "Info", &Empty {}).await.unwrap();
        let tcb: serde_json::Value = serde_json::from_str(&inside.tcb_info).unwrap();
        assert_eq!(tcb["rtmr2"], hex::encode([2; 48]));
        assert_eq!(tcb["event_log"].as_array().unwrap().len(), 8);
        assert!(tcb["app_compose"].as_str().unwrap().contains("docker_compose_file"));
        assert_eq!((inside.app_id, inside.instance_id), (vec![1; 20], vec![2; 20]));
        assert_eq!(inside.key_provider_info, r#"{"name":"none","id":""}"#);
        let outside: AppInfo = ask(&api, Service::Worker, "Info", &Empty {}).await.unwrap();
        assert_eq!((outside.tcb_info.as_str(), outside.vm_config.as_str()), ("", ""));
    }

    #[tokio::test]
    async fn events_extend_the_register_and_boot_names_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| file);
        let emit = async |event: &str, payload: Vec<u8>| {
            let sent = protocol::prpc::encode(
                &EmitEventArgs { event: event.into(), payload },
                Encoding::Json,
            );
            let sent = Arguments::Body(Encoding::Json, &sent);
            let answer = api.answer(Service::DstackGuest, "EmitEvent", sent).await;
            answer.map_err(|error| error.to_string())
        };
        assert_eq!(emit("mine", vec![1, 2]).await.unwrap(), b"null");
        let (log, quote) =
            api.boot.log.snapshot(|tee| tee::Tee::runtime_register(tee).unwrap()).unwrap();
        let log = log.events().unwrap();
        assert_eq!((log.last().unwrap().event.as_str(), log.len()), ("mine", 9));
        assert_eq!(event_log::replay(&event_log::runtime_events(&log).unwrap()), quote);
        for name in protocol::event_name::BOOT {
            assert!(emit(name, vec![]).await.unwrap_err().contains("after system-ready"), "{name}");
        }
        for name in ["", "a:b", "a\nb", &"n".repeat(129)] {
            assert!(emit(name, vec![]).await.is_err(), "{name:?}");
        }
        assert!(emit("large", vec![0; 64 * 1024 + 1]).await.is_err());
        assert_eq!(
            api.boot.log.snapshot(|_| ()).unwrap().0.events().unwrap().len(),
            9,
            "nothing refused was recorded"
        );
        for _ in 9..MAX_EVENTS {
            api.boot.log.append(&event_log::RuntimeEvent::new("mine", "")).unwrap();
        }
        assert!(emit("mine", vec![]).await.unwrap_err().contains("no more are accepted"));
    }

    #[tokio::test]
    async fn verifying_needs_no_keys() {
        let directory = tempfile::tempdir().unwrap();
        let api = api(directory.path(), |file| file);
        let wrong = VerifyRequest { algorithm: "rsa".into(), ..VerifyRequest::default() };
        let refused =
            ask::<VerifyResponse>(&api, Service::DstackGuest, "Verify", &wrong).await.unwrap_err();
        assert!(refused.contains("rsa"), "{refused}");
    }
}
