//! The examples' own programs; [`crate::examples`] turns each into an image.

use std::sync::Arc;

use reproducible_build::recipe::Recipe;
use reproducible_build::rust::{self, Programs};

use super::Recipes;
use crate::BuildImageError;

/// A package under `examples/` whose program is the whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Of its package, directory and program.
    pub name: &'static str,
    /// Directory of its image's root that the program may write to: where its volume is mounted.
    pub data: Option<&'static str>,
}

/// Every example.
pub const EXAMPLES: [Example; 2] =
    [Example { name: "hello", data: None }, Example { name: "notes", data: Some("data") }];

impl Recipes<'_> {
    /// Leaves the program of the example `name`.
    ///
    /// # Errors
    /// If there is no such package, or a crate of `Cargo.lock` cannot be had.
    pub fn example(&self, name: &str) -> Result<Arc<Recipe>, BuildImageError> {
        let recipe_name = format!("example-{name}");
        let programs =
            Programs { name: &recipe_name, packages: &[name], binaries: &[name], extra: &[] };
        Ok(Arc::new(rust::recipe(self.builder, self.checkout, &programs)?))
    }
}
