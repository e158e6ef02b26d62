//! Components for the sandbox of Pads that the checkout's builder makes.
//!
//! The SHA-256 of the engine `share` is what policies name, so every builder must get the same
//! bytes: the compiler makes the module in the hermetic root, and what is made of it depends on the
//! module alone.

use std::path::Path;

use fs_err as fs;
use reproducible_build::builder::Builder;

use crate::BuildImageError;
use crate::recipes::Recipes;

/// The policy engine that is part of the project.
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
    let built = builder.build(&*Recipes::new(builder, checkout).pads()?)?;
    let module = fs::read(built.path.join(name).with_extension("wasm"))?;
    Ok(pad_component::of_module(&module)?.bytes)
}
