//! `dstyx serve-images`: the image server that `up` starts.

use std::process::ExitCode;

use crate::args::ServeImages;
use crate::failure::Outcome;
use crate::mirror;

/// Serves until it is ended.
pub fn run(options: &ServeImages) -> Outcome<ExitCode> {
    mirror::run(options.layout.clone(), &options.port_file)?;
    Ok(ExitCode::SUCCESS)
}
