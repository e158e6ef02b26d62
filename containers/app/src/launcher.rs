//! What containers are started with and from: shared by whoever plans one and whoever starts it.

use std::path::PathBuf;

use compose::model::Service;
use container_images::PulledImage;

use crate::network::Joined;

/// Starts containers and finds them again.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The helper program, linked statically.
    pub helper: PathBuf,
    /// Directory of what a boot knows of its containers; on tmpfs.
    pub run_dir: PathBuf,
    /// Directory of what containers write, and of volumes; on the data disk.
    pub data_dir: PathBuf,
    /// Directory of logs.
    pub log_dir: PathBuf,
    /// The agent's sockets, for services that ask for them.
    pub sockets: Sockets,
}

/// Where the agent's sockets are in the guest.
#[derive(Debug, Clone)]
pub struct Sockets {
    /// Shown as `/var/run/dstack.sock`.
    pub dstack: PathBuf,
    /// Shown as `/var/run/tappd.sock`.
    pub tappd: PathBuf,
    /// Directory with `SERVICE.sock` for each service that has one, its `/run/dstyx/pads.sock`.
    pub pads: PathBuf,
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct ContainerRequest<'a> {
    /// `SERVICE-N`: names directories, log and cgroup.
    pub id: &'a str,
    /// Its service.
    pub service: &'a Service,
    /// Its image.
    pub image: &'a PulledImage,
    /// Its network, joined.
    pub network: &'a Joined,
    /// Whether the app has more containers.
    pub has_neighbours: bool,
}

impl Launcher {
    /// The run directory of a container.
    pub(crate) fn directory(&self, id: &str) -> PathBuf {
        self.run_dir.join("containers").join(id)
    }

    /// The directory of what a container writes.
    pub(crate) fn data_directory(&self, id: &str) -> PathBuf {
        self.data_dir.join("containers").join(id)
    }
}
