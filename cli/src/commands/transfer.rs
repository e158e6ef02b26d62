//! `dstyx export` and `import`: a kept disk on its way to another host.

use std::process::ExitCode;

use serde_json::json;

use crate::args::Transfer;
use crate::failure::{Failure, Outcome};
use crate::kept::Kept;
use crate::kms::local::MACHINE;
use crate::output::Output;
use crate::vm::Vm;

/// Writes the disk of a machine that does not run to a file.
pub fn export(options: &Transfer, output: &Output) -> Outcome<ExitCode> {
    let Transfer { name, file } = options;
    let kept = Kept::of(name)?.ok_or_else(|| {
        Failure::new(format!("no disk is kept for {name}"), "`dstyx ps` shows what is kept")
    })?;
    refuse_running(name)?;
    kept.export(file)?;
    output.result(&json!({ "name": name, "file": file, "record": kept.record }), || {
        format!(
            "the disk of {name} is in {}; start it in one place only: the later start ends the earlier one\n",
            file.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Keeps an exported disk for a machine that has none.
pub fn import(options: &Transfer, output: &Output) -> Outcome<ExitCode> {
    let Transfer { name, file } = options;
    if name == MACHINE {
        return Err(Failure::new(
            format!("{MACHINE} is the name of this user's own KMS"),
            "import the disk under another name",
        ));
    }
    refuse_running(name)?;
    let record = Kept::import(name, file)?;
    output.result(&json!({ "name": name, "record": record }), || {
        format!(
            "the disk is kept for {name}; `dstyx up DIR --name {name}` starts its app on it, if the KMS that its app pins allows the app\n"
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn refuse_running(name: &str) -> Outcome<()> {
    match Vm::load(name) {
        Ok(vm) if vm.qemu.alive() => Err(Failure::new(
            format!("{name} is running, and writes to its disk"),
            format!("stop it with `dstyx down {name}`"),
        )),
        _ => Ok(()),
    }
}
