//! Components for the sandbox of Pads that the checkout's builder makes.
//!
//! The SHA-256 of an engine is what policies name, and image.json publishes those of the project's
//! own, so every builder must get the same bytes: the compiler makes the module in the hermetic
//! root, and what is made of it depends on the module alone.

use std::path::{Path, PathBuf};

use fs_err as fs;
use protocol::digest::Sha256Digest;
use protocol::image::PadEngines;
use reproducible_build::builder::Builder;

use crate::BuildImageError;
pub use crate::recipes::{COMPILE, COMPILERS, LINK, LISTED, STRICT};
use crate::recipes::{PAD_RUNNER, Recipes};

/// The policy engine with the rules of `docs/pad-rules.md`.
pub const ENGINE: &str = "share";
/// The example of a consumer in Rust.
pub const EXAMPLE: &str = "mean";

/// The component of one of these names.
///
/// # Errors
/// If it does not build, or its module is none of a program for the sandbox.
pub fn component(
    builder: &Builder,
    checkout: &Path,
    name: &str,
) -> Result<Vec<u8>, BuildImageError> {
    let recipes = Recipes::new(builder, checkout);
    let recipe = if name == LISTED { recipes.listed()? } else { recipes.pads()? };
    let built = builder.build(&recipe)?;
    let module = fs::read(built.path.join(name).with_extension("wasm"))?;
    Ok(pad_component::of_module(&module)?.bytes)
}

/// The file of `pad-runner`, as the image has it.
///
/// # Errors
/// If it does not build.
pub fn runner(builder: &Builder, checkout: &Path) -> Result<PathBuf, BuildImageError> {
    let recipe = Recipes::new(builder, checkout).pad_runner()?;
    Ok(builder.build(&recipe)?.path.join(PAD_RUNNER))
}

/// What image.json says of the project's own engines.
///
/// # Errors
/// As [`component`].
pub fn engines(builder: &Builder, checkout: &Path) -> Result<PadEngines, BuildImageError> {
    let digest = |name| component(builder, checkout, name).map(|bytes| Sha256Digest::of(&bytes));
    Ok(PadEngines { share: digest(ENGINE)?, listed: digest(LISTED)? })
}
