//! The order of the judgement, and the only constructor of [`VerifiedEvidence`].

use dcap_qvl::QuoteClaims;
use protocol::event_log::{self, RuntimeEvent};
use protocol::event_name;
use protocol::evidence::Evidence;
use protocol::quote::TdReport;

use crate::appraisal::{AnchorName, Appraisal, Check, EMULATED, Facts, SCOPE, Verdict};
use crate::certificate::Certificate;
use crate::check_rows::CheckRows;
use crate::checks::app::MeasuredApp;
use crate::checks::collateral::ReadCollateral;
use crate::checks::pck::Platform;
use crate::checks::{
    Inputs, app, attributes, collateral, events, firmware_log, image, pck, quote, tcb,
};
use crate::collateral::Collateral;
use crate::ecdsa;
use crate::image::ImageFault;
use crate::policy::Policy;
use crate::reference::{self, StatedImage, expected_registers};
use crate::refusal::{CheckName, Refusal};
use crate::time::rfc3339;

/// Evidence of which every check passed.
///
/// Holding one proves, as far as the trust anchor is believed: a TD with these registers exists on
/// a platform of an accepted TCB; it is not in debug mode, not migratable and bound to no service
/// TD; its registers are those of the policy's image in the policy's shape; these events, in this
/// order, are all that was extended into RTMR3; and the quote was made for the policy's report
/// data. It does not prove that the connection on which the evidence came ends in that TD, nor
/// which program in the TD asked for the quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEvidence {
    report: TdReport,
    events: Vec<RuntimeEvent>,
    app: MeasuredApp,
    trust_anchor: AnchorName,
}

impl VerifiedEvidence {
    /// The verified report.
    pub fn report(&self) -> &TdReport {
        &self.report
    }

    /// All run-time events, in order.
    pub fn events(&self) -> &[RuntimeEvent] {
        &self.events
    }

    /// The measured app.
    pub fn app(&self) -> &MeasuredApp {
        &self.app
    }

    /// Whose signature it rests on; if emulated, nothing above is proved about hardware.
    pub fn trust_anchor(&self) -> AnchorName {
        self.trust_anchor
    }
}

/// Makes every check that can be made. `now_secs` is the verifier's time in seconds since 1970.
pub fn judge(
    evidence: &Evidence,
    policy: &Policy,
    collateral: Option<&Collateral>,
    now_secs: u64,
) -> Appraisal {
    ecdsa::in_one_judgement(|| {
        Judgement::make(Inputs { evidence, policy, collateral, now: now_secs })
    })
    .appraisal
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

/// The evidence as a fact, if every check passes; else the first refusal.
pub fn verify(
    evidence: &Evidence,
    policy: &Policy,
    collateral: Option<&Collateral>,
    now_secs: u64,
) -> Result<VerifiedEvidence, Refusal> {
    let judgement = ecdsa::in_one_judgement(|| {
        Judgement::make(Inputs { evidence, policy, collateral, now: now_secs })
    });
    match judgement.appraisal.refusal() {
        Some(refusal) => Err(refusal),
        None => Ok(judgement
            .proved
            .expect("every check passes only if quote, log and facts could be read")),
    }
}

/// An appraisal, and what it proves if it passes.
struct Judgement {
    appraisal: Appraisal,
    proved: Option<VerifiedEvidence>,
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

impl Judgement {
    fn make(inputs: Inputs<'_>) -> Self {
        let mut rows = CheckRows::default();
        let hardware = judge_hardware(&mut rows, inputs);
        let policy = inputs.policy;
        tcb::judge_age(&mut rows, inputs, hardware.collateral.as_ref(), hardware.claims.as_ref());
        tcb::judge_platform(&mut rows, &policy.platform, hardware.platform.as_ref());

        let report = hardware.report.as_ref();
        let rtmr3 = report.map(|report| &report.rtmrs[3]);
        let events = events::judge(
            &mut rows,
            &inputs.evidence.event_log,
            rtmr3,
            policy.rtmr3_explanation.as_ref(),
        );
        firmware_log::judge(&mut rows, &inputs.evidence.event_log, report);
        events::judge_required(&mut rows, events.as_deref(), &policy.required_events);
        let app = events.as_deref().and_then(|events| app::judge_facts(&mut rows, events));
        image::judge_list(&mut rows, policy);
        if let Some(report) = report {
            app::judge_report_data(&mut rows, inputs, report);
            match &policy.image {
                Some(image) => image::judge(&mut rows, report, image, inputs.evidence),
                None => rows.skip(
                    &image::ROWS,
                    "no image was stated: state the image that this guest should run",
                ),
            }
        }
        if let Some(app) = &app {
            app::judge(&mut rows, inputs, report, app);
        }

        let (checks, verdict) = rows.finish();
        let facts = facts(inputs, &hardware, events.as_deref(), app.as_ref(), &checks);
        let trust_anchor = policy.anchor.name();
        let proved = match (verdict, hardware.report, events, app) {
            (Verdict::Pass, Some(report), Some(events), Some(app)) => {
                Some(VerifiedEvidence { report, events, app, trust_anchor })
            }
            _ => None,
        };
        Self { appraisal: Appraisal { verdict, trust_anchor, checks, facts }, proved }
    }
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
        rows.skip(&collateral::ROWS, WHY);
        rows.skip(&[CheckName::QuoteVerification], WHY);
        rows.skip(&tcb::STATUS_ROWS, WHY);
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
    let emulated = inputs.policy.anchor.name() == AnchorName::Emulated;
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
        notices: if emulated { vec![EMULATED, SCOPE] } else { vec![SCOPE] },
    }
}
