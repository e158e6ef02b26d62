//! The platform's certificates: from the key that signed the QE's report to the trust anchor, valid
//! now.

use dcap_qvl::intel::{PckExtension, parse_pck_extension};

use super::Inputs;
use super::quote::ReadQuote;
use crate::anchor::fingerprint;
use crate::certificate::Certificate;
use crate::check_rows::CheckRows;
use crate::refusal::{CheckName, Finding};
use crate::time::rfc3339;

/// The platform as its certificates name it; certified only if the rows pass.
pub(crate) struct Platform {
    /// Leaf first, root last: the trust anchor, if its row passes.
    pub(crate) chain: Vec<Certificate>,
    /// Intel's SGX extension of the leaf.
    pub(crate) extension: PckExtension,
}

/// Judges the chain and the signature over the QE's report.
pub(crate) fn judge(
    rows: &mut CheckRows,
    inputs: Inputs<'_>,
    read: &ReadQuote<'_>,
    anchor: &Certificate,
) -> Option<Platform> {
    const EXPECTED: &str = "PCK certificates, each signed by the next, up to a root";
    let ReadChain { chain, extension, of_another_machine } = match read_chain(inputs, read) {
        Ok(read) => read,
        Err(error) => {
            rows.fail(
                CheckName::PckCertificates,
                EXPECTED,
                error,
                "the quote or the collateral must carry the chain",
            );
            return None;
        }
    };
    judge_anchor(rows, &chain, anchor);
    let path = up_to_root(chain, anchor);
    let broken = path.windows(2).find(|pair| !pair[0].is_issued_by(&pair[1]));
    let found = broken.map_or_else(
        || path.iter().map(Certificate::subject).collect::<Vec<_>>().join(" <- "),
        |pair| format!("{} is not issued by {}", pair[0].subject(), pair[1].subject()),
    );
    let holds = broken.is_none() && path.len() > 1 && !path[0].is_ca();
    let hint = "leaf first; each a CA but the leaf; ECDSA P-256 with SHA-256";
    rows.judge(CheckName::PckCertificates, holds, Finding::new(EXPECTED, found, hint));
    judge_validity(rows, &path, inputs.now);
    let signed =
        path[0].verifies(&read.signature_data.qe_report, &read.signature_data.qe_report_signature);
    rows.judge(
        CheckName::QeReportSignature,
        signed,
        Finding::new(
            format!("a signature by {}", path[0].subject()),
            if signed { "valid" } else { "invalid" },
            if of_another_machine { ANOTHER_MACHINE } else { SAME_PLATFORM },
        ),
    );
    Some(Platform { chain: path, extension })
}

/// What to think of a QE report that the certified key did not sign.
const SAME_PLATFORM: &str = "the certificates must be those of the platform that made the quote";
const ANOTHER_MACHINE: &str = "pck_certificate_chain of the collateral file is another machine's than the chain that the quote carries, \
     and takes its place: give collateral without that key, or of this machine";

/// A chain and what its leaf says about its platform.
struct ReadChain {
    chain: Vec<Certificate>,
    extension: PckExtension,
    /// Whether the chain is the collateral's, and the quote carries one with another leaf.
    of_another_machine: bool,
}

/// Reads the chain of the collateral, else that of the quote: the order in which dcap-qvl takes
/// them. Both must be well-formed where both are there.
fn read_chain(inputs: Inputs<'_>, read: &ReadQuote<'_>) -> Result<ReadChain, String> {
    let parse = |input: &'static str, text: &[u8]| {
        Certificate::parse_chain(text).map_err(|error| format!("in the {input}: {error}"))
    };
    let own = read.signature_data.pck_chain.as_deref().map(|text| parse("quote", text));
    let own = own.transpose()?;
    let brought =
        inputs.collateral.and_then(|collateral| collateral.inner.pck_certificate_chain.as_deref());
    let brought = brought.map(|text| parse("collateral", text.as_bytes())).transpose()?;
    let of_another_machine = brought
        .as_ref()
        .zip(own.as_ref())
        .is_some_and(|(brought, own)| brought[0].der != own[0].der);
    let chain = brought.or(own).ok_or("no PCK certificate chain in quote or collateral")?;
    let extension =
        parse_pck_extension(&chain[0].der).map_err(|error| format!("SGX extension: {error:#}"))?;
    Ok(ReadChain { chain, extension, of_another_machine })
}

/// A chain that ends in a self-issued certificate ends in a root: it must be ours.
fn judge_anchor(rows: &mut CheckRows, chain: &[Certificate], anchor: &Certificate) {
    let top = chain.last().unwrap_or(anchor);
    let finding = Finding::new(
        fingerprint(&anchor.der),
        if top.is_self_issued() {
            fingerprint(&top.der)
        } else {
            format!("a chain that ends below {}", top.subject())
        },
        "evidence of the emulator needs its own root, which is accepted only where the caller names it",
    );
    let ours = top.der == anchor.der || (!top.is_self_issued() && top.names_issuer(anchor));
    rows.judge(CheckName::TrustAnchor, ours, finding);
}

/// The chain up to a root: its own, if it brings one, else the trust anchor.
fn up_to_root(mut chain: Vec<Certificate>, anchor: &Certificate) -> Vec<Certificate> {
    if !chain.last().is_some_and(Certificate::is_self_issued) {
        chain.push(anchor.clone());
    }
    chain
}

fn judge_validity(rows: &mut CheckRows, path: &[Certificate], now: u64) {
    let invalid = path.iter().find(|certificate| !certificate.window().contains(now));
    let described = |certificate: &Certificate| {
        format!("{} {}", certificate.subject(), certificate.window().text())
    };
    let found = invalid.map_or_else(|| "all are".to_owned(), described);
    let expected = format!("all valid at {}", rfc3339(now));
    let hint = "check the verifier's clock; else the platform needs new certificates";
    rows.judge(
        CheckName::CertificateValidity,
        invalid.is_none(),
        Finding::new(expected, found, hint),
    );
}
