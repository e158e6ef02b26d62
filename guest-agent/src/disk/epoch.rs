//! The move of the data disk to the key of the newest epoch, as a boot sees it: on a thread of its
//! own, and told to the host, which would else take it for a guest that hangs.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::status::{Phase, Refusal};
use zeroize::Zeroizing;

use super::device::Device;
use super::moving::{Blocks as _, Keys, MoveError, move_all};
use crate::reports::Reports;

/// At each of how many parts of a disk it is said how far the move is.
const PARTS: u64 = 20;
/// The longest time without a word: `dstyx up` waits for three times as long.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Moves the disk from one key to another, or finds it moved; says on the log and the status
/// channel how far it is. Where the caller does not wait for the end, the move stops after its next
/// blocks, and another boot goes on with it.
pub async fn move_disk(
    device: Device,
    from: &Zeroizing<[u8; 64]>,
    to: &Zeroizing<[u8; 64]>,
    reports: &Reports,
) -> Result<(), MoveError> {
    let (from, to) = (from.clone(), to.clone());
    let stop = StopWhenDropped::default();
    let stopped = Arc::clone(&stop.0);
    let mut told = Told::new(device.count(), reports.clone());
    let moved = tokio::task::spawn_blocking(move || {
        move_all(&device, &Keys { from: &from, to: &to }, |behind| {
            told.reached(behind);
            match stopped.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    });
    moved.await.map_err(io::Error::other)?
}

/// Ends the thread of a move that nobody waits for: the process would not end before it.
#[derive(Default)]
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How far a move was when it was last told.
struct Told {
    blocks: u64,
    part: Option<u64>,
    at: Instant,
    reports: Reports,
}

impl Told {
    fn new(blocks: u64, reports: Reports) -> Self {
        Self { blocks, part: None, at: Instant::now(), reports }
    }

    fn reached(&mut self, behind: u64) {
        let part = behind.saturating_mul(PARTS) / self.blocks.max(1);
        let is_new = self.part.replace(part) != Some(part);
        if !is_new && self.at.elapsed() < LONGEST_SILENCE {
            return;
        }
        self.at = Instant::now();
        let percent = part * 100 / PARTS;
        tracing::info!("the data disk is moved to the keys of another epoch: {percent} %");
        self.reports.send(Phase::KeysReleased, Refusal::DiskMoves);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    use std::path::Path;

    use protocol::disk_template::BLOCK_BYTES;
    use protocol::status::Report;

    use super::*;
    use crate::disk::xts::Xts;

    /// Blocks of the test's disk.
    const BLOCKS: u64 = 2048;

    fn disk(directory: &Path) -> Device {
        let path = directory.join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(BLOCKS * BLOCK_BYTES as u64).unwrap();
        let mut block = [7; BLOCK_BYTES];
        Xts::new(&[1; 64]).encrypt(1000, &mut block);
        file.write_all_at(&block, 1000 * BLOCK_BYTES as u64).unwrap();
        Device::open(path.to_str().unwrap(), BLOCKS).unwrap()
    }

    fn keys() -> [Zeroizing<[u8; 64]>; 2] {
        [Zeroizing::new([1; 64]), Zeroizing::new([2; 64])]
    }

    #[tokio::test]
    async fn a_sparse_file_is_moved_and_it_is_said_how_far() {
        let directory = tempfile::tempdir().unwrap();
        let told = tempfile::tempfile().unwrap();
        let reports = Reports::to_file(told.try_clone().unwrap());
        let [from, to] = keys();
        move_disk(disk(directory.path()), &from, &to, &reports).await.unwrap();
        let moved = fs::read(directory.path().join("disk")).unwrap();
        let at = 1000 * BLOCK_BYTES;
        let mut block: [u8; BLOCK_BYTES] = moved[at..at + BLOCK_BYTES].try_into().unwrap();
        Xts::new(&[2; 64]).decrypt(1000, &mut block);
        assert_eq!(block, [7; BLOCK_BYTES]);
        let file = fs::metadata(directory.path().join("disk")).unwrap();
        assert!(file.blocks() * 512 < file.len() / 2, "the file has its holes");
        let reports = told.metadata().unwrap().len() / Report::BYTES as u64;
        assert!((10..=PARTS + 1).contains(&reports), "{reports}");
    }

    #[tokio::test]
    async fn a_move_that_nobody_waits_for_ends() {
        let directory = tempfile::tempdir().unwrap();
        let reports = Reports::to_file(tempfile::tempfile().unwrap());
        let [from, to] = keys();
        let device = disk(directory.path());
        let waited = tokio::time::timeout(Duration::ZERO, move_disk(device, &from, &to, &reports));
        // Whichever was first: the runtime of this test ends only with the thread of the move.
        let _ = waited.await;
    }
}
