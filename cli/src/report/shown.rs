//! What the evidence says about a link, beside the checks: values by a name that a person knows.

use attestation::Facts;

/// Names and values.
pub type Shown = Vec<(&'static str, String)>;

/// Of the links whose registers and documents are all in their checks.
pub fn nothing(_: &Facts) -> Shown {
    Shown::new()
}

/// Of the processor.
pub fn processor(facts: &Facts) -> Shown {
    let advisories = facts.advisory_ids.as_ref().map(|ids| match ids.as_slice() {
        [] => "none".to_owned(),
        ids => ids.join(", "),
    });
    known([
        ("kind of processor (FMSPC)", facts.fmspc.clone()),
        ("this processor (PPID)", facts.ppid.clone()),
        ("platform instance", facts.platform_instance_id.clone()),
        ("TCB status", facts.tcb_status.clone()),
        ("date of its TCB level", facts.tcb_date.clone()),
        ("TCB evaluation number", facts.tcb_evaluation_number.map(|number| number.to_string())),
        ("advisories", advisories),
    ])
}

/// Of the quote.
pub fn quote(facts: &Facts) -> Shown {
    known([("report data", facts.report_data.clone())])
}

/// Of the TDX module.
pub fn tdx_module(facts: &Facts) -> Shown {
    known([("MRSEAM", facts.mrseam.clone()), ("TEE_TCB_SVN", facts.tee_tcb_svn.clone())])
}

/// Of the trust domain.
pub fn trust_domain(facts: &Facts) -> Shown {
    known([("TDATTRIBUTES", facts.td_attributes.clone()), ("XFAM", facts.xfam.clone())])
}

/// Of the app.
pub fn app(facts: &Facts) -> Shown {
    known([
        ("app", facts.app_id.clone()),
        ("instance", facts.instance_id.clone().filter(|id| !id.is_empty())),
        ("compose hash", facts.compose_hash.clone()),
        ("MRCONFIGID", facts.mrconfigid.clone()),
    ])
}

fn known<const N: usize>(values: [(&'static str, Option<String>); N]) -> Shown {
    values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
