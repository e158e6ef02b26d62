//! Says what is at the first difference of two contents.
//!
//! Formats are told by their first bytes and nest: a zstd file holds a cpio archive,
//! which holds a program, which has sections. A format that cannot be read ends the
//! explanation where it is; it is no error.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;

use super::part::Part;
use super::{cpio, firmware, first_difference, object};

/// Nothing that we build nests deeper than initrd → archive → program.
const MAX_DEPTH: usize = 6;
/// An initrd unpacked has 40 MB.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// Names of parts that are kept beside the first: enough to see a pattern; an archive may have
/// millions.
const MAX_ALSO: usize = 16;

/// A part of a content that holds a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Such as `ELF section .rodata`.
    pub name: String,
    /// Of the first difference, in it.
    pub offset: u64,
    /// Names of further parts that differ beside this one, the first of them.
    pub also: Vec<String>,
    /// How many more differ.
    pub more: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are the archive's own and may hold anything: escaped, they stay on their line.
        write!(f, "{}, offset {:#x}", self.name.escape_debug(), self.offset)?;
        if self.also.is_empty() {
            return Ok(());
        }
        write!(f, " (also different: {}", self.also.join(", ").escape_debug())?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        f.write_str(")")
    }
}

/// What contains the first difference, from the outside inwards.
#[must_use]
pub fn explain(first: &[u8], second: &[u8]) -> Vec<Place> {
    let mut nested = Vec::new();
    descend(first, second, MAX_DEPTH, &mut nested);
    nested
}

fn descend(first: &[u8], second: &[u8], depth: usize, nested: &mut Vec<Place>) {
    if depth == 0 {
        return;
    }
    if let (Some(a), Some(b)) = (decompressed(first), decompressed(second)) {
        // Equal contents that were packed differently have no place inside.
        if let Some(at) = first_difference(&a, &b) {
            nested.push(Place {
                name: "decompressed content".into(),
                offset: at as u64,
                also: Vec::new(),
                more: 0,
            });
            descend(&a, &b, depth - 1, nested);
        }
        return;
    }
    let (Some(a), Some(b)) = (parts(first), parts(second)) else {
        return;
    };
    if let Some((place, a, b)) = differing_part(&a, &b) {
        nested.push(place);
        descend(a, b, depth - 1, nested);
    }
}

fn decompressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = ruzstd::decoding::StreamingDecoder::new(bytes).ok()?;
        decoder.take(MAX_UNPACKED_BYTES).read_to_end(&mut content).ok()?;
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        let decoder = flate2::read::MultiGzDecoder::new(bytes);
        decoder.take(MAX_UNPACKED_BYTES).read_to_end(&mut content).ok()?;
    } else {
        return None;
    }
    Some(content)
}

/// The parts of a content in a format that is known, in the order of the file.
fn parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    object::parts(bytes)
        .or_else(|| cpio::parts(bytes))
        .or_else(|| tar_parts(bytes))
        .or_else(|| firmware::parts(bytes))
}

fn tar_parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    if bytes.get(257..262) != Some(b"ustar".as_slice()) {
        return None;
    }
    let mut archive = tar::Archive::new(bytes);
    let mut parts = Vec::new();
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        let name = entry.path().ok()?.display().to_string();
        let header = usize::try_from(entry.raw_header_position()).ok()?;
        let start = usize::try_from(entry.raw_file_position()).ok()?;
        let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
        parts
            .push(Part { name: format!("tar header of {name}"), bytes: bytes.get(header..start)? });
        parts.push(Part { name: format!("tar member {name}"), bytes: bytes.get(start..end)? });
    }
    Some(parts)
}

/// The first part that differs from the part of the same name on the other side.
fn differing_part<'a>(
    first: &[Part<'a>],
    second: &[Part<'a>],
) -> Option<(Place, &'a [u8], &'a [u8])> {
    let mut by_name = HashMap::with_capacity(second.len());
    for part in second {
        by_name.entry(part.name.as_str()).or_insert(part.bytes);
    }
    let mut differing = first.iter().filter_map(|one| {
        let two = by_name.get(one.name.as_str()).copied().unwrap_or_default();
        first_difference(one.bytes, two).map(|at| (one, two, at))
    });
    let (one, two, at) = differing.next()?;
    let also = differing.by_ref().take(MAX_ALSO).map(|(part, ..)| part.name.clone()).collect();
    let more = differing.count();
    Some((Place { name: one.name.clone(), offset: at as u64, also, more }, one.bytes, two))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(content: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [("same", "x"), ("dir/file", content)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tar_member_is_named() {
        let nested = explain(&tar("abc"), &tar("abd"));
        assert_eq!(nested[0].to_string(), "tar member dir/file, offset 0x2");
    }

    #[test]
    fn of_very_many_parts_a_few_are_named() {
        let names: Vec<String> = (0..200_000).map(|index| format!("member {index}")).collect();
        let parts =
            |bytes| names.iter().map(|name| Part { name: name.clone(), bytes }).collect::<Vec<_>>();
        let (place, ..) = differing_part(&parts(b"a"), &parts(b"b")).unwrap();
        assert_eq!((place.also.len(), place.more), (MAX_ALSO, names.len() - 1 - MAX_ALSO));
        let text = place.to_string();
        assert!(text.ends_with(", member 16 and 199983 more)"), "{text}");
    }

    #[test]
    fn a_member_cannot_leave_its_line_by_its_name() {
        let name = "x\nimage.json: byte-equal\u{1b}[8m\u{202e}".to_owned();
        let place = Place { also: vec![name.clone()], name, offset: 0, more: 0 };
        let shown = place.to_string();
        assert!(!shown.contains(['\n', '\u{1b}', '\u{202e}']), "{shown:?}");
    }

    #[test]
    fn what_is_compressed_is_read_through() {
        let pack = |content: &str| {
            use std::io::Write as _;
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&tar(content)).unwrap();
            encoder.finish().unwrap()
        };
        let nested = explain(&pack("abc"), &pack("xbc"));
        assert_eq!(nested.len(), 2);
        assert_eq!(nested[1].name, "tar member dir/file");
    }

    #[test]
    fn broken_formats_explain_nothing_and_do_not_fail() {
        for magic in ["\u{7f}ELF", "MZ", "070701", "\u{1f}\u{8b}"] {
            let (a, b) = (format!("{magic}aaaaaaaaaaaa"), format!("{magic}bbbbbbbbbbbb"));
            assert_eq!(explain(a.as_bytes(), b.as_bytes()), []);
        }
    }
}
