//! Power cuts of the example `notes` while it writes, on a disk that loses what was not flushed;
//! and a clone of it that runs meanwhile.

use std::fs;
use std::time::Duration;

use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::dice::Dice;
use tests::guest::{Guest, Host};
use tests::served_disk::Image;
use tests::{http, lab};

use crate::notes::{self, NAME, Owner, PATH, disk, host, listed, notes_of, try_to_add};
use crate::served::{Cut, Served};
use crate::step;

/// Power cuts of a run; `DSTYX_LONG` makes ten times as many.
const CUTS: usize = 10;
/// The longest time that the app writes before a cut.
const LONGEST_WRITING: Duration = Duration::from_millis(1500);
/// Notes that the app lists, the newest.
const MOST_SHOWN: usize = 50;
/// Where the app answers.
const PORT: u16 = 8080;
/// How old a guest may become: the clone runs while the power is cut again and again.
const LIFE: Duration = Duration::from_secs(3 * 3600);

/// The power is cut again and again while notes are written: each that was answered is there. A
/// clone that was started before all these boots halts by itself.
pub fn lose_nothing_that_was_answered() {
    let owner = Owner::default();
    let directory = notes::directory();
    step("power cuts: first boot, with a KMS", || {
        let up = notes::start_in(&owner.0, directory.path(), &[]);
        notes::add(&up, "before the power cuts");
        owner.0.dstyx(["down", NAME]);
    });
    let measured = fs::read(directory.path().join("app-compose.json")).unwrap();
    let host = Host { ports: vec![PORT], timeout: LIFE, ..host(&owner, measured) };
    let clone = Boot::of(&host, Image::of(&disk(&owner.0)));
    step("power cuts", || are_survived(&host, &clone));
    step("power cuts: the clone halts", || clone.halts());
}

fn are_survived(host: &Host, clone: &Boot) {
    let mut dice = Dice::of_this_run("power cuts");
    let mut acknowledged = clone.notes();
    let mut boot = Boot::of(host, clone.disk.after_power_cut(&mut dice));
    assert_eq!(boot.notes(), acknowledged);
    for cut in 0..if lab::long() { 10 * CUTS } else { CUTS } {
        // The app takes a thousand notes.
        if cut > 0 && cut % CUTS == 0 {
            boot.removes_all();
            acknowledged.clear();
        }
        let text = |number| format!("cut {cut} note {number}");
        let Cut { image, answered } = boot.written_until_cut(text, &mut dice);
        acknowledged.extend((0..answered).map(text));
        boot = Boot::of(host, image);
        // The note that was under way may be there or not.
        let found = boot.notes();
        let with_unanswered = [&acknowledged[..], &[text(answered)]].concat();
        assert!(
            [newest(&acknowledged), newest(&with_unanswered)].contains(&found),
            "cut {cut}: {found:?} of {acknowledged:?} and perhaps one more"
        );
        acknowledged = found;
    }
}

fn newest(all: &[String]) -> Vec<String> {
    all[all.len().saturating_sub(MOST_SHOWN)..].to_vec()
}

/// A machine on a disk that the test serves.
struct Boot {
    guest: Guest,
    disk: Served,
}

impl Boot {
    /// Boots until the disk is open and the app is started.
    fn of(host: &Host, image: Image) -> Self {
        let disk = Served::of(image);
        let host = Host { data_disk: disk.data_disk(), ..host.clone() };
        let mut guest = host.start(&lab::image(Flavour::Dev));
        let ready = guest.reached(Phase::SystemReady).map(|record| record.refusal);
        assert_eq!(ready, Some(Refusal::None), "{}", guest.console());
        Self { guest, disk }
    }

    /// The notes that the app lists.
    fn notes(&self) -> Vec<String> {
        let answer = || self.guest.get(PORT, PATH);
        notes_of(&self.guest.until("the app does not answer", answer))
    }

    /// Removes every note; each removal is answered.
    fn removes_all(&self) {
        loop {
            let notes = listed(&self.guest.get(PORT, PATH).unwrap());
            if notes.is_empty() {
                return;
            }
            for (id, _) in notes {
                let path = format!("{PATH}/{id}/delete");
                let answer = http::post_form(self.guest.address(PORT), &path, "").unwrap();
                assert_eq!(answer.0, 303, "{}", String::from_utf8_lossy(&answer.1));
            }
        }
    }

    /// Writes notes one by one until the power is cut at a random moment.
    fn written_until_cut(self, text: impl Fn(usize) -> String, dice: &mut Dice) -> Cut {
        let Self { guest, disk } = self;
        let address = guest.address(PORT);
        // To drop a guest kills QEMU at once.
        let cut = move || drop(guest);
        disk.written_until_cut(LONGEST_WRITING, dice, cut, |number| {
            try_to_add(address, &text(number))
        })
    }

    /// The KMS tells the guest that a later boot has the disk, when it next makes an anchor.
    fn halts(mut self) {
        self.guest.ended();
        let records = self.guest.records();
        let told = records.iter().any(|record| record.refusal == Refusal::Superseded);
        assert!(told, "{records:?}");
    }
}
