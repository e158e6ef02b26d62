//! What a KMS remembers of one instance of an app.

use protocol::digest::{ComposeHash, OsImageHash};
use protocol::kms::{GENERATION_BITS, ReleasedAt};

use crate::ledger::{Anchored, Released, Who};

/// An instance that got keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    files: History<ComposeHash>,
    images: History<OsImageHash>,
    /// The last decision that gave it keys.
    last: Option<Released>,
    /// The entry of it.
    released_at: Option<ReleasedAt>,
    mount: Option<Mount>,
    anchor: Option<u64>,
    epoch: u32,
    moves_to: Option<u32>,
}

/// The newest mount of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount {
    /// Its open counter.
    pub counter: u64,
    /// The file of the guest that it was given to.
    pub compose_hash: ComposeHash,
    /// Whether that guest ends with its release statement.
    pub stops: bool,
    /// Last second of the newest statement of such a guest; 0 without one.
    pub stated_until_secs: u64,
    /// Whether such a guest said that nothing of its app runs any more.
    pub ended: bool,
}

impl Mount {
    /// A mount that begins.
    pub(super) fn new(counter: u64, compose_hash: ComposeHash, stops: bool) -> Self {
        Self { counter, compose_hash, stops, stated_until_secs: 0, ended: false }
    }

    /// The last second at which its guest may run, if that is known: it ends with its statement.
    /// 0 where nothing is known, or the guest has ended.
    pub(super) fn held_until_secs(&self) -> u64 {
        if self.ended { 0 } else { self.stated_until_secs }
    }
}

/// Values in the order in which each came first; the last one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct History<T> {
    older: Vec<T>,
    newest: T,
}

impl<T: Copy + PartialEq> History<T> {
    fn of(newest: T) -> Self {
        Self { older: Vec::new(), newest }
    }

    /// Appends a value; going back to an older one forgets those behind it.
    fn goes_to(&mut self, value: T) {
        if value == self.newest {
            return;
        }
        match self.older.iter().position(|older| *older == value) {
            Some(place) => self.older.truncate(place),
            None => self.older.push(self.newest),
        }
        self.newest = value;
    }
}

impl Instance {
    pub(super) fn new(who: &Who, epoch: u32) -> Self {
        Self {
            files: History::of(who.compose_hash),
            images: History::of(who.os_image_hash),
            last: None,
            released_at: None,
            mount: None,
            anchor: None,
            epoch,
            moves_to: None,
        }
    }

    /// The file that got keys last.
    pub fn compose_hash(&self) -> ComposeHash {
        self.files.newest
    }

    /// The image that it last ran in.
    pub fn os_image_hash(&self) -> OsImageHash {
        self.images.newest
    }

    /// The last entry that gave it keys.
    pub fn released_at(&self) -> Option<ReleasedAt> {
        self.released_at
    }

    /// The newest mount, if the disk was ever opened.
    pub fn mount(&self) -> Option<Mount> {
        self.mount
    }

    /// The highest generation that was told.
    pub fn anchor(&self) -> Option<u64> {
        self.anchor
    }

    /// The epoch that it runs on: its disk is under that epoch's key.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The later epoch whose keys it got: its disk may be under that epoch's key in part.
    pub fn moves_to(&self) -> Option<u32> {
        self.moves_to
    }

    /// Whether its disk is lost without an epoch's root.
    pub fn needs(&self, epoch: u32) -> bool {
        self.epoch == epoch || self.moves_to == Some(epoch)
    }

    /// Whether this file got keys before the one that got them last.
    pub fn is_older_file(&self, hash: &ComposeHash) -> bool {
        self.files.older.contains(hash)
    }

    /// Whether it ran in this image before the one that it ran in last.
    pub fn is_older_image(&self, hash: &OsImageHash) -> bool {
        self.images.older.contains(hash)
    }

    pub(super) fn open_counter(&self) -> Option<u64> {
        self.mount.map(|mount| mount.counter)
    }

    /// Whether the last entry that gave keys is the same decision about the same call, so that a
    /// client which lost the answer gets it again.
    pub(super) fn answers(&self, released: &Released) -> bool {
        self.last.as_ref().is_some_and(|last| {
            released.request_id.is_some()
                && last.request_id == released.request_id
                && last.who == released.who
                && last.epoch == released.epoch
                && last.policy_version == released.policy_version
        })
    }

    pub(super) fn released(&mut self, released: &Released, at: ReleasedAt) {
        self.files.goes_to(released.who.compose_hash);
        self.images.goes_to(released.who.os_image_hash);
        if released.epoch > self.epoch {
            self.moves_to = Some(released.epoch);
        }
        (self.last, self.released_at) = (Some(released.clone()), Some(at));
    }

    pub(super) fn opened(&mut self, mount: Mount) {
        self.mount = Some(mount);
    }

    pub(super) fn anchored(&mut self, anchored: &Anchored) {
        self.anchor = Some(anchored.generation);
        if let Some(epoch) = anchored.epoch {
            (self.epoch, self.moves_to) = (epoch, None);
        }
        if let Some(mount) = &mut self.mount {
            let until = anchored.stated_until_secs.unwrap_or_default();
            mount.stated_until_secs = mount.stated_until_secs.max(until);
            mount.ended = anchored.last;
        }
    }

    /// The key of its disk is erased: the next one is made anew, under another epoch's.
    pub(super) fn lost(&mut self, epoch: u32) {
        (self.anchor, self.epoch, self.moves_to) = (None, epoch, None);
    }
}

/// The last open counter whose generations are numbers.
pub(super) fn last_counter() -> u64 {
    u64::MAX >> GENERATION_BITS
}
