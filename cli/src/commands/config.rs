//! `dstyx config qemu`: a launch specification in QEMU's words, without starting anything.

use std::fs;
use std::process::ExitCode;

use vmm_configs::{LaunchSpec, qemu};

use crate::args::Config;
use crate::failure::{Hint as _, Outcome};
use crate::files;
use crate::output::Output;

/// Prints one argument a line.
pub fn run(options: &Config, output: &Output) -> Outcome<ExitCode> {
    let Config::Qemu { spec: file } = options;
    let text = fs::read_to_string(file).hint(file.display(), "vmm-configs/golden/ holds examples")?;
    let spec = LaunchSpec::from_toml(&text).hint(file.display(), "vmm-configs/golden/ holds examples")?;
    let (image, _) = files::read_manifest(&spec.image)?;
    let arguments = qemu::arguments(&spec, &image.cmdline);
    output.result(&arguments, || arguments.join("\n") + "\n");
    Ok(ExitCode::SUCCESS)
}
