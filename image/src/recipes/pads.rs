//! Modules for the sandbox of Pads: the policy engine `share` and the example of the kit in Rust,
//! and the policy engine `listed` in C.

use std::collections::BTreeMap;
use std::sync::Arc;

use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::rust::{self, Modules};

use super::Recipes;
use crate::BuildImageError;

/// The small policy engine in C.
pub const LISTED: &str = "listed";
/// The lock group with the compilers of what is written in C and C++.
pub const COMPILERS: &str = "wasm";
/// What authors of C and C++ give the compiler; the headers are below the source `pads`.
pub const COMPILE: &str = "--target=wasm32-wasip1 -O2 -I {src}/pads/include";
/// The same for the linker: a reactor has no `main`, and a stack below all data runs into nothing.
pub const LINK: &str = "-mexec-model=reactor -Wl,--strip-all,--stack-first,-z,stack-size=1048576";
/// The project's own sources have no warnings.
pub const STRICT: &str = "-Wall -Wextra -Wno-unused-parameter -Werror";

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
            root: COMPILERS.into(),
            sources: BTreeMap::from([("pads".into(), Input::Tree(sources))]),
            base: None,
            steps: vec![Command::sh(script)],
            env: BTreeMap::new(),
            keep_work: false,
            outputs: vec![format!("{LISTED}.wasm")],
        }))
    }
}
