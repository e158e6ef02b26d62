//! Services as the compose file's reader makes them.

use compose::model::{NetworkMode, Service};
use compose::{ComposeFile, Inputs};

/// A service with defaults.
pub fn service(name: &str, network: NetworkMode) -> Service {
    let compose =
        format!("services:\n  {name}:\n    image: example.org/probe@sha256:{}\n", "0".repeat(64));
    let compose = ComposeFile::read(compose.as_bytes(), &Inputs::default()).expect("compose file");
    Service { network, ..compose.services.into_iter().next().expect("a service") }
}
