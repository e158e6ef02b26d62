//! Where a rule reports whether it holds.
//!
//! Code that decides about trust calls [`unless`] once for each rule. A rule is found by its call,
//! and can be taken out of a copy of the source to see that a test misses it.

/// Refuses unless the rule holds.
///
/// # Errors
/// What `refused` says, if the rule does not hold.
pub fn unless<E>(holds: bool, refused: impl FnOnce() -> E) -> Result<(), E> {
    if holds { Ok(()) } else { Err(refused()) }
}
