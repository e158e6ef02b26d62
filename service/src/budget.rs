//! Bytes of answers that a server holds at a time.
//!
//! A client that reads slowly, or not at all, keeps its answer in the server's memory. A budget
//! bounds the sum: an answer is counted until its last byte was handed to the kernel, and one that
//! does not fit is refused.

use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

struct Held {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Budget {
    /// Room for so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(max_bytes)))
    }

    /// Counts `bytes` until the last copy of the result is dropped; nothing if they do not fit now.
    pub fn hold(&self, bytes: Vec<u8>) -> Option<Bytes> {
        let wanted = u32::try_from(bytes.len()).ok()?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(wanted).ok()?;
        Some(Bytes::from_owner(Held { bytes, _room: room }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_for_what_is_held() {
        let budget = Budget::new(10);
        let first = budget.hold(vec![1; 6]).unwrap();
        assert_eq!(first, vec![1; 6]);
        assert_eq!(budget.hold(vec![2; 5]), None);
        let part = first.slice(5..);
        drop(first);
        assert_eq!(budget.hold(vec![2; 5]), None, "a part of it is still held");
        drop(part);
        assert_eq!(budget.hold(vec![2; 10]).unwrap().len(), 10);
    }
}
