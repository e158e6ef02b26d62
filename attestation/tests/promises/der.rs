//! Just enough DER to make certificates and revocation lists that lie on purpose. Source: RFC 5280,
//! sections 4.1 and 5.1.

use std::time::Duration;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use x509_cert::der::DateTime;

/// ecdsa-with-SHA256.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ecPublicKey.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// prime256v1.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// commonName, basicConstraints, keyUsage and cRLNumber.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
/// deltaCRLIndicator of list 1; issuingDistributionPoint for end entities only; one that nobody has
/// defined.
pub const DELTA_CRL: Extension<'static> = Extension(&[0x55, 0x1d, 0x1b], true, &[2, 1, 1]);
pub const DISTRIBUTION_POINT: Extension<'static> = Extension(
    &[0x55, 0x1d, 0x1c],
    true,
    b"\x30\x11\xa0\x0c\xa0\x0a\x86\x08http://a\x81\x01\xff", // a full name, and onlyContainsUserCerts
);
pub const UNKNOWN: Extension<'static> = Extension(&[0x55, 0x1d, 0x7f], true, &[5, 0]);
/// Intel's SGX extension, 1.2.840.113741.1.13.1.
const SGX: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

pub const SEQUENCE: u8 = 0x30;

/// A certificate's content that tests vary.
pub struct Certificate<'a> {
    pub subject: &'a str,
    pub issuer: &'a str,
    pub serial: u8,
    pub is_ca: bool,
    pub from: u64,
    pub until: u64,
    /// Contents of Intel's SGX extension.
    pub sgx: Option<Vec<u8>>,
    /// Unused bits and bits of the key usage, where it is not the usual one.
    pub usage: Option<[u8; 2]>,
}

pub fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut out = vec![tag];
    match length {
        0..=127 => out.push(length as u8),
        128..=255 => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(contents);
    out
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

pub fn certificate(
    content: &Certificate<'_>,
    key: &SigningKey,
    issuer_key: &SigningKey,
) -> Vec<u8> {
    let point = VerifyingKey::from(key).to_sec1_point(false);
    let spki =
        sequence(&[sequence(&[tlv(6, EC_PUBLIC_KEY), tlv(6, P256)]), bit_string(point.as_bytes())]);
    let usage = content.usage.unwrap_or(if content.is_ca { [1, 0x06] } else { [6, 0xc0] });
    let constraints = if content.is_ca { sequence(&[tlv(1, &[0xff])]) } else { sequence(&[]) };
    let mut extensions = vec![
        extension(BASIC_CONSTRAINTS, true, &constraints),
        extension(KEY_USAGE, true, &tlv(3, &usage)),
    ];
    extensions.extend(content.sgx.as_ref().map(|contents| extension(SGX, false, contents)));
    let tbs = sequence(&[
        tlv(0xa0, &tlv(2, &[2])),
        tlv(2, &[content.serial]),
        algorithm(),
        name(content.issuer),
        sequence(&[utc_time(content.from), utc_time(content.until)]),
        name(content.subject),
        spki,
        tlv(0xa3, &sequence(&extensions)),
    ]);
    signed(tbs, issuer_key)
}

/// An extension: object identifier, whether it is critical, and contents.
#[derive(Clone, Copy)]
pub struct Extension<'a>(pub &'a [u8], pub bool, pub &'a [u8]);

/// A revocation list's content that tests vary.
pub struct RevocationList<'a> {
    pub issuer: &'a str,
    pub from: u64,
    pub until: u64,
    pub revoked: &'a [u8],
    /// One more extension.
    pub extension: Option<Extension<'a>>,
}

pub fn revocation_list(content: &RevocationList<'_>, key: &SigningKey) -> Vec<u8> {
    let RevocationList { issuer, from, until, revoked, extension: more } = *content;
    let entries: Vec<_> =
        revoked.iter().map(|serial| sequence(&[tlv(2, &[*serial]), utc_time(from)])).collect();
    let mut parts = vec![tlv(2, &[1]), algorithm(), name(issuer), utc_time(from), utc_time(until)];
    if !entries.is_empty() {
        parts.push(sequence(&entries));
    }
    let mut extensions = vec![extension(CRL_NUMBER, false, &tlv(2, &[1]))];
    extensions
        .extend(more.map(|Extension(oid, critical, contents)| extension(oid, critical, contents)));
    parts.push(tlv(0xa0, &sequence(&extensions)));
    signed(sequence(&parts), key)
}

pub fn pem(certificates: &[&[u8]]) -> String {
    let blocks =
        certificates.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec())));
    blocks.collect::<String>()
}

/// Intel's SGX extension for a platform.
pub fn sgx_extension(fmspc: [u8; 6], cpu_svn: [u8; 16], pce_svn: u8, ppid: [u8; 16]) -> Vec<u8> {
    let attribute = |arcs: &[u8], value: Vec<u8>| sequence(&[tlv(6, &[SGX, arcs].concat()), value]);
    let mut tcb: Vec<_> =
        (1..=16).map(|i: u8| attribute(&[2, i], tlv(2, &[cpu_svn[usize::from(i) - 1]]))).collect();
    tcb.push(attribute(&[2, 17], tlv(2, &[pce_svn])));
    tcb.push(attribute(&[2, 18], tlv(4, &cpu_svn)));
    sequence(&[
        attribute(&[1], tlv(4, &ppid)),
        attribute(&[2], sequence(&tcb)),
        attribute(&[3], tlv(4, &[0, 0])),
        attribute(&[4], tlv(4, &fmspc)),
        attribute(&[5], tlv(10, &[0])),
    ])
}

pub fn rfc3339(secs: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(secs)).unwrap().to_string()
}

fn utc_time(secs: u64) -> Vec<u8> {
    let digits: String = rfc3339(secs).chars().filter(char::is_ascii_digit).collect();
    tlv(23, format!("{}Z", &digits[2..]).as_bytes())
}

fn signed(tbs: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    let signature: DerSignature = key.sign(&tbs);
    sequence(&[tbs, algorithm(), bit_string(signature.as_bytes())])
}

fn algorithm() -> Vec<u8> {
    sequence(&[tlv(6, ECDSA_SHA256)])
}

fn name(common: &str) -> Vec<u8> {
    sequence(&[tlv(0x31, &sequence(&[tlv(6, COMMON_NAME), tlv(12, common.as_bytes())]))])
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], bytes].concat())
}

fn extension(oid: &[u8], critical: bool, contents: &[u8]) -> Vec<u8> {
    let mut parts = vec![tlv(6, oid)];
    if critical {
        parts.push(tlv(1, &[0xff]));
    }
    parts.push(tlv(4, contents));
    sequence(&parts)
}
