//! Promises of logs in a certificate (RFC 6962, 3.2 and 3.3), with the position that logs of tiles
//! add.

use protocol::reader::{ReadError, Reader};
use x509_cert::TbsCertificate;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::der::{self, Decode as _};

/// Bytes of a log's name: SHA-256 of its key.
pub const LOG_ID_BYTES: usize = 32;
/// The extension of a certificate that has the list.
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
/// Most promises: authorities ask two or three logs.
const MAX_SCTS: usize = 32;
/// The only version.
const V1: u8 = 0;
/// The extension of a promise that has the position (static-ct-api, "SCT Extension").
const LEAF_INDEX: u8 = 0;
/// Bytes of a position.
const INDEX_BYTES: usize = 5;

/// A promise of a log to show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sct {
    /// The log's name: SHA-256 of its key.
    pub log_id: [u8; LOG_ID_BYTES],
    /// When the log made it, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The position of the entry; logs of tiles say it.
    pub leaf_index: Option<u64>,
}

/// Why promises cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SctError {
    /// bytes that end early or go on
    #[error("promises of logs: {0}")]
    Read(#[from] ReadError),
    /// another version
    #[error("a promise of version {0}, expected {V1}")]
    Version(u8),
    /// more than a certificate has
    #[error("more than {MAX_SCTS} promises of logs")]
    Many,
    /// an extension of another form
    #[error("promises of logs: {0}")]
    Der(String),
    /// a position of another form
    #[error("a promise with a position of {0} bytes, expected {INDEX_BYTES}")]
    Index(usize),
}

impl From<der::Error> for SctError {
    fn from(error: der::Error) -> Self {
        Self::Der(error.to_string())
    }
}

/// The promises in a certificate; none without the extension.
pub(crate) fn scts(tbs: &TbsCertificate) -> Result<Vec<Sct>, SctError> {
    let extensions = tbs.extensions().into_iter().flatten();
    let mut lists = extensions.filter(|extension| extension.extn_id == SCT_LIST);
    let Some(extension) = lists.next() else { return Ok(Vec::new()) };
    if lists.next().is_some() {
        return Err(SctError::Der("two lists of promises".to_owned()));
    }
    let list = OctetString::from_der(extension.extn_value.as_bytes())?;
    parse_list(list.as_bytes())
}

/// Reads the list: each promise behind its length, all behind theirs.
fn parse_list(bytes: &[u8]) -> Result<Vec<Sct>, SctError> {
    let mut reader = Reader::new(bytes);
    let mut list = Reader::new(vector(&mut reader, "list")?);
    reader.finish()?;
    let mut scts = Vec::new();
    while list.left() > 0 {
        if scts.len() == MAX_SCTS {
            return Err(SctError::Many);
        }
        scts.push(parse(vector(&mut list, "promise")?)?);
    }
    Ok(scts)
}

fn parse(bytes: &[u8]) -> Result<Sct, SctError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8("version")?;
    if version != V1 {
        return Err(SctError::Version(version));
    }
    let log_id = reader.array("log id")?;
    let timestamp_ms = u64::from_be_bytes(reader.array("timestamp")?);
    let leaf_index = leaf_index(vector(&mut reader, "extensions")?)?;
    reader.take("algorithms", 2)?;
    vector(&mut reader, "signature")?;
    reader.finish()?;
    Ok(Sct { log_id, timestamp_ms, leaf_index })
}

/// The position among a promise's extensions; unknown ones are the log's own affair, and those of
/// other logs than tiled ones are of no form at all.
fn leaf_index(bytes: &[u8]) -> Result<Option<u64>, SctError> {
    let mut reader = Reader::new(bytes);
    while reader.left() > 0 {
        let Ok(kind) = reader.u8("extension") else { return Ok(None) };
        let Ok(data) = vector(&mut reader, "extension") else { return Ok(None) };
        if kind == LEAF_INDEX {
            let index: [u8; INDEX_BYTES] =
                data.try_into().map_err(|_| SctError::Index(data.len()))?;
            return Ok(Some(index.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))));
        }
    }
    Ok(None)
}

/// Bytes behind their length in two bytes.
fn vector<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], ReadError> {
    let length = u16::from_be_bytes(reader.array(field)?);
    reader.take(field, length.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap();
        [length.to_be_bytes().as_slice(), bytes].concat()
    }

    fn promise(extensions: &[u8]) -> Vec<u8> {
        let head = [[V1].as_slice(), &[7; 32], &1_800_000_000_000_u64.to_be_bytes()].concat();
        [head, sized(extensions), vec![4, 3], sized(&[1; 70])].concat()
    }

    fn list(promises: &[Vec<u8>]) -> Vec<u8> {
        sized(&promises.iter().flat_map(|promise| sized(promise)).collect::<Vec<u8>>())
    }

    fn index(bytes: &[u8]) -> Vec<u8> {
        [vec![LEAF_INDEX], sized(bytes)].concat()
    }

    #[test]
    fn a_promise_has_a_log_a_time_and_perhaps_a_position() {
        let position = index(&[0, 0, 1, 2, 3]);
        let read = parse_list(&list(&[promise(&[]), promise(&position)])).unwrap();
        assert_eq!(read[0].leaf_index, None);
        assert_eq!(read[1].leaf_index, Some(0x010203));
        assert_eq!((read[1].log_id, read[1].timestamp_ms), ([7; 32], 1_800_000_000_000));
    }

    #[test]
    fn cut_long_and_foreign_promises_are_refused() {
        let good = list(&[promise(&[])]);
        for cut in 0..good.len() {
            assert!(parse_list(&good[..cut]).is_err(), "{cut}");
        }
        assert!(parse_list(&[good, vec![0]].concat()).is_err());
        assert_eq!(parse_list(&list(&vec![promise(&[]); MAX_SCTS + 1])), Err(SctError::Many));
        let mut other = promise(&[]);
        other[0] = 1;
        assert_eq!(parse_list(&list(&[other])), Err(SctError::Version(1)));
        assert_eq!(parse_list(&list(&[promise(&index(&[1]))])), Err(SctError::Index(1)));
    }
}
