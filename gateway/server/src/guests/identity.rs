//! How this gateway proves itself to guests: as a container of its own guest, by quotes that the
//! agent gives, with what the KMS says of that guest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use agent_client::{Collaterals, Socket, SocketError};
use attestation::{Image, ImageFault, Parts};
use channel::tls::TlsError;
use channel::{Attester, TlsKey};
use protocol::app_compose::{self, AppComposeError, KeyProvider};
use protocol::channel::{Binding, Proof};
use protocol::digest::{OsImageHash, Sha256Digest};
use protocol::event_log::RUNTIME_REGISTER;
use protocol::gateway::TunnelStatement;
use protocol::prpc::ReleaseResponse;

/// Why this program cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// the guest's agent
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// the measured file
    #[error("this guest's own measured file")]
    File(#[from] AppComposeError),
    /// a guest without a KMS
    #[error("this guest's measured file names no KMS, so none vouches for it or for others")]
    NoKms,
    /// an image.json that is none
    #[error("image {index} of those that are known")]
    Image {
        /// Its place, from 1.
        index: usize,
        /// What is wrong with it.
        source: ImageFault,
    },
    /// a key for handshakes
    #[error("a key for handshakes")]
    Tls(#[from] TlsError),
}

/// Images that guests may run, this one included, by their names. A name is the hash of the text,
/// so it does not matter where that came from; which of them count, KMSs decide.
#[derive(Debug, Default)]
pub struct Images(BTreeMap<OsImageHash, (Arc<Image>, String)>);

impl Images {
    /// Reads the texts of `image.json` files.
    ///
    /// # Errors
    /// If one is none.
    pub fn read(texts: &[String]) -> Result<Self, IdentityError> {
        let mut images = BTreeMap::new();
        for (index, text) in texts.iter().enumerate() {
            let image = Image::ours(text.as_bytes(), Parts::default());
            let image =
                image.map_err(|source| IdentityError::Image { index: index + 1, source })?;
            images.insert(image.os_image_hash(), (Arc::new(image), text.clone()));
        }
        Ok(Self(images))
    }

    /// The image with this name.
    pub fn get(&self, name: &OsImageHash) -> Option<Arc<Image>> {
        self.0.get(name).map(|(image, _)| Arc::clone(image))
    }

    fn text(&self, name: &OsImageHash) -> Option<String> {
        self.0.get(name).map(|(_, text)| text.clone())
    }
}

/// The time in seconds since 1970: the clock's, which is the host's, but never before a time that
/// the KMS had.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Option<(u64, Instant)>>);

impl Clock {
    /// The time now.
    pub fn now_secs(&self) -> u64 {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clock.max(told.map_or(0, |(secs, since)| secs.saturating_add(since.elapsed().as_secs())))
    }

    /// The agent, which asks the KMS, says that it is this late.
    fn is_told(&self, secs: u64) {
        let now_secs = self.now_secs();
        if secs > now_secs {
            let told = Some((secs, Instant::now()));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
    }
}

/// What this gateway proves of itself.
pub struct Identity {
    socket: Socket,
    app_compose: Vec<u8>,
    key_provider_id: Sha256Digest,
    images: Arc<Images>,
    collaterals: Arc<Collaterals>,
    clock: Arc<Clock>,
    key: TlsKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key_provider_id, .. } = self;
        f.debug_struct("Identity").field("key_provider_id", key_provider_id).finish_non_exhaustive()
    }
}

impl Identity {
    /// Asks the guest's agent for the measured file, whose KMS is the one that counts here.
    ///
    /// # Errors
    /// If the agent does not answer, the file names no KMS, or the system gives no randomness.
    pub async fn new(
        socket: Socket,
        collaterals: Arc<Collaterals>,
        images: Images,
    ) -> Result<Self, IdentityError> {
        let app_compose = socket.app_compose().await?;
        let app = app_compose::parse(&app_compose)?;
        let KeyProvider::Kms { id: key_provider_id } = app.key_provider else {
            return Err(IdentityError::NoKms);
        };
        let (images, clock, key) = (Arc::new(images), Arc::default(), TlsKey::generate()?);
        Ok(Self { socket, app_compose, key_provider_id, images, collaterals, clock, key })
    }

    /// The KMS that vouches for this gateway, and must vouch for guests.
    pub fn key_provider_id(&self) -> Sha256Digest {
        self.key_provider_id
    }

    pub(super) fn key(&self) -> &TlsKey {
        &self.key
    }

    pub(super) fn images(&self) -> &Arc<Images> {
        &self.images
    }

    pub(super) fn collaterals(&self) -> &Arc<Collaterals> {
        &self.collaterals
    }

    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What the KMS said last of this guest.
    pub(super) async fn release(&self) -> Result<String, SocketError> {
        let ReleaseResponse { release, time_secs } = self.socket.release().await?;
        self.clock.is_told(time_secs);
        Ok(release)
    }
}

impl Attester for Identity {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let report_data = binding.report_data().ok_or("a gateway has a role with a quote")?;
        // The peer learns no more than that; the log has the reason.
        let failed = |what: &'static str| {
            move |error: SocketError| {
                tracing::error!("{what}: {error}");
                what.to_owned()
            }
        };
        let release = self.release().await.map_err(failed("no release statement"))?;
        let evidence = self.socket.attest(&report_data).await;
        let evidence = evidence.map_err(failed("the guest gives no quote"))?;
        let image = self.images.text(&evidence.claims.os_image_hash);
        if image.is_none() {
            tracing::error!("the image {} of this guest is unknown", evidence.claims.os_image_hash);
        }
        // Without it guests try again.
        let collateral = match self.collaterals.of(&evidence.quote).await {
            Ok(collateral) => String::from_utf8(collateral.to_json()).ok(),
            Err(error) => {
                tracing::warn!("for this gateway's own platform: {error}");
                None
            }
        };
        let own = evidence.event_log.into_iter().filter(|event| event.imr == RUNTIME_REGISTER);
        Ok(Proof {
            quote: evidence.quote,
            event_log: own.collect(),
            claims: evidence.claims,
            app_compose: self.app_compose.clone(),
            statement: TunnelStatement { release, image, collateral }.to_json(),
        })
    }
}
