//! Modules for the sandbox of Pads, in Rust: the policy engine `share`, and the example of the kit.

use std::sync::Arc;

use reproducible_build::recipe::Recipe;
use reproducible_build::rust::{self, Modules};

use super::Recipes;
use crate::BuildImageError;

const MODULES: Modules<'_> = Modules {
    name: "pads",
    workspace: "pads/guest",
    packages: &["pads/guest", "pads/engines/share", "pads/examples/mean"],
    uses: &["pad-rules"],
    extra: &["pads/wit"],
    outputs: &["share", "mean"],
};

impl Recipes<'_> {
    /// Leaves `share.wasm` and `mean.wasm`, which have one compilation of the standard library.
    ///
    /// # Errors
    /// If a source file cannot be read, or a crate of their `Cargo.lock` cannot be had.
    pub fn pads(&self) -> Result<Arc<Recipe>, BuildImageError> {
        Ok(Arc::new(rust::modules(self.builder, self.checkout, &MODULES)?))
    }
}
