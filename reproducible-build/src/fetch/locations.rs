//! Where pinned files may lie, in the order in which the places are asked.

use std::env;
use std::path::{Path, PathBuf};

use super::FetchError;
use crate::debian::apt;

/// The places, from the environment and the host's apt configuration.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Locations {
    /// `DSTYX_INPUTS`: a directory with files by their archive names.
    pub inputs: Option<PathBuf>,
    /// `DSTYX_DEBIAN_MIRROR`, or the mirrors of the host's apt configuration.
    pub mirrors: Vec<String>,
    /// `DSTYX_DEBIAN_SNAPSHOT`: base of a snapshot archive, below which states
    /// are named by their time.
    pub snapshot: Option<String>,
    /// The proxy of the host's apt configuration; the environment's comes first.
    pub proxy: Option<String>,
}

impl Locations {
    /// Reads the environment and `/etc/apt`.
    ///
    /// # Errors
    /// If a variable holds no address.
    pub fn from_environment() -> Result<Self, FetchError> {
        let apt = apt::read(Path::new("/"));
        let mirrors = match address("DSTYX_DEBIAN_MIRROR")? {
            Some(mirror) => vec![mirror],
            None => apt.mirrors,
        };
        let inputs = env::var_os("DSTYX_INPUTS").filter(|dir| !dir.is_empty());
        Ok(Self {
            inputs: inputs.map(PathBuf::from),
            mirrors,
            snapshot: address("DSTYX_DEBIAN_SNAPSHOT")?,
            proxy: apt.proxy,
        })
    }

    /// The mirrors.
    ///
    /// # Errors
    /// If there is none.
    pub fn mirrors(&self) -> Result<&[String], FetchError> {
        match &self.mirrors[..] {
            [] => Err(FetchError::NoMirror),
            some => Ok(some),
        }
    }

    /// The mirrors, then the snapshot of the time `resolved`.
    pub(super) fn all(&self, resolved: &str) -> Result<Vec<String>, FetchError> {
        let snapshot = self.snapshot.iter().map(|base| format!("{base}/{resolved}"));
        let all: Vec<String> = self.mirrors.iter().cloned().chain(snapshot).collect();
        if all.is_empty() {
            return Err(FetchError::NoMirror);
        }
        Ok(all)
    }
}

fn address(name: &'static str) -> Result<Option<String>, FetchError> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy().trim_end_matches('/').to_owned();
    if value.starts_with("http://") || value.starts_with("https://") {
        Ok(Some(value))
    } else {
        Err(FetchError::Address(name, value))
    }
}
