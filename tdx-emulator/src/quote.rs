//! TDX quotes, versions 4 and 5, in Intel's layout, signed under the worthless root.
//!
//! Source: Intel TDX DCAP Quoting Library API, rev. 0.9, appendix A.3 (version 4) and A.4 (version
//! 5). Written without the product's parser, which a test then reads them with.

pub mod platform;

use p256::ecdsa::SigningKey;
use sha2::{Digest, Sha256};

use self::platform::Platform;
use crate::lie::Lie;
use crate::pki::holder::{Holder, public_point};
use crate::pki::{Chain, PkiError, sign_raw};
use crate::registers::Registers;

const ATTESTATION_KEY_ECDSA_P256: u16 = 2;
const TEE_TYPE_TDX: u32 = 0x81;
/// Version 5 body types of TDX 1.5, without and with extension.
const BODY_TD15: u16 = 3;
const BODY_TD15_EXTENDED: u16 = 4;
const CERTIFICATION_PCK_CHAIN: u16 = 5;
const CERTIFICATION_QE_REPORT: u16 = 6;
/// Behind oversize certification data: twice what verifiers read of a whole quote, and below what a
/// frame carries.
const OVERSIZE_BYTES: usize = 128 * 1024;

/// Which of Intel's layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuoteVersion {
    /// Version 4 with a TDX 1.0 body.
    #[default]
    V4,
    /// Version 5 with a TDX 1.5 body.
    V5,
    /// Version 5 with an extended TDX 1.5 body.
    V5Extended,
}

impl QuoteVersion {
    fn number(self) -> u16 {
        match self {
            Self::V4 => 4,
            Self::V5 | Self::V5Extended => 5,
        }
    }

    /// Type of the body, where a quote names it.
    fn body_type(self) -> Option<u16> {
        match self {
            Self::V4 => None,
            Self::V5 => Some(BODY_TD15),
            Self::V5Extended => Some(BODY_TD15_EXTENDED),
        }
    }
}

/// The quoting enclave of the emulated machine.
#[derive(Debug, Clone)]
pub struct Quoter {
    version: QuoteVersion,
    lie: Option<Lie>,
    platform: Platform,
    attestation_key: SigningKey,
    attestation_public: [u8; 64],
    certification_data: Vec<u8>,
}

impl Quoter {
    /// Certifies the attestation key with the machine's PCK, once.
    pub fn new(chain: &Chain, version: QuoteVersion, lie: Option<Lie>) -> Result<Self, PkiError> {
        let version = match lie {
            Some(Lie::TdPartition) => QuoteVersion::V5Extended,
            Some(Lie::OldLaunch | Lie::OldCurrent) if version == QuoteVersion::V4 => {
                QuoteVersion::V5
            }
            _ => version,
        };
        let attestation_key = Holder::AttestationKey(chain.machine).key();
        let attestation_public = public_point(&attestation_key);
        let platform = Platform::new(version, lie);
        let certification_data = certification_data(&platform, lie, &attestation_public, chain)?;
        Ok(Self { version, lie, platform, attestation_key, attestation_public, certification_data })
    }

    /// Signs a report over the registers as they are and 64 bytes of the guest's choice.
    pub fn quote(&self, registers: &Registers, report_data: &[u8; 64]) -> Vec<u8> {
        let mut report_data = *report_data;
        if self.lie == Some(Lie::OtherReportData) {
            report_data[0] ^= 0xff;
        }
        let body = self.report_body(registers, &report_data);
        let mut quote = self.header();
        if let Some(body_type) = self.version.body_type() {
            quote.extend(body_type.to_le_bytes());
            quote.extend(length_u32(&body));
        }
        quote.extend(body);
        let signature_data = self.signature_data(&quote);
        quote.extend(length_u32(&signature_data));
        quote.extend(signature_data);
        match self.lie {
            Some(Lie::QuoteTruncated) => drop(quote.pop()),
            Some(Lie::QuotePadded) => quote.push(0),
            _ => {}
        }
        quote
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(48);
        header.extend(self.version.number().to_le_bytes());
        header.extend(ATTESTATION_KEY_ECDSA_P256.to_le_bytes());
        header.extend(TEE_TYPE_TDX.to_le_bytes());
        header.extend([0; 4]); // versions of QE and PCE: reserved for TDX
        header.extend(self.platform.qe_vendor_id);
        header.extend([0; 20]); // user data
        header
    }

    fn report_body(&self, registers: &Registers, report_data: &[u8; 64]) -> Vec<u8> {
        let mut body = Vec::with_capacity(885);
        let platform = &self.platform;
        body.extend(platform.tee_tcb_svn);
        body.extend(platform::mr_seam());
        body.extend(platform.mr_signer_seam);
        body.extend(platform.seam_attributes.to_le_bytes());
        body.extend(platform.td_attributes.to_le_bytes());
        body.extend(platform.xfam.to_le_bytes());
        body.extend(registers.mrtd);
        body.extend(registers.mrconfigid);
        body.extend(registers.mrowner);
        body.extend(registers.mrownerconfig);
        body.extend(registers.rtmrs.as_flattened());
        body.extend(report_data);
        if self.version != QuoteVersion::V4 {
            body.extend(platform.current_tee_tcb_svn);
            body.extend(platform.mr_service_td);
        }
        if self.version == QuoteVersion::V5Extended {
            body.extend(platform.extension());
        }
        body
    }

    fn signature_data(&self, signed: &[u8]) -> Vec<u8> {
        let mut signature = sign_raw(&self.attestation_key, signed);
        if self.lie == Some(Lie::FlipSignature) {
            signature[63] ^= 1;
        }
        let mut data = signature.to_vec();
        data.extend(self.attestation_public);
        data.extend(CERTIFICATION_QE_REPORT.to_le_bytes());
        data.extend(length_u32(&self.certification_data));
        data.extend(&self.certification_data);
        data
    }
}

/// The quoting enclave's report, which names the attestation key, signed by the PCK; and the PCK's
/// chain.
fn certification_data(
    platform: &Platform,
    lie: Option<Lie>,
    attestation_key: &[u8; 64],
    chain: &Chain,
) -> Result<Vec<u8>, PkiError> {
    let auth_data = &platform.qe_auth_data;
    let mut named: [u8; 32] =
        Sha256::new().chain_update(attestation_key).chain_update(auth_data).finalize().into();
    if lie == Some(Lie::UnvouchedKey) {
        named[0] ^= 0xff;
    }
    let report = platform.qe_report(&named);
    let mut signature = sign_raw(&Holder::Pck(chain.machine).key(), &report);
    if lie == Some(Lie::FlipQeSignature) {
        signature[63] ^= 1;
    }
    let mut chain = chain.pck_pem()?.into_bytes();
    if lie == Some(Lie::OversizeCertificationData) {
        chain.resize(chain.len() + OVERSIZE_BYTES, b'\n');
    }
    let mut data = report.to_vec();
    data.extend(signature);
    data.extend((auth_data.len() as u16).to_le_bytes());
    data.extend(auth_data);
    data.extend(CERTIFICATION_PCK_CHAIN.to_le_bytes());
    data.extend(length_u32(&chain));
    data.extend(chain);
    Ok(data)
}

fn length_u32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("parts of a quote have below 4 GiB").to_le_bytes()
}
