//! `dstyx logs`: what a guest said on its status channel, in words, and a dev guest's console.

use std::fs;
use std::process::ExitCode;

use protocol::status::{self, Record};

use crate::args::Logs;
use crate::failure::{Hint as _, Outcome};
use crate::output::Output;
use crate::printable;
use crate::vm::Vm;
use crate::watch;

/// Status records first, then the console if asked for.
pub fn run(options: &Logs, output: &Output) -> Outcome<ExitCode> {
    let folder = Vm::load(&options.name)?.folder()?;
    let disk = folder.join("status.img");
    let bytes = fs::read(&disk).hint(disk.display(), "stop the machine with `dstyx down` and start it again")?;
    let records = status::decode(&bytes).hint(disk.display(), "the guest wrote what no dstyx image writes")?;
    let console = if options.console { read_console(&folder)? } else { String::new() };
    let document =
        serde_json::json!({ "status": records.iter().map(document).collect::<Vec<_>>(), "console": console });
    output.result(&document, || {
        let lines: String = records.iter().map(|record| watch::sentence(record) + "\n").collect();
        format!("{lines}{}", printable::console(&console))
    });
    Ok(ExitCode::SUCCESS)
}

fn read_console(folder: &std::path::Path) -> Outcome<String> {
    let file = folder.join("console.log");
    let bytes = fs::read(&file).hint(file.display(), "a machine that was never started has no console")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn document(record: &Record) -> serde_json::Value {
    serde_json::json!({
        "phase": format!("{:?}", record.phase),
        "refusal": format!("{:?}", record.refusal),
        "sentence": watch::sentence(record),
        "uptime_micros": record.uptime_micros,
    })
}
