//! Connections whose clients have not said yet whom they want.
//!
//! Anybody can open one and say nothing. Where there is no room left, one that is drawn at random
//! gives way to the new one: a stranger who fills all places keeps nobody out for longer than it
//! goes on to open connections faster than others need for a hello.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The places.
#[derive(Debug)]
pub struct Openings(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    most: usize,
    next: u64,
    open: Vec<(u64, oneshot::Sender<()>)>,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub struct Opening {
    id: u64,
    inner: Arc<Mutex<Inner>>,
    displaced: oneshot::Receiver<()>,
}

impl Openings {
    /// So many places.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner { most, next: 0, open: Vec::new() })))
    }

    /// A place, if need be that of another connection.
    pub fn take(&self) -> Opening {
        let (sender, displaced) = oneshot::channel();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.open.len() >= inner.most.max(1) {
            let drawn = drawn(inner.open.len());
            let (_, other) = inner.open.swap_remove(drawn);
            // It may have ended at this moment.
            let _ = other.send(());
        }
        let id = inner.next;
        inner.next += 1;
        inner.open.push((id, sender));
        Opening { id, inner: Arc::clone(&self.0), displaced }
    }
}

impl Opening {
    /// Ends when the place goes to another connection.
    pub async fn displaced(&mut self) {
        // The sender is dropped with the place itself only.
        let _ = (&mut self.displaced).await;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.open.retain(|(id, _)| *id != self.id);
    }
}

/// A number below `count`, which is not 0.
fn drawn(count: usize) -> usize {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => (u64::from_le_bytes(bytes) % count as u64) as usize,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_comes_when_all_places_are_taken_displaces_one() {
        let openings = Openings::new(4);
        let mut held: Vec<_> = (0..4).map(|_| openings.take()).collect();
        let last = openings.take();
        let displaced = held.iter_mut().filter_map(|opening| opening.displaced.try_recv().ok());
        assert_eq!(displaced.count(), 1);
        drop(last);
        drop(held);
        assert!(openings.0.lock().unwrap().open.is_empty());
    }
}
