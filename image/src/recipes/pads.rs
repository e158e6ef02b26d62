//! Modules for the sandbox of Pads: the policy engine `share` and the example of the kit in Rust, and
//! the policy engine `listed` in C.

use std::collections::BTreeMap;
use std::sync::Arc;

use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::rust::{self, Modules};

use super::Recipes;
use crate::BuildImageError;
use crate::pads::{COMPILE, LINK, LISTED, ROOT, STRICT};

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

    /// Leaves `listed.wasm`.
    ///
    /// # Errors
    /// If a source file cannot be read.
    pub fn listed(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let sources = self.tree("pads", &["include", "engines/listed"])?;
        let clang = format!("clang-22 {COMPILE} {STRICT}");
        let script = format!(
            "{clang} -c {{src}}/pads/include/dstyx_wasi.c -o wasi.o\n\
             {clang} {LINK} {{src}}/pads/engines/listed/listed.c wasi.o -o {{out}}/{LISTED}.wasm"
        );
        Ok(Arc::new(Recipe {
            name: "pad-listed".into(),
            root: ROOT.into(),
            sources: BTreeMap::from([("pads".into(), Input::Tree(sources))]),
            base: None,
            steps: vec![Command::sh(script)],
            env: BTreeMap::new(),
            keep_work: false,
            outputs: vec![format!("{LISTED}.wasm")],
        }))
    }
}
