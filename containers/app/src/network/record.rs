//! What an agent that is started again must know of the networks: a small file in the run
//! directory.
//!
//! The directory is the guest's own memory, so the file is not hostile; one that cannot be read is
//! an agent's of another version or one that was cut off, and counts as none.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use compose::model::ComposeFile;

/// Its name in the run directory.
const FILE: &str = "networks.json";

/// What was planned with, and how far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// SHA-256 over what the plan is made from.
    compose: String,
    /// The subnets that the guest was on when the plan was made.
    pub(super) occupied: Vec<IpNet>,
    /// Ids of the containers that are connected.
    pub(super) joined: BTreeSet<String>,
    /// Ids of those whose ports are published.
    pub(super) published: BTreeSet<String>,
}

impl Record {
    /// Nothing is connected yet.
    pub(super) fn new(compose: &ComposeFile, occupied: Vec<IpNet>) -> Self {
        Self { compose: digest(compose), occupied, ..Self::default() }
    }

    /// Whether it is of this file.
    pub(super) fn is_of(&self, compose: &ComposeFile) -> bool {
        self.compose == digest(compose)
    }

    /// Reads it, if there is one that can be read.
    pub(super) fn read(run_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(run_dir.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it; whoever reads it finds the old one or the new one.
    pub(super) fn write(&self, run_dir: &Path) -> io::Result<()> {
        let new = run_dir.join(format!("{FILE}.new"));
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, run_dir.join(FILE))
    }

    /// Removes it, if it is there.
    pub(super) fn remove(run_dir: &Path) -> io::Result<()> {
        match fs::remove_file(run_dir.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Of the file's own text form: the same program reads what it wrote.
fn digest(compose: &ComposeFile) -> String {
    let services = compose.services.iter().map(|service| {
        (&service.name, service.replicas, &service.network, &service.names, &service.ports)
    });
    let text = format!("{:?}{:?}", compose.networks, services.collect::<Vec<_>>());
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
