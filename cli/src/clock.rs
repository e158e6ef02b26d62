//! This machine's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::{Hint as _, Outcome};

/// Seconds since 1970; the one place where a verdict's time comes from when a person states none.
pub fn now_secs() -> Outcome<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|since| since.as_secs())
        .hint("the clock", "set this machine's clock, or state a time with --at")
}
