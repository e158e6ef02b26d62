//! What a verifier needs beside a quote: TCB info, QE identity and revocation lists, freshly signed.
//!
//! Sources: Intel PCS API v4 (TCB info version 3 with TDX module identities, QE identity version 2); the
//! envelope is dcap-qvl's `QuoteCollateralV3` in JSON. Everything says `UpToDate`: the machine has exactly
//! the versions that the TCB info asks for, and an older level exists, so that the comparison is a real one.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use x509_cert::der::DateTime;

use crate::lie::Lie;
use crate::pki::holder::Holder;
use crate::pki::{Chain, PkiError, revocation_list, sign_raw};
use crate::quote::platform;

/// From issue to next update, as Intel does it.
const LIFETIME_DAYS: u64 = 30;
/// How old expired collateral is: issued two months ago, run out one month ago.
const EXPIRED_AGE_DAYS: u64 = 60;
/// `tcbEvaluationDataNumber`: what Intel counted when the other values were written.
const EVALUATION_NUMBER: u32 = 17;
/// When the current levels were published, and the ones before.
const CURRENT_TCB_DATE: &str = "2026-02-11T00:00:00Z";
const OLDER_TCB_DATE: &str = "2024-03-13T00:00:00Z";

/// dcap-qvl's `QuoteCollateralV3`: PEM chains, JSON texts, and lower-case hex of the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    pck_certificate_chain: String,
}

impl Collateral {
    /// Issues all of it at `now`.
    pub fn issue(chain: &Chain, now: DateTime, lie: Option<Lie>) -> Result<Self, PkiError> {
        let next_update = later(now, LIFETIME_DAYS)?;
        let statements = match lie {
            Some(Lie::ExpiredCollateral) => Dates::of(earlier(now, EXPIRED_AGE_DAYS)?)?,
            _ => Dates::of(now)?,
        };
        let (tcb_info, qe_identity) = (tcb_info(&statements).to_string(), qe_identity(&statements).to_string());
        let signer = Holder::TcbSigner.key();
        let sign = |text: &str| hex::encode(sign_raw(&signer, text.as_bytes()));
        Ok(Self {
            pck_crl_issuer_chain: chain.platform_ca_pem()?,
            root_ca_crl: hex::encode(revocation_list(Holder::Root, now, next_update)?),
            pck_crl: hex::encode(revocation_list(Holder::PlatformCa, now, next_update)?),
            tcb_info_issuer_chain: chain.tcb_signer_pem()?,
            tcb_info_signature: sign(&tcb_info),
            tcb_info,
            qe_identity_issuer_chain: chain.tcb_signer_pem()?,
            qe_identity_signature: sign(&qe_identity),
            qe_identity,
            pck_certificate_chain: chain.pck_pem()?,
        })
    }

    /// The file that verifiers read.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings serialise")
    }
}

/// Issue and next update of one signed statement.
struct Dates {
    issue: DateTime,
    next_update: DateTime,
}

impl Dates {
    fn of(issue: DateTime) -> Result<Self, PkiError> {
        Ok(Self { issue, next_update: later(issue, LIFETIME_DAYS)? })
    }
}

fn tcb_info(dates: &Dates) -> Value {
    let module = json!({ "mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "FF".repeat(8) });
    let mut identity = module.clone();
    identity["id"] = format!("TDX_{:02X}", platform::TEE_TCB_SVN[1]).into();
    identity["tcbLevels"] = json!([
        { "tcb": { "isvsvn": platform::TEE_TCB_SVN[0] }, "tcbDate": CURRENT_TCB_DATE, "tcbStatus": "UpToDate" },
        { "tcb": { "isvsvn": 2 }, "tcbDate": OLDER_TCB_DATE, "tcbStatus": "OutOfDate" },
    ]);
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": dates.issue.to_string(),
        "nextUpdate": dates.next_update.to_string(),
        "fmspc": hex::encode_upper(platform::FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION_NUMBER,
        "tdxModule": module,
        "tdxModuleIdentities": [identity],
        "tcbLevels": [
            tcb_level(u16::from(platform::PCE_SVN), CURRENT_TCB_DATE, "UpToDate"),
            tcb_level(5, OLDER_TCB_DATE, "OutOfDate"),
        ],
    })
}

fn tcb_level(pcesvn: u16, date: &str, status: &str) -> Value {
    let components = |svns: [u8; 16]| svns.map(|svn| json!({ "svn": svn }));
    // With a module version in the report, the module's own SVN is judged by its identity.
    let mut tdx = platform::TEE_TCB_SVN;
    tdx[1] = 0;
    json!({
        "tcb": {
            "sgxtcbcomponents": components(platform::CPU_SVN),
            "pcesvn": pcesvn,
            "tdxtcbcomponents": components(tdx),
        },
        "tcbDate": date,
        "tcbStatus": status,
    })
}

fn qe_identity(dates: &Dates) -> Value {
    let mut attributes = platform::QE_ATTRIBUTES;
    attributes[8..].fill(0);
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": dates.issue.to_string(),
        "nextUpdate": dates.next_update.to_string(),
        "tcbEvaluationDataNumber": EVALUATION_NUMBER,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": hex::encode_upper(attributes),
        "attributesMask": "FFFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(platform::QE_SIGNER),
        "isvprodid": platform::QE_PRODUCT,
        "tcbLevels": [
            { "tcb": { "isvsvn": platform::QE_SVN }, "tcbDate": CURRENT_TCB_DATE, "tcbStatus": "UpToDate" },
        ],
    })
}

fn later(time: DateTime, days: u64) -> Result<DateTime, PkiError> {
    let moved = time.unix_duration().checked_add(days_long(days));
    moved.and_then(|moved| DateTime::from_unix_duration(moved).ok()).ok_or(PkiError::Time(time))
}

fn earlier(time: DateTime, days: u64) -> Result<DateTime, PkiError> {
    let moved = time.unix_duration().checked_sub(days_long(days));
    moved.and_then(|moved| DateTime::from_unix_duration(moved).ok()).ok_or(PkiError::Time(time))
}

fn days_long(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}
