//! The quote by itself: whose it is, that it can be read, that its attestation key signed it and
//! the QE vouched for that key.

use p256::ecdsa::Signature;
use protocol::quote::{Quote, TEE_TYPE_SGX, TEE_TYPE_TDX};
use protocol::reader::Reader;
use sha2::{Digest, Sha256};

use crate::check_rows::CheckRows;
use crate::ecdsa;
use crate::refusal::{CheckName, Finding};
use crate::signature_data::SignatureData;

/// `attestation_key_type` of ECDSA with P-256.
const ECDSA_P256: u16 = 2;
/// Vendor id of Intel's quoting enclaves (939a7233-f79c-4ca9-940a-0db3957f0607).
const INTEL_QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// A quote that could be read; still a claim.
pub(crate) struct ReadQuote<'a> {
    pub(crate) quote: Quote,
    pub(crate) signature_data: SignatureData,
    /// Header and body, as signed.
    signed: &'a [u8],
}

/// Reads the quote; `None` if the rows say that it cannot be read.
pub(crate) fn read<'a>(rows: &mut CheckRows, bytes: &'a [u8]) -> Option<ReadQuote<'a>> {
    judge_tee_type(rows, bytes);
    let parts = Quote::parse(bytes).map_err(|error| error.to_string()).and_then(|quote| {
        let signature_data =
            SignatureData::parse(&quote.signature_data).map_err(|error| error.to_string())?;
        Ok((quote, signature_data))
    });
    const EXPECTED: &str = "a TDX quote of version 4 or 5";
    match parts {
        Ok((quote, signature_data)) => {
            rows.pass(CheckName::QuoteFormat, EXPECTED, format!("version {}", quote.version));
            let length_field = 4;
            let signed = &bytes[..bytes.len() - quote.signature_data.len() - length_field];
            Some(ReadQuote { quote, signature_data, signed })
        }
        Err(error) => {
            rows.fail(
                CheckName::QuoteFormat,
                EXPECTED,
                error,
                "take the quote's bytes exactly, without padding",
            );
            None
        }
    }
}

/// Judges header and signatures.
pub(crate) fn judge(rows: &mut CheckRows, read: &ReadQuote<'_>) {
    let (quote, data) = (&read.quote, &read.signature_data);
    let header =
        |key: u16, vendor: &[u8; 16]| format!("key type {key}, QE vendor {}", hex::encode(vendor));
    rows.judge(
        CheckName::QuoteHeader,
        (quote.attestation_key_type, quote.qe_vendor_id) == (ECDSA_P256, INTEL_QE_VENDOR),
        Finding::new(
            header(ECDSA_P256, &INTEL_QE_VENDOR),
            header(quote.attestation_key_type, &quote.qe_vendor_id),
            "only Intel's quoting enclave with ECDSA P-256 is accepted",
        ),
    );
    let signed = is_signed(&data.attestation_key, read.signed, &data.signature);
    rows.judge(
        CheckName::QuoteSignature,
        signed,
        Finding::new(
            "a signature by the attestation key",
            if signed { "valid" } else { "invalid" },
            "a single changed bit in report or signature does this",
        ),
    );
    let bound: [u8; 32] = Sha256::new()
        .chain_update(data.attestation_key)
        .chain_update(&data.qe_auth_data)
        .finalize()
        .into();
    let vouched = data.qe_report().report_data;
    rows.judge(
        CheckName::AttestationKey,
        vouched[..32] == bound && vouched[32..] == [0; 32],
        Finding::new(
            hex::encode(bound),
            hex::encode(&vouched[..32]),
            "the QE's report data is the hash of the attestation key and the QE's authentication data",
        ),
    );
}

fn judge_tee_type(rows: &mut CheckRows, bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let tee_type = reader.take("version and key type", 4).and_then(|_| reader.u32("TEE type"));
    let found = match tee_type {
        Ok(TEE_TYPE_TDX) => "TDX".to_owned(),
        Ok(TEE_TYPE_SGX) => "SGX".to_owned(),
        Ok(other) => format!("unknown TEE type {other:#x}"),
        Err(ref error) => error.to_string(),
    };
    let finding = Finding::new("TDX", found, "only quotes of TDX guests are accepted");
    rows.judge(CheckName::TeeType, tee_type == Ok(TEE_TYPE_TDX), finding);
}

fn is_signed(key: &[u8; 64], message: &[u8], signature: &[u8; 64]) -> bool {
    let mut point = [4; 65]; // SEC 1: an uncompressed point
    point[1..].copy_from_slice(key);
    Signature::from_slice(signature)
        .is_ok_and(|signature| ecdsa::verifies(&point, message, &signature))
}
