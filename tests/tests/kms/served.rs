//! A data disk that the test serves to one boot, and that loses what was not flushed when the power
//! is cut.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tests::dice::Dice;
use tests::guest::DataDisk;
use tests::lab;
use tests::nbd::{Export, Exports, Server};
use tests::served_disk::{Block, Disk, Image};

/// Moments at which the power may be cut, in equal distances.
const MOMENTS: usize = 256;

/// The disk of one boot.
pub struct Served {
    disk: Arc<Mutex<Disk>>,
    server: Server,
    /// Where [`Self::qemu`] is.
    programs: TempDir,
}

/// What a power cut while something was written left.
pub struct Cut {
    /// What the next boot gets.
    pub image: Image,
    /// How many writes were answered; the next one was not.
    pub answered: usize,
}

impl Served {
    /// Serves a disk with this content.
    pub fn of(image: Image) -> Self {
        let disk = Arc::new(Mutex::new(Disk::new(image)));
        let export = Arc::clone(&disk) as Arc<Mutex<dyn Export>>;
        let server = Server::start(Exports::from([("data", export)]));
        Self { disk, server, programs: tempfile::tempdir().unwrap() }
    }

    /// The disk for a machine that the test starts.
    pub fn data_disk(&self) -> DataDisk {
        DataDisk::Served(self.server.node("data"))
    }

    /// The program for `up --qemu` that has it in the place of the disk's file.
    pub fn qemu(&self) -> PathBuf {
        let node = serde_json::json!({
            "driver": "raw", "node-name": "data", "discard": "ignore",
            "file": self.server.node("data"),
        });
        let change =
            format!("case $argument in *'\"node-name\":\"data\"'*) argument='{node}' ;; esac");
        lab::changed_qemu(self.programs.path(), &change)
    }

    /// The moment that is now.
    pub fn now(&self) -> usize {
        self.disk.lock().unwrap().now()
    }

    /// What was written since a moment, also what was overwritten.
    pub fn written_since(&self, moment: usize) -> Vec<(u64, Block)> {
        self.disk.lock().unwrap().written_since(moment).collect()
    }

    /// What a power cut now may leave of it.
    pub fn after_power_cut(&self, dice: &mut Dice) -> Image {
        self.disk.lock().unwrap().after_power_cut(dice)
    }

    /// Has 0, 1, 2, … written until the power is cut after a random part of `longest`. `write` says
    /// whether it was answered; once the power is cut, nothing is.
    pub fn written_until_cut(
        self,
        longest: Duration,
        dice: &mut Dice,
        cut: impl FnOnce() + Send,
        mut write: impl FnMut(usize) -> bool,
    ) -> Cut {
        let moment = longest.mul_f64(dice.below(MOMENTS) as f64 / MOMENTS as f64);
        let answered = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(moment);
                cut();
            });
            (0..).take_while(|number| write(*number)).count()
        });
        let disk = self.disk.lock().unwrap();
        let unflushed = disk.unflushed();
        println!(
            "power cut after {moment:.1?}: {answered} written, {unflushed} blocks not flushed"
        );
        Cut { image: disk.after_power_cut(dice), answered }
    }
}
