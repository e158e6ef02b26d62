//! PostgreSQL on a named volume, on a disk that loses what was not flushed: a row that was
//! acknowledged is there after a power cut.
//!
//! Its app is the recipient of dstack's envelopes: each boot is started with another SDK's.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::dice::Dice;
use tests::dstyx::Answer;
use tests::images::Image;
use tests::registry::Registry;
use tests::served_disk;
use tests::{http, lab};

use crate::envelopes::{Envelope, NAME, Recipient};
use crate::notes::{Owner, cut_power};
use crate::served::{Cut, Served};
use crate::step;

/// Images that the registry must have.
pub const IMAGES: &[Image] = &[Image::Busybox, Image::Python, Image::Postgres];
/// Power cuts of a run; `DSTYX_LONG` makes ten times as many.
const CUTS: usize = 1;
/// The longest time that rows are added before a cut.
const LONGEST_WRITING: Duration = Duration::from_secs(6);
/// Bytes of the disk.
const DISK_BYTES: u64 = 1 << 30;
/// How long the program may take to listen once its container runs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the app shows.
struct Table {
    address: String,
    rows: Vec<String>,
    /// Digest of a key of the app.
    key: String,
}

/// The power is cut while rows are added: each that was answered is there, and at most the one that
/// was under way beside them. The app's keys are the same in every boot.
pub fn survive_power_cuts(
    owner: &Owner,
    registry: &Registry,
    recipient: &Recipient,
    envelopes: &[Envelope],
) {
    let mut dice = Dice::of_this_run("power cuts of PostgreSQL");
    let mut envelopes = envelopes.iter().cycle();
    let mut boot = |image| {
        let disk = Served::of(image);
        let envelope = envelopes.next().unwrap();
        let up = recipient.starts(owner, registry, envelope, &disk.qemu());
        (disk, Table::of(&up))
    };
    let empty = served_disk::Image::empty(DISK_BYTES);
    let (mut disk, mut table) = step("rows: first boot", || boot(empty));
    assert!(table.rows.is_empty() && !table.key.is_empty());
    for _ in 0..if lab::long() { 10 * CUTS } else { CUTS } {
        let Table { address, rows: mut acknowledged, key } = table;
        // There is something to lose, however soon the power is cut.
        assert!(add(&address, "first"), "the table does not answer");
        acknowledged.push("first".to_owned());
        let text = |number| format!("row {number}");
        let cut = || cut_power(&owner.0, NAME);
        let Cut { image, answered } =
            disk.written_until_cut(LONGEST_WRITING, &mut dice, cut, |number| {
                add(&address, &text(number))
            });
        acknowledged.extend((0..answered).map(text));
        (disk, table) = step("rows: boot after a power cut", || boot(image));
        let found = &table.rows;
        assert!(found.starts_with(&acknowledged), "{found:?} of {acknowledged:?}");
        let more = &found[acknowledged.len()..];
        assert!(more.is_empty() || more == [text(answered)], "{more:?} after {acknowledged:?}");
        assert_eq!(table.key, key, "another key after a reboot");
    }
    cut_power(&owner.0, NAME);
}

impl Table {
    /// What the program shows that has the table.
    fn of(up: &Answer) -> Self {
        let begun = Instant::now();
        loop {
            if let Some(table) = up.addresses().find_map(Self::at) {
                return table;
            }
            assert!(begun.elapsed() < TIMEOUT, "no table: {up:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn at(address: &str) -> Option<Self> {
        let document: Value = serde_json::from_slice(&http::get(address, "/").ok()?).ok()?;
        let rows = document["rows"].as_array()?;
        let rows = rows.iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let key = document["key"].as_str()?.to_owned();
        Some(Self { address: address.to_owned(), rows, key })
    }
}

/// Whether the row is in the table: the guest may be gone before it answers.
fn add(address: &str, text: &str) -> bool {
    let form = format!("text={}", text.replace(' ', "+"));
    let Ok((status, body)) = http::post_form(address, "/", &form) else { return false };
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    true
}
