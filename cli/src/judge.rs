//! Gathers what a judgement needs (evidence, image, app, collateral, time), asks `attestation`, and
//! prints its appraisal.
//!
//! Nothing here decides: predictions come from `measurement`, verdicts from `attestation`.

use std::path::{Path, PathBuf};

use attestation::policy::{ExpectedApp, Explanation};
use attestation::{Appraisal, Collateral, TrustAnchor};
use image::release::VerifiedRelease;
use measurement::explain::explain_runtime;
use protocol::digest::{AppId, ReportData, Sha256Digest};
use protocol::event_log;
use protocol::evidence::{self, Evidence};
use protocol::image::Flavour;
use protocol::quote::Quote;

use crate::app::App;
use crate::args::{FirmwareFlags, ShapeFlags};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::image_directory::ImageDirectory;
use crate::vm::Vm;
use crate::{collateral, files, signers};

mod expected;
mod gather;
mod policy;
mod table;

pub use expected::{Predicted, Stated, predicted};
pub use gather::{Gathered, Input, gather};
pub use policy::anchor_if;
pub use table::{skipped, table};

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
    /// Files of event logs beside a raw quote.
    pub event_logs: Vec<PathBuf>,
    /// What the quote should have been made for, where not for a nonce of ours.
    pub report_data: Option<ReportData>,
    /// Directory of the image that must run.
    pub image: Option<PathBuf>,
    /// A release that must be that image.
    pub release: Option<VerifiedRelease>,
    /// Directory of the app that must run.
    pub app: Option<PathBuf>,
    /// What is stated of the machine.
    pub shape: ShapeFlags,
    /// What is stated of the firmware.
    pub of_firmware: FirmwareFlags,
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
pub fn judge(question: &Question) -> Outcome<Judged> {
    let gathered = gather(&question.source, &question.event_logs)?;
    let mut inputs = gathered.inputs.clone();
    let evidence = &gathered.converted.evidence;
    let image = question.image.as_deref().map(ImageDirectory::read).transpose()?;
    if let (Some(image), Some(release)) = (&image, &question.release) {
        vouched(image, release, question.danger_accept_emulated)?;
    }
    let flavour = image.as_ref().map(ImageDirectory::flavour);
    let report_data = gathered.report_data(question.report_data);
    let mut policy = policy::policy(question, flavour, report_data, &mut inputs)?;
    policy.rtmr3_explanation = runtime_log(evidence);
    if let (Some(image), Some(directory)) = (&image, &question.image) {
        let sha256 = Sha256Digest(image.os_image_hash.0);
        inputs.push(Input { what: image.list(), from: directory.display().to_string(), sha256 });
        machine_is_known(&gathered, &question.shape)?;
        let log = firmware_log(&question.source)?;
        let stated = Stated { shape: &question.shape, firmware: &question.of_firmware };
        policy.image = Some(expected::registers(image, stated, evidence, &log)?);
    }
    if let Some(directory) = &question.app {
        let app = expected_app(directory)?;
        let sha256 = Sha256Digest(app.compose_hash.0);
        inputs.push(Input {
            what: "app-compose.json",
            from: directory.display().to_string(),
            sha256,
        });
        policy.app = Some(app);
    }
    let collateral = collateral(question, evidence, &policy.anchor)?;
    inputs.extend(collateral.as_ref().map(|(_, input)| input.clone()));
    let collateral = collateral.as_ref().map(|(collateral, _)| collateral);
    let appraisal = attestation::judge(evidence, &policy, collateral, question.now_secs);
    Ok(Judged { appraisal, gathered, inputs, now_secs: question.now_secs })
}

/// Why the guest's own log does not replay to RTMR3, where both can be read.
fn runtime_log(evidence: &Evidence) -> Option<Explanation> {
    let found = Quote::parse(&evidence.quote).ok()?.report.rtmrs[3];
    let events = event_log::runtime_events(&evidence.event_log).ok()?;
    let why = explain_runtime(&events, found)?;
    Some(Explanation { found: found.0, text: why.to_string() })
}

/// Whether the image that was read is the released one. Signers of a dev image vouch for its bytes
/// and for no hardware: its public root is accepted by name or not at all.
fn vouched(
    image: &ImageDirectory,
    release: &VerifiedRelease,
    danger_accept_emulated: bool,
) -> Outcome<()> {
    signers::check_image(release, image.os_image_hash, image.flavour())?;
    if image.flavour() == Flavour::Release || danger_accept_emulated {
        return Ok(());
    }
    Err(Failure::new(
        "the signers vouch for a dev image, which proves nothing about hardware",
        "take a release of the flavour release, or say --danger-accept-emulated",
    ))
}

/// Registers are predicted for a machine: one that the evidence claims, or one that is stated in
/// full.
fn machine_is_known(gathered: &Gathered, stated: &ShapeFlags) -> Outcome<()> {
    let ShapeFlags { vcpus, memory, root_slots, qemu_version, serial_ports, pci_hotplug: _ } =
        stated;
    let numbers =
        vcpus.is_some() && memory.is_some() && root_slots.is_some() && serial_ports.is_some();
    if gathered.converted.claims_machine() || (numbers && qemu_version.is_some()) {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "{} claims no machine for which registers can be predicted",
            gathered.converted.format
        ),
        "state --vcpus, --memory, --root-slots, --serial-ports and --qemu-version",
    ))
}

fn expected_app(directory: &Path) -> Outcome<ExpectedApp> {
    let app = App::read(directory)?;
    let compose_hash = app.settings.hash;
    let app_id = Some(AppId::from_compose_hash(&compose_hash));
    Ok(ExpectedApp { compose_hash, app_id, instance_id: None, app_compose: Some(app.bytes) })
}

fn collateral(
    question: &Question,
    evidence: &Evidence,
    anchor: &TrustAnchor,
) -> Outcome<Option<(Collateral, Input)>> {
    let path = match (&question.collateral, &question.source) {
        (Some(path), _) => path.clone(),
        (None, Source::Vm(vm)) if vm.emulated => vm.directory()?.join("collateral.json"),
        (None, _) => {
            let wanted = collateral::Wanted { evidence, anchor, now_secs: question.now_secs };
            let found = collateral::find(wanted, question.pccs.as_deref())?;
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
fn firmware_log(source: &Source) -> Outcome<Vec<u8>> {
    match source {
        Source::Vm(vm) if vm.emulated => {
            let path = vm.directory()?.join("firmware_log.json");
            if path.exists() {
                files::read_bounded(&path, evidence::MAX_BYTES as u64)
            } else {
                Ok(Vec::new())
            }
        }
        _ => Ok(Vec::new()),
    }
}
