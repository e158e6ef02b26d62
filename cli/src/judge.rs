//! Gathers what a judgement needs (evidence, image, app, collateral, time), asks `attestation`, and prints its report.
//!
//! Nothing here decides: predictions come from `measurement`, verdicts from `attestation`.

use std::path::{Path, PathBuf};

use attestation::policy::{ExpectedApp, ExpectedReportData};
use attestation::{Collateral, Report};
use protocol::digest::AppId;
use protocol::evidence;
use protocol::report_data::NONCE_BYTES;

use crate::app::App;
use crate::args::ShapeFlags;
use crate::failure::{Hint as _, Outcome};
use crate::vm::Vm;
use crate::{endpoint, files};

mod expected;
mod policy;
mod table;

pub use table::table;

/// Where evidence comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A machine of this host.
    Vm(Vm),
    /// Any guest's public address.
    Url(String),
    /// A file.
    File(PathBuf),
}

/// What a person wants judged, and against what.
#[derive(Debug, Clone)]
pub struct Question {
    /// The evidence.
    pub source: Source,
    /// Folder of the image that must run.
    pub image: Option<PathBuf>,
    /// Folder of the app that must run.
    pub app: Option<PathBuf>,
    /// What is stated of the machine.
    pub shape: ShapeFlags,
    /// Collateral file; an emulated machine of this host has its own.
    pub collateral: Option<PathBuf>,
    /// File of rules that its owner set.
    pub policy: Option<PathBuf>,
    /// When to judge, in seconds since 1970.
    pub now_secs: u64,
    /// Whether the emulator's root is accepted whatever the image.
    pub danger_accept_emulated: bool,
}

/// Collects and judges.
pub fn judge(question: &Question) -> Outcome<Report> {
    let (report_data, json) = fetch(&question.source)?;
    let evidence = evidence::parse(&json).hint("the evidence", "is this a dstyx guest's evidence, whole?")?;
    let image = question.image.as_deref().map(files::read_manifest).transpose()?;
    let flavour = image.as_ref().map(|(manifest, _)| manifest.flavour);
    let mut policy = policy::policy(question, flavour, report_data)?;
    if let Some((manifest, hash)) = &image {
        let log = firmware_log(&question.source)?;
        policy.image = Some(expected::registers(manifest, *hash, &question.shape, &evidence, log)?);
    }
    policy.app = question.app.as_deref().map(expected_app).transpose()?;
    let collateral = collateral(question)?;
    Ok(attestation::judge(&evidence, &policy, collateral.as_ref(), question.now_secs))
}

fn fetch(source: &Source) -> Outcome<(ExpectedReportData, Vec<u8>)> {
    let fresh = |(nonce, json): ([u8; NONCE_BYTES], Vec<u8>)| (ExpectedReportData::Nonce(nonce), json);
    match source {
        Source::Vm(vm) => endpoint::evidence(&vm.agent_url).map(fresh),
        Source::Url(url) => endpoint::evidence(url).map(fresh),
        Source::File(path) => {
            let json = files::read_bounded(path, evidence::MAX_BYTES as u64)?;
            Ok((ExpectedReportData::NonceOfEvidence, json))
        }
    }
}

fn expected_app(folder: &Path) -> Outcome<ExpectedApp> {
    let hash = App::read(folder)?.settings.hash;
    Ok(ExpectedApp { compose_hash: hash, app_id: Some(AppId::from_compose_hash(&hash)), instance_id: None })
}

fn collateral(question: &Question) -> Outcome<Option<Collateral>> {
    let path = match (&question.collateral, &question.source) {
        (Some(path), _) => path.clone(),
        (None, Source::Vm(vm)) if vm.emulated => vm.folder()?.join("collateral.json"),
        (None, _) => return Ok(None),
    };
    let json = files::read_bounded(&path, attestation::MAX_COLLATERAL_BYTES as u64)?;
    let parsed = Collateral::parse(&json).hint(path.display(), "give a QuoteCollateralV3 JSON file");
    parsed.map(Some)
}

/// What the emulator saw the firmware measure; explains differences and decides nothing.
fn firmware_log(source: &Source) -> Outcome<Vec<u8>> {
    match source {
        Source::Vm(vm) if vm.emulated => {
            let path = vm.folder()?.join("firmware_log.json");
            if path.exists() { files::read_bounded(&path, evidence::MAX_BYTES as u64) } else { Ok(Vec::new()) }
        }
        _ => Ok(Vec::new()),
    }
}
