//! Files in firmware volumes (UEFI Platform Initialization specification 1.8, volume 3, chapter 3).

use super::part::Part;

/// Volumes start at multiples of it.
const ALIGNMENT: usize = 0x1000;
/// Of a volume's header: file system GUID at 16, length at 32, signature at 40,
/// header length at 48.
const VOLUME_HEADER_BYTES: usize = 0x38;
/// Of a file's header: GUID, checksum, type, attributes, size (24 bits), state.
const FILE_HEADER_BYTES: usize = 24;

/// The files of every volume, each named by its volume's offset and its GUID.
pub(super) fn parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut at = 0_usize;
    while at < bytes.len() {
        match volume(bytes, at) {
            Some(volume) => {
                files(volume, at, &mut parts);
                at += volume.len().next_multiple_of(ALIGNMENT);
            }
            None => at += ALIGNMENT,
        }
    }
    (!parts.is_empty()).then_some(parts)
}

fn volume(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let header = bytes.get(at..at.checked_add(VOLUME_HEADER_BYTES)?)?;
    if &header[40..44] != b"_FVH" {
        return None;
    }
    let length = u64::from_le_bytes(header[32..40].try_into().ok()?);
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(at..end).filter(|volume| !volume.is_empty())
}

fn files<'a>(volume: &'a [u8], base: usize, parts: &mut Vec<Part<'a>>) {
    let header = usize::from(u16::from_le_bytes([volume[48], volume[49]]));
    let named = |what: &str| format!("firmware volume at {base:#x}, {what}");
    let Some(head) = volume.get(..header) else {
        parts.push(Part { name: named("broken"), bytes: volume });
        return;
    };
    parts.push(Part { name: named("header"), bytes: head });
    let mut at = header.next_multiple_of(8);
    while let Some((guid, size)) = file(volume, at) {
        parts.push(Part { name: named(&format!("file {guid}")), bytes: &volume[at..at + size] });
        at += size.next_multiple_of(8);
    }
    parts
        .push(Part { name: named("after its files"), bytes: volume.get(at..).unwrap_or_default() });
}

/// GUID and size of the file at an offset; free space has neither.
fn file(volume: &[u8], at: usize) -> Option<(String, usize)> {
    let header = volume.get(at..at.checked_add(FILE_HEADER_BYTES)?)?;
    let size =
        usize::from(header[20]) | usize::from(header[21]) << 8 | usize::from(header[22]) << 16;
    let fits = size >= FILE_HEADER_BYTES && volume.len() - at >= size;
    fits.then(|| (guid(header), size))
}

fn guid(b: &[u8]) -> String {
    let little = |range: std::ops::Range<usize>| {
        b[range].iter().rev().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let (tail, node) = (hex::encode(&b[8..10]), hex::encode(&b[10..16]));
    format!("{}-{}-{}-{tail}-{node}", little(0..4), little(4..6), little(6..8))
}

#[cfg(test)]
mod tests {
    use super::super::place::explain;

    fn firmware(byte: u8) -> Vec<u8> {
        let mut image = vec![0xff; 0x3000];
        let volume = &mut image[0x1000..0x2000];
        volume[..0x48].fill(0);
        volume[32..40].copy_from_slice(&0x1000u64.to_le_bytes());
        volume[40..44].copy_from_slice(b"_FVH");
        volume[48..50].copy_from_slice(&0x48u16.to_le_bytes());
        volume[0x48..0x58].copy_from_slice(&[0x11; 16]);
        volume[0x48 + 20..0x48 + 23].copy_from_slice(&[40, 0, 0]);
        volume[0x48 + 30] = byte;
        image
    }

    #[test]
    fn volume_and_file_are_named() {
        let nested = explain(&firmware(1), &firmware(2));
        let guid = "11111111-1111-1111-1111-111111111111";
        assert_eq!(
            nested[0].to_string(),
            format!("firmware volume at 0x1000, file {guid}, offset 0x1e")
        );
    }

    #[test]
    fn broken_headers_do_not_fail() {
        let good = firmware(1);
        for (at, bytes) in [(32, [0xff; 8]), (32, [0; 8]), (48, [0xff; 8])] {
            let mut bad = good.clone();
            bad[0x1000 + at..0x1000 + at + 8].copy_from_slice(&bytes);
            let _ = explain(&bad, &good);
            let _ = explain(&good, &bad);
        }
    }
}
