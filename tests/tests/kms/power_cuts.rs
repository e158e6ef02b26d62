//! Power cuts of the example `notes` while it writes, on a disk that loses what was not flushed;
//! and a clone of it that runs meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::dice::Dice;
use tests::guest::{DataDisk, Guest, Host};
use tests::lab;
use tests::nbd::{Export, Server};
use tests::served_disk::{Disk, Image};

use crate::notes::{Owner, PATH, disk, host, notes_of, try_to_add};

/// Power cuts of a run; `DSTYX_LONG` makes ten times as many.
const CUTS: usize = 10;
/// The longest time that the app writes before a cut.
const LONGEST_WRITING: Duration = Duration::from_millis(1500);
/// Notes that the app lists, the newest.
const MOST_SHOWN: usize = 50;
/// Where the app answers.
const PORT: u16 = 8080;
/// How old a guest may become: the clone runs while the power is cut again and again.
const LIFE: Duration = Duration::from_secs(3600);

/// The power is cut again and again while notes are written: each that was answered is there. A
/// clone that was started before all these boots halts by itself. Returns what was shown last.
pub fn lose_nothing_that_was_answered(owner: &Owner, directory: &Path) -> Vec<String> {
    let mut dice = Dice::of_this_run("power cuts");
    let measured = fs::read(directory.join("app-compose.json")).unwrap();
    let host = Host { ports: vec![PORT], timeout: LIFE, ..host(owner, measured) };
    let clone = Boot::of(&host, Image::of(&disk(&owner.0)));
    let mut acknowledged = clone.notes();
    let mut boot = Boot::of(&host, clone.after_power_cut(&mut dice));
    assert_eq!(boot.notes(), acknowledged);
    for cut in 0..if lab::long() { 10 * CUTS } else { CUTS } {
        let (image, answered, unanswered) = boot.written_until_cut(cut, &mut dice);
        acknowledged.extend(answered);
        boot = Boot::of(&host, image);
        // The note that was under way may be there or not.
        let found = boot.notes();
        let with_unanswered = [&acknowledged[..], &[unanswered]].concat();
        assert!(
            [newest(&acknowledged), newest(&with_unanswered)].contains(&found),
            "cut {cut}: {found:?} of {acknowledged:?} and perhaps one more"
        );
        acknowledged = found;
    }
    boot.guest.power_button();
    boot.guest.ended();
    boot.disk.lock().unwrap().image().store();
    clone.halts();
    acknowledged
}

fn newest(all: &[String]) -> Vec<String> {
    all[all.len().saturating_sub(MOST_SHOWN)..].to_vec()
}

/// A machine on a disk that the test serves.
struct Boot {
    guest: Guest,
    disk: Arc<Mutex<Disk>>,
    _server: Server,
}

impl Boot {
    /// Boots until the disk is open and the app is started.
    fn of(host: &Host, image: Image) -> Self {
        let disk = Arc::new(Mutex::new(Disk::new(image)));
        let export = Arc::clone(&disk) as Arc<Mutex<dyn Export>>;
        let server = Server::start(BTreeMap::from([("data", export)]));
        let host = Host { data_disk: DataDisk::Served(server.node("data")), ..host.clone() };
        let mut guest = host.start(&lab::image(Flavour::Dev));
        let ready = guest.reached(Phase::SystemReady).map(|record| record.refusal);
        assert_eq!(ready, Some(Refusal::None), "{}", guest.console());
        Self { guest, disk, _server: server }
    }

    /// The notes that the app lists.
    fn notes(&self) -> Vec<String> {
        let answer = || self.guest.get(PORT, PATH);
        notes_of(&self.guest.until("the app does not answer", answer))
    }

    /// Writes notes one by one until the power is cut at a random moment: what the disk then holds,
    /// the notes that were answered, and the one that was not.
    fn written_until_cut(self, cut: usize, dice: &mut Dice) -> (Image, Vec<String>, String) {
        let Self { guest, disk, _server } = self;
        let moment = LONGEST_WRITING.mul_f64(dice.below(256) as f64 / 256.0);
        let address = guest.address(PORT);
        let mut answered = Vec::new();
        let unanswered = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(moment);
                // Kills QEMU at once.
                drop(guest);
            });
            for number in 0.. {
                let text = format!("cut {cut} note {number}");
                if !try_to_add(address, &text) {
                    return text;
                }
                answered.push(text);
            }
            unreachable!("the power was not cut")
        });
        let disk = disk.lock().unwrap();
        println!("cut {cut}: {} notes, {} blocks not flushed", answered.len(), disk.unflushed());
        (disk.after_power_cut(dice), answered, unanswered)
    }

    /// The KMS tells the guest that a later boot has the disk, when it next makes an anchor.
    fn halts(mut self) {
        self.guest.ended();
        let records = self.guest.records();
        let told = records.iter().any(|record| record.refusal == Refusal::Superseded);
        assert!(told, "{records:?}");
    }

    /// What the disk may hold if the power is cut now.
    fn after_power_cut(&self, dice: &mut Dice) -> Image {
        self.disk.lock().unwrap().after_power_cut(dice)
    }
}
