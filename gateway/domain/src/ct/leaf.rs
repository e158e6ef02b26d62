//! The entries of a tile (c2sp.org/static-ct-api, "Log Entries"), each with the bytes of its leaf
//! (RFC 6962, 3.4).

use protocol::reader::{ReadError, Reader};

use crate::certificate::{Certificate, CertificateError};

/// Largest tile of entries: 256 certificates at their own budget, twice.
pub const MAX_TILE_BYTES: usize = 32 << 20;
/// A certificate.
const X509: u16 = 0;
/// What was to be signed, before it was.
const PRECERTIFICATE: u16 = 1;
/// Version and type of a leaf.
const LEAF_HEAD: [u8; 2] = [0, 0];

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The bytes of its leaf, which the log hashes.
    pub leaf: Vec<u8>,
    /// When the log took it, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// What it is about; a log takes whatever an authority signed, so not all can be read.
    pub certificate: Result<Certificate, CertificateError>,
}

/// Why a tile cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// beyond its budget
    #[error("a tile of {0} bytes, at most {MAX_TILE_BYTES} are accepted")]
    Long(usize),
    /// bytes that end early or go on
    #[error("an entry of a log: {0}")]
    Read(#[from] ReadError),
    /// another type
    #[error("an entry of type {0}, expected {X509} or {PRECERTIFICATE}")]
    Type(u16),
}

/// Reads a tile that has `width` entries.
///
/// # Errors
/// If it has fewer or more, or one of another form.
pub fn parse_tile(bytes: &[u8], width: u64) -> Result<Vec<LogEntry>, LeafError> {
    if bytes.len() > MAX_TILE_BYTES {
        return Err(LeafError::Long(bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    let entries = (0..width).map(|_| parse(bytes, &mut reader));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    reader.finish()?;
    Ok(entries)
}

fn parse(bytes: &[u8], reader: &mut Reader<'_>) -> Result<LogEntry, LeafError> {
    let start = reader.offset();
    let timestamp_ms = u64::from_be_bytes(reader.array("timestamp")?);
    let kind = u16::from_be_bytes(reader.array("type")?);
    let certificate = match kind {
        X509 => Certificate::parse(long(reader, "certificate")?),
        PRECERTIFICATE => {
            reader.take("issuer key hash", 32)?;
            Certificate::parse_tbs(long(reader, "certificate to be signed")?)
        }
        other => return Err(LeafError::Type(other)),
    };
    short(reader, "extensions")?;
    let leaf = [LEAF_HEAD.as_slice(), &bytes[start..reader.offset()]].concat();
    if kind == PRECERTIFICATE {
        long(reader, "precertificate")?;
    }
    short(reader, "chain")?;
    Ok(LogEntry { leaf, timestamp_ms, certificate })
}

/// Bytes behind their length in three bytes.
fn long<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], ReadError> {
    let [high, middle, low] = reader.array(field)?;
    let length = u32::from_be_bytes([0, high, middle, low]);
    reader.take(field, usize::try_from(length).unwrap_or(usize::MAX))
}

/// Bytes behind their length in two bytes.
fn short<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], ReadError> {
    let length = u16::from_be_bytes(reader.array(field)?);
    reader.take(field, length.into())
}

/// Writes entries as a log does.
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures {
    use super::X509;

    /// An entry of a tile for a certificate.
    pub fn entry(der: &[u8], timestamp_ms: u64, position: u64) -> Vec<u8> {
        let length = u32::try_from(der.len()).expect("a short certificate").to_be_bytes();
        let index = position.to_be_bytes();
        [
            timestamp_ms.to_be_bytes().as_slice(),
            &X509.to_be_bytes(),
            &length[1..],
            der,
            // The position, in an extension of eight bytes.
            &[0, 8, 0, 0, 5],
            &index[3..],
            // No chain.
            &[0, 0],
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::entry;
    use super::*;
    use crate::fixtures::certificate;

    #[test]
    fn entries_have_leaves_times_and_certificates() {
        let der = certificate(&["a.example.org"], 0, 10).der;
        let tile = [entry(&der, 7, 0), entry(&der, 8, 1)].concat();
        let read = parse_tile(&tile, 2).unwrap();
        assert_eq!(read[1].timestamp_ms, 8);
        assert_eq!(read[0].certificate, Certificate::parse(&der));
        // Version, type, and the entry without its chain.
        let whole = entry(&der, 7, 0);
        assert_eq!(read[0].leaf, [&[0, 0], &whole[..whole.len() - 2]].concat());
    }

    #[test]
    fn what_was_to_be_signed_is_read_as_the_certificate() {
        use x509_cert::der::{Decode as _, Encode as _};
        let der = certificate(&["a.example.org"], 0, 10).der;
        let tbs =
            x509_cert::Certificate::from_der(&der).unwrap().tbs_certificate().to_der().unwrap();
        let sized = |bytes: &[u8]| {
            [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat()
        };
        let head = [[0; 8].as_slice(), &[0, 1], &[9; 32]].concat();
        let tile = [head, sized(&tbs), vec![0, 0], sized(&der), vec![0, 0]].concat();
        let read = parse_tile(&tile, 1).unwrap().remove(0).certificate.unwrap();
        assert!(read.is_same_as(&Certificate::parse(&der).unwrap()));
    }

    #[test]
    fn a_tile_that_is_cut_long_or_of_another_type_is_refused() {
        let tile = entry(&certificate(&["a.example.org"], 0, 10).der, 7, 0);
        for cut in 0..tile.len() {
            assert!(parse_tile(&tile[..cut], 1).is_err(), "{cut}");
        }
        assert!(parse_tile(&[tile.clone(), vec![0]].concat(), 1).is_err());
        assert!(parse_tile(&tile, 2).is_err());
        let mut other = tile;
        other[9] = 2;
        assert_eq!(parse_tile(&other, 1), Err(LeafError::Type(2)));
    }

    #[test]
    fn an_entry_that_is_no_certificate_is_still_an_entry() {
        let read = parse_tile(&entry(b"no certificate", 7, 0), 1).unwrap();
        assert!(read[0].certificate.is_err());
    }
}
