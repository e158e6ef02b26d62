//! Where images lie: layers unpacked, each named by the digest of its archive, programs for the
//! sandbox of Pads, and the documents about both.
//!
//! ```text
//! ROOT/layers/DIFF_ID/    unpacked, whole, never written again
//! ROOT/programs/DIGEST    a component, byte for byte; hashed again when it is relied on
//! ROOT/documents/DIGEST   an index, manifest or configuration, byte for byte; hashed again when it
//!                         is read
//! ROOT/partial/…          what is being fetched or unpacked; emptied when the store is opened
//! ROOT/lock               held while the store is open
//! ```
//!
//! A name appears by rename after everything of its image was verified and synced, so a half-pulled
//! image is never found, and nothing of a refused one stays. Layers are shared by all images and
//! apps. The root is on the data disk, whose integrity is that disk's; nothing here depends on its
//! kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use compose::digest::ContentDigest;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::{PulledImage, PulledProgram};

/// Read of a file at once to hash it.
const HASHED_BYTES: usize = 256 << 10;

/// The images under one root; one process at a time opens it, and once.
#[derive(Debug)]
pub struct Store {
    layers: PathBuf,
    programs: PathBuf,
    documents: PathBuf,
    partial: PathBuf,
    next: AtomicU64,
    /// Names of layers and programs that pulls under way rely on, and how many do.
    held: Mutex<BTreeMap<String, usize>>,
    _lock: File,
}

/// What [`Store::collect`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Layers.
    pub layers: usize,
    /// Programs.
    pub programs: usize,
    /// Indexes, manifests and configurations.
    pub documents: usize,
    /// Their size on the disk.
    pub bytes: u64,
}

impl Store {
    /// Opens or makes the store under `root`, forgetting what was not finished; blocks.
    ///
    /// Fails with [`io::ErrorKind::WouldBlock`] while another value or process has it open.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_directory(root)?;
        let lock = File::create(root.join("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let [layers, programs, documents, partial] =
            ["layers", "programs", "documents", "partial"].map(|name| root.join(name));
        for directory in [&layers, &programs, &documents, &partial] {
            make_directory(directory)?;
        }
        container_tree::remove_content(&partial)?;
        Ok(Self {
            layers,
            programs,
            documents,
            partial,
            next: AtomicU64::new(0),
            held: Mutex::default(),
            _lock: lock,
        })
    }

    /// Removes what neither `images`, `programs` nor a pull under way needs; blocks.
    ///
    /// `images` must name every image of which a container exists: the kernel does not mind when a
    /// mounted layer goes.
    pub fn collect<'a>(
        &self,
        images: impl Iterator<Item = &'a PulledImage>,
        programs: impl Iterator<Item = &'a PulledProgram>,
    ) -> io::Result<Freed> {
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for program in programs {
            needed.extend(program.documents.iter().map(ContentDigest::hex));
            needed.insert(program.component.hex());
        }
        for image in images {
            needed.extend(image.documents.iter().map(ContentDigest::hex));
            let layers = image.layers.iter().filter_map(|path| path.file_name());
            needed.extend(layers.map(|name| name.to_string_lossy().into_owned()));
        }
        let mut freed = Freed::default();
        let mut doomed = Vec::new();
        {
            // A pull that begins now looks only after this is done.
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            needed.extend(held.keys().cloned());
            freed.layers = self.set_aside(&self.layers, &needed, &mut doomed)?;
            freed.programs = self.set_aside(&self.programs, &needed, &mut doomed)?;
            freed.documents = self.set_aside(&self.documents, &needed, &mut doomed)?;
        }
        for partial in doomed {
            freed.bytes += container_tree::remove_tree(partial.path())?;
        }
        Ok(freed)
    }

    /// Moves what is not needed out of `directory`, where no pull finds it any more.
    fn set_aside(
        &self,
        directory: &Path,
        needed: &BTreeSet<String>,
        doomed: &mut Vec<Partial>,
    ) -> io::Result<usize> {
        let before = doomed.len();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !needed.contains(entry.file_name().to_string_lossy().as_ref()) {
                let partial = self.partial();
                fs::rename(entry.path(), partial.path())?;
                doomed.push(partial);
            }
        }
        Ok(doomed.len() - before)
    }

    /// Keeps these layers or programs, there or not yet, from being collected until the value is
    /// dropped.
    pub(super) fn hold(self: &Arc<Self>, layers: &[ContentDigest]) -> Hold {
        let names: Vec<String> = layers.iter().map(ContentDigest::hex).collect();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &names {
            *held.entry(name.clone()).or_default() += 1;
        }
        drop(held);
        Hold { store: Arc::clone(self), names }
    }

    /// Whether a layer is there, whole.
    pub(super) fn has_layer(&self, diff_id: ContentDigest) -> bool {
        self.layer_path(diff_id).is_dir()
    }

    /// The directory of a layer, there or not.
    pub(super) fn layer_path(&self, diff_id: ContentDigest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    /// Whether a program is there and still is the bytes of its digest; blocks.
    pub(super) fn has_program(&self, component: ContentDigest) -> bool {
        File::open(self.program_path(component))
            .and_then(digest_of)
            .is_ok_and(|found| found == component)
    }

    /// The file of a program, there or not.
    pub(super) fn program_path(&self, component: ContentDigest) -> PathBuf {
        self.programs.join(component.hex())
    }

    /// The bytes of that digest, if they are there and still are those bytes.
    pub(super) fn document(&self, digest: ContentDigest, max_bytes: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.documents.join(digest.hex())).ok()?;
        file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        let whole = ContentDigest::from_bytes(Sha256::digest(&bytes).into()) == digest;
        (whole && bytes.len() as u64 <= max_bytes).then_some(bytes)
    }

    /// A new empty file for bytes that are not verified yet.
    pub(super) fn partial_file(&self) -> io::Result<(Partial, File)> {
        let partial = self.partial();
        let file = File::create_new(partial.path())?;
        Ok((partial, file))
    }

    /// A new empty directory for a layer that is not whole yet.
    pub(super) fn partial_directory(&self) -> io::Result<Partial> {
        let partial = self.partial();
        // The root of a layer without an entry for it; see Tree for the other directories.
        fs::DirBuilder::new().mode(0o755).create(partial.path())?;
        Ok(partial)
    }

    /// Makes layers and documents of an image that is whole and verified; blocks until they would
    /// survive a power cut.
    pub(super) fn commit(
        &self,
        layers: Vec<(Partial, ContentDigest)>,
        documents: &[(ContentDigest, Vec<u8>)],
    ) -> io::Result<()> {
        let mut moves = self.written(documents)?;
        moves.extend(
            layers.into_iter().map(|(partial, diff_id)| (partial, self.layer_path(diff_id))),
        );
        self.enter(moves)
    }

    /// The same for a program: its component, unless it is there, and its documents.
    pub(super) fn commit_program(
        &self,
        fetched: Option<Partial>,
        component: ContentDigest,
        documents: &[(ContentDigest, Vec<u8>)],
    ) -> io::Result<()> {
        let mut moves = self.written(documents)?;
        moves.extend(fetched.map(|partial| (partial, self.program_path(component))));
        self.enter(moves)
    }

    /// Files of documents that are not there yet, and the places that they are for.
    fn written(
        &self,
        documents: &[(ContentDigest, Vec<u8>)],
    ) -> io::Result<Vec<(Partial, PathBuf)>> {
        let mut moves = Vec::new();
        for (digest, bytes) in documents {
            if self.document(*digest, bytes.len() as u64).is_none() {
                let (partial, mut file) = self.partial_file()?;
                file.write_all(bytes)?;
                moves.push((partial, self.documents.join(digest.hex())));
            }
        }
        Ok(moves)
    }

    /// Gives what is whole and verified its names; blocks until they would survive a power cut.
    fn enter(&self, moves: Vec<(Partial, PathBuf)>) -> io::Result<()> {
        if moves.is_empty() {
            return Ok(());
        }
        rustix::fs::syncfs(File::open(&self.partial)?)?;
        for (partial, path) in moves {
            match fs::rename(partial.path(), &path) {
                // Another image's pull of the same layer was first; ours is dropped.
                Err(_) if path.is_dir() => {}
                done => done?,
            }
        }
        for directory in [&self.layers, &self.programs, &self.documents] {
            rustix::fs::fsync(File::open(directory)?)?;
        }
        Ok(())
    }

    fn partial(&self) -> Partial {
        Partial(self.partial.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()))
    }
}

/// Layers or programs that a pull relies on.
#[derive(Debug)]
pub(super) struct Hold {
    store: Arc<Store>,
    names: Vec<String>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.store.held.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            if let Some(count) = held.get_mut(name) {
                *count -= 1;
            }
        }
        held.retain(|_, count| *count > 0);
    }
}

/// Something unfinished, removed when dropped.
#[derive(Debug)]
pub(super) struct Partial(PathBuf);

impl Partial {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Whether a file, a directory or gone by rename: what cannot be removed now is when the
        // store is next opened.
        if let Err(error) = container_tree::remove_tree(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "removing what was not finished failed");
        }
    }
}

fn digest_of(mut file: File) -> io::Result<ContentDigest> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; HASHED_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(ContentDigest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// For root only: layers hold set-id programs with whatever holes their authors left.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageConfig;

    fn digest(bytes: &[u8]) -> ContentDigest {
        ContentDigest::from_bytes(Sha256::digest(bytes).into())
    }

    fn layer(store: &Store, number: u8) -> (Partial, ContentDigest) {
        let directory = store.partial_directory().expect("directory");
        fs::write(directory.path().join("file"), [number; 5000]).expect("file");
        (directory, ContentDigest::from_bytes([number; 32]))
    }

    fn image(store: &Store, layers: &[u8], document: &[u8]) -> PulledImage {
        let path = |number: &u8| store.layer_path(ContentDigest::from_bytes([*number; 32]));
        PulledImage {
            manifest: digest(document),
            config: ImageConfig::default(),
            layers: layers.iter().map(path).collect(),
            documents: vec![digest(document)],
            notes: Vec::new(),
        }
    }

    #[test]
    fn only_what_was_committed_outlives_the_store() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        assert_eq!(
            Store::open(directory.path()).expect_err("open twice").kind(),
            io::ErrorKind::WouldBlock
        );
        std::mem::forget(layer(&store, 1));
        store
            .commit(vec![layer(&store, 2)], &[(digest(b"doc"), b"doc".to_vec())])
            .expect("committed");
        drop(store.partial_file().expect("file"));
        drop(store);

        let store = Store::open(directory.path()).expect("again");
        assert_eq!(directory.path().join("partial").read_dir().expect("partial").count(), 0);
        assert!(!store.has_layer(ContentDigest::from_bytes([1; 32])));
        let path = store.layer_path(ContentDigest::from_bytes([2; 32]));
        fs::write(path.join("first"), "x").expect("file");
        store.commit(vec![layer(&store, 2)], &[]).expect("the first one stays");
        assert_eq!(path.read_dir().expect("layer").count(), 2);
        assert_eq!(directory.path().join("partial").read_dir().expect("partial").count(), 0);
    }

    #[test]
    fn a_document_that_changed_is_not_there() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        store.commit(Vec::new(), &[(digest(b"doc"), b"doc".to_vec())]).expect("committed");
        assert_eq!(store.document(digest(b"doc"), 3).as_deref(), Some(&b"doc"[..]));
        assert_eq!(store.document(digest(b"doc"), 2), None);
        fs::write(directory.path().join("documents").join(digest(b"doc").hex()), "Doc")
            .expect("file");
        assert_eq!(store.document(digest(b"doc"), 3), None);
        store.commit(Vec::new(), &[(digest(b"doc"), b"doc".to_vec())]).expect("written anew");
        assert_eq!(store.document(digest(b"doc"), 3).as_deref(), Some(&b"doc"[..]));
    }

    #[test]
    fn what_nobody_needs_is_collected() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Arc::new(Store::open(directory.path()).expect("store"));
        let layers = (1..=4).map(|number| layer(&store, number)).collect();
        let documents = [b"one".to_vec(), b"two".to_vec()].map(|bytes| (digest(&bytes), bytes));
        store.commit(layers, &documents).expect("committed");
        let (one, two) = (image(&store, &[1, 2], b"one"), image(&store, &[2, 3], b"two"));
        let hold = store.hold(&[ContentDigest::from_bytes([4; 32])]);
        assert_eq!(
            store.collect([&one, &two].into_iter(), std::iter::empty()).expect("nothing"),
            Freed::default()
        );
        let freed = store.collect([&two].into_iter(), std::iter::empty()).expect("of one");
        assert_eq!((freed.layers, freed.documents), (1, 1));
        assert!(freed.bytes >= 5003, "{freed:?}");
        assert!(
            two.layers.iter().all(|path| path.join("file").exists()) && !one.layers[0].exists()
        );
        drop(hold);
        assert_eq!(
            store.collect([&two].into_iter(), std::iter::empty()).expect("the one held").layers,
            1
        );
        assert_eq!(store.collect(std::iter::empty(), std::iter::empty()).expect("all").layers, 2);
        for name in ["layers", "programs", "documents", "partial"] {
            assert_eq!(directory.path().join(name).read_dir().expect(name).count(), 0, "{name}");
        }
    }
}
