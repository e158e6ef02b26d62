//! The part of a quote behind its signed report: signature, attestation key and certification data.
//!
//! Source: Intel TDX DCAP Quoting Library API, rev. 0.9, appendix A.3 (`ECDSA 256-bit Quote
//! Signature Data Structure - Version 4`) and A.4 (certification data types). All of it is the
//! attacker's until judged.

use protocol::reader::{ReadError, Reader};

/// Certification data type of the structure that holds the QE's report.
const QE_REPORT_CERTIFICATION_DATA: u16 = 6;
/// Certification data type of a PCK certificate chain in PEM.
const PCK_CERTIFICATE_CHAIN: u16 = 5;
/// Bytes of an SGX enclave's report.
pub(crate) const QE_REPORT_BYTES: usize = 384;

/// Why signature data was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureDataError {
    /// cut off, or something behind its end
    #[error("signature data: {0}")]
    Read(#[from] ReadError),
    /// certification data of another type
    #[error("signature data: certification data of type {0}, expected 6 (QE report)")]
    CertificationType(u16),
}

/// Signature data, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureData {
    /// ECDSA P-256 over header and body, r ‖ s.
    pub(crate) signature: [u8; 64],
    /// The attestation key, x ‖ y.
    pub(crate) attestation_key: [u8; 64],
    /// The quoting enclave's report, as signed.
    pub(crate) qe_report: [u8; QE_REPORT_BYTES],
    /// ECDSA P-256 by the PCK over that report, r ‖ s.
    pub(crate) qe_report_signature: [u8; 64],
    /// Bytes that the QE hashed with the key.
    pub(crate) qe_auth_data: Vec<u8>,
    /// PEM of the PCK certificate chain, where the quote carries one.
    pub(crate) pck_chain: Option<Vec<u8>>,
}

/// Fields of an SGX enclave's report that are judged. Source: Intel SDM volume 3D, `REPORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QeReport {
    pub(crate) misc_select: u32,
    pub(crate) attributes: [u8; 16],
    pub(crate) mr_signer: [u8; 32],
    pub(crate) isv_prod_id: u16,
    pub(crate) isv_svn: u16,
    pub(crate) report_data: [u8; 64],
}

impl SignatureData {
    /// Parses all of a quote's signature data.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SignatureDataError> {
        let mut outer = Reader::new(bytes);
        let signature = outer.array("quote signature")?;
        let attestation_key = outer.array("attestation key")?;
        let kind = outer.u16("certification data type")?;
        if kind != QE_REPORT_CERTIFICATION_DATA {
            return Err(SignatureDataError::CertificationType(kind));
        }
        let size = outer.u32("certification data size")? as usize;
        let mut inner = Reader::new(outer.take("certification data", size)?);
        outer.finish()?;
        let qe_report = inner.array("QE report")?;
        let qe_report_signature = inner.array("QE report signature")?;
        let auth_size = inner.u16("QE authentication data size")? as usize;
        let qe_auth_data = inner.take("QE authentication data", auth_size)?.to_vec();
        let kind = inner.u16("PCK certification data type")?;
        let size = inner.u32("PCK certification data size")? as usize;
        let certification = inner.take("PCK certification data", size)?;
        inner.finish()?;
        let pck_chain = (kind == PCK_CERTIFICATE_CHAIN).then(|| certification.to_vec());
        Ok(Self {
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_auth_data,
            pck_chain,
        })
    }

    /// The quoting enclave's report, taken apart.
    pub(crate) fn qe_report(&self) -> QeReport {
        QeReport::read(&self.qe_report).expect("384 bytes hold every field")
    }
}

impl QeReport {
    fn read(bytes: &[u8; QE_REPORT_BYTES]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        reader.take("CPUSVN", 16)?;
        let misc_select = reader.u32("MISCSELECT")?;
        reader.take("reserved", 28)?;
        let attributes = reader.array("ATTRIBUTES")?;
        reader.take("MRENCLAVE and reserved", 64)?;
        let mr_signer = reader.array("MRSIGNER")?;
        reader.take("reserved", 96)?;
        let (isv_prod_id, isv_svn) = (reader.u16("ISVPRODID")?, reader.u16("ISVSVN")?);
        reader.take("reserved", 60)?;
        let report_data = reader.array("REPORTDATA")?;
        reader.finish()?;
        Ok(Self { misc_select, attributes, mr_signer, isv_prod_id, isv_svn, report_data })
    }
}
