//! From the manifest and the built files to the initramfs, and back for whoever wants to look
//! inside.
//!
//! Pure: files come in as bytes, the archive goes out as bytes. Compression is a recipe, so that
//! the zstd which writes the image is pinned like every other tool; reading it back uses a decoder
//! in Rust with a bound.

use std::collections::BTreeMap;
use std::io::Read as _;

use protocol::image::Flavour;

use crate::manifest::{self, CeilingError, What};
use crate::newc::{self, NewcError, Node, Tree};

/// Most bytes that an archive may unpack to: the ceilings of all files together, with room for
/// headers.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// The files of an initramfs by their paths in the manifest.
pub type Contents = BTreeMap<&'static str, Vec<u8>>;

/// The tree that the manifest names, filled with exactly these contents.
///
/// # Errors
/// If a listed file is missing or above its ceiling, or a content belongs to no listed file.
pub fn tree(flavour: Flavour, mut contents: Contents) -> Result<Tree, InitrdError> {
    let mut tree = Tree::new();
    for rule in manifest::rules(flavour) {
        let node = match rule.what {
            What::Directory => Node::Directory { mode: rule.mode },
            What::Link(target) => Node::Link { target: target.into() },
            What::Device(major, minor) => Node::Device { mode: rule.mode, major, minor },
            What::File(ceiling) => {
                let data = contents.remove(rule.path).ok_or(InitrdError::Missing(rule.path))?;
                manifest::check_size(rule.path, data.len() as u64, ceiling)?;
                Node::File { mode: rule.mode, data }
            }
        };
        tree.insert(rule.path.into(), node);
    }
    match contents.into_keys().next() {
        Some(path) => Err(InitrdError::NotListed(path)),
        None => Ok(tree),
    }
}

/// What is in a compressed initramfs.
///
/// # Errors
/// If it is not zstd, unpacks to more than 64 MiB, or is no archive as [`newc`] writes it.
pub fn list(initrd: &[u8]) -> Result<Tree, InitrdError> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(initrd);
    let decoder = decoder.map_err(|error| InitrdError::Compression(error.to_string()))?;
    let mut archive = Vec::new();
    let mut bounded = decoder.take(MAX_UNPACKED_BYTES + 1);
    bounded
        .read_to_end(&mut archive)
        .map_err(|error| InitrdError::Compression(error.to_string()))?;
    if archive.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(InitrdError::TooLarge);
    }
    Ok(newc::read(&archive)?)
}

/// Why there is no initramfs, or why one cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitrdError {
    /// the manifest names a file that was not built
    #[error("the manifest names {0:?}, which was not built")]
    Missing(&'static str),
    /// a file that the manifest does not name
    #[error("{0:?} was built, but the manifest of this flavour does not name it")]
    NotListed(&'static str),
    /// a file above its ceiling
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    /// not an archive of ours
    #[error("not an initramfs of dstyx")]
    Archive(#[from] NewcError),
    /// not zstd
    #[error("the initramfs cannot be decompressed: {0}")]
    Compression(String),
    /// unpacks to more than 64 MiB
    #[error("the initramfs unpacks to more than {MAX_UNPACKED_BYTES} bytes")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(flavour: Flavour) -> Contents {
        let file = |rule: &manifest::Rule| {
            matches!(rule.what, What::File(_)).then_some((rule.path, b"x".to_vec()))
        };
        manifest::rules(flavour).filter_map(file).collect()
    }

    #[test]
    fn the_archive_holds_what_the_manifest_names() {
        for flavour in [Flavour::Release, Flavour::Dev] {
            let tree = tree(flavour, contents(flavour)).unwrap();
            let archive = newc::write(&tree, 1).unwrap();
            let paths: Vec<_> = manifest::rules(flavour).map(|rule| rule.path.to_owned()).collect();
            assert_eq!(newc::read(&archive).unwrap().into_keys().collect::<Vec<_>>(), {
                let mut sorted = paths;
                sorted.sort();
                sorted
            });
        }
    }

    #[test]
    fn a_missing_an_extra_and_a_large_file_are_refused() {
        let release = contents(Flavour::Release);
        let refused = tree(Flavour::Dev, release.clone());
        assert_eq!(refused, Err(InitrdError::Missing(manifest::EMULATED_ROOT)));
        let refused = tree(Flavour::Release, contents(Flavour::Dev));
        assert_eq!(refused, Err(InitrdError::NotListed(manifest::EMULATED_ROOT)));
        let mut large = release;
        large.insert(manifest::BUILD_DATE, vec![b'1'; 17]);
        let refused = tree(Flavour::Release, large);
        let expected =
            CeilingError { file: manifest::BUILD_DATE.into(), bytes: 17, ceiling_bytes: 16 };
        assert_eq!(refused, Err(InitrdError::Ceiling(expected)));
    }

    #[test]
    fn what_is_not_zstd_is_refused() {
        assert!(matches!(list(b"070701"), Err(InitrdError::Compression(_))));
    }
}
