//! `dstyx kms ledger`: the decisions of a KMS, as anybody can check them.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use protocol::kms::StatusResponse;
use protocol::prpc::Empty;
use serde_json::json;

use crate::args::{KmsAt, KmsLedger};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kms::allow::date;
use crate::kms::ceremony::fetch;
use crate::kms::channel::Calls as _;
use crate::kms::reached::Reached;
use crate::output::{Output, named};

/// A ledger of a million short entries; longer ones are verified in parts by other means.
const MAX_LEDGER_BYTES: u64 = 512 << 20;

/// Does what was asked for.
pub fn run(verb: &KmsLedger, at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    match verb {
        KmsLedger::Export { file } => export(at, file, output),
        KmsLedger::Verify { file } => verify(file, output),
    }
}

fn export(at: &KmsAt, file: &Path, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let status: StatusResponse = kms.connection.call("Status", &Empty {})?;
    let lines = fetch(&mut kms.connection, 0, status.entries)?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(file, text).hint(file.display(), "is the directory writable?")?;
    let document = json!({ "file": file, "entries": lines.len() });
    output.result(&document, || {
        format!("{} entries written; `dstyx kms ledger verify` checks them\n", lines.len())
    });
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path, output: &Output) -> Outcome<ExitCode> {
    let text = files::read_text(file, MAX_LEDGER_BYTES)?;
    let summary = kms_rules::audit::verify(text.lines())
        .hint(file.display(), "the ledger was changed, or is not whole; export it again")?;
    if summary.entries == 0 {
        return Err(Failure::new(
            format!("{} has no entries", file.display()),
            "`dstyx kms ledger export FILE` writes those of a KMS",
        ));
    }
    output.result(&summary, || {
        let id = summary.key_provider_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let rows = [
            ("key_provider_id", id),
            ("entries", summary.entries.to_string()),
            ("head", summary.head.to_string()),
            ("from, to", format!("{}, {}", date(summary.first_secs), date(summary.last_secs))),
            ("keys released", summary.released.to_string()),
            ("refused", summary.refused.to_string()),
            ("instances", summary.instances.to_string()),
            ("policy", format!("version {}", summary.policy_version)),
        ];
        named(rows)
            + "each entry follows the one before it, and owners signed what they must have signed; what guests were is the word of the KMS\n"
    });
    Ok(ExitCode::SUCCESS)
}
