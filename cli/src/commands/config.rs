//! `dstyx config`: a launch specification in a virtual machine monitor's words, without starting
//! anything.

use std::path::Path;
use std::process::ExitCode;

use vmm_configs::spec::MAX_TOML_BYTES;
use vmm_configs::{LaunchSpec, libvirt, qemu};

use crate::args::Config;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::output::Output;

const SPEC_HINT: &str = "vmm-configs/golden/ holds examples";

/// Prints QEMU's arguments, one a line, or libvirt's domain.
pub fn run(options: &Config, output: &Output) -> Outcome<ExitCode> {
    match options {
        Config::Qemu { spec } => {
            let (spec, cmdline) = read(spec)?;
            let arguments = qemu::arguments(&spec, &cmdline);
            output.result(&arguments, || arguments.join("\n") + "\n");
        }
        Config::Libvirt { spec } => {
            let (parsed, cmdline) = read(spec)?;
            let xml = libvirt::domain(&parsed, &cmdline).hint(spec.display(), SPEC_HINT)?;
            output.result(&xml, || xml.clone());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A specification, and the command line of its image.
fn read(file: &Path) -> Outcome<(LaunchSpec, String)> {
    let text = files::read_text(file, MAX_TOML_BYTES as u64)
        .map_err(|failure| Failure::new(failure, SPEC_HINT))?;
    let spec = LaunchSpec::from_toml(&text).hint(file.display(), SPEC_HINT)?;
    let (image, _) = files::read_manifest(&spec.image)?;
    Ok((spec, image.cmdline))
}
