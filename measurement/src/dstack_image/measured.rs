//! `measurement.tdx.cbor`, version 3: an image's facts as digests, without its files.
//!
//! Its kernel digest is that of the kernel as QEMU before 10.2 rewrites it for a machine with 2 GiB
//! below 4 GiB; for every other machine nothing follows from it. Its configuration volume is not in
//! it: images of this format have OVMF's empty one.

use std::fmt;

use protocol::digest::{Mrtd, Sha384Digest};
use protocol::image::{FirmwareFacts, KernelFacts, MAX_ACCEPTED_RANGES, MrtdOrders};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};

use super::{DstackImageError, MEASUREMENT_FILE, bounded, layout};
use crate::command_line::CommandLine;
use crate::facts::{ImageFacts, KernelSource, MrtdSource};
use crate::tdvf::PAGE_BYTES;
use crate::variable_store;

/// Longest file; a real one has 392 bytes.
pub const MAX_MEASUREMENT_BYTES: usize = 4096;
/// Longest record of the TD HOB: five bytes a number.
const MAX_WITNESS_BYTES: usize = 5 * (3 + 2 * MAX_ACCEPTED_RANGES);
/// Nesting that the format has, and one more for a better message.
const MAX_DEPTH: usize = 4;
const VERSION: u32 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMeasurement {
    version: u32,
    image: RawImage,
    tdvf: RawFirmware,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    cmdline_sha384: Bytes<48>,
    kernel_authenticode: Bytes<48>,
    initrd_sha384: Bytes<48>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFirmware {
    ovmf: String,
    mrtd: RawMrtd,
    td_hob: HobRecord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMrtd {
    single_pass: Bytes<48>,
    two_pass: Bytes<48>,
}

/// The facts that a measurement file states.
pub fn facts(cbor: &[u8]) -> Result<ImageFacts<'static>, DstackImageError> {
    bounded(MEASUREMENT_FILE, cbor, MAX_MEASUREMENT_BYTES)?;
    let mut rest = cbor;
    let raw: RawMeasurement = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
        .map_err(|error| DstackImageError::Measurement(error.to_string()))?;
    let wrong = |what: String| Err(DstackImageError::Measurement(what));
    if !rest.is_empty() {
        return wrong(format!("{} bytes left over", rest.len()));
    }
    if raw.version != VERSION {
        return wrong(format!("version {} is unknown, expected {VERSION}", raw.version));
    }
    let digest = |bytes: Bytes<48>| Sha384Digest(bytes.0);
    Ok(ImageFacts {
        firmware: FirmwareFacts {
            layout: layout(&raw.tdvf.ovmf)?.name().to_owned(),
            td_hob_base: raw.tdvf.td_hob.hob_base,
            accepted_ranges: raw.tdvf.td_hob.accepted,
            cfv_sha384: variable_store::empty_sha384(),
        },
        handoff_tables: None,
        kernel: KernelFacts {
            authenticode_sha384: digest(raw.image.kernel_authenticode),
            initrd_sha384: digest(raw.image.initrd_sha384),
        },
        cmdline: CommandLine::Digest(digest(raw.image.cmdline_sha384)),
        kernel_source: KernelSource::RewrittenDigest,
        mrtd: MrtdSource::known(MrtdOrders {
            single_pass: Mrtd(raw.tdvf.mrtd.single_pass.0),
            two_pass: Mrtd(raw.tdvf.mrtd.two_pass.0),
        }),
    })
}

/// A byte string of a fixed length.
struct Bytes<const LENGTH: usize>([u8; LENGTH]);

impl<'de, const LENGTH: usize> Deserialize<'de> for Bytes<LENGTH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_bytes(ByteString)?;
        let found = bytes.len();
        let exact = <[u8; LENGTH]>::try_from(bytes);
        exact
            .map(Self)
            .map_err(|_| D::Error::custom(format_args!("{found} bytes, expected {LENGTH}")))
    }
}

/// Which pages are accepted before boot, as numbers of pages in ULEB128: base, offset of the TD
/// HOB, count, then offset and length of each range.
struct HobRecord {
    hob_base: u64,
    accepted: Vec<(u64, u64)>,
}

impl<'de> Deserialize<'de> for HobRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_bytes(ByteString)?;
        Self::parse(&bytes).ok_or_else(|| D::Error::custom("td_hob is no list of page ranges"))
    }
}

impl HobRecord {
    /// `None`: cut, too long, followed by something, or beyond the address space.
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_WITNESS_BYTES {
            return None;
        }
        let base = page_number(&mut bytes)?;
        let at = |delta: u64| base.checked_add(delta)?.checked_mul(PAGE_BYTES);
        let hob_base = at(page_number(&mut bytes)?)?;
        let count = usize::try_from(page_number(&mut bytes)?)
            .ok()
            .filter(|count| *count <= MAX_ACCEPTED_RANGES)?;
        let mut accepted = Vec::with_capacity(count);
        for _ in 0..count {
            let start = at(page_number(&mut bytes)?)?;
            accepted.push((start, page_number(&mut bytes)?.checked_mul(PAGE_BYTES)?));
        }
        bytes.is_empty().then_some(Self { hob_base, accepted })
    }
}

/// An unsigned LEB128 number below 2^35: five bytes name every page of 52-bit addresses that a
/// firmware uses.
fn page_number(bytes: &mut &[u8]) -> Option<u64> {
    const MAX_DIGITS: usize = 5;
    let mut value = 0;
    for digit in 0..MAX_DIGITS {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * digit);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A definite byte string; text and lists of numbers are something else.
struct ByteString;

impl Visitor<'_> for ByteString {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_whole_or_not_at_all() {
        let bytes = hex::decode("80100904000609020b021010").unwrap();
        let record = HobRecord::parse(&bytes).unwrap();
        assert_eq!(record.hob_base, 0x80_9000);
        let ranges =
            [(0x80_0000, 0x6000), (0x80_9000, 0x2000), (0x80_b000, 0x2000), (0x81_0000, 0x1_0000)];
        assert_eq!(record.accepted, ranges);
        for length in 0..bytes.len() {
            assert!(HobRecord::parse(&bytes[..length]).is_none(), "{length} bytes");
        }
        assert!(HobRecord::parse(&[&bytes[..], &[0]].concat()).is_none());
        assert!(HobRecord::parse(&[0x80; 8]).is_none());
        assert!(HobRecord::parse(&[0, 0, 0x40]).is_none());
    }

    #[test]
    fn other_versions_and_other_bytes_are_refused() {
        let cases: [&[u8]; 4] =
            [b"", &[0xa0], &[0x9f; 100], &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]];
        for cbor in cases {
            assert!(matches!(facts(cbor), Err(DstackImageError::Measurement(_))));
        }
        assert!(matches!(
            facts(&[0; MAX_MEASUREMENT_BYTES + 1]),
            Err(DstackImageError::TooLarge { .. })
        ));
    }
}
