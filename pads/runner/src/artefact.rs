//! Compiled code and its cache.
//!
//! Running compiled code is running what somebody compiled, so an [`Artefact`] has three sources
//! only: a process of this program's compiler, a file of the [`Cache`] whose MAC is right, or the
//! parent process. The MAC covers the component's digest, the version and settings of wasmtime, and
//! the code; its key is the caller's, and never leaves the machine's memory.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use zeroize::Zeroizing;

use crate::component::{self, Refused};

/// What the MAC is about.
const LABEL: &[u8] = b"dstyx pad-runner compiled component 1\0";
/// Bytes of the MAC before the code.
const MAC_BYTES: usize = 32;
/// Bytes of compiled code: a large component's, several times over.
pub(crate) const MAX_BYTES: u64 = 1 << 30;
/// Files that this process began to write, so that each has a name of its own.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Code for this machine that this build of wasmtime made from a component.
pub struct Artefact {
    bytes: Vec<u8>,
}

impl Artefact {
    /// What the compiler's process, which is of this build, made.
    pub(crate) fn compiled(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// What the parent process gave to this one, which has nothing else.
    pub(crate) fn from_parent(mut file: File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self { bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The key of a cache's MACs.
pub struct CacheKey(Zeroizing<[u8; 32]>);

impl CacheKey {
    /// Keeps 32 random or derived bytes.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }
}

/// Where the code of an artefact came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The cache had it.
    Cache,
    /// It was compiled, and the cache has it now.
    Compiled,
    /// It was compiled, and could not be written.
    NotKept,
}

/// A directory of compiled code. Whoever can write to it can only remove code.
pub struct Cache {
    directory: PathBuf,
    key: CacheKey,
}

impl Cache {
    /// A cache in a directory that exists.
    pub fn new(directory: &Path, key: CacheKey) -> Self {
        Self { directory: directory.to_owned(), key }
    }

    /// The code of a component: the cache's if it is authentic, otherwise compiled and written.
    pub(crate) fn artefact(
        &self,
        engine: &Engine,
        component: &[u8],
        compile: impl FnOnce() -> Result<Artefact, Refused>,
    ) -> Result<(Artefact, Origin), Refused> {
        let name = Name { component: component::digest(component), settings: settings(engine) };
        let path = self.directory.join(name.file());
        if let Some(bytes) = self.read(&path, &name) {
            return Ok((Artefact { bytes }, Origin::Cache));
        }
        let artefact = compile()?;
        let kept = self.write(&path, &name, artefact.bytes());
        Ok((artefact, if kept.is_ok() { Origin::Compiled } else { Origin::NotKept }))
    }

    /// The code in a file, if its MAC is right; the very bytes that were judged.
    fn read(&self, path: &Path, name: &Name) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC_BYTES)?;
        self.mac(name, code).verify_slice(mac).ok()?;
        Some(bytes.split_off(MAC_BYTES))
    }

    /// A reader sees the whole file or none.
    fn write(&self, path: &Path, name: &Name, code: &[u8]) -> io::Result<()> {
        let mac = self.mac(name, code).finalize().into_bytes();
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}.{number}.new", std::process::id()));
        let written = fs::write(&beside, [&mac, code].concat());
        let moved = written.and_then(|()| fs::rename(&beside, path));
        if moved.is_err() {
            let _ = fs::remove_file(&beside); // the first error is the one to report
        }
        moved
    }

    fn mac(&self, name: &Name, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(self.key.0.as_slice()).expect("any length is a key");
        mac.update(LABEL);
        mac.update(&name.component);
        mac.update(&name.settings);
        mac.update(code);
        mac
    }
}

/// What code is compiled from, and for.
struct Name {
    component: [u8; 32],
    settings: [u8; 32],
}

impl Name {
    fn file(&self) -> String {
        let digest = Sha256::new().chain_update(self.component).chain_update(self.settings);
        format!("{}.pad", hex::encode(digest.finalize()))
    }
}

/// A digest of wasmtime's version, the settings and this machine's features.
fn settings(engine: &Engine) -> [u8; 32] {
    let mut hasher = WholeHash(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// A hasher that keeps all of what it was given, where the usual ones keep 64 bits.
struct WholeHash(Sha256);

impl Hasher for WholeHash {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        u64::from_le_bytes(*digest.first_chunk().expect("a digest is longer"))
    }
}
