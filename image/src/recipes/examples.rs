//! The examples' own programs; [`crate::examples`] turns each into an image.

use std::sync::Arc;

use reproducible_build::recipe::Recipe;
use reproducible_build::rust::{self, Programs};

use super::Recipes;
use crate::BuildImageError;

/// Packages under `examples/` whose program is the whole image.
pub const EXAMPLES: [&str; 1] = ["hello"];

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
