//! What collateral says of itself, for a person and for whoever keeps it: what it is for, and from
//! when to when.
//!
//! Read, not judged: every word may be a lie until the judgement has seen the signatures.

use dcap_qvl::{QeIdentity, TcbInfo};
use serde::Serialize;

use crate::certificate::{Certificate, Crl};
use crate::collateral::Collateral;
use crate::time::{Window, parse_rfc3339, rfc3339};

/// What collateral is for and how old its parts are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Kind of platform, 12 lower-case hex digits.
    pub fmspc: String,
    /// Issuer of the PCK revocation list.
    pub pck_ca: String,
    /// Signer of the TCB info.
    pub signer: String,
    /// What Intel counted when it evaluated the TCB.
    pub tcb_evaluation_number: u32,
    /// Of the TCB info.
    pub tcb_info: Span,
    /// Of the QE identity.
    pub qe_identity: Span,
    /// Of the root CA's revocation list.
    pub root_ca_crl: Span,
    /// Of the PCK CA's revocation list.
    pub pck_crl: Span,
}

/// From issue to next update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// RFC 3339.
    pub issued: String,
    /// RFC 3339.
    pub next_update: String,
    /// [`Self::issued`] in seconds since 1970.
    #[serde(skip)]
    pub issued_secs: u64,
    /// [`Self::next_update`] in seconds since 1970.
    #[serde(skip)]
    pub next_update_secs: u64,
}

/// a part of collateral that cannot be read
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {what}")]
pub struct SummaryError {
    /// Name of the part.
    pub part: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl Summary {
    /// Whether all parts are within their dates.
    pub fn is_current(&self, now_secs: u64) -> bool {
        let spans = [&self.tcb_info, &self.qe_identity, &self.root_ca_crl, &self.pck_crl];
        spans.into_iter().all(|span| (span.issued_secs..=span.next_update_secs).contains(&now_secs))
    }

    /// What grows with each newer part, by the part's name: a count, then times of issue in seconds
    /// since 1970.
    pub fn ages(&self) -> [(&'static str, u64); 5] {
        [
            ("TCB evaluation number", self.tcb_evaluation_number.into()),
            ("TCB info", self.tcb_info.issued_secs),
            ("QE identity", self.qe_identity.issued_secs),
            ("root CA's revocation list", self.root_ca_crl.issued_secs),
            ("PCK CA's revocation list", self.pck_crl.issued_secs),
        ]
    }
}

impl Collateral {
    /// What it says of itself.
    pub fn summary(&self) -> Result<Summary, SummaryError> {
        let inner = &self.inner;
        let tcb_info: TcbInfo = read("TCB info", serde_json::from_str(&inner.tcb_info))?;
        let qe_identity: QeIdentity =
            read("QE identity", serde_json::from_str(&inner.qe_identity))?;
        let pck_crl = read("PCK CA's revocation list", Crl::parse(&inner.pck_crl))?;
        let root_ca_crl = read("root CA's revocation list", Crl::parse(&inner.root_ca_crl))?;
        let signers = read(
            "signers of the TCB info",
            Certificate::parse_chain(inner.tcb_info_issuer_chain.as_bytes()),
        )?;
        Ok(Summary {
            fmspc: tcb_info.fmspc.to_lowercase(),
            pck_ca: pck_crl.issuer(),
            signer: signers.first().map(Certificate::subject).unwrap_or_default(),
            tcb_evaluation_number: tcb_info.tcb_evaluation_data_number,
            tcb_info: document("TCB info", &tcb_info.issue_date, &tcb_info.next_update)?,
            qe_identity: document(
                "QE identity",
                &qe_identity.issue_date,
                &qe_identity.next_update,
            )?,
            root_ca_crl: span(root_ca_crl.window()),
            pck_crl: span(pck_crl.window()),
        })
    }
}

fn read<T, E: ToString>(part: &'static str, result: Result<T, E>) -> Result<T, SummaryError> {
    result.map_err(|error| SummaryError { part, what: error.to_string() })
}

fn document(part: &'static str, issued: &str, next_update: &str) -> Result<Span, SummaryError> {
    let secs = |text: &str| {
        parse_rfc3339(text).ok_or_else(|| format!("{text:?} is no time like 2026-11-21T06:00:00Z"))
    };
    Ok(span(Window { from: read(part, secs(issued))?, until: read(part, secs(next_update))? }))
}

fn span(window: Window) -> Span {
    Span {
        issued: rfc3339(window.from),
        next_update: rfc3339(window.until),
        issued_secs: window.from,
        next_update_secs: window.until,
    }
}
