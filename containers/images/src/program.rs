//! Fetches programs for the sandbox of Pads, whose one file enters the store as it is.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use compose::ImageReference;
use compose::digest::ContentDigest;
use tokio::io::BufWriter;

use super::artifact::{
    ArtifactError, HEADER_BYTES, check_artifact_config, check_component, parse_artifact,
};
use super::budget::{Limits, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use super::error::PullError;
use super::manifest::Descriptor;
use super::progress::Progress;
use super::registry::{Kind, Registries, Wanted};
use super::store::{Partial, Store};
use super::{Held, PulledProgram, Puller, WRITE_BYTES, blocking};

/// Fetches what of the program `image` is not in the store yet; asks nobody if all is there.
///
/// It enters the store whole or not at all. If the future is dropped, what was begun is removed.
pub async fn pull_program(
    image: &ImageReference,
    registries: Arc<Registries>,
    store: Arc<Store>,
    progress: &Progress,
) -> Result<PulledProgram, PullError> {
    progress.begin(image.to_string());
    // A program has no layers that are unpacked: bounds of its own count.
    Puller::new(image, registries, store, Limits::default(), progress).program().await
}

impl Puller {
    async fn program(&self) -> Result<PulledProgram, PullError> {
        let mut documents: Vec<Held> = Vec::new();
        let digest = self.image.digest();
        let bytes =
            self.document(Kind::Manifest, digest, None, MAX_MANIFEST_BYTES, &mut documents).await?;
        let artifact = parse_artifact(&bytes).map_err(refused(digest))?;
        self.progress.expect(2, artifact.component.size);
        let (config, size) = (artifact.config.digest, Some(artifact.config.size));
        let bytes =
            self.document(Kind::Blob, config, size, MAX_CONFIG_BYTES, &mut documents).await?;
        let component = artifact.component.digest;
        check_artifact_config(&bytes, component).map_err(refused(config))?;
        let _hold = self.store.hold(&[component]);
        let fetched = self.component(&artifact.component).await?;
        let (store, held) = (Arc::clone(&self.store), documents.clone());
        blocking(move || store.commit_program(fetched, component, &held).map_err(PullError::Store))
            .await?;
        self.progress.blob_done();
        let documents = documents.into_iter().map(|(digest, _)| digest).collect();
        Ok(PulledProgram { component, path: self.store.program_path(component), documents })
    }

    /// The verified bytes of a component, unless the store has them.
    async fn component(&self, component: &Descriptor) -> Result<Option<Partial>, PullError> {
        let (digest, size) = (component.digest, component.size);
        let store = Arc::clone(&self.store);
        if blocking(move || Ok(store.has_program(digest))).await? {
            return Ok(None);
        }
        let (partial, file) = self.store.partial_file().map_err(PullError::Store)?;
        let mut sink = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::from_std(file));
        let wanted = Wanted {
            image: &self.image,
            kind: Kind::Blob,
            digest,
            size: Some(size),
            max_bytes: size,
            progress: Some(&self.progress),
        };
        self.registries.fetch(wanted, &mut sink).await?;
        blocking(move || {
            let mut header = [0; HEADER_BYTES];
            File::open(partial.path())
                .and_then(|mut file| file.read_exact(&mut header))
                .map_err(PullError::Store)?;
            check_component(header).map_err(refused(digest))?;
            Ok(Some(partial))
        })
        .await
    }
}

fn refused(digest: ContentDigest) -> impl Fn(ArtifactError) -> PullError {
    move |cause| PullError::Program { digest, cause }
}
