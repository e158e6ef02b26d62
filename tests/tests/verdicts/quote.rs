//! Quotes: bytes that are none, signatures of others, enclaves and certificates that are not the
//! platform's, and TDs that are not as they should be.

use attestation::CheckName::*;
use attestation::TrustAnchor;
use tdx_emulator::lie::Lie;
use tdx_emulator::quote::QuoteVersion;

use crate::case::{Row, lie, row};

/// Where a version 5 quote says what body follows.
const BODY_TYPE_AT: usize = 48;
/// Where a version 4 quote has the type of its certification data: header, body, length, signature,
/// key.
const CERTIFICATION_TYPE_AT: usize = 48 + 584 + 4 + 64 + 64;
/// In MRSEAM, which no other check compares.
const MRSEAM_AT: usize = 48 + 16;
const YEAR_SECS: u64 = 365 * 24 * 3600;

pub fn rows() -> Vec<Row> {
    [bytes(), signatures(), certificates(), the_td()].into_iter().flatten().collect()
}

fn bytes() -> Vec<Row> {
    vec![
        lie!(QuoteTruncated, &[QuoteFormat], "signature data: 3715 bytes expected"),
        lie!(QuotePadded, &[QuoteFormat], "1 bytes left"),
        lie!(OversizeCertificationData, &[QuoteFormat], "at most 65536 are accepted"),
        row("no quote at all", &[TeeType, QuoteFormat], "found version and key type", |case| {
            case.evidence = |evidence| evidence.quote.clear();
        }),
        row("a quote of an SGX enclave", &[TeeType, QuoteFormat], "found SGX", |case| {
            case.evidence = |evidence| evidence.quote[4] = 0;
        }),
        row("a TEE that nobody knows", &[TeeType, QuoteFormat], "unknown TEE type 0x82", |case| {
            case.evidence = |evidence| evidence.quote[4] = 0x82;
        }),
        row("a quote of version 3", &[QuoteFormat], "version 3, expected 4 or 5", |case| {
            case.evidence = |evidence| evidence.quote[0] = 3;
        }),
        Row {
            given: Some(|case| case.scene.version = QuoteVersion::V5),
            ..row("a body of an unknown type", &[QuoteFormat], "body type 9", |case| {
                case.evidence = |evidence| evidence.quote[BODY_TYPE_AT] = 9;
            })
        },
        row(
            "certification data of another type",
            &[QuoteFormat],
            "certification data of type 7",
            |case| {
                case.evidence = |evidence| evidence.quote[CERTIFICATION_TYPE_AT] = 7;
            },
        ),
    ]
}

/// Certification data is not signed: its text can be changed without breaking a signature.
fn change_chain(quote: &mut [u8], from: &[u8; 11], to: &[u8; 11]) {
    let at = quote.windows(from.len()).position(|window| window == from).unwrap();
    quote[at..at + to.len()].copy_from_slice(to);
}

fn signatures() -> Vec<Row> {
    vec![
        lie!(FlipSignature, &[QuoteSignature], "found invalid"),
        row(
            "one bit of the report, anywhere",
            &[QuoteSignature],
            "a single changed bit in report or signature",
            |case| {
                case.evidence = |evidence| evidence.quote[MRSEAM_AT] ^= 1;
            },
        ),
        row(
            "another signature scheme",
            &[QuoteHeader, QuoteSignature],
            "found key type 3",
            |case| {
                case.evidence = |evidence| evidence.quote[2] = 3;
            },
        ),
        lie!(ForeignQeVendor, &[QuoteHeader], "616e6f74686572"),
        lie!(UnvouchedKey, &[AttestationKey], "the hash of the attestation key"),
        lie!(FlipQeSignature, &[QeReportSignature], "did not sign the quoting enclave's report"),
        lie!(LongQeAuthData, &[QuoteVerification], "Invalid QE auth data length"),
    ]
}

// Long: a table, one row a case.
fn certificates() -> Vec<Row> {
    vec![
        lie!(ForeignCa, &[TrustAnchor], "another root"),
        row(
            "an emulator where hardware is wanted",
            &[TrustAnchor, CollateralSigners, CrlIssuer],
            "expected 44a0196b2b99f889",
            |case| case.policy.anchor = self::TrustAnchor::Intel,
        ),
        lie!(
            ForgedCa,
            &[PckCertificates],
            "PCK Platform CA\\, proves nothing,O=dstyx emulator is not issued by"
        ),
        row(
            "certificates that are none",
            &[PckCertificates],
            "an empty certificate chain",
            |case| {
                case.collateral = |json| json["pck_certificate_chain"] = "".into();
            },
        ),
        row(
            "text between the certificates of a quote",
            &[PckCertificates],
            "in the quote: text outside the PEM blocks",
            |case| {
                case.evidence =
                    |evidence| change_chain(&mut evidence.quote, b"-----\n-----", b"-----x-----");
            },
        ),
        row(
            "text behind the certificates of a quote",
            &[PckCertificates],
            "in the quote: text outside the PEM blocks",
            |case| {
                case.evidence = |evidence| *evidence.quote.last_mut().unwrap() = b'x';
            },
        ),
        row(
            "more certificates than a chain has",
            &[PckCertificates],
            "9 certificates, at most",
            |case| {
                case.collateral = |json| {
                    let chain = json["pck_certificate_chain"].as_str().unwrap();
                    json["pck_certificate_chain"] = chain.repeat(3).into();
                };
            },
        ),
        lie!(ExpiredPck, &[CertificateValidity], "PCK Certificate"),
        row(
            "everything two years old",
            &[
                CertificateValidity,
                CollateralSigners,
                CrlCurrent,
                TcbInfoCurrent,
                QeIdentityCurrent,
            ],
            "all valid at 2028-",
            |case| case.now_secs += 2 * YEAR_SECS,
        ),
        row(
            "a clock that is years behind",
            &[
                CertificateValidity,
                CollateralSigners,
                CrlCurrent,
                TcbInfoCurrent,
                QeIdentityCurrent,
            ],
            "all valid at 2024-",
            |case| case.now_secs -= 2 * YEAR_SECS,
        ),
        lie!(RevokedPck, &[Revocation], "revoked: CN=DANGER dstyx EMULATED PCK Certificate"),
    ]
}

fn the_td() -> Vec<Row> {
    vec![
        lie!(Debug, &[Debug], "its host reads and writes its memory"),
        lie!(UnknownAttribute, &[TdAttributes], "0x0000010010000000"),
        lie!(NoSeptVeDisable, &[SeptVeDisable], "removing pages"),
        lie!(Migratable, &[Migratable], "without migration"),
        Row {
            given: Some(|case| case.scene.version = QuoteVersion::V5),
            ..lie!(ServiceTd, &[ServiceTd], "SERVTD_EXT 0, MRSERVICETD ")
        },
        row("a service TD in a quote of version 4", &[ServiceTd], "found SERVTD_EXT 1", |case| {
            case.scene.lie = Some(Lie::ServiceTd);
        }),
        Row {
            given: Some(|case| case.scene.version = QuoteVersion::V5Extended),
            ..lie!(TdPartition, &[TdPartition], "found VM 1")
        },
        lie!(Pks, &[Pks], "without PKS"),
        lie!(UnknownXfam, &[Xfam], "found 0x100000000e7"),
        lie!(SeamAttributes, &[TdxModule, SeamAttributes], "SEAMATTRIBUTES 0x1"),
        lie!(WrongMrsignerseam, &[TdxModule, MrSignerSeam], "MRSIGNERSEAM c9e832be"),
        lie!(UnknownModule, &[TdxModule], "No TDX module identity with id TDX_09"),
        lie!(OtherReportData, &[ReportData], "made for another nonce"),
    ]
}
