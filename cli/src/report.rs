//! The verdict as a page: one HTML file without scripts or anything from elsewhere, to be read,
//! kept and passed on.
//!
//! It draws the chain of trust from the hardware's root to the compose file; each link opens to
//! what was expected, what was found and where both come from. Nothing is decided here. Almost
//! every text in it is the attacker's: it is escaped by construction, cut to a budget, and shown
//! without invisible characters.

use std::fs;
use std::path::Path;

use crate::failure::{Hint as _, Outcome};
use crate::judge::Judged;

mod app;
mod chain;
mod html;
mod links;
mod rows;
mod shown;
pub mod text;

/// Writes the page.
pub fn write(judged: &Judged, file: &Path) -> Outcome<()> {
    fs::write(file, html::page(judged))
        .hint(file.display(), "give --report a file in a directory that you may write to")
}
