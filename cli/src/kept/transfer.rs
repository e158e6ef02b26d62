//! A kept disk as one file: record and disk in a tar archive, with the disk's holes.
//!
//! The file is as public as the disk: whoever has it learns how full the disk is, and nothing of
//! what is on it. On another host it opens with the keys of the same KMS. It comes from elsewhere:
//! only the two files are read, under their names here, within bounds.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use tar::{Archive, Builder, Entry, EntryType, Header};

use super::{DISK, Kept, MAX_RECORD_BYTES, RECORD, Record, parse};
use crate::data_disk::{self, check_room};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::private;

/// What to do about a file that is no kept disk.
const HINT: &str = "take the file as `dstyx export` wrote it";

/// Writes record and disk to a new file.
pub fn export(kept: &Kept, file: &Path) -> Outcome<()> {
    const WRITABLE: &str = "is the directory writable, and is there no such file yet?";
    let out = File::create_new(file).hint(file.display(), WRITABLE)?;
    let record = kept.record.to_json();
    let mut header = Header::new_gnu();
    header.set_size(record.len() as u64);
    header.set_mode(private::FILE_MODE);
    let mut archive = Builder::new(out);
    archive.sparse(true);
    let mut disk = File::open(kept.disk()).hint(kept.disk().display(), "is the disk there?")?;
    archive
        .append_data(&mut header, RECORD, &record[..])
        .and_then(|()| archive.append_file(DISK, &mut disk))
        .and_then(|()| archive.into_inner())
        .and_then(|out| out.sync_all())
        .inspect_err(|_| {
            // Half a disk is none; the error that is told is the first one.
            let _ = fs::remove_file(file);
        })
        .hint(file.display(), "is the disk full?")
}

/// Reads such a file into a directory that is not there yet.
pub fn import(file: &Path, directory: &Path) -> Outcome<Record> {
    let mut input = File::open(file).hint(file.display(), "is the file there?")?;
    input.seek(SeekFrom::Start(0)).hint(file.display(), "a pipe cannot be read from its start")?;
    let new = directory.with_extension("import");
    if new.exists() {
        fs::remove_dir_all(&new).hint(new.display(), "remove it by hand")?;
    }
    let read = read(input, file, &new).and_then(|record| {
        fs::rename(&new, directory).hint(directory.display(), "is there such a disk already?")?;
        Ok(record)
    });
    if read.is_err() {
        // The first error is the one to tell; the next import removes what is left.
        let _ = fs::remove_dir_all(&new);
    }
    read
}

fn read(input: File, file: &Path, new: &Path) -> Outcome<Record> {
    let mut archive = Archive::new(input);
    let mut entries = archive.entries().hint(file.display(), HINT)?;
    let mut entry = named(entries.next(), RECORD, file)?;
    if entry.header().entry_type() != EntryType::Regular || entry.size() > MAX_RECORD_BYTES {
        return Err(no_disk(file, "the record is too large"));
    }
    let mut json = Vec::new();
    entry.read_to_end(&mut json).hint(file.display(), HINT)?;
    let record = Record { imported: true, ..parse(&json, file)? };
    private::replace(&new.join(RECORD), &record.to_json())
        .hint(new.display(), "is the directory writable?")?;
    let mut entry = named(entries.next(), DISK, file)?;
    if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::GNUSparse) {
        return Err(no_disk(file, "the disk is no file"));
    }
    check_room(new, entry.size())?;
    entry.set_preserve_permissions(false);
    let disk = new.join(DISK);
    entry.unpack(&disk).hint(file.display(), HINT)?;
    data_disk::check(&disk)?;
    match entries.next() {
        None => Ok(record),
        Some(_) => Err(no_disk(file, "something follows the disk")),
    }
}

/// The next entry, which must have this name.
fn named<'a>(
    entry: Option<std::io::Result<Entry<'a, File>>>,
    name: &str,
    file: &Path,
) -> Outcome<Entry<'a, File>> {
    let entry = entry.ok_or_else(|| no_disk(file, "it ends too early"))?;
    let entry = entry.hint(file.display(), HINT)?;
    match &*entry.path_bytes() == name.as_bytes() {
        true => Ok(entry),
        false => Err(no_disk(file, &format!("{name} is expected"))),
    }
}

fn no_disk(file: &Path, what: &str) -> Failure {
    Failure::new(format!("{}: no exported disk: {what}", file.display()), HINT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use protocol::digest::ComposeHash;

    use super::*;

    fn kept(directory: &Path) -> Kept {
        let record = Record::new(ComposeHash([1; 32])).unwrap();
        let kept = Kept { directory: directory.to_owned(), record };
        kept.save(1).unwrap();
        let disk = File::options().write(true).open(kept.disk()).unwrap();
        disk.write_all_at(b"written", 5 << 20).unwrap();
        kept
    }

    #[test]
    fn a_disk_goes_to_another_host_with_its_record_and_its_holes() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(&directory.path().join("a"));
        let file = directory.path().join("a.disk");
        export(&kept, &file).unwrap();
        assert!(fs::metadata(&file).unwrap().len() < 1 << 20);
        assert!(export(&kept, &file).is_err(), "nothing is written over");
        let target = directory.path().join("b");
        let imported = Record { imported: true, ..kept.record };
        assert_eq!(import(&file, &target).unwrap(), imported);
        assert_eq!(super::super::read(&target).unwrap(), Some(imported));
        let disk = File::open(target.join(DISK)).unwrap();
        let metadata = disk.metadata().unwrap();
        assert_eq!(metadata.len(), 1 << 30);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        let mut read = [0; 7];
        disk.read_exact_at(&mut read, 5 << 20).unwrap();
        assert_eq!(&read, b"written");
        assert!(import(&file, &target).is_err(), "a disk is never written over");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn another_archive_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let archive = |entries: &[(&str, &[u8])]| {
            let mut archive = Builder::new(Vec::new());
            for (name, bytes) in entries {
                let mut header = Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                archive.append_data(&mut header, name, *bytes).unwrap();
            }
            archive.into_inner().unwrap()
        };
        let record = Record::new(ComposeHash([1; 32])).unwrap();
        let record = serde_json::to_vec(&record).unwrap();
        let rows: [&[(&str, &[u8])]; 6] = [
            &[],
            &[("kept.json", &record)],
            &[("data.img", b"x"), ("kept.json", &record)],
            &[("kept.json", b"{}"), ("data.img", b"x")],
            &[("kept.json", &record), ("other", b"x")],
            &[("kept.json", &record), ("data.img", b"too small")],
        ];
        for row in rows {
            let file = directory.path().join("file");
            fs::write(&file, archive(row)).unwrap();
            import(&file, &directory.path().join("b")).unwrap_err();
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{row:?}");
        }
    }
}
