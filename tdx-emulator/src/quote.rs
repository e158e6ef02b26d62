//! TDX quotes, versions 4 and 5, in Intel's layout, signed under the worthless root.
//!
//! Source: Intel TDX DCAP Quoting Library API, rev. 0.9, appendix A.3 (version 4) and A.4 (version 5).
//! Written without the product's parser, which a test then reads them with.

pub mod platform;

use p256::ecdsa::SigningKey;
use sha2::{Digest, Sha256};

use self::platform::{QE_AUTH_DATA, qe_report, td_attributes};
use crate::lie::Lie;
use crate::pki::holder::{Holder, public_point};
use crate::pki::{Chain, PkiError, sign_raw};
use crate::registers::Registers;

/// Names the maker of the quoting enclave; verifiers accept only Intel's,
/// `939a7233-f79c-4ca9-940a-0db3957f0607`.
const QE_VENDOR_ID: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
const ATTESTATION_KEY_ECDSA_P256: u16 = 2;
const TEE_TYPE_TDX: u32 = 0x81;
/// Version 5 body type of TDX 1.5.
const BODY_TD15: u16 = 3;
const CERTIFICATION_PCK_CHAIN: u16 = 5;
const CERTIFICATION_QE_REPORT: u16 = 6;

/// Which of Intel's layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuoteVersion {
    /// Version 4 with a TDX 1.0 body.
    #[default]
    V4,
    /// Version 5 with a TDX 1.5 body.
    V5,
}

impl QuoteVersion {
    fn number(self) -> u16 {
        match self {
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// The quoting enclave of the emulated machine.
#[derive(Debug, Clone)]
pub struct Quoter {
    version: QuoteVersion,
    lie: Option<Lie>,
    attestation_key: SigningKey,
    attestation_public: [u8; 64],
    certification_data: Vec<u8>,
}

impl Quoter {
    /// Certifies the attestation key with the machine's PCK, once.
    pub fn new(chain: &Chain, version: QuoteVersion, lie: Option<Lie>) -> Result<Self, PkiError> {
        let attestation_key = Holder::AttestationKey.key();
        let attestation_public = public_point(&attestation_key);
        let certification_data = certification_data(&attestation_public, &chain.pck_pem()?);
        Ok(Self { version, lie, attestation_key, attestation_public, certification_data })
    }

    /// Signs a report over the registers as they are and 64 bytes of the guest's choice.
    pub fn quote(&self, registers: &Registers, report_data: &[u8; 64]) -> Vec<u8> {
        let mut report_data = *report_data;
        if self.lie == Some(Lie::OtherReportData) {
            report_data[0] ^= 0xff;
        }
        let body = self.report_body(registers, &report_data);
        let mut quote = self.header();
        if self.version == QuoteVersion::V5 {
            quote.extend(BODY_TD15.to_le_bytes());
            quote.extend(length_u32(&body));
        }
        quote.extend(body);
        let signature_data = self.signature_data(&quote);
        quote.extend(length_u32(&signature_data));
        quote.extend(signature_data);
        quote
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(48);
        header.extend(self.version.number().to_le_bytes());
        header.extend(ATTESTATION_KEY_ECDSA_P256.to_le_bytes());
        header.extend(TEE_TYPE_TDX.to_le_bytes());
        header.extend([0; 4]); // versions of QE and PCE: reserved for TDX
        header.extend(QE_VENDOR_ID);
        header.extend([0; 20]); // user data
        header
    }

    fn report_body(&self, registers: &Registers, report_data: &[u8; 64]) -> Vec<u8> {
        let mut body = Vec::with_capacity(648);
        body.extend(platform::TEE_TCB_SVN);
        body.extend(platform::mr_seam());
        body.extend([0; 48]); // MRSIGNERSEAM: zero for a module of Intel's
        body.extend([0; 8]); // SEAMATTRIBUTES
        body.extend(td_attributes(self.lie).to_le_bytes());
        body.extend(platform::XFAM.to_le_bytes());
        body.extend(registers.mrtd);
        body.extend(registers.mrconfigid);
        body.extend(registers.mrowner);
        body.extend(registers.mrownerconfig);
        body.extend(registers.rtmrs.as_flattened());
        body.extend(report_data);
        if self.version == QuoteVersion::V5 {
            body.extend(platform::TEE_TCB_SVN); // the module was not updated since the launch
            body.extend([0; 48]); // MRSERVICETD: none bound
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

/// The quoting enclave's report, which names the attestation key, signed by the PCK; and the PCK's chain.
fn certification_data(attestation_key: &[u8; 64], pck_chain_pem: &str) -> Vec<u8> {
    let named: [u8; 32] = Sha256::new().chain_update(attestation_key).chain_update(QE_AUTH_DATA).finalize().into();
    let report = qe_report(&named);
    let mut data = report.to_vec();
    data.extend(sign_raw(&Holder::Pck.key(), &report));
    data.extend((QE_AUTH_DATA.len() as u16).to_le_bytes());
    data.extend(QE_AUTH_DATA);
    data.extend(CERTIFICATION_PCK_CHAIN.to_le_bytes());
    data.extend(length_u32(pck_chain_pem.as_bytes()));
    data.extend(pck_chain_pem.as_bytes());
    data
}

fn length_u32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("parts of a quote have a few KiB").to_le_bytes()
}
