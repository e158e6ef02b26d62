//! `dstyx pad component` and `dstyx pad engine`: programs for the sandbox, with the digests that
//! policies name them by.

use std::path::Path;
use std::process::ExitCode;

use protocol::digest::Sha256Digest;
use protocol::error::chain;
use serde_json::json;

use crate::args::{PadComponent, PadEngine};
use crate::failure::{Failure, Outcome};
use crate::new_file::write_new;
use crate::output::Output;
use crate::{build, files, paths};

/// Largest module that is read; what is made of it must be smaller.
const MAX_MODULE_BYTES: u64 = 64 << 20;
/// A component is no secret.
const FILE_MODE: u32 = 0o644;

/// Makes a component of a module.
pub fn run(options: &PadComponent, output: &Output) -> Outcome<ExitCode> {
    let PadComponent { file, out } = options;
    let module = files::read_bounded(file, MAX_MODULE_BYTES)?;
    let component = pad_component::of_module(&module).map_err(|error| {
        Failure::new(format!("{}: {}", file.display(), chain(&error)), error.hint())
    })?;
    let beside = file.with_extension("component.wasm");
    let out = out.as_deref().unwrap_or(&beside);
    write(out, &component.bytes, component.world.name(), output)
}

/// Builds the project's own engine.
pub fn engine(options: &PadEngine, output: &Output) -> Outcome<ExitCode> {
    let builder = build::open()?;
    let component = image::pads::component(&builder, &paths::checkout()?, image::pads::ENGINE);
    let world = pad_component::World::PolicyEngine.name();
    write(&options.out, &build::of_image(component)?, world, output)
}

fn write(out: &Path, component: &[u8], world: &str, output: &Output) -> Outcome<ExitCode> {
    write_new(out, FILE_MODE, component)?;
    let sha256 = Sha256Digest::of(component);
    let document =
        json!({ "file": out, "world": world, "sha256": sha256, "bytes": component.len() });
    output.result(&document, || {
        format!("{}: {world}, {} bytes\nsha256 {sha256}\n", out.display(), component.len())
    });
    Ok(ExitCode::SUCCESS)
}
