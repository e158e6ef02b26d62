//! The order of the judgement, and the only constructor of [`VerifiedEvidence`].
//!
//! One call gives the appraisal and, where every check passes, the fact in it.

use dcap_qvl::QuoteClaims;
use protocol::event_log::{self, RuntimeEvent};
use protocol::event_name;
use protocol::evidence::Evidence;
use protocol::quote::TdReport;

use crate::anchor::AnchorName;
use crate::appraisal::{
    AGE_UNKNOWN, Appraisal, Check, EMULATED, FACTS_BELIEVED, Facts, SCOPE, Verdict,
};
use crate::certificate::Certificate;
use crate::check_rows::CheckRows;
use crate::checks::collateral::ReadCollateral;
use crate::checks::pck::Platform;
use crate::checks::{
    Inputs, app, attributes, collateral, events, firmware_log, image, pck, quote, tcb,
};
use crate::collateral::Collateral;
use crate::ecdsa;
use crate::image::ImageFault;
use crate::policy::{ExpectedReportData, Policy};
use crate::reference::{self, StatedImage, expected_registers};
use crate::refusal::{CheckName, Property};
use crate::time::rfc3339;
use crate::verified::{MeasuredApp, MeasuredBoot, VerifiedEvidence, VerifiedPlatform, VerifiedTcb};

/// Makes every check that can be made; [`Appraisal::into_verified`] gives the evidence as a fact if
/// all of them pass. `now_secs` is the verifier's time in seconds since 1970.
pub fn judge(
    evidence: &Evidence,
    policy: &Policy,
    collateral: Option<&Collateral>,
    now_secs: u64,
) -> Appraisal {
    let remembered = collateral.map(|collateral| &collateral.remembered);
    let judgement = || make(Inputs { evidence, policy, collateral, now: now_secs });
    ecdsa::in_one_judgement(remembered, judgement, |appraisal| appraisal.verdict == Verdict::Pass)
}

/// Judges evidence by an image in the machine that is stated, else claimed. The policy brings
/// everything else; its registers are replaced by those that follow from the image.
///
/// # Errors
/// If the image has no facts to predict registers from.
pub fn appraise(
    evidence: &Evidence,
    image: Option<&StatedImage<'_>>,
    mut policy: Policy,
    collateral: Option<&Collateral>,
    now_secs: u64,
) -> Result<Appraisal, ImageFault> {
    policy.image = image.map(|image| expected_registers(image, evidence)).transpose()?;
    policy.rtmr3_explanation = reference::rtmr3_explanation(evidence);
    Ok(judge(evidence, &policy, collateral, now_secs))
}

/// What the quote's half of the judgement read.
#[derive(Default)]
struct Hardware<'a> {
    report: Option<TdReport>,
    platform: Option<Platform>,
    collateral: Option<ReadCollateral<'a>>,
    claims: Option<QuoteClaims>,
    tcb: Option<tcb::Parts>,
}

fn make(inputs: Inputs<'_>) -> Appraisal {
    let mut rows = CheckRows::default();
    let hardware = judge_hardware(&mut rows, inputs);
    let policy = inputs.policy;
    tcb::judge_age(&mut rows, inputs, hardware.collateral.as_ref(), hardware.claims.as_ref());
    tcb::judge_platform(&mut rows, &policy.platform, hardware.platform.as_ref());

    let report = hardware.report.as_ref();
    let rtmr3 = report.map(|report| &report.rtmrs[3]);
    let log = &inputs.evidence.event_log;
    let events = events::judge(&mut rows, log, rtmr3, policy.rtmr3_explanation.as_ref());
    firmware_log::judge(&mut rows, log, report);
    events::judge_stage(&mut rows, events.as_deref(), policy.stage);
    events::judge_required(&mut rows, events.as_deref(), &policy.required_events);
    events::judge_forbidden(&mut rows, events.as_deref(), &policy.forbidden_events);
    let boot = events.as_deref().and_then(|events| app::judge_facts(&mut rows, events));
    image::judge_list(&mut rows, policy);
    if let Some(report) = report {
        app::judge_report_data(&mut rows, inputs, report);
        match &policy.image {
            Some(image) => image::judge(&mut rows, report, image, inputs.evidence),
            None => rows.skip_all(
                Property::Predicted,
                "no image was stated: state the image that this guest should run",
            ),
        }
    }
    if let Some(boot) = &boot {
        app::judge(&mut rows, inputs, report, boot);
    }

    let (checks, verdict) = rows.finish();
    let app = boot.as_ref().map(|boot| &boot.app);
    let facts = facts(inputs, &hardware, events.as_deref(), app, &checks);
    let verified = match (verdict, events, boot) {
        (Verdict::Pass, Some(events), Some(boot)) => verified(inputs, hardware, events, boot),
        _ => None,
    };
    let trust_anchor = policy.anchor.name();
    Appraisal { verdict, trust_anchor, checks, facts, verified: verified.map(Box::new) }
}

/// The fact that a passing judgement proves; everything in it was read by a check that passed.
fn verified(
    inputs: Inputs<'_>,
    hardware: Hardware<'_>,
    events: Vec<RuntimeEvent>,
    boot: MeasuredBoot,
) -> Option<VerifiedEvidence> {
    let image = inputs.policy.image.as_ref()?;
    let pck = hardware.platform?.extension;
    let (claims, parts) = (hardware.claims?, hardware.tcb?);
    let platform_instance_id = pck.platform_instance_id.as_ref();
    let ready = events.iter().position(|event| event.name == event_name::SYSTEM_READY);
    Some(VerifiedEvidence {
        report: hardware.report?,
        image: image.identity.clone(),
        platform: VerifiedPlatform {
            fmspc: pck.fmspc,
            ppid: pck.ppid.to_vec(),
            platform_instance_id: platform_instance_id.and_then(|id| id[..].try_into().ok()),
        },
        tcb: VerifiedTcb {
            status: parts.status(claims.tcb.status),
            date_secs: tcb::tcb_date(&claims),
            evaluation_number: claims.tcb.eval_data_number,
            advisory_ids: parts.advisories(),
            collateral_issued_secs: collateral::issued(&hardware.collateral?),
        },
        boot,
        ready: ready.is_some(),
        app_events: ready.map(|at| events[at + 1..].to_vec()).unwrap_or_default(),
        trust_anchor: inputs.policy.anchor.name(),
    })
}

/// Quote, certificates, collateral and attributes.
fn judge_hardware<'a>(rows: &mut CheckRows, inputs: Inputs<'a>) -> Hardware<'a> {
    let Some(read) = quote::read(rows, &inputs.evidence.quote) else {
        return Hardware::default();
    };
    quote::judge(rows, &read);
    attributes::judge(rows, &read.quote.report, &inputs.policy.td, inputs.now);
    let mut hardware = Hardware { report: Some(read.quote.report.clone()), ..Hardware::default() };
    let anchor = match Certificate::parse(inputs.policy.anchor.certificate()) {
        Ok(anchor) => anchor,
        Err(error) => {
            rows.fail(
                CheckName::TrustAnchor,
                "a certificate in DER",
                error,
                "the given root cannot be read",
            );
            return hardware;
        }
    };
    hardware.platform = pck::judge(rows, inputs, &read, &anchor);
    let Some(given) = inputs.collateral else {
        const WHY: &str = "no collateral: `dstyx collateral fetch` gets it for this evidence, or give a file with --collateral";
        rows.skip_all(Property::Collateral, WHY);
        rows.skip(&[CheckName::QuoteVerification], WHY);
        rows.skip_all(Property::Status, WHY);
        return hardware;
    };
    hardware.collateral = collateral::read(rows, given);
    if let Some(collateral) = &hardware.collateral {
        collateral::judge(rows, inputs, collateral, &anchor);
        collateral::judge_identities(rows, collateral, &read);
        if let Some(platform) = &hardware.platform {
            collateral::judge_platform(rows, collateral, platform, &anchor);
        }
    }
    let parts = hardware.collateral.as_ref().zip(hardware.platform.as_ref());
    let parts = parts.map(|(collateral, platform)| {
        let (tcb_info, qe_identity) = (&collateral.tcb_info, &collateral.qe_identity);
        tcb::Parts::of(tcb_info, qe_identity, &platform.extension, &read)
    });
    let hopeless = match &parts {
        Some(Ok(parts)) => parts.revoked(),
        Some(Err(tcb::NoLevel::Below(part))) => Some(part.clone()),
        Some(Err(tcb::NoLevel::Unknown)) | None => None,
    };
    hardware.claims = tcb::judge(rows, inputs, given, hopeless);
    if let (Some(_), Some(Ok(parts))) = (&hardware.claims, parts) {
        tcb::judge_status(rows, &parts, &inputs.policy.platform, inputs.now);
        hardware.tcb = Some(parts);
    }
    hardware
}

/// What the evidence says, whatever the rows say to it.
fn facts(
    inputs: Inputs<'_>,
    hardware: &Hardware<'_>,
    events: Option<&[RuntimeEvent]>,
    app: Option<&MeasuredApp>,
    checks: &[Check],
) -> Facts {
    let report = hardware.report.as_ref();
    let rtmr = |index: usize| report.map(|report| report.rtmrs[index].to_string());
    let event = |name: &str| {
        events.and_then(|events| event_log::find(events, name)).map(|event| &event.payload)
    };
    let pck = hardware.platform.as_ref().map(|platform| &platform.extension);
    let claims = hardware.claims.as_ref();
    Facts {
        mrtd: report.map(|report| report.mrtd.to_string()),
        rtmr0: rtmr(0),
        rtmr1: rtmr(1),
        rtmr2: rtmr(2),
        rtmr3: rtmr(3),
        mrconfigid: report.map(|report| report.mr_config_id.to_string()),
        report_data: report.map(|report| report.report_data.to_string()),
        td_attributes: report.map(|report| format!("{:#018x}", report.td_attributes)),
        xfam: report.map(|report| format!("{:#018x}", report.xfam)),
        mrseam: report.map(|report| hex::encode(report.mr_seam)),
        tee_tcb_svn: report.map(|report| hex::encode(report.tee_tcb_svn)),
        app_id: app.map(|app| app.app_id.to_string()),
        instance_id: app.map(|app| app.instance_id.map(|id| id.to_string()).unwrap_or_default()),
        compose_hash: app.map(|app| app.compose_hash.to_string()),
        key_provider: event(event_name::KEY_PROVIDER).map(|payload| events::printable(payload)),
        os_image_hash: event(event_name::OS_IMAGE_HASH).map(hex::encode),
        tcb_status: claims
            .zip(hardware.tcb.as_ref())
            .map(|(claims, parts)| parts.status(claims.tcb.status).to_string()),
        tcb_date: claims.map(|claims| rfc3339(tcb::tcb_date(claims))),
        tcb_evaluation_number: claims.map(|claims| claims.tcb.eval_data_number),
        advisory_ids: hardware.tcb.as_ref().map(tcb::Parts::advisories),
        fmspc: pck.map(|pck| hex::encode(pck.fmspc)),
        ppid: pck.map(|pck| hex::encode(&pck.ppid)),
        platform_instance_id: pck
            .and_then(|pck| pck.platform_instance_id.as_ref())
            .map(hex::encode),
        cross_checks: checks
            .iter()
            .filter_map(|row| Some((row.name, row.cross_check.clone()?)))
            .collect(),
        notices: notices(inputs.policy),
    }
}

/// What a person must see beside the verdict.
fn notices(policy: &Policy) -> Vec<&'static str> {
    let emulated = policy.anchor.name() == AnchorName::Emulated;
    let believed = policy.image.as_ref().is_some_and(|image| !image.identity.believed.is_empty());
    let age_unknown = matches!(policy.report_data, ExpectedReportData::Unstated(_));
    let notices = [
        (emulated, EMULATED),
        (age_unknown, AGE_UNKNOWN),
        (believed, FACTS_BELIEVED),
        (true, SCOPE),
    ];
    notices.into_iter().filter(|(holds, _)| *holds).map(|(_, notice)| notice).collect()
}
