//! A command line as RTMR2 measures it.

use protocol::digest::Sha384Digest;

/// A command line, or what is measured of one that nobody gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// The text, without what the firmware appends.
    Text(String),
    /// The digest of the text as it is measured.
    Digest(Sha384Digest),
}
