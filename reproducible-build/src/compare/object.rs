//! Sections of programs: ELF, and PE as the kernel and UEFI images are.

use object::{BinaryFormat, File, Object as _, ObjectSection as _};

use super::part::Part;

/// Hashes the other sections, so it only repeats that they differ.
const DERIVED: &str = ".note.gnu.build-id";

/// The sections in the order of the file. What only follows from their content and
/// sizes comes last: a difference is explained by its cause.
pub(super) fn parts(bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let file = File::parse(bytes).ok()?;
    let format = match file.format() {
        BinaryFormat::Elf => "ELF",
        BinaryFormat::Pe => "PE",
        _ => return None,
    };
    let mut ranges: Vec<(usize, usize, String)> = Vec::new();
    for section in file.sections() {
        let name = format!("{format} section {}", section.name().unwrap_or("without a name"));
        if let Some((start, size)) = section.file_range().filter(|(_, size)| *size > 0) {
            let start = usize::try_from(start).ok()?;
            ranges.push((start, start.checked_add(usize::try_from(size).ok()?)?, name));
        }
    }
    ranges.sort();
    let head = ranges.first().map_or(bytes.len(), |(start, ..)| *start);
    let tail = ranges.iter().map(|(_, end, _)| *end).max().unwrap_or(head);
    let (derived, causes): (Vec<_>, Vec<_>) =
        ranges.into_iter().partition(|(.., name)| name.ends_with(DERIVED));
    let mut parts = Vec::new();
    for (start, end, name) in causes.into_iter().chain(derived) {
        parts.push(Part { name, bytes: bytes.get(start..end)? });
    }
    parts.push(Part { name: format!("{format} headers"), bytes: bytes.get(..head)? });
    let name = format!("{format} file after its sections");
    parts.push(Part { name, bytes: bytes.get(tail..)? });
    Some(parts)
}
