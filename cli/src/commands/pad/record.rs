//! `dstyx pad record`: what a custodian may read of the record of a local run.

use std::process::ExitCode;

use pad_format::CustodianId;
use pad_pipeline::audit::{Entry, Event};
use serde_json::{Value, json};

use super::shown;
use crate::args::PadRecord;
use crate::failure::Outcome;
use crate::output::{Output, named};
use crate::pad::keys::MemberKeys;
use crate::pad::record::RecordFile;

/// Does what was asked for.
pub fn run(options: &PadRecord, output: &Output) -> Outcome<ExitCode> {
    let keys = MemberKeys::load(&options.key)?;
    let entries = RecordFile::load(&options.file)?.open(&keys)?;
    let documents: Vec<_> = entries.iter().map(document).collect();
    output.result(&json!({ "local": true, "entries": documents }), || {
        entries.iter().map(text).collect::<Vec<_>>().join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

fn document((custodian, entry): &(CustodianId, Entry)) -> Value {
    let pads: Vec<_> = entry.pads.iter().map(|pad| pad.0).collect();
    let events: Vec<_> = entry.events.iter().map(event).collect();
    json!({
        "custodian": custodian.0, "run": hex::encode(entry.run.0), "sequence": entry.sequence,
        "time_secs": entry.time, "program": entry.program,
        "owner": entry.owner.map(|owner| owner.0), "engines": entry.engines, "pads": pads,
        "all_pads": entry.all_pads, "events": events,
    })
}

fn text((custodian, entry): &(CustodianId, Entry)) -> String {
    let owner = entry.owner.map_or_else(|| "nobody was proved".to_owned(), |owner| shown(&owner));
    let mut rows = vec![
        ("custodian", shown(custodian)),
        ("run", format!("{} (local: nothing is proved)", hex::encode(entry.run.0))),
        ("entry", (entry.sequence + 1).to_string()),
        ("program", entry.program.to_string()),
        ("owner", owner),
        ("Pads", format!("{} of {} are this custodian's", entry.pads.len(), entry.all_pads)),
    ];
    rows.extend(entry.events.iter().flat_map(event).map(|line| ("decided", line)));
    named(rows)
}

fn event(event: &Event) -> Vec<String> {
    let each = |what: &str, reasons: &[String]| {
        reasons.iter().map(|reason| format!("{what}: {reason}")).collect()
    };
    match event {
        Event::DatasetAllowed => vec!["the program may read the data".to_owned()],
        Event::DatasetRefused(reasons) => each("the data are refused", reasons),
        Event::PadAllowed { id, custodian, .. } => {
            vec![format!("the Pad {id} leaves, for {}", custodian.shown())]
        }
        Event::PlainAllowed { .. } => vec!["a result in plain leaves, for the owner".to_owned()],
        Event::OutputRefused(reasons) => each("an output is refused", reasons),
        Event::Updated { .. } => vec!["the Pad has other policies".to_owned()],
        Event::UpdateRefused(reasons) => each("the Pad keeps its policies", reasons),
    }
}
