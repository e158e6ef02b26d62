//! `dstyx down`: stops a machine and removes its state.

use std::fs;
use std::process::ExitCode;

use crate::args::Named;
use crate::failure::{Hint as _, Outcome};
use crate::output::Output;
use crate::vm::Vm;

/// Ends QEMU and its helpers, then removes the directory.
pub fn run(options: &Named, output: &Output) -> Outcome<ExitCode> {
    let vm = Vm::load(&options.name)?;
    vm.end()?;
    let directory = vm.directory()?;
    fs::remove_dir_all(&directory).hint(directory.display(), "remove the directory by hand")?;
    output.result(&serde_json::json!({ "name": vm.name, "stopped": true }), || {
        format!("{} stopped\n", vm.name)
    });
    Ok(ExitCode::SUCCESS)
}
