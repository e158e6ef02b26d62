//! Gathers what a judgement needs (evidence, image, app, collateral, time), asks `attestation`, and
//! prints its appraisal.
//!
//! Nothing here decides: predictions come from `measurement`, verdicts from `attestation`.

use std::path::PathBuf;

use attestation::policy::ExpectedReportData;
use attestation::{
    Appraisal, Collateral, Release, StatedFirmware, StatedImage, StatedMachine, TrustAnchor, Wanted,
};
use protocol::digest::{AppId, Sha256Digest};
use protocol::event_log::{self, RawEvent};
use protocol::evidence::{self, Evidence};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::vm::Vm;
use crate::{collateral, files, image_directory};

mod app;
mod gather;
mod policy;
mod table;

pub use app::StatedApp;
pub use gather::{Gathered, Input, gather};
pub use policy::anchor_if;
pub use table::{skipped, table};

/// Where evidence comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A machine of this host.
    Vm(Box<Vm>),
    /// Any guest's public address.
    Url(String),
    /// A file.
    File(PathBuf),
}

/// What a person wants judged, and against what.
#[derive(Debug, Clone)]
pub struct AppraisalRequest {
    /// The evidence.
    pub source: Source,
    /// Files of event logs beside a raw quote.
    pub event_logs: Vec<PathBuf>,
    /// What the quote should have been made for, where no guest is asked now.
    pub report_data: Option<ExpectedReportData>,
    /// Directory of the image that must run.
    pub image: Option<PathBuf>,
    /// A release that must be that image.
    pub release: Option<Release>,
    /// The app that must run.
    pub app: Option<StatedApp>,
    /// The id under which it must run; by default that of the machine, else that of its file.
    pub app_id: Option<AppId>,
    /// What is stated of the machine.
    pub machine: StatedMachine,
    /// What is stated of the firmware.
    pub firmware: StatedFirmware,
    /// Collateral file; an emulated machine of this host has its own, for others there is the
    /// cache.
    pub collateral: Option<PathBuf>,
    /// Service that is asked where neither has any that is valid.
    pub pccs: Option<String>,
    /// File of rules that its owner set.
    pub policy: Option<PathBuf>,
    /// When to judge, in seconds since 1970.
    pub now_secs: u64,
    /// Whether the emulator's root is accepted whatever the image.
    pub danger_accept_emulated: bool,
}

/// An appraisal, and what it is about.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The appraisal.
    pub appraisal: Appraisal,
    /// The evidence.
    pub gathered: Gathered,
    /// Everything that was read, the evidence first.
    pub inputs: Vec<Input>,
    /// When it was judged, in seconds since 1970.
    pub now_secs: u64,
}

/// Collects and judges.
pub fn judge(request: &AppraisalRequest) -> Outcome<Judged> {
    judge_gathered(request, gather(&request.source, &request.event_logs)?)
}

/// The same for evidence that is here already.
pub fn judge_gathered(request: &AppraisalRequest, gathered: Gathered) -> Outcome<Judged> {
    let mut inputs = gathered.inputs.clone();
    let evidence = &gathered.converted.evidence;
    if let (Some(directory), Some(release)) = (&request.image, &request.release) {
        let (manifest, os_image_hash) = files::read_manifest(directory)?;
        release
            .vouches_for(os_image_hash, manifest.flavour)
            .map_err(|error| Failure::new(&error, error.hint()))?;
    }
    // Read again: what is judged by is what is vouched for.
    let image = request.image.as_deref().map(image_directory::read).transpose()?;
    if let (Some(image), Some(release)) = (&image, &request.release) {
        release
            .accepts(image, request.danger_accept_emulated)
            .map_err(|error| Failure::new(&error, error.hint()))?;
    }
    let report_data = gathered.report_data(request.report_data.clone());
    let mut policy = policy::policy(request, report_data, &mut inputs)?;
    if let Some(stated) = &request.app {
        let (mut app, input) = stated.expected()?;
        inputs.extend(input);
        // A later version of an app runs under the id of the first.
        let of_vm = match &request.source {
            Source::Vm(vm) => vm.app_id,
            Source::Url(_) | Source::File(_) => None,
        };
        app.app_id = request.app_id.or(of_vm).unwrap_or(app.app_id);
        policy.app = Some(app);
    }
    let collateral = collateral(request, evidence, &policy.anchor)?;
    inputs.extend(collateral.as_ref().map(|(_, input)| input.clone()));
    let collateral = collateral.as_ref().map(|(collateral, _)| collateral);
    let now_secs = request.now_secs;
    let appraisal = match image.as_ref().zip(request.image.as_deref()) {
        None => attestation::appraise(evidence, None, policy, collateral, now_secs),
        Some((image, directory)) => {
            let from = directory.display().to_string();
            let sha256 = Sha256Digest(image.os_image_hash().0);
            inputs.push(Input { what: image.list(), from, sha256 });
            let stated = StatedImage {
                image,
                machine: &request.machine,
                firmware: &request.firmware,
                others: &image_directory::others(directory, image),
                firmware_log: &firmware_log(&request.source)?,
            };
            attestation::appraise(evidence, Some(&stated), policy, collateral, now_secs)
        }
    };
    let appraisal = appraisal
        .map_err(|fault| Failure::new(fault, "take the image's directory as it was built"))?;
    Ok(Judged { appraisal, gathered, inputs, now_secs })
}

fn collateral(
    request: &AppraisalRequest,
    evidence: &Evidence,
    anchor: &TrustAnchor,
) -> Outcome<Option<(Collateral, Input)>> {
    let path = match (&request.collateral, &request.source) {
        (Some(path), _) => path.clone(),
        (None, Source::Vm(vm)) if vm.emulated => vm.directory()?.join("collateral.json"),
        (None, _) => {
            let wanted = Wanted { evidence, anchor, now_secs: request.now_secs };
            let found = collateral::find(wanted, request.pccs.as_deref())?;
            // What is kept is what this writes: its digest is that of the cache's file.
            let input = |found: &Collateral| Input::of("collateral", "the cache", &found.to_json());
            return Ok(found.map(|found| (found.clone(), input(&found))));
        }
    };
    let json = files::read_bounded(&path, attestation::MAX_COLLATERAL_BYTES as u64)?;
    let parsed =
        Collateral::parse(&json).hint(path.display(), "give a QuoteCollateralV3 JSON file")?;
    Ok(Some((parsed, Input::of("collateral", path.display(), &json))))
}

/// What the emulator saw the firmware measure; explains differences and decides nothing.
fn firmware_log(source: &Source) -> Outcome<Vec<RawEvent>> {
    let Source::Vm(vm) = source else { return Ok(Vec::new()) };
    let path = vm.directory()?.join("firmware_log.json");
    if !vm.emulated || !path.exists() {
        return Ok(Vec::new());
    }
    let log = files::read_bounded(&path, evidence::MAX_BYTES as u64)?;
    event_log::parse(&log).hint("firmware_log.json", "start the machine again")
}
