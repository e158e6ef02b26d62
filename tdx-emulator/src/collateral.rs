//! What a verifier needs beside a quote: TCB info, QE identity and revocation lists, freshly
//! signed.
//!
//! Sources: Intel PCS API v4 (TCB info version 3 with TDX module identities, QE identity version
//! 2); the envelope is dcap-qvl's `QuoteCollateralV3` in JSON. Everything says `UpToDate`: the
//! machine has exactly the versions that the TCB info asks for, and platform, TDX module and QE
//! have older levels, so that the comparison is a real one; lies change either.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use x509_cert::der::DateTime;

use crate::lie::Lie;
use crate::pki::holder::Holder;
use crate::pki::machine::Machine;
use crate::pki::{Chain, EXPIRED_FOR, Issuer, PkiError, Revocations, revocation_list, sign_raw};
use crate::quote::platform;

/// From issue to next update, as Intel does it.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// FMSPC of another family of machines.
const OTHER_FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0x00, 0x00, 0x00];
/// What an old machine is known to suffer from, by its part; made up.
const OLD_ADVISORY: &str = "INTEL-SA-00000";
const OLD_LOADER_ADVISORY: &str = "INTEL-SA-00002";
const OLD_MODULE_ADVISORY: &str = "INTEL-SA-00003";
const OLD_QE_ADVISORY: &str = "INTEL-SA-00004";
const UNCONFIGURED_QE_ADVISORY: &str = "INTEL-SA-00005";
/// `tcbEvaluationDataNumber`: what Intel counted when the other values were written.
const EVALUATION_NUMBER: u32 = 17;
/// When the current levels were published, and the ones before.
const CURRENT_TCB_DATE: &str = "2026-02-11T00:00:00Z";
const OLDER_TCB_DATE: &str = "2024-03-13T00:00:00Z";

/// dcap-qvl's `QuoteCollateralV3`: PEM chains, JSON texts, and lower-case hex of the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collateral {
    pub(crate) pck_crl_issuer_chain: String,
    pub(crate) root_ca_crl: String,
    pub(crate) pck_crl: String,
    pub(crate) tcb_info_issuer_chain: String,
    pub(crate) tcb_info: String,
    pub(crate) tcb_info_signature: String,
    pub(crate) qe_identity_issuer_chain: String,
    pub(crate) qe_identity: String,
    pub(crate) qe_identity_signature: String,
    #[serde(default)] // quotes carry it; real collateral often does not
    pck_certificate_chain: String,
}

impl Collateral {
    /// Issues all of it at `now`.
    pub fn issue(chain: &Chain, now: DateTime, lie: Option<Lie>) -> Result<Self, PkiError> {
        let statements = Dates::of(now, lie == Some(Lie::ExpiredCollateral))?;
        let lists = Dates::of(now, lie == Some(Lie::ExpiredCrl))?;
        let (tcb_info, qe_identity) =
            (tcb_info(&statements, lie).to_string(), qe_identity(&statements).to_string());
        let signer = Holder::TcbSigner.key();
        let sign = |text: &str| hex::encode(sign_raw(&signer, text.as_bytes()));
        Ok(Self {
            pck_crl_issuer_chain: chain.platform_ca_pem()?,
            root_ca_crl: hex::encode(revocation_list(
                Issuer::of(Holder::Root),
                &lists.revocations(),
            )?),
            pck_crl: hex::encode(pck_crl(&lists, chain.machine, lie)?),
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
    /// Of something issued now, or so long ago that it has run out.
    fn of(now: DateTime, expired: bool) -> Result<Self, PkiError> {
        let age = if expired { LIFETIME + EXPIRED_FOR } else { Duration::ZERO };
        let at = |time: Option<Duration>| {
            time.and_then(|time| DateTime::from_unix_duration(time).ok()).ok_or(PkiError::Time(now))
        };
        let issue = at(now.unix_duration().checked_sub(age))?;
        Ok(Self { issue, next_update: at(issue.unix_duration().checked_add(LIFETIME))? })
    }

    fn revocations(&self) -> Revocations {
        Revocations {
            this_update: self.issue,
            next_update: self.next_update,
            revoked: None,
            complete: true,
        }
    }
}

fn pck_crl(dates: &Dates, machine: Machine, lie: Option<Lie>) -> Result<Vec<u8>, PkiError> {
    let issuer = match lie {
        Some(Lie::ForeignCrl) => Issuer { name: Holder::PlatformCa, key: Holder::ForeignRoot },
        _ => Issuer::of(Holder::PlatformCa),
    };
    let mut content = dates.revocations();
    match lie {
        Some(Lie::RevokedPck) => content.revoked = Some(Holder::Pck(machine)),
        Some(Lie::PartialCrl) => content.complete = false,
        _ => {}
    }
    revocation_list(issuer, &content)
}

fn tcb_info(dates: &Dates, lie: Option<Lie>) -> Value {
    let fmspc = if lie == Some(Lie::WrongFmspc) { OTHER_FMSPC } else { platform::FMSPC };
    let loader = platform::TEE_TCB_SVN[2];
    let current = tcb_level(platform::PCE_SVN, loader, CURRENT_TCB_DATE, "UpToDate");
    let mut old_loader =
        tcb_level(platform::PCE_SVN, platform::OLD_LOADER_SVN, OLDER_TCB_DATE, "OutOfDate");
    old_loader["advisoryIDs"] = json!([OLD_LOADER_ADVISORY]);
    let mut old = tcb_level(platform::OLD_PCE_SVN, loader, OLDER_TCB_DATE, "OutOfDate");
    old["advisoryIDs"] = json!([OLD_ADVISORY]);
    let module = json!({ "mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "FF".repeat(8) });
    let mut identity = module.clone();
    identity["id"] = format!("TDX_{:02X}", platform::TEE_TCB_SVN[1]).into();
    identity["tcbLevels"] = json!([
        { "tcb": { "isvsvn": platform::TEE_TCB_SVN[0] }, "tcbDate": CURRENT_TCB_DATE, "tcbStatus": "UpToDate" },
        {
            "tcb": { "isvsvn": platform::OLD_MODULE_SVN }, "tcbDate": OLDER_TCB_DATE,
            "tcbStatus": "OutOfDate", "advisoryIDs": [OLD_MODULE_ADVISORY],
        },
    ]);
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": dates.issue.to_string(),
        "nextUpdate": dates.next_update.to_string(),
        "fmspc": hex::encode_upper(fmspc),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION_NUMBER,
        "tdxModule": module,
        "tdxModuleIdentities": [identity],
        "tcbLevels": [current, old_loader, old],
    })
}

fn tcb_level(pcesvn: u8, loader: u8, date: &str, status: &str) -> Value {
    let components = |svns: [u8; 16]| svns.map(|svn| json!({ "svn": svn }));
    // With a module version in the report, the module's own SVN is judged by its identity.
    let mut tdx = platform::TEE_TCB_SVN;
    (tdx[1], tdx[2]) = (0, loader);
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
            {
                "tcb": { "isvsvn": platform::UNCONFIGURED_QE_SVN }, "tcbDate": OLDER_TCB_DATE,
                "tcbStatus": "ConfigurationNeeded", "advisoryIDs": [UNCONFIGURED_QE_ADVISORY],
            },
            {
                "tcb": { "isvsvn": platform::OLD_QE_SVN }, "tcbDate": OLDER_TCB_DATE,
                "tcbStatus": "OutOfDate", "advisoryIDs": [OLD_QE_ADVISORY],
            },
        ],
    })
}
