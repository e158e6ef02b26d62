//! Files whose every byte follows from their names, so that whatever is read in their place is told
//! apart from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes that are made and compared at a time: a block of the file system.
const BLOCK_BYTES: usize = 4096;
/// Most faults that an answer describes.
const MAX_TOLD: usize = 8;

/// The files that should be on the disk, by path.
#[derive(Debug, Clone, Default)]
pub struct Files {
    expected: BTreeMap<String, Content>,
    /// Those that may be there or not, with any content: writing them may have failed half-way.
    overlooked: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Content {
    tag: String,
    bytes: u64,
}

/// What reading them all came to. A name that cannot be looked up counts like a block.
#[derive(Debug, Default)]
pub struct Outcome {
    equal: u64,
    failed: u64,
    wrong: u64,
    told: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, failed, wrong, told } = self;
        write!(f, "{equal} {failed} {wrong} {}", told.join("; "))
    }
}

impl Outcome {
    fn fails(&mut self, path: &str, error: &io::Error) {
        self.failed += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(format!("{path}: {error}"));
        }
    }

    fn is_wrong(&mut self, what: String) {
        self.wrong += 1;
        // These are why anybody reads the answer.
        self.told.insert(0, what);
        self.told.truncate(MAX_TOLD);
    }
}

impl Files {
    /// Writes a file of `bytes` bytes anew, and waits until it is on the disk.
    pub fn put(&mut self, root: &Path, path: &str, tag: &str, bytes: u64) -> io::Result<()> {
        let at = root.join(path);
        fs::create_dir_all(at.parent().unwrap_or(root))?;
        // Over what is there: a file system that writes in place does.
        let mut file = File::options().write(true).create(true).truncate(false).open(at)?;
        for index in 0..bytes.div_ceil(BLOCK_BYTES as u64) {
            let rest = bytes - index * BLOCK_BYTES as u64;
            file.write_all(&block(path, tag, index)[..rest.min(BLOCK_BYTES as u64) as usize])?;
        }
        file.set_len(bytes)?;
        file.sync_all()?;
        if !self.overlooked.contains(path) {
            self.expected.insert(path.to_owned(), Content { tag: tag.to_owned(), bytes });
        }
        Ok(())
    }

    /// Removes a file.
    pub fn remove(&mut self, root: &Path, path: &str) -> io::Result<()> {
        fs::remove_file(root.join(path))?;
        self.expected.remove(path);
        Ok(())
    }

    /// From here on nothing is expected of a file.
    pub fn overlook(&mut self, path: &str) {
        self.expected.remove(path);
        self.overlooked.insert(path.to_owned());
    }

    /// Reads everything.
    pub fn check(&self, root: &Path) -> Outcome {
        let mut outcome = Outcome::default();
        let directories: BTreeSet<&str> =
            self.expected.keys().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
        self.list(root, "", &directories, &mut outcome);
        for directory in &directories {
            self.list(root, directory, &BTreeSet::new(), &mut outcome);
        }
        for (path, content) in &self.expected {
            read(root, path, content, &mut outcome);
        }
        outcome
    }

    /// Lists one directory: it must have these names and no others, or fail.
    fn list(&self, root: &Path, at: &str, below: &BTreeSet<&str>, outcome: &mut Outcome) {
        let listed = fs::read_dir(root.join(at)).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let names: BTreeSet<String> = match listed {
            Ok(names) => names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
            Err(error) => return outcome.fails(&format!("list of {at:?}"), &error),
        };
        let files = self.expected.keys().map(|path| path.rsplit_once('/').unwrap_or(("", path)));
        let files = files.filter(|(directory, _)| *directory == at).map(|(_, name)| name);
        let expected: BTreeSet<String> =
            files.chain(below.iter().copied()).map(str::to_owned).collect();
        let is_judged = |name: &&String| {
            let path = if at.is_empty() { (*name).clone() } else { format!("{at}/{name}") };
            !self.overlooked.contains(&path)
        };
        match names.symmetric_difference(&expected).find(is_judged) {
            None => outcome.equal += 1,
            Some(name) => outcome.is_wrong(format!("list of {at:?} differs in {name:?}")),
        }
    }
}

/// Reads one file block by block, on beyond errors.
fn read(root: &Path, path: &str, content: &Content, outcome: &mut Outcome) {
    let opened = File::open(root.join(path)).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (bytes, file) = match opened {
        Ok(opened) => opened,
        // The disk states that there is none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return outcome.is_wrong(format!("{path} is not there"));
        }
        Err(error) => return outcome.fails(path, &error),
    };
    if bytes != content.bytes {
        return outcome.is_wrong(format!("{path} has {bytes} bytes, expected {}", content.bytes));
    }
    let mut found = vec![0; BLOCK_BYTES];
    for index in 0..bytes.div_ceil(BLOCK_BYTES as u64) {
        let at = index * BLOCK_BYTES as u64;
        let found = &mut found[..(bytes - at).min(BLOCK_BYTES as u64) as usize];
        match file.read_exact_at(found, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                outcome.is_wrong(format!("{path} ends before {}", at + found.len() as u64));
            }
            Err(error) => outcome.fails(&format!("{path} at {at}"), &error),
            Ok(()) if *found == block(path, &content.tag, index)[..found.len()] => {
                outcome.equal += 1;
            }
            Ok(()) => {
                let start = String::from_utf8_lossy(&found[..found.len().min(40)]);
                outcome.is_wrong(format!("{path} at {at}, expected {:?}: {start:?}", content.tag));
            }
        }
    }
}

/// One block of a file.
fn block(path: &str, tag: &str, index: u64) -> Vec<u8> {
    let line = format!("{path} {tag} {index}\n");
    let mut block = line.repeat(BLOCK_BYTES / line.len() + 1).into_bytes();
    block.truncate(BLOCK_BYTES);
    block
}
