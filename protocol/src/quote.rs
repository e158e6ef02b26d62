//! TDX quotes, versions 4 and 5, as laid out by Intel; parsed, not verified.
//!
//! Sources: Intel TDX DCAP Quoting Library API, rev. 0.9, appendix A (quote v4 and v5, TD quote
//! bodies); Intel TDX Module base specification, `TDREPORT_STRUCT`. A [`Quote`] is a claim: only
//! `attestation` turns it into verified facts.

use crate::digest::{MrConfigId, Mrtd, ReportData, Rtmr};
use crate::reader::{ReadError, Reader};

/// Largest quote: real ones have 5 KiB, QGS replies at most 8 KiB; certification data may grow.
pub const MAX_BYTES: usize = 64 * 1024;
/// `tee_type` of a TD.
pub const TEE_TYPE_TDX: u32 = 0x81;
/// `tee_type` of an SGX enclave.
pub const TEE_TYPE_SGX: u32 = 0;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a TDX 1.0 report body.
pub const TD10_BYTES: usize = 584;
/// Bytes of a TDX 1.5 report body.
pub const TD15_BYTES: usize = 648;
/// Bytes of a TDX 1.5 report body with its extension (`sgx_report2_body_v1_5_ex_t`).
pub const TD15EX_BYTES: usize = 885;
/// Quote v5 body types: TDX 1.0, 1.5 and 1.5 extended.
pub const BODY_TYPES: [(u16, usize); 3] = [(2, TD10_BYTES), (3, TD15_BYTES), (4, TD15EX_BYTES)];

/// Why bytes are no TDX quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// larger than the budget
    #[error("quote: {0} bytes, at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// cut off, or something behind its end
    #[error("quote: {0}")]
    Read(#[from] ReadError),
    /// another version
    #[error("quote: version {0}, expected 4 or 5")]
    Version(u16),
    /// not of a TD
    #[error("quote: TEE type {0:#x} ({name}), expected {TEE_TYPE_TDX:#x} (TDX)", name = if *.0 == TEE_TYPE_SGX { "SGX" } else { "unknown" })]
    NotTdx(u32),
    /// a v5 body of another type or size
    #[error("quote: body type {kind} of {size} bytes; known are 2 (584), 3 (648) and 4 (885)")]
    Body {
        /// Its type.
        kind: u16,
        /// Its stated size.
        size: u32,
    },
}

/// Fields that TDX 1.5 added to the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Td15Fields {
    /// `TEE_TCB_SVN_2`: the current module's SVN.
    pub tee_tcb_svn2: [u8; 16],
    /// `MRSERVICETD`: hash of bound service TDs, zero if none.
    pub mr_service_td: [u8; 48],
}

/// A TD's report as the quote carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReport {
    /// `TEE_TCB_SVN`.
    pub tee_tcb_svn: [u8; 16],
    /// `MRSEAM`: measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// `MRSIGNERSEAM`: zero for Intel's module.
    pub mr_signer_seam: [u8; 48],
    /// `SEAMATTRIBUTES`, little-endian.
    pub seam_attributes: u64,
    /// `TDATTRIBUTES`, little-endian.
    pub td_attributes: u64,
    /// `XFAM`, little-endian.
    pub xfam: u64,
    /// `MRTD`.
    pub mrtd: Mrtd,
    /// `MRCONFIGID`.
    pub mr_config_id: MrConfigId,
    /// `MROWNER`.
    pub mr_owner: [u8; 48],
    /// `MROWNERCONFIG`.
    pub mr_owner_config: [u8; 48],
    /// `RTMR0` to `RTMR3`.
    pub rtmrs: [Rtmr; 4],
    /// `REPORTDATA`.
    pub report_data: ReportData,
    /// Present in bodies of TDX 1.5.
    pub td15: Option<Td15Fields>,
    /// Present in extended bodies of TDX 1.5: the bytes behind `MRSERVICETD`.
    pub td15_extension: Vec<u8>,
}

/// A quote, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// 4 or 5.
    pub version: u16,
    /// `attestation_key_type`; 2 is ECDSA P-256.
    pub attestation_key_type: u16,
    /// 16 bytes that name the QE's vendor.
    pub qe_vendor_id: [u8; 16],
    /// The signed report.
    pub report: TdReport,
    /// Signature, attestation key and certification data.
    pub signature_data: Vec<u8>,
}

impl Quote {
    /// Parses exactly one quote.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_BYTES {
            return Err(QuoteError::TooLarge(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let quote = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(quote)
    }

    /// Parses a quote in a fixed-size buffer, as some firmware interfaces return it: behind it only
    /// zero bytes.
    pub fn parse_padded(bytes: &[u8]) -> Result<Self, QuoteError> {
        Self::parse(without_padding(bytes)?)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, QuoteError> {
        let version = reader.u16("version")?;
        if !matches!(version, 4 | 5) {
            return Err(QuoteError::Version(version));
        }
        let attestation_key_type = reader.u16("attestation key type")?;
        let tee_type = reader.u32("TEE type")?;
        if tee_type != TEE_TYPE_TDX {
            return Err(QuoteError::NotTdx(tee_type));
        }
        reader.take("QE and PCE SVN", 4)?;
        let qe_vendor_id = reader.array("QE vendor id")?;
        reader.take("user data", 20)?;
        let body_bytes = if version == 5 { body_size(reader)? } else { TD10_BYTES };
        let mut body = Reader::new(reader.take("report body", body_bytes)?);
        let report = TdReport::read(&mut body)?;
        body.finish()?;
        let signature_bytes = reader.u32("signature length")? as usize;
        let signature_data = reader.take("signature data", signature_bytes)?.to_vec();
        Ok(Self { version, attestation_key_type, qe_vendor_id, report, signature_data })
    }
}

/// The quote in a buffer that may be filled up with zero bytes.
pub fn without_padding(bytes: &[u8]) -> Result<&[u8], QuoteError> {
    if bytes.len() > MAX_BYTES {
        return Err(QuoteError::TooLarge(bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    Quote::read(&mut reader)?;
    let end = reader.offset();
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(ReadError::Trailing { offset: end, left: bytes.len() - end }.into());
    }
    Ok(&bytes[..end])
}

impl TdReport {
    fn read(body: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            tee_tcb_svn: body.array("TEE_TCB_SVN")?,
            mr_seam: body.array("MRSEAM")?,
            mr_signer_seam: body.array("MRSIGNERSEAM")?,
            seam_attributes: body.u64("SEAMATTRIBUTES")?,
            td_attributes: body.u64("TDATTRIBUTES")?,
            xfam: body.u64("XFAM")?,
            mrtd: Mrtd(body.array("MRTD")?),
            mr_config_id: MrConfigId(body.array("MRCONFIGID")?),
            mr_owner: body.array("MROWNER")?,
            mr_owner_config: body.array("MROWNERCONFIG")?,
            rtmrs: [
                Rtmr(body.array("RTMR0")?),
                Rtmr(body.array("RTMR1")?),
                Rtmr(body.array("RTMR2")?),
                Rtmr(body.array("RTMR3")?),
            ],
            report_data: ReportData(body.array("REPORTDATA")?),
            td15: if body.left() > 0 { Some(Td15Fields::read(body)?) } else { None },
            td15_extension: body.rest().to_vec(),
        })
    }
}

impl Td15Fields {
    fn read(body: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            tee_tcb_svn2: body.array("TEE_TCB_SVN_2")?,
            mr_service_td: body.array("MRSERVICETD")?,
        })
    }
}

fn body_size(reader: &mut Reader<'_>) -> Result<usize, QuoteError> {
    let (kind, size) = (reader.u16("body type")?, reader.u32("body size")?);
    let known = BODY_TYPES
        .into_iter()
        .find(|(known, bytes)| *known == kind && *bytes as u64 == u64::from(size));
    known.map(|(_, bytes)| bytes).ok_or(QuoteError::Body { kind, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: &[u8] = include_bytes!("../../tests/vectors/protocol/tdx-v5-quote.bin");
    const PADDED: &[u8] = include_bytes!("../../tests/vectors/protocol/cos-113-quote.bin");

    #[test]
    fn real_quotes_of_both_versions_parse() {
        let v4 = Quote::parse_padded(PADDED).unwrap();
        assert_eq!((v4.version, v4.report.td15.is_some()), (4, false));
        let v5 = Quote::parse_padded(V5).unwrap();
        assert_eq!((v5.version, v5.report.td15.is_some()), (5, true));
    }

    #[test]
    fn padding_is_refused_unless_asked_for_and_never_other_than_zero() {
        assert!(matches!(Quote::parse(PADDED), Err(QuoteError::Read(ReadError::Trailing { .. }))));
        let mut dirty = PADDED.to_vec();
        *dirty.last_mut().unwrap() = 1;
        assert!(matches!(
            Quote::parse_padded(&dirty),
            Err(QuoteError::Read(ReadError::Trailing { .. }))
        ));
    }

    #[test]
    fn other_versions_types_and_sizes_are_named() {
        let changed = |at: usize, to: u8| {
            let mut bytes = V5.to_vec();
            bytes[at] = to;
            Quote::parse_padded(&bytes).unwrap_err()
        };
        assert_eq!(changed(0, 3), QuoteError::Version(3));
        assert_eq!(changed(4, 0), QuoteError::NotTdx(0));
        assert!(matches!(changed(48, 9), QuoteError::Body { kind: 9, .. }));
        assert!(matches!(
            Quote::parse(&V5[..300]),
            Err(QuoteError::Read(ReadError::Truncated { .. }))
        ));
        assert_eq!(Quote::parse(&[0; MAX_BYTES + 1]), Err(QuoteError::TooLarge(MAX_BYTES + 1)));
    }
}
