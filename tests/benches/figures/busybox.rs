//! The image that is started, fetched before anything is timed.

use std::path::Path;
use std::sync::Arc;

use compose::ImageReference;
use container_images::{
    Limits, Mirror, Progress, PulledImage, Registries, RegistrySettings, Store, pull,
};
use tests::images::Image;
use tests::registry::Registry;
use tokio::runtime::Runtime;

/// Where in the directory the store is.
pub const STORE: &str = "store";

/// Fetches it into a store in `directory`: its pinned name, and what was made of it.
pub fn stored(runtime: &Runtime, directory: &Path) -> (String, PulledImage) {
    let registry = Registry::of(&[Image::Busybox]);
    let digest = registry.digest(Image::Busybox.name(), "latest");
    let name = format!("example.org/{}@sha256:{digest}", Image::Busybox.name());
    let mirrors = vec![Mirror::parse(&registry.url()).unwrap()];
    let registries =
        Registries::new(RegistrySettings { mirrors, ..RegistrySettings::default() }).unwrap();
    let store = Arc::new(Store::open(&directory.join(STORE)).unwrap());
    let reference = ImageReference::parse(&name).unwrap();
    let progress = Progress::default();
    let pulled = pull(&reference, Arc::new(registries), store, Limits::default(), &progress);
    (name, runtime.block_on(pulled).unwrap())
}
