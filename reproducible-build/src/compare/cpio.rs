//! Members of a cpio archive in the `newc` form (Linux:
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use super::part::Part;

const HEADER_BYTES: usize = 110;
const END: &str = "TRAILER!!!";

/// Header and content of every member.
pub(super) fn parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut at = 0_usize;
    loop {
        let header = bytes.get(at..at.checked_add(HEADER_BYTES)?)?;
        if !header.starts_with(b"070701") {
            return None;
        }
        let (size, name_size) = (field(header, 6)?, field(header, 11)?);
        let name_end = at + HEADER_BYTES + name_size;
        let name = bytes.get(at + HEADER_BYTES..name_end.checked_sub(1)?)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let start = name_end.next_multiple_of(4);
        let end = start.checked_add(size)?;
        if name == END {
            return Some(parts);
        }
        parts
            .push(Part { name: format!("cpio header of {name}"), bytes: bytes.get(at..name_end)? });
        parts.push(Part { name: format!("cpio member {name}"), bytes: bytes.get(start..end)? });
        at = end.next_multiple_of(4);
    }
}

/// Field `index` of eight hexadecimal digits after the magic.
fn field(header: &[u8], index: usize) -> Option<usize> {
    let start = 6 + 8 * index;
    let text = std::str::from_utf8(header.get(start..start + 8)?).ok()?;
    usize::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::place::explain;

    fn archive(content: &str, mtime: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in [("bin/init", content), ("TRAILER!!!", "")] {
            let fields = [
                1,
                0o100_755,
                0,
                0,
                1,
                mtime,
                content.len() as u32,
                0,
                0,
                0,
                0,
                name.len() as u32 + 1,
                0,
            ];
            bytes.extend_from_slice(b"070701");
            fields
                .iter()
                .for_each(|field| bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
            for part in [format!("{name}\0").as_bytes(), content.as_bytes()] {
                bytes.extend_from_slice(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        bytes
    }

    #[test]
    fn members_and_their_headers_are_named() {
        let nested = explain(&archive("abcd", 1), &archive("abxd", 1));
        assert_eq!(nested[0].to_string(), "cpio member bin/init, offset 0x2");
        let nested = explain(&archive("abcd", 1), &archive("abcd", 2));
        assert_eq!(nested[0].name, "cpio header of bin/init");
    }

    #[test]
    fn lengths_that_overflow_are_no_archive() {
        let mut bytes = archive("abcd", 1);
        let other = bytes.clone();
        bytes[6 + 8 * 6..6 + 8 * 7].copy_from_slice(b"ffffffff");
        assert!(explain(&bytes, &other).is_empty());
        bytes[6 + 8 * 11..6 + 8 * 12].copy_from_slice(b"00000000");
        assert!(explain(&bytes, &other).is_empty());
    }
}
