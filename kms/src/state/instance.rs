//! What a KMS remembers of one instance of an app.

use std::collections::BTreeSet;

use protocol::digest::{ComposeHash, OsImageHash};

use crate::ledger::Who;

/// An instance that got keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    compose_hash: ComposeHash,
    older_files: BTreeSet<ComposeHash>,
    os_image_hash: OsImageHash,
    older_images: BTreeSet<OsImageHash>,
    open_counter: Option<u64>,
    anchor: Option<u64>,
}

impl Instance {
    pub(super) fn new(who: &Who) -> Self {
        Self {
            compose_hash: who.compose_hash,
            older_files: BTreeSet::new(),
            os_image_hash: who.os_image_hash,
            older_images: BTreeSet::new(),
            open_counter: None,
            anchor: None,
        }
    }

    /// The file that got keys last.
    pub fn compose_hash(&self) -> ComposeHash {
        self.compose_hash
    }

    /// The image that it last ran in.
    pub fn os_image_hash(&self) -> OsImageHash {
        self.os_image_hash
    }

    /// The newest open counter, if the disk was ever opened.
    pub fn open_counter(&self) -> Option<u64> {
        self.open_counter
    }

    /// The highest generation that was told.
    pub fn anchor(&self) -> Option<u64> {
        self.anchor
    }

    /// Whether this file got keys before the one that got them last.
    pub fn is_older_file(&self, hash: &ComposeHash) -> bool {
        self.older_files.contains(hash)
    }

    /// Whether it ran in this image before the one that it ran in last.
    pub fn is_older_image(&self, hash: &OsImageHash) -> bool {
        self.older_images.contains(hash)
    }

    pub(super) fn released(&mut self, who: &Who) {
        if who.compose_hash != self.compose_hash {
            self.older_files.insert(self.compose_hash);
            self.older_files.remove(&who.compose_hash);
            self.compose_hash = who.compose_hash;
        }
        if who.os_image_hash != self.os_image_hash {
            self.older_images.insert(self.os_image_hash);
            self.older_images.remove(&who.os_image_hash);
            self.os_image_hash = who.os_image_hash;
        }
    }

    pub(super) fn opened(&mut self, counter: u64) {
        self.open_counter = Some(counter);
    }

    pub(super) fn anchored(&mut self, generation: u64) {
        self.anchor = Some(generation);
    }
}
