//! `dstyx verify`: judges evidence and prints every check.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attestation::policy::ExpectedReportData;
use attestation::{Appraisal, Release, Verdict};
use protocol::digest::{AppId, ComposeHash, ReportData};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{Signers, Verify};
use crate::clock::now_secs;
use crate::collateral::named_service;
use crate::commands::stated;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::judge::{self, AppraisalRequest, Source, StatedApp};
use crate::output::Output;
use crate::vm::Vm;
use crate::{report, signers};

/// Exit status 0 only if every check passed, 1 if one failed, 2 if one was skipped.
pub fn run(options: &Verify, output: &Output) -> Outcome<ExitCode> {
    let judged = judge::judge(&appraisal_request(options)?)?;
    if let Some(file) = &options.report {
        report::write(&judged, file)?;
        output.step(&format!("the verdict as a page: {}", file.display()));
    }
    output.result(&judged.appraisal, || judge::table(&judged));
    Ok(exit_code(&judged.appraisal))
}

/// The exit status that stands for a verdict.
pub fn exit_code(appraisal: &Appraisal) -> ExitCode {
    match appraisal.verdict {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail => ExitCode::from(1),
        Verdict::Incomplete => ExitCode::from(2),
    }
}

/// What the options ask for.
pub fn appraisal_request(options: &Verify) -> Outcome<AppraisalRequest> {
    let source =
        source(options.vm.as_deref(), options.url.as_deref(), options.evidence.as_deref())?;
    let of_vm = |pick: fn(&Vm) -> &std::path::PathBuf| match &source {
        Source::Vm(vm) => Some(pick(vm).clone()),
        _ => None,
    };
    let image = options.image.clone().or_else(|| of_vm(|vm| &vm.image));
    let app = stated_app(options, of_vm(|vm| &vm.app))?;
    let app_id = stated_app_id(options.app_id.as_deref(), app.as_ref())?;
    Ok(AppraisalRequest {
        release: released(image.as_deref(), &options.signers)?,
        event_logs: options.event_log.clone(),
        report_data: expected_report_data(options)?,
        image,
        app,
        app_id,
        machine: stated::machine(&options.shape),
        firmware: stated::firmware(&options.of_firmware)?,
        collateral: options.collateral.clone(),
        policy: options.policy.clone(),
        pccs: named_service(options.pccs.as_deref()),
        now_secs: time_of(options.at.as_deref())?,
        danger_accept_emulated: options.danger_accept_emulated,
        source,
    })
}

/// With signers, nothing is judged against an image that they do not vouch for: the judgement
/// compares what it reads.
pub fn released(image: Option<&Path>, signers: &Signers) -> Outcome<Option<Release>> {
    let named = stated::signers(signers);
    if named.keys.is_empty() {
        return Ok(None);
    }
    let directory = image.ok_or_else(|| {
        Failure::new("--signer without an image", "give --image with a release's directory")
    })?;
    let verified = signers::verified(directory, &named)?;
    Ok(Some(verified.image()))
}

/// Where the evidence is that a person named by one of three options.
pub fn source(vm: Option<&str>, url: Option<&str>, evidence: Option<&Path>) -> Outcome<Source> {
    Ok(match (vm, url, evidence) {
        (Some(name), ..) => Source::Vm(Vm::load(name)?.into()),
        (_, Some(url), _) => Source::Url(url.to_owned()),
        (.., Some(path)) => Source::File(path.to_owned()),
        _ => return Err(Failure::new("no evidence was named", "give --vm, --url or --evidence")),
    })
}

/// The time that a person stated, or now; seconds since 1970.
pub fn time_of(stated: Option<&str>) -> Outcome<u64> {
    stated.map_or_else(now_secs, stated_time)
}

fn stated_time(text: &str) -> Outcome<u64> {
    let hint = "give a time such as 2026-11-21T12:00:00Z";
    let time = OffsetDateTime::parse(text, &Rfc3339).hint(format!("--at {text}"), hint)?;
    u64::try_from(time.unix_timestamp()).hint(format!("--at {text}"), hint)
}

/// What the quote of a file must have been made for, as far as a person states it.
fn expected_report_data(options: &Verify) -> Outcome<Option<ExpectedReportData>> {
    if let Some(text) = &options.nonce {
        let nonce = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let wrong = || Failure::new(format!("--nonce {text}"), "give all 32 bytes in hex");
        return nonce.map(ExpectedReportData::Nonce).map(Some).ok_or_else(wrong);
    }
    let stated = options.report_data.as_deref().map(stated_report_data).transpose()?;
    Ok(stated.map(ExpectedReportData::Exactly))
}

/// The app that a person stated; else that of the machine.
fn stated_app(options: &Verify, of_vm: Option<PathBuf>) -> Outcome<Option<StatedApp>> {
    let hash = options.compose_hash.as_deref().map(stated_compose_hash).transpose()?;
    let directory = options.app.clone().or(of_vm).map(StatedApp::Directory);
    Ok(hash.map(StatedApp::Hash).or(directory))
}

/// Hex as other programs write it: with a prefix, or in capitals.
fn digits(text: &str) -> String {
    text.strip_prefix("0x").unwrap_or(text).to_ascii_lowercase()
}

/// The id that a person stated. An id alone states no app: whoever starts a guest chooses it.
fn stated_app_id(text: Option<&str>, app: Option<&StatedApp>) -> Outcome<Option<AppId>> {
    let Some(text) = text else { return Ok(None) };
    if app.is_none() {
        let what = "--app-id without an app: a host may start any app under any id";
        return Err(Failure::new(what, "state the version with --app or --compose-hash too"));
    }
    let hint = "give the 40 hex digits that `dstyx up` or an earlier verdict shows";
    AppId::from_hex(&digits(text)).hint(format!("--app-id {text}"), hint).map(Some)
}

fn stated_compose_hash(text: &str) -> Outcome<ComposeHash> {
    ComposeHash::from_hex(&digits(text))
        .hint(format!("--compose-hash {text}"), "give the SHA-256 of app-compose.json in hex")
}

fn stated_report_data(text: &str) -> Outcome<ReportData> {
    ReportData::from_hex(&digits(text))
        .hint(format!("--report-data {text}"), "give all 64 bytes in hex; fill up with zeros")
}
