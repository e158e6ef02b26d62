//! Connections as they are counted: a slot of the gateway, and one of an app.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway_rules::guests::Guests;
use gateway_rules::limits::{Counts, LimitError};
use protocol::digest::{AppId, InstanceId};

/// A value that several connections change; each change is whole, whatever panicked elsewhere.
pub fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One accepted connection.
#[derive(Debug)]
pub struct Slot(Arc<Mutex<Counts>>);

impl Slot {
    /// Takes a slot of the gateway.
    ///
    /// # Errors
    /// If all are taken.
    pub fn take(counts: &Arc<Mutex<Counts>>) -> Result<Self, LimitError> {
        locked(counts).accept()?;
        Ok(Self(Arc::clone(counts)))
    }

    /// Takes one of an app.
    ///
    /// # Errors
    /// If the app has no more.
    pub fn of_app(&self, app: AppId) -> Result<AppSlot, LimitError> {
        locked(&self.0).route(app)?;
        Ok(AppSlot { counts: Arc::clone(&self.0), app })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.0).end();
    }
}

/// One connection of an app.
#[derive(Debug)]
pub struct AppSlot {
    counts: Arc<Mutex<Counts>>,
    app: AppId,
}

impl Drop for AppSlot {
    fn drop(&mut self) {
        locked(&self.counts).unroute(self.app);
    }
}

/// One connection of an instance, counted from before it is tried.
#[derive(Debug)]
pub struct Load {
    guests: Arc<Mutex<Guests>>,
    instance: InstanceId,
}

impl Load {
    /// Counts it.
    pub fn on(guests: &Arc<Mutex<Guests>>, instance: InstanceId) -> Self {
        locked(guests).begin(instance);
        Self { guests: Arc::clone(guests), instance }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        locked(&self.guests).end(self.instance);
    }
}
