//! `dstyx pad exporter`: what stands for a guest in what owners of programs sign, after the guest
//! was verified.

use std::process::ExitCode;

use attestation::Verdict;
use protocol::pad_calls;
use serde_json::json;

use crate::args::Verify;
use crate::commands::verify;
use crate::failure::{Failure, Outcome};
use crate::judge;
use crate::output::{Output, note};

/// Prints it if every check of the guest's evidence passes; else the verdict.
pub fn run(options: &Verify, output: &Output) -> Outcome<ExitCode> {
    let judged = judge::judge(&verify::appraisal_request(options)?)?;
    if judged.appraisal.verdict != Verdict::Pass {
        output.result(&judged.appraisal, || judge::table(&judged));
        note("the guest is not verified: nobody should sign runs for it");
        return Ok(verify::exit_code(&judged.appraisal));
    }
    for notice in &judged.appraisal.facts.notices {
        note(notice);
    }
    let verified = judged.appraisal.into_verified();
    let verified = verified.map_err(|refusal| {
        Failure::new(format!("{refusal:?}"), "see the verdict of `dstyx verify`")
    })?;
    let app = verified.app();
    let exporter = pad_calls::exporter(&app.compose_hash, &app.app_id, app.instance_id.as_ref());
    let exporter = hex::encode(exporter);
    let document = json!({
        "exporter": exporter, "app_id": app.app_id, "compose_hash": app.compose_hash,
        "instance_id": app.instance_id,
    });
    output.result(&document, || format!("{exporter}\n"));
    Ok(ExitCode::SUCCESS)
}
