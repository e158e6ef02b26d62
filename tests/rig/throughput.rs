//! How fast a file, or a whole disk, is written and read, by the machine's own clock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

/// Bytes of the file: more than the caches of a disk, less than the machine's memory.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of one sequential write or read.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of one random write or read, and of one append.
const BLOCK_BYTES: usize = 4096;
/// Random writes or reads of one measurement.
const BLOCKS: u64 = 2048;
/// Appends of one measurement, each followed by fsync.
const APPENDS: u64 = 256;

/// Runs one workload, from cold caches: the bytes it moved and the microseconds it took. What was
/// written is on the disk when the time ends.
///
/// Sequential writing comes first: the others use its file.
pub fn time(workload: &str, target: &Path) -> io::Result<String> {
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let open = |write| OpenOptions::new().read(true).write(write).open(target);
    let started = Instant::now();
    let bytes = match workload {
        "write" => {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(target)?;
            write(file)?
        }
        "read" => read(open(false)?)?,
        "random-write" => random_write(&open(true)?)?,
        "random-read" => random_read(&open(false)?)?,
        "fsync" => append(&open(true)?)?,
        _ => return Err(io::Error::other(format!("{workload:?} is no workload"))),
    };
    Ok(format!("{bytes} {}", started.elapsed().as_micros()))
}

fn write(mut file: File) -> io::Result<u64> {
    let chunk = noise(1, CHUNK_BYTES);
    for _ in 0..FILE_BYTES / CHUNK_BYTES as u64 {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    Ok(FILE_BYTES)
}

fn read(file: File) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut limited, mut bytes) = (file.take(FILE_BYTES), 0);
    while let read @ 1.. = limited.read(&mut chunk)? {
        bytes += read as u64;
    }
    Ok(bytes)
}

fn random_write(file: &File) -> io::Result<u64> {
    let block = noise(2, BLOCK_BYTES);
    for place in places() {
        file.write_all_at(&block, place)?;
    }
    file.sync_all()?;
    Ok(BLOCKS * BLOCK_BYTES as u64)
}

fn random_read(file: &File) -> io::Result<u64> {
    let mut block = [0; BLOCK_BYTES];
    for place in places() {
        file.read_exact_at(&mut block, place)?;
    }
    Ok(BLOCKS * BLOCK_BYTES as u64)
}

/// Writes behind the file's end, as a database's log does.
fn append(file: &File) -> io::Result<u64> {
    let block = noise(3, BLOCK_BYTES);
    for at in 0..APPENDS {
        file.write_all_at(&block, FILE_BYTES + at * BLOCK_BYTES as u64)?;
        file.sync_all()?;
    }
    Ok(APPENDS * BLOCK_BYTES as u64)
}

/// The same places in every run, in no order.
fn places() -> impl Iterator<Item = u64> {
    let blocks = FILE_BYTES / BLOCK_BYTES as u64;
    // Any odd step visits blocks of a power of two each once.
    (0..BLOCKS).map(move |at| (at * 7919 + 1) % blocks * BLOCK_BYTES as u64)
}

/// Bytes that no file system and no disk makes smaller.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(bytes).collect()
}
