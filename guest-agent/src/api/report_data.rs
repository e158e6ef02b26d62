//! The 64 bytes of a container's quote: as given, or hashed as dstack's older interface hashes.
//!
//! Source: dstack, `ra-tls`, `QuoteContentType::to_report_data_with_hash`.

use protocol::digest::ReportData;
use protocol::prpc::TdxQuoteArgs;
use sha3::digest::{Digest, Output};

/// Bytes of the report data.
const BYTES: usize = 64;
/// The algorithm where none is named.
const DEFAULT_ALGORITHM: &str = "sha512";
/// What stands before hashed content where nothing is named.
const DEFAULT_TAG: &str = "app-data";

/// Why bytes cannot be quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportDataError {
    /// too many bytes
    #[error("report data is too long: {0} bytes, at most {BYTES} are quoted")]
    TooLong(usize),
    /// a raw quote takes exactly 64 bytes
    #[error("invalid content length: {0} bytes, raw report data has exactly {BYTES}")]
    Raw(usize),
    /// an algorithm that nobody knows
    #[error(
        "invalid hash algorithm {0:?}: known are sha256, sha384, sha512, sha3-256, sha3-384, sha3-512, keccak256, keccak384, \
         keccak512 and raw"
    )]
    Algorithm(String),
}

/// Report data of the older interface, and what its answer says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashed {
    pub(super) report_data: ReportData,
    pub(super) algorithm: &'static str,
    pub(super) prefix: String,
}

/// At most 64 bytes, zeros behind them.
pub(super) fn padded(bytes: &[u8]) -> Result<ReportData, ReportDataError> {
    let mut data = [0; BYTES];
    data.get_mut(..bytes.len())
        .ok_or(ReportDataError::TooLong(bytes.len()))?
        .copy_from_slice(bytes);
    Ok(ReportData(data))
}

/// `hash(tag ‖ ":" ‖ content)`, zeros behind it; or the content itself.
pub(super) fn hashed(args: &TdxQuoteArgs) -> Result<Hashed, ReportDataError> {
    let tag = if args.prefix.is_empty() { DEFAULT_TAG } else { &args.prefix };
    let content = &args.report_data;
    let (algorithm, digest) = match args.hash_algorithm.as_str() {
        "raw" => {
            let data =
                content.as_slice().try_into().map_err(|_| ReportDataError::Raw(content.len()))?;
            return Ok(Hashed {
                report_data: ReportData(data),
                algorithm: "raw",
                prefix: String::new(),
            });
        }
        "" | DEFAULT_ALGORITHM => (DEFAULT_ALGORITHM, tagged::<sha2::Sha512>(tag, content)),
        "sha256" => ("sha256", tagged::<sha2::Sha256>(tag, content)),
        "sha384" => ("sha384", tagged::<sha2::Sha384>(tag, content)),
        "sha3-256" => ("sha3-256", tagged::<sha3::Sha3_256>(tag, content)),
        "sha3-384" => ("sha3-384", tagged::<sha3::Sha3_384>(tag, content)),
        "sha3-512" => ("sha3-512", tagged::<sha3::Sha3_512>(tag, content)),
        "keccak256" => ("keccak256", tagged::<sha3::Keccak256>(tag, content)),
        "keccak384" => ("keccak384", tagged::<sha3::Keccak384>(tag, content)),
        "keccak512" => ("keccak512", tagged::<sha3::Keccak512>(tag, content)),
        other => return Err(ReportDataError::Algorithm(other.chars().take(32).collect())),
    };
    Ok(Hashed { report_data: padded(&digest)?, algorithm, prefix: tag.to_owned() })
}

fn tagged<D: Digest>(tag: &str, content: &[u8]) -> Vec<u8> {
    let output: Output<D> =
        D::new().chain_update(tag).chain_update(b":").chain_update(content).finalize();
    output.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: &str, prefix: &str, content: &[u8]) -> Result<Hashed, ReportDataError> {
        let (hash_algorithm, prefix) = (algorithm.to_owned(), prefix.to_owned());
        hashed(&TdxQuoteArgs { report_data: content.to_vec(), hash_algorithm, prefix })
    }

    /// The first is dstack's own vector (`ra-tls`, `test_to_report_data_with_hash`); the others are
    /// Python's hashlib, and for Keccak pycryptodome.
    #[test]
    fn every_algorithm_gives_what_dstack_gives() {
        let vectors = include_str!("../../../tests/vectors/prpc/report-data.txt");
        let mut rows = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let [algorithm, prefix, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let prefix = prefix.trim_matches('-');
            let found = of(algorithm, prefix, b"test content").unwrap();
            assert_eq!(hex::encode(found.report_data.0), format!("{expected:0<128}"), "{line}");
            assert_eq!(found.prefix, if prefix.is_empty() { "app-data" } else { prefix });
            rows += 1;
        }
        assert_eq!(rows, 10);
    }

    #[test]
    fn lengths_and_names_are_checked() {
        assert_eq!(padded(&[1; 65]), Err(ReportDataError::TooLong(65)));
        assert_eq!(of("raw", "", &[1; 63]), Err(ReportDataError::Raw(63)));
        assert_eq!(of("raw", "ignored", &[1; 64]).unwrap().prefix, "");
        assert_eq!(of("md5", "", b""), Err(ReportDataError::Algorithm("md5".into())));
    }
}
