//! One layer into one directory, in the form that overlayfs stacks.
//!
//! An archive names what it hides of lower layers by files called `.wh.NAME` and `.wh..wh..opq`
//! (OCI image specification, `layer.md`); overlayfs wants device nodes 0/0 and an attribute. The
//! directory is made under another name and gets its own only when archive and digest are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use compose::digest::ContentDigest;
use container_tree::{TreeError, TreePath};

use super::archive::{self, ArchiveError, Item, Make, shown};
use super::budget::{Budget, LayerBudget};
use super::decompress::{Metered, decoder};
use super::layer::{self, Layer, LayerError};
use super::left_out::LeftOut;
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

/// What came of a layer.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The digest of its archive.
    pub(super) archive: ContentDigest,
    /// What the directory does not have of it.
    pub(super) left_out: LeftOut,
}

/// Unpacks into the empty directory `into`; blocks.
///
/// On an error `into` holds whatever was made before it.
pub(super) fn unpack<R: Read>(packed: Packed<'_, R>, into: &Path) -> Result<Unpacked, UnpackError> {
    let layer = Layer::open(into).map_err(UnpackError::Directory)?;
    let layer_budget = LayerBudget::new(packed.budget, packed.bytes);
    let reader = Metered::new(decoder(packed.reader, packed.compression), layer_budget);
    let mut unpacking = Unpacking {
        layer,
        directories: BTreeMap::new(),
        whiteouts: BTreeSet::new(),
        left_out: LeftOut::default(),
    };
    let reader = archive::for_each(reader, |item, content| {
        let path = item.path.clone();
        let counted = packed.budget.entry().map_err(LayerError::Budget);
        counted
            .and_then(|()| unpacking.apply(item, content))
            .map_err(|cause| UnpackError::Entry { path: shown(&path), cause })
    })?;
    let left_out = unpacking.finish()?;
    Ok(Unpacked { archive: reader.digest(), left_out })
}

/// The names of a path, from the root. Those below a directory stand behind it in a sorted
/// collection, next to each other.
type Names = Vec<Vec<u8>>;

/// A layer on its way, and what can only be done once all its entries are there.
struct Unpacking {
    layer: Layer,
    /// Times of directories: making a file in one changes it.
    directories: BTreeMap<Names, i64>,
    /// What is hidden of lower layers. A name that this layer has too, before or after, is not
    /// hidden: whiteouts are for lower layers only.
    whiteouts: BTreeSet<Names>,
    left_out: LeftOut,
}

impl Unpacking {
    fn apply(&mut self, mut item: Item, content: &mut dyn Read) -> Result<(), LayerError> {
        let mut path = TreePath::parse(&item.path)?;
        if path.name == OPAQUE_NAME {
            return self.layer.opaque_parent(&path);
        }
        let of_aufs = |name: &Vec<u8>| name.starts_with(AUFS_PREFIX);
        if of_aufs(&path.name) || path.parents.iter().any(of_aufs) {
            return Ok(());
        }
        if path.parents.iter().any(|parent| parent.starts_with(WHITEOUT_PREFIX)) {
            return Err(refused(&item, "lies in a hidden name"));
        }
        if let Some(hidden) = path.name.strip_prefix(WHITEOUT_PREFIX) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(refused(&item, "hides no name"));
            }
            path.name = hidden.to_vec();
            self.whiteouts.insert(names(path));
            return Ok(());
        }
        if item.make == Make::Device {
            self.left_out.device(shown(&item.path));
            return Ok(());
        }
        for name in layer::take_out_attributes(&mut item.xattrs)? {
            self.left_out.attribute(name, shown(&item.path));
        }
        let replaced = self.layer.make(&path, &item, content)?;
        let names = names(path);
        if replaced {
            self.forget_below(&names);
        }
        if item.make == Make::Directory {
            self.directories.insert(names, item.mtime_secs);
        }
        Ok(())
    }

    /// Forgets what is still to be done in a directory that is no longer there.
    fn forget_below(&mut self, gone: &Names) {
        let directories = self.directories.range(gone.clone()..).map(|(names, _)| names);
        let directories: Vec<Names> =
            directories.take_while(|names| names.starts_with(gone)).cloned().collect();
        for names in &directories {
            self.directories.remove(names);
        }
        let whiteouts = self.whiteouts.range(gone.clone()..);
        let whiteouts: Vec<Names> = whiteouts
            .take_while(|names| names.starts_with(gone))
            .filter(|names| *names != gone)
            .cloned()
            .collect();
        for names in &whiteouts {
            self.whiteouts.remove(names);
        }
    }

    fn finish(self) -> Result<LeftOut, UnpackError> {
        let failed = |names: &Names| {
            let path = shown(&names.join(&b'/'));
            move |cause| UnpackError::Entry { path, cause }
        };
        // The deepest first: a directory that is made for one is not hidden but made opaque.
        for names in self.whiteouts.iter().rev() {
            self.layer.whiteout(&tree_path(names)).map_err(failed(names))?;
        }
        for (names, mtime_secs) in &self.directories {
            self.layer.set_directory_time(&tree_path(names), *mtime_secs).map_err(failed(names))?;
        }
        Ok(self.left_out)
    }
}

fn refused(item: &Item, why: &'static str) -> LayerError {
    TreeError::Path { path: shown(&item.path), why }.into()
}

fn names(path: TreePath) -> Names {
    let mut names = path.parents;
    // The root itself has no name.
    names.extend(Some(path.name).filter(|name| !name.is_empty()));
    names
}

fn tree_path(names: &Names) -> TreePath {
    let mut parents = names.clone();
    let name = parents.pop().unwrap_or_default();
    TreePath { parents, name }
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// the archive is broken, or a limit was hit
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// one entry is refused
    #[error("{path:?}: {cause}")]
    Entry {
        /// Its path in the archive.
        path: String,
        /// The error that was met.
        cause: LayerError,
    },
    /// the directory cannot be opened
    #[error("{0}")]
    Directory(LayerError),
    /// the archive is not the one that the image's configuration names
    #[error("wrong archive: expected {expected}, found {found}")]
    DiffId {
        /// In the verified configuration.
        expected: ContentDigest,
        /// Of what was unpacked.
        found: ContentDigest,
    },
}
