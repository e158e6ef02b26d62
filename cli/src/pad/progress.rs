//! What is said of work that takes long.

use std::time::{Duration, Instant};

use crate::output::Output;

/// Work that is done sooner is not told of.
const EVERY: Duration = Duration::from_secs(5);

/// Bytes of one piece of work.
pub struct Progress<'a> {
    output: &'a Output,
    what: &'static str,
    done: u64,
    all: u64,
    told: Instant,
}

impl<'a> Progress<'a> {
    /// Begins; `what` was done with the bytes that are done.
    pub fn new(output: &'a Output, what: &'static str, all: u64) -> Self {
        Self { output, what, done: 0, all, told: Instant::now() }
    }

    /// So many bytes more are done.
    pub fn advance(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let [done, all] = [self.done, self.all].map(|bytes| bytes >> 20);
            self.output.step(&format!("{} {done} of {all} MiB", self.what));
        }
    }
}
