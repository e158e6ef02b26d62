//! One layer into one directory, in the form that overlayfs stacks.
//!
//! An archive names what it hides of lower layers by files called `.wh.NAME` and `.wh..wh..opq`
//! (OCI image specification, `layer.md`); overlayfs wants device nodes 0/0 and an attribute. The
//! directory is made under another name and gets its own only when archive and digest are whole.

use std::io::Read;
use std::path::Path;

use compose::digest::ContentDigest;
use container_tree::{TreeError, TreePath};

use super::archive::{self, ArchiveError, Item, Make};
use super::budget::{Budget, BudgetError, LayerBudget};
use super::decompress::{Metered, decoder};
use super::layer::{Layer, LayerError};
use super::manifest::Compression;

/// Marks a name as hidden.
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Hides everything below the directory it stands in.
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// Book-keeping of a file system that no longer exists (aufs); hides nothing.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// A compressed layer.
pub(super) struct Packed<'a, R> {
    pub(super) reader: R,
    /// How many bytes `reader` gives.
    pub(super) bytes: u64,
    pub(super) compression: Compression,
    pub(super) budget: &'a Budget,
}

/// Unpacks into the empty directory `into` and gives the digest of the archive; blocks.
///
/// On an error `into` holds whatever was made before it.
pub(super) fn unpack<R: Read>(
    packed: Packed<'_, R>,
    into: &Path,
) -> Result<ContentDigest, UnpackError> {
    let layer = Layer::open(into)?;
    let layer_budget = LayerBudget::new(packed.budget, packed.bytes);
    let reader = Metered::new(decoder(packed.reader, packed.compression), layer_budget);
    let mut directories: Vec<(Vec<u8>, i64)> = Vec::new();
    let reader = archive::for_each(reader, |item, content| {
        packed.budget.entry()?;
        apply(&layer, &item, content)
            .map_err(|cause| UnpackError::Entry { path: shown(&item.path), cause })?;
        if item.make == Make::Directory {
            directories.push((item.path, item.mtime_secs));
        }
        Ok::<(), UnpackError>(())
    })?;
    for (path, mtime_secs) in directories {
        layer.set_directory_time(&path, mtime_secs)?;
    }
    Ok(reader.digest())
}

fn apply(layer: &Layer, item: &Item, content: &mut dyn Read) -> Result<(), LayerError> {
    let mut path = TreePath::parse(&item.path)?;
    if path.name == OPAQUE_NAME {
        return layer.opaque_parent(&path);
    }
    if path.name.starts_with(AUFS_PREFIX) {
        return Ok(());
    }
    if let Some(hidden) = path.name.strip_prefix(WHITEOUT_PREFIX) {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(TreeError::Path { path: shown(&item.path), why: "hides no name" }.into());
        }
        path.name = hidden.to_vec();
        return layer.whiteout(&path);
    }
    if path.parents.iter().any(|parent| parent.starts_with(WHITEOUT_PREFIX)) {
        return Err(
            TreeError::Path { path: shown(&item.path), why: "lies in a hidden name" }.into()
        );
    }
    layer.make(item, content)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is broken, or a limit was hit.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// Too many entries.
    #[error("{0}")]
    Budget(#[from] BudgetError),
    /// One entry is refused.
    #[error("{path:?}: {cause}")]
    Entry {
        /// Its path in the archive.
        path: String,
        /// Why.
        cause: LayerError,
    },
    /// The directory cannot be used.
    #[error("{0}")]
    Layer(#[from] LayerError),
    /// The archive is not the one that the image's configuration names.
    #[error("wrong archive: expected {expected}, found {found}")]
    DiffId {
        /// In the verified configuration.
        expected: ContentDigest,
        /// Of what was unpacked.
        found: ContentDigest,
    },
}
