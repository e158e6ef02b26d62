//! The programs of the checkout's own apps; [`crate::apps`] turns each into an image.

use std::sync::Arc;

use reproducible_build::recipe::Recipe;
use reproducible_build::rust::{self, Programs};

use super::Recipes;
use crate::BuildImageError;

/// An app of the checkout: one package whose program is the whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnApp {
    /// Of its package and its program, and of its image.
    pub name: &'static str,
    /// Directory of its compose file, relative to the checkout.
    pub directory: &'static str,
    /// TCP port on which the program listens.
    pub port: u16,
    /// Directory of its image's root that the program may write to: where its volume is mounted.
    pub data: Option<&'static str>,
}

/// The examples.
pub const EXAMPLES: [OwnApp; 3] = [
    OwnApp { name: "hello", directory: "examples/hello", port: 8080, data: None },
    OwnApp { name: "notes", directory: "examples/notes", port: 8080, data: Some("data") },
    OwnApp { name: "relay", directory: "examples/hospitals", port: 8080, data: None },
];

/// The key management service.
pub const KMS: OwnApp = OwnApp {
    name: "kms",
    directory: "kms/deploy",
    port: protocol::kms::CHANNEL_PORT,
    data: Some("data"),
};

/// The gateway.
pub const GATEWAY: OwnApp =
    OwnApp { name: "gateway", directory: "gateway/deploy", port: 8443, data: Some("data") };

impl OwnApp {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        EXAMPLES.into_iter().chain([KMS, GATEWAY])
    }
}

impl Recipes<'_> {
    /// Leaves the program of an app.
    ///
    /// # Errors
    /// If there is no such package, or a crate of `Cargo.lock` cannot be had.
    pub fn app(&self, app: &OwnApp) -> Result<Arc<Recipe>, BuildImageError> {
        let recipe_name = format!("app-{}", app.name);
        let (packages, binaries) = (&[app.name][..], &[app.name][..]);
        let programs =
            Programs { name: &recipe_name, workspace: "", packages, binaries, extra: &[] };
        Ok(Arc::new(rust::recipe(self.builder, self.checkout, &programs)?))
    }
}
