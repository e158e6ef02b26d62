//! Lines for a person at a dev guest's console. A release guest has none, and standard error leads
//! nowhere.

use std::io::Write;

/// Prints one line; failure to print is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "init: {line}");
}
