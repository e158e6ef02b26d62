//! Images: pinned by digest, fetched from anywhere, verified byte by byte, unpacked where nothing
//! escapes.
//!
//! The chain of trust is the digest in the measured compose file: it names an index or a manifest,
//! which names manifest, configuration and layers by digest and size, and the configuration names
//! each layer's archive. Mirrors and registries are the host's; all that they can do is to refuse.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::BufWriter;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;

use compose::ImageReference;
use compose::digest::ContentDigest;

mod archive;
mod artifact;
mod auth;
mod budget;
mod busy;
mod config;
mod credentials;
mod decompress;
mod error;
mod layer;
mod left_out;
mod manifest;
mod program;
mod progress;
mod registry;
mod store;
mod unpack;

pub use archive::{ArchiveError, ArchiveFault, ArchivePlace};
pub use artifact::{
    Artifact, ArtifactError, HEADER_BYTES, check_artifact_config, check_component, parse_artifact,
};
pub use auth::AuthError;
pub use budget::{
    BudgetError, Limits, MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES, MAX_PROGRAM_BYTES,
};
pub use config::{ImageConfig, parse_config};
pub use credentials::{Credentials, CredentialsError};
pub use error::{PullError, PullReason};
pub use layer::LayerError;
pub use manifest::{Compression, Descriptor, Document, Layer, ManifestError, parse_document};
pub use program::pull_program;
pub use progress::{Progress, Pulled};
pub use registry::{
    Attempt, Attempts, FetchError, Mirror, Registries, RegistryError, RegistrySettings,
    ResolveError, SourceError, Timeouts,
};
pub use store::{Freed, Store};
pub use unpack::UnpackError;

use budget::Budget;
use left_out::LeftOut;
use registry::{Kind, Wanted};
use store::Partial;
use unpack::{Packed, Unpacked};

/// Layers fetched and unpacked side by side: enough to keep a link and two processors busy.
const PARALLEL_LAYERS: usize = 4;
/// Gathered of a layer before it is handed to the thread that writes files.
const WRITE_BYTES: usize = 1 << 20;

/// An image whose every byte was verified and which lies unpacked in the store.
#[derive(Debug, Clone)]
pub struct PulledImage {
    /// The digest of the manifest for this platform.
    pub manifest: ContentDigest,
    /// What it says about the process to run.
    pub config: ImageConfig,
    /// Unpacked layers, the lowest first; none twice. Files have the image's own owners.
    pub layers: Vec<PathBuf>,
    /// The documents in the store that say so: index, if the pin names one, manifest and
    /// configuration.
    pub documents: Vec<ContentDigest>,
    /// What of layers that were unpacked just now was left out, a sentence each.
    pub notes: Vec<String>,
}

/// A program whose every byte was verified and which lies in the store.
#[derive(Debug, Clone)]
pub struct PulledProgram {
    /// The component's SHA-256, by which policies name the program.
    pub component: ContentDigest,
    /// The component; nobody writes to it any more.
    pub path: PathBuf,
    /// The documents in the store that name it: manifest and configuration.
    pub documents: Vec<ContentDigest>,
}

/// Fetches and unpacks what of `image` is not in the store yet; asks nobody if all is there.
///
/// An image enters the store whole or not at all. If the future is dropped, what was begun is
/// removed soon after.
pub async fn pull(
    image: &ImageReference,
    registries: Arc<Registries>,
    store: Arc<Store>,
    limits: Limits,
    progress: &Progress,
) -> Result<PulledImage, PullError> {
    progress.begin(image.to_string());
    let puller = Puller::new(image, registries, store, limits, progress);
    // Threads that unpack cannot be aborted: whatever ends this function, they are told.
    let puller = Guard(Arc::new(puller));
    puller.0.image(limits).await
}

/// Unpacks one layer into the directory `into`, which should be empty, and gives the digest of its
/// archive; blocks.
///
/// [`pull`] does this with bytes that it has verified. On an error `into` holds whatever was made
/// before it.
pub fn unpack_layer(
    packed: &[u8],
    compression: Compression,
    limits: Limits,
    into: &Path,
) -> Result<ContentDigest, UnpackError> {
    let budget = Budget::new(limits);
    unpack::unpack(
        Packed { reader: packed, bytes: packed.len() as u64, compression, budget: &budget },
        into,
    )
    .map(|unpacked| unpacked.archive)
}

/// What the tasks of one pull share.
struct Puller {
    image: ImageReference,
    registries: Arc<Registries>,
    store: Arc<Store>,
    budget: Budget,
    progress: Progress,
    slots: Semaphore,
    /// Becomes true when the pull has failed or is wanted no more.
    stop: watch::Sender<bool>,
}

struct Guard(Arc<Puller>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A verified document and its bytes.
type Held = (ContentDigest, Vec<u8>);

/// A layer that is in the store, or ready to enter it.
enum LayerState {
    There,
    Ready(Partial, LeftOut),
}

impl Puller {
    fn new(
        image: &ImageReference,
        registries: Arc<Registries>,
        store: Arc<Store>,
        limits: Limits,
        progress: &Progress,
    ) -> Self {
        Self {
            image: image.clone(),
            registries,
            store,
            budget: Budget::new(limits),
            progress: progress.clone(),
            slots: Semaphore::new(PARALLEL_LAYERS),
            stop: watch::Sender::new(false),
        }
    }

    async fn image(self: &Arc<Self>, limits: Limits) -> Result<PulledImage, PullError> {
        let mut documents: Vec<Held> = Vec::new();
        let (manifest, config, layers) = self.manifest(&mut documents).await?;
        let bytes = layers
            .iter()
            .try_fold(0u64, |sum, layer| sum.checked_add(layer.size))
            .unwrap_or(u64::MAX);
        if bytes > limits.fetched_bytes {
            return Err(refused(manifest)(ManifestError::TooLarge {
                found: bytes,
                limit: limits.fetched_bytes,
            }));
        }
        self.progress.expect(1 + layers.len(), bytes);
        let (digest, size) = (config.digest, Some(config.size));
        let bytes =
            self.document(Kind::Blob, digest, size, MAX_CONFIG_BYTES, &mut documents).await?;
        let (config, diff_ids) = parse_config(&bytes, layers.len()).map_err(refused(digest))?;
        let _hold = self.store.hold(&diff_ids);
        let (layers, notes) = self.layers(layers, &diff_ids, documents.clone()).await?;
        let documents = documents.into_iter().map(|(digest, _)| digest).collect();
        Ok(PulledImage { manifest, config, layers, documents, notes })
    }

    /// The manifest for this platform, by way of an index if the image is one.
    async fn manifest(
        &self,
        documents: &mut Vec<Held>,
    ) -> Result<(ContentDigest, Descriptor, Vec<Layer>), PullError> {
        let mut digest = self.image.digest();
        let bytes =
            self.document(Kind::Manifest, digest, None, MAX_MANIFEST_BYTES, documents).await?;
        let mut document = parse_document(&bytes).map_err(refused(digest))?;
        if let Document::Index(descriptor) = document {
            digest = descriptor.digest;
            self.progress.expect(1, 0);
            let size = Some(descriptor.size);
            let bytes =
                self.document(Kind::Manifest, digest, size, MAX_MANIFEST_BYTES, documents).await?;
            document = parse_document(&bytes).map_err(refused(digest))?;
        }
        match document {
            Document::Manifest { config, layers } => Ok((digest, config, layers)),
            Document::Index(_) => Err(refused(digest)(ManifestError::NestedIndex)),
        }
    }

    /// A document from the store or, if it is not there, from the registries.
    async fn document(
        &self,
        kind: Kind,
        digest: ContentDigest,
        size: Option<u64>,
        max_bytes: u64,
        documents: &mut Vec<Held>,
    ) -> Result<Vec<u8>, PullError> {
        let store = Arc::clone(&self.store);
        let stored = blocking(move || Ok(store.document(digest, max_bytes))).await?;
        let bytes = match stored.filter(|bytes| size.is_none_or(|size| size == bytes.len() as u64))
        {
            Some(bytes) => bytes,
            None => {
                let mut bytes = Vec::new();
                let wanted =
                    Wanted { image: &self.image, kind, digest, size, max_bytes, progress: None };
                self.registries.fetch(wanted, &mut bytes).await?;
                bytes
            }
        };
        documents.push((digest, bytes.clone()));
        self.progress.blob_done();
        Ok(bytes)
    }

    /// All layers side by side, then into the store together with the documents that name them.
    async fn layers(
        self: &Arc<Self>,
        layers: Vec<Layer>,
        diff_ids: &[ContentDigest],
        documents: Vec<Held>,
    ) -> Result<(Vec<PathBuf>, Vec<String>), PullError> {
        let mut pulls = JoinSet::new();
        for (index, (layer, diff_id)) in layers.into_iter().zip(diff_ids).enumerate() {
            // Of a layer that stands twice only the upper one shows; overlayfs refuses to stack
            // both.
            if diff_ids[index + 1..].contains(diff_id) {
                self.progress.blob_done();
                continue;
            }
            let (puller, diff_id) = (Arc::clone(self), *diff_id);
            pulls.spawn(async move {
                puller.layer(layer, diff_id).await.map(|unpacked| (index, diff_id, unpacked))
            });
        }
        let mut unpacked = self.all(pulls).await?;
        unpacked.sort_by_key(|(index, ..)| *index);
        let store = Arc::clone(&self.store);
        let notes =
            unpacked.iter().flat_map(|(_, diff_id, state)| notes(*diff_id, state)).collect();
        let paths = blocking(move || {
            let paths = unpacked.iter().map(|(_, diff_id, _)| store.layer_path(*diff_id)).collect();
            let ready = unpacked.into_iter().filter_map(|(_, diff_id, unpacked)| match unpacked {
                LayerState::Ready(partial, _) => Some((partial, diff_id)),
                LayerState::There => None,
            });
            store.commit(ready.collect(), &documents).map_err(PullError::Store)?;
            Ok(paths)
        })
        .await?;
        Ok((paths, notes))
    }

    /// What all tasks give, or the first error once all have ended.
    async fn all<T: 'static>(
        &self,
        mut tasks: JoinSet<Result<T, PullError>>,
    ) -> Result<Vec<T>, PullError> {
        let (mut given, mut failed) = (Vec::new(), None);
        while let Some(done) = tasks.join_next().await {
            match done.unwrap_or_else(|error| Err(PullError::Task(error.to_string()))) {
                Ok(value) => given.push(value),
                Err(error) => {
                    self.cancel();
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(given), Err)
    }

    /// One layer, fetched and unpacked if it is not there.
    async fn layer(
        self: Arc<Self>,
        layer: Layer,
        diff_id: ContentDigest,
    ) -> Result<LayerState, PullError> {
        let mut stop = self.stop.subscribe();
        let fetched = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Err(PullError::Cancelled),
            fetched = self.fetch(&layer, diff_id) => fetched?,
        };
        let Some((_place, packed)) = fetched else {
            self.progress.blob_done();
            return Ok(LayerState::There);
        };
        let puller = Arc::clone(&self);
        let (unpacked, left_out) =
            blocking(move || puller.unpack(&layer, diff_id, &packed)).await?;
        self.progress.blob_done();
        Ok(LayerState::Ready(unpacked, left_out))
    }

    /// The verified compressed bytes of a layer, and the place that unpacking takes; `None` if the
    /// layer is there.
    async fn fetch(
        &self,
        layer: &Layer,
        diff_id: ContentDigest,
    ) -> Result<Option<(SemaphorePermit<'_>, Partial)>, PullError> {
        let place =
            self.slots.acquire().await.map_err(|error| PullError::Task(error.to_string()))?;
        if self.store.has_layer(diff_id) {
            return Ok(None);
        }
        let (packed, file) = self.store.partial_file().map_err(PullError::Store)?;
        let mut sink = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::from_std(file));
        let (digest, size) = (layer.digest, layer.size);
        let progress = Some(&self.progress);
        let wanted = Wanted {
            image: &self.image,
            kind: Kind::Blob,
            digest,
            size: Some(size),
            max_bytes: size,
            progress,
        };
        self.registries.fetch(wanted, &mut sink).await?;
        Ok(Some((place, packed)))
    }

    /// Blocks.
    fn unpack(
        &self,
        layer: &Layer,
        diff_id: ContentDigest,
        packed: &Partial,
    ) -> Result<(Partial, LeftOut), PullError> {
        let refused = |cause| PullError::Layer { digest: layer.digest, cause };
        let into = self.store.partial_directory().map_err(PullError::Store)?;
        let reader = std::fs::File::open(packed.path()).map_err(PullError::Store)?;
        let packed = Packed {
            reader,
            bytes: layer.size,
            compression: layer.compression,
            budget: &self.budget,
        };
        let Unpacked { archive: found, left_out } =
            unpack::unpack(packed, into.path()).map_err(refused)?;
        match found == diff_id {
            true => Ok((into, left_out)),
            false => Err(refused(UnpackError::DiffId { expected: diff_id, found })),
        }
    }

    /// Ends fetching and unpacking, wherever they are.
    fn cancel(&self) {
        self.budget.cancel();
        self.stop.send_replace(true);
    }
}

fn notes(diff_id: ContentDigest, state: &LayerState) -> Vec<String> {
    match state {
        LayerState::There => Vec::new(),
        LayerState::Ready(_, left_out) => {
            left_out.notes().iter().map(|note| format!("layer {diff_id}: {note}")).collect()
        }
    }
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(PullError::Task(error.to_string())))
}

fn refused(digest: ContentDigest) -> impl Fn(ManifestError) -> PullError {
    move |cause| PullError::Document { digest, cause }
}
