//! The collateral: signed by the trust anchor's people, current, about this platform; and what it
//! says about QE and TDX module.

use dcap_qvl::{QeIdentity, TcbComponents, TcbInfo, TcbLevel};
use protocol::quote::TdReport;

use super::Inputs;
use super::pck::Platform;
use super::quote::ReadQuote;
use crate::certificate::{Certificate, Crl};
use crate::check_rows::CheckRows;
use crate::collateral::Collateral;
use crate::refusal::{CheckName, Finding};
use crate::signature_data::QeReport;
use crate::time::{Window, parse_rfc3339, rfc3339};

/// What to try when collateral is old, or from another platform.
const REFRESH: &str = "fetch the collateral again for this quote";
/// The version of TCB info that has TDX components and module identities.
const TCB_INFO_VERSION: u8 = 3;
/// Versions of the QE identity that a TD quoting enclave may have.
const QE_IDENTITY_VERSIONS: [u8; 2] = [2, 3];
/// Components of a TCB level, of SGX and of TDX each.
const COMPONENTS: usize = 16;
/// DEBUG of an enclave's ATTRIBUTES.
const ENCLAVE_DEBUG: u8 = 2;

/// Collateral that could be read.
pub(crate) struct ReadCollateral<'a> {
    raw: &'a Collateral,
    root_crl: Crl,
    pck_crl: Crl,
    pub(crate) tcb_info: TcbInfo,
    tcb_signers: Vec<Certificate>,
    pub(crate) qe_identity: QeIdentity,
    qe_signers: Vec<Certificate>,
}

/// Reads all parts; `None` if the row says that one cannot be read.
pub(crate) fn read<'a>(
    rows: &mut CheckRows,
    collateral: &'a Collateral,
) -> Option<ReadCollateral<'a>> {
    const EXPECTED: &str = "two revocation lists, TCB info, QE identity and their signers";
    match read_parts(collateral) {
        Ok(parts) => {
            rows.pass(CheckName::CollateralFormat, EXPECTED, "all of them");
            Some(parts)
        }
        Err(error) => {
            rows.fail(CheckName::CollateralFormat, EXPECTED, error, REFRESH);
            None
        }
    }
}

fn read_parts(raw: &Collateral) -> Result<ReadCollateral<'_>, String> {
    let inner = &raw.inner;
    let mut tcb_info: TcbInfo =
        serde_json::from_str(&inner.tcb_info).map_err(|error| format!("TCB info: {error}"))?;
    // The highest level first, as dcap-qvl and Intel's library look for it, whatever the order.
    tcb_info.tcb_levels.sort_by(|a, b| order(b).cmp(&order(a)));
    if let Some(level) = tcb_info.tcb_levels.iter().find(|level| !is_whole(level)) {
        return Err(format!(
            "TCB info: the level of {:?} has not {COMPONENTS} SGX and TDX components and a date",
            level.tcb_date
        ));
    }
    let certificates = |what: &str, text: &str| {
        Certificate::parse_chain(text.as_bytes())
            .map_err(|error| format!("signers of the {what}: {error}"))
    };
    let tcb_signers = certificates("TCB info", &inner.tcb_info_issuer_chain)?;
    // Intel signs both documents with the same certificate, and sends the same chain.
    let qe_signers = match inner.qe_identity_issuer_chain == inner.tcb_info_issuer_chain {
        true => tcb_signers.clone(),
        false => certificates("QE identity", &inner.qe_identity_issuer_chain)?,
    };
    Ok(ReadCollateral {
        raw,
        root_crl: Crl::parse(&inner.root_ca_crl)
            .map_err(|error| format!("root CA's list: {error}"))?,
        pck_crl: Crl::parse(&inner.pck_crl).map_err(|error| format!("PCK CA's list: {error}"))?,
        tcb_info,
        tcb_signers,
        qe_identity: serde_json::from_str(&inner.qe_identity)
            .map_err(|error| format!("QE identity: {error}"))?,
        qe_signers,
    })
}

fn order(level: &TcbLevel) -> (&[TcbComponents], u16, &[TcbComponents]) {
    (&level.tcb.sgx_components, level.tcb.pce_svn, &level.tcb.tdx_components)
}

/// Whether a TCB level can be compared with a platform at all.
fn is_whole(level: &TcbLevel) -> bool {
    let complete = |components: &[_]| components.len() == COMPONENTS;
    let tcb = &level.tcb;
    complete(&tcb.sgx_components)
        && complete(&tcb.tdx_components)
        && parse_rfc3339(&level.tcb_date).is_some()
}

/// Judges signers, lists and documents.
pub(crate) fn judge(
    rows: &mut CheckRows,
    inputs: Inputs<'_>,
    read: &ReadCollateral<'_>,
    anchor: &Certificate,
) {
    judge_signers(rows, read, anchor, inputs.now);
    let crls = [("root CA's list", &read.root_crl), ("PCK CA's list", &read.pck_crl)];
    let restricted = crls
        .iter()
        .find_map(|(what, crl)| Some(format!("{what}: extension {}", crl.restriction()?)));
    let finding = Finding::new(
        "lists of everything that their CAs revoked",
        restricted.as_deref().unwrap_or("they are"),
        "a delta, a list for some certificates only, or one with an unknown critical extension proves nothing about the others",
    );
    rows.judge(CheckName::CrlComplete, restricted.is_none(), finding);
    let windows = crls.map(|(what, crl)| (what, crl.window()));
    judge_current(rows, CheckName::CrlCurrent, inputs.now, &windows);
    let inner = &read.raw.inner;
    let documents = [
        (
            CheckName::TcbInfoSignature,
            &read.tcb_signers,
            &inner.tcb_info,
            &inner.tcb_info_signature,
        ),
        (
            CheckName::QeIdentitySignature,
            &read.qe_signers,
            &inner.qe_identity,
            &inner.qe_identity_signature,
        ),
    ];
    for (name, signers, text, signature) in documents {
        let signed = signers[0].verifies(text.as_bytes(), signature);
        let expected = format!("a signature by {}", signers[0].subject());
        let found = if signed { "valid" } else { "invalid" };
        rows.judge(name, signed, Finding::new(expected, found, REFRESH));
    }
    let tcb =
        [("TCB info", document_window(&read.tcb_info.issue_date, &read.tcb_info.next_update))];
    judge_current(rows, CheckName::TcbInfoCurrent, inputs.now, &tcb);
    let qe = [(
        "QE identity",
        document_window(&read.qe_identity.issue_date, &read.qe_identity.next_update),
    )];
    judge_current(rows, CheckName::QeIdentityCurrent, inputs.now, &qe);
}

/// Judges what ties the collateral to the platform's certificates.
pub(crate) fn judge_platform(
    rows: &mut CheckRows,
    read: &ReadCollateral<'_>,
    platform: &Platform,
    anchor: &Certificate,
) {
    let [leaf, issuer, ..] = &platform.chain[..] else {
        return; // a chain of one certificate has been refused
    };
    let by_root = read.root_crl.is_issued_by(anchor);
    let by_issuer = read.pck_crl.is_issued_by(issuer);
    let finding = Finding::new(
        format!("lists by {} and {}", anchor.subject(), issuer.subject()),
        format!("lists by {} and {}", read.root_crl.issuer(), read.pck_crl.issuer()),
        "both lists must be signed by the CAs of this platform's chain",
    );
    rows.judge(CheckName::CrlIssuer, by_root && by_issuer, finding);

    let by_anchor =
        platform.chain[1..].iter().chain(&read.tcb_signers[..1]).chain(&read.qe_signers[..1]);
    let revoked = by_anchor.filter(|certificate| read.root_crl.revokes(certificate));
    let revoked =
        revoked.chain([leaf].into_iter().filter(|leaf| read.pck_crl.revokes(leaf))).next();
    let found = revoked.map_or_else(
        || "none is".to_owned(),
        |certificate| format!("revoked: {}", certificate.subject()),
    );
    let hint = "a revoked platform's keys are known to others: nothing from it can be believed";
    rows.judge(
        CheckName::Revocation,
        revoked.is_none(),
        Finding::new("no certificate revoked", found, hint),
    );

    judge_tcb_info(rows, &read.tcb_info, platform);
}

/// TCB info must be for TDX, and for the FMSPC and PCE of the certificate.
fn judge_tcb_info(rows: &mut CheckRows, tcb_info: &TcbInfo, platform: &Platform) {
    let ids = |id: &str, version: u8, fmspc: &str, pce: &str| {
        format!(
            "{id} of version {version}, FMSPC {}, PCE {}",
            fmspc.to_lowercase(),
            pce.to_lowercase()
        )
    };
    let pck = &platform.extension;
    let certified =
        ids("TDX", TCB_INFO_VERSION, &hex::encode(pck.fmspc), &hex::encode(&pck.pce_id));
    let stated = ids(&tcb_info.id, tcb_info.version, &tcb_info.fmspc, &tcb_info.pce_id);
    rows.judge(
        CheckName::TcbInfoPlatform,
        certified == stated,
        Finding::new(certified, stated, REFRESH),
    );
}

/// Judges QE and TDX module by the identities in the collateral.
pub(crate) fn judge_identities(
    rows: &mut CheckRows,
    read: &ReadCollateral<'_>,
    quote: &ReadQuote<'_>,
) {
    let difference = qe_difference(&read.qe_identity, &quote.signature_data.qe_report());
    let finding = match &difference {
        None => Finding::new("the enclave of the QE identity", "it is", ""),
        Some((expected, found)) => {
            Finding::new(expected, found, "another enclave than Intel's TD quoting enclave signed")
        }
    };
    rows.judge(CheckName::QeIdentity, difference.is_none(), finding);
    judge_module(rows, &read.tcb_info, &quote.quote.report);
}

/// The module that launched the TD and, after an update that preserved it, the one that runs it
/// now.
fn judge_module(rows: &mut CheckRows, tcb_info: &TcbInfo, report: &TdReport) {
    let current = report.td15.map(|fields| fields.tee_tcb_svn2);
    let identities = [Some(report.tee_tcb_svn), current].into_iter().flatten();
    let identities: Result<Vec<_>, _> =
        identities.map(|svn| module_identity(tcb_info, &svn)).collect();
    let found = module_text(&hex::encode(report.mr_signer_seam), report.seam_attributes);
    let (holds, finding) = match identities {
        Ok(expected) => (
            expected[0] == found,
            Finding::new(&expected[0], found, "another module than Intel's, or in a test mode"),
        ),
        Err(error) => (false, Finding::new("TDX modules that the TCB info lists", error, REFRESH)),
    };
    rows.judge(CheckName::TdxModule, holds, finding);
}

/// Issue time of the oldest of both documents and the PCK CA's list.
pub(crate) fn issued(read: &ReadCollateral<'_>) -> u64 {
    let documents = [&read.tcb_info.issue_date, &read.qe_identity.issue_date];
    let documents = documents.map(|text| parse_rfc3339(text).unwrap_or(0));
    documents.into_iter().fold(read.pck_crl.window().from, u64::min)
}

/// The signers must be issued by the anchor itself and valid now.
fn judge_signers(rows: &mut CheckRows, read: &ReadCollateral<'_>, anchor: &Certificate, now: u64) {
    let signers = [&read.tcb_signers[0], &read.qe_signers[0]];
    let wrong = signers.into_iter().find_map(|signer| {
        if !signer.is_issued_by(anchor) || signer.is_ca() {
            return Some(format!("{} is not issued by it, or is a CA itself", signer.subject()));
        }
        let window = signer.window();
        (!window.contains(now))
            .then(|| format!("{} is valid from {}", signer.subject(), window.text()))
    });
    let expected = format!("signers issued by {}, valid at {}", anchor.subject(), rfc3339(now));
    let found = wrong.clone().unwrap_or_else(|| signers[0].subject());
    let hint = "collateral and quote must be of one root: Intel's, or the emulator's own";
    rows.judge(CheckName::CollateralSigners, wrong.is_none(), Finding::new(expected, found, hint));
}

fn judge_current(rows: &mut CheckRows, name: CheckName, now: u64, windows: &[(&str, Window)]) {
    let stale = windows.iter().find(|(_, window)| !window.contains(now));
    let (what, window) = stale.unwrap_or(&windows[0]);
    let found = format!("{what}: {}", window.text());
    let hint = match stale {
        Some((_, window)) if now > window.until => format!("expired: {REFRESH}"),
        Some(_) => "not valid yet: check the verifier's clock".to_owned(),
        None => String::new(),
    };
    rows.judge(
        name,
        stale.is_none(),
        Finding::new(format!("valid at {}", rfc3339(now)), found, hint),
    );
}

/// A document whose times cannot be read is never current.
fn document_window(issued: &str, next_update: &str) -> Window {
    Window {
        from: parse_rfc3339(issued).unwrap_or(u64::MAX),
        until: parse_rfc3339(next_update).unwrap_or(0),
    }
}

/// The first field of the QE's report that its identity does not allow, as expected and found.
fn qe_difference(identity: &QeIdentity, report: &QeReport) -> Option<(String, String)> {
    let masked = |value: &[u8], mask: &[u8]| -> String {
        hex::encode(value.iter().zip(mask).map(|(value, mask)| value & mask).collect::<Vec<_>>())
    };
    let misc = report.misc_select.to_le_bytes();
    let known = QE_IDENTITY_VERSIONS.contains(&identity.version);
    let fields = [
        ("id", "TD_QE".to_owned(), identity.id.clone()),
        (
            "known version",
            "yes".to_owned(),
            if known { "yes".to_owned() } else { identity.version.to_string() },
        ),
        ("MRSIGNER", hex::encode(identity.mrsigner), hex::encode(report.mr_signer)),
        ("ISVPRODID", identity.isvprodid.to_string(), report.isv_prod_id.to_string()),
        (
            "MISCSELECT",
            masked(&identity.miscselect, &identity.miscselect_mask),
            masked(&misc, &identity.miscselect_mask),
        ),
        (
            "ATTRIBUTES",
            masked(&identity.attributes, &identity.attributes_mask),
            masked(&report.attributes, &identity.attributes_mask),
        ),
        ("debug", "0".to_owned(), u8::from(report.attributes[0] & ENCLAVE_DEBUG != 0).to_string()),
    ];
    let different = fields.into_iter().find(|(_, expected, found)| expected != found);
    different
        .map(|(field, expected, found)| (format!("{field} {expected}"), format!("{field} {found}")))
}

/// Signer and attributes that the TCB info wants of the TDX module of this SVN.
fn module_identity(tcb_info: &TcbInfo, svn: &[u8; 16]) -> Result<String, String> {
    let identity = tcb_info.tdx_module_identity(svn).map_err(|error| error.to_string())?;
    let base =
        tcb_info.tdx_module.as_ref().ok_or("TCB info without TDX module: it is not for TDX")?;
    let (signer, attributes, mask) = match identity {
        Some(module) => (&module.mrsigner, &module.attributes, &module.attributes_mask),
        None => (&base.mrsigner, &base.attributes, &base.attributes_mask),
    };
    let number = |text: &str| {
        let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        bytes
            .map(u64::from_le_bytes)
            .ok_or_else(|| format!("TDX module attributes {text:?} are not 8 bytes"))
    };
    // Bits outside the mask count too: they must be zero.
    Ok(module_text(&signer.to_lowercase(), number(attributes)? & number(mask)?))
}

fn module_text(signer: &str, attributes: u64) -> String {
    format!("MRSIGNERSEAM {signer}, SEAMATTRIBUTES {attributes:#x}")
}
