//! Images: pinned by digest, fetched from anywhere, verified byte by byte, unpacked where nothing escapes.
//!
//! The chain of trust is the digest in the measured compose file: it names an index or a manifest, which
//! names manifest, configuration and layers by digest and size, and the configuration names each layer's
//! archive. Mirrors and registries are the host's; all that they can do is to refuse.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::compose::ImageReference;
use crate::digest::ContentDigest;

mod archive;
mod auth;
mod budget;
mod decompress;
mod manifest;
mod registry;
mod store;
mod tree;
mod unpack;

pub use archive::ArchiveError;
pub use auth::AuthError;
pub use budget::{BudgetError, Limits, MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES};
pub use manifest::{ImageConfig, ManifestError};
pub use registry::{Attempt, Attempts, FetchError, Mirror, Registries, RegistryError, SourceError};
pub use store::Store;
pub(crate) use tree::Tree;
pub use tree::TreeError;
pub use unpack::UnpackError;

use budget::Budget;
use manifest::{Descriptor, Document, Layer};
use registry::{Kind, Wanted};
use unpack::Packed;

/// Layers fetched and unpacked side by side: enough to keep a link and two processors busy.
const PARALLEL_LAYERS: usize = 4;

/// An image whose every byte was verified and which lies unpacked in the store.
#[derive(Debug, Clone)]
pub struct PulledImage {
    /// The digest of the manifest for this platform.
    pub manifest: ContentDigest,
    /// What it says about the process to run.
    pub config: ImageConfig,
    /// Unpacked layers, the lowest first; none twice.
    pub layers: Vec<PathBuf>,
}

/// Fetches and unpacks what of `image` is not in the store yet.
pub async fn pull(
    image: &ImageReference,
    registries: Arc<Registries>,
    store: Arc<Store>,
    limits: Limits,
) -> Result<PulledImage, PullError> {
    let (manifest, config, layers) = manifest(image, &registries).await?;
    let (config, diff_ids) = configuration(image, &config, layers.len(), &registries).await?;
    let found = layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.size)).unwrap_or(u64::MAX);
    if found > limits.fetched_bytes {
        return Err(refused(image.digest())(ManifestError::TooLarge { found, limit: limits.fetched_bytes }));
    }
    let puller = Arc::new(Puller {
        image: image.clone(),
        registries,
        store,
        budget: Budget::new(limits),
        places: Semaphore::new(PARALLEL_LAYERS),
    });
    let mut pulls = JoinSet::new();
    let mut paths: Vec<Option<PathBuf>> = vec![None; layers.len()];
    for (index, (layer, diff_id)) in layers.into_iter().zip(&diff_ids).enumerate() {
        // Of a layer that stands twice only the upper one shows; overlayfs refuses to stack both.
        if diff_ids[index + 1..].contains(diff_id) {
            continue;
        }
        let (puller, diff_id) = (Arc::clone(&puller), *diff_id);
        pulls.spawn(async move { (index, puller.layer(layer, diff_id).await) });
    }
    while let Some(done) = pulls.join_next().await {
        match done.map_err(|error| PullError::Task(error.to_string())) {
            Ok((index, Ok(path))) => paths[index] = Some(path),
            Ok((_, Err(error))) | Err(error) => {
                puller.budget.cancel();
                pulls.shutdown().await;
                return Err(error);
            }
        }
    }
    Ok(PulledImage { manifest, config, layers: paths.into_iter().flatten().collect() })
}

/// The manifest for this platform, by way of an index if the image is one.
async fn manifest(
    image: &ImageReference,
    registries: &Registries,
) -> Result<(ContentDigest, Descriptor, Vec<Layer>), PullError> {
    let digest = image.digest();
    let (digest, document) = match document(image, digest, None, registries).await? {
        Document::Index(descriptor) => {
            let size = Some(descriptor.size);
            (descriptor.digest, document(image, descriptor.digest, size, registries).await?)
        }
        manifest => (digest, manifest),
    };
    match document {
        Document::Manifest { config, layers } => Ok((digest, config, layers)),
        Document::Index(_) => Err(refused(digest)(ManifestError::NestedIndex)),
    }
}

async fn document(
    image: &ImageReference,
    digest: ContentDigest,
    size: Option<u64>,
    registries: &Registries,
) -> Result<Document, PullError> {
    let mut bytes = Vec::new();
    let wanted = Wanted { image, kind: Kind::Manifest, digest, size, max_bytes: MAX_MANIFEST_BYTES };
    registries.fetch(wanted, &mut bytes).await?;
    manifest::parse(&bytes).map_err(refused(digest))
}

async fn configuration(
    image: &ImageReference,
    descriptor: &Descriptor,
    layers: usize,
    registries: &Registries,
) -> Result<(ImageConfig, Vec<ContentDigest>), PullError> {
    let mut bytes = Vec::new();
    let (digest, size) = (descriptor.digest, Some(descriptor.size));
    let wanted = Wanted { image, kind: Kind::Blob, digest, size, max_bytes: MAX_CONFIG_BYTES };
    registries.fetch(wanted, &mut bytes).await?;
    manifest::parse_config(&bytes, layers).map_err(refused(digest))
}

fn refused(digest: ContentDigest) -> impl Fn(ManifestError) -> PullError {
    move |cause| PullError::Document { digest, cause }
}

/// What the tasks of one pull share.
struct Puller {
    image: ImageReference,
    registries: Arc<Registries>,
    store: Arc<Store>,
    budget: Budget,
    places: Semaphore,
}

impl Puller {
    /// The directory of one layer, fetched and unpacked if it is not there.
    async fn layer(self: Arc<Self>, layer: Layer, diff_id: ContentDigest) -> Result<PathBuf, PullError> {
        let _place = self.places.acquire().await.map_err(|error| PullError::Task(error.to_string()))?;
        if let Some(path) = self.store.layer(diff_id) {
            return Ok(path);
        }
        let packed = self.store.partial_file().map_err(PullError::Store)?;
        let mut file = tokio::fs::File::create(packed.path()).await.map_err(PullError::Store)?;
        let size = Some(layer.size);
        let wanted = Wanted { image: &self.image, kind: Kind::Blob, digest: layer.digest, size, max_bytes: layer.size };
        self.registries.fetch(wanted, &mut file).await?;
        drop(file);
        let puller = Arc::clone(&self);
        let unpacking = tokio::task::spawn_blocking(move || {
            let into = puller.store.partial_directory().map_err(PullError::Store)?;
            let file = std::fs::File::open(packed.path()).map_err(PullError::Store)?;
            let (bytes, compression, budget) = (layer.size, layer.compression, &puller.budget);
            unpack::unpack(Packed { file, bytes, compression, diff_id, budget }, into.path())
                .map_err(|cause| PullError::Layer { digest: layer.digest, cause })?;
            puller.store.finish(into, diff_id).map_err(PullError::Store)
        });
        unpacking.await.map_err(|error| PullError::Task(error.to_string()))?
    }
}

/// Why an image is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A blob could not be had.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// Index, manifest or configuration are no image that runs here.
    #[error("{digest}: {cause}")]
    Document {
        /// Which one.
        digest: ContentDigest,
        /// Why.
        cause: ManifestError,
    },
    /// A layer cannot be unpacked.
    #[error("layer {digest}: {cause}")]
    Layer {
        /// Its digest.
        digest: ContentDigest,
        /// Why.
        cause: UnpackError,
    },
    /// The store cannot be read or written.
    #[error("store: {0}")]
    Store(std::io::Error),
    /// A task of the pull ended without a result.
    #[error("task: {0}")]
    Task(String),
}
