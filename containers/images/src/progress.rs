//! How far a pull has come, for whoever reports it.

use tokio::sync::watch;

/// What a pull has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// The image, as the compose file names it; empty before the first.
    pub image: String,
    /// Blobs that are in the store: documents and layers.
    pub blobs_done: usize,
    /// Blobs of the image, as far as its documents have been read.
    pub blobs: usize,
    /// Bytes fetched; less than [`Pulled::bytes`] at the end if some were in the store already.
    pub bytes_done: u64,
    /// Compressed bytes of all layers of the image; 0 until its manifest is read.
    pub bytes: u64,
}

/// One pull's end of it; for several images one after the other. Clones are the same value.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<Pulled>);

impl Default for Progress {
    fn default() -> Self {
        Self(watch::Sender::new(Pulled::default()))
    }
}

impl Progress {
    /// A reader of it, which may outlive the pull.
    pub fn subscribe(&self) -> watch::Receiver<Pulled> {
        self.0.subscribe()
    }

    /// A new image begins, with one blob that is known of.
    pub(super) fn begin(&self, image: String) {
        self.0.send_replace(Pulled { image, blobs: 1, ..Pulled::default() });
    }

    /// Blobs that a document names, with the bytes of the layers among them.
    pub(super) fn expect(&self, blobs: usize, bytes: u64) {
        self.0.send_modify(|pulled| {
            pulled.blobs += blobs;
            pulled.bytes += bytes;
        });
    }

    pub(super) fn received(&self, bytes: u64) {
        self.0.send_modify(|pulled| pulled.bytes_done += bytes);
    }

    /// What was received of a blob counts no more: it begins anew.
    pub(super) fn forgotten(&self, bytes: u64) {
        self.0.send_modify(|pulled| pulled.bytes_done = pulled.bytes_done.saturating_sub(bytes));
    }

    pub(super) fn blob_done(&self) {
        self.0.send_modify(|pulled| pulled.blobs_done += 1);
    }
}
