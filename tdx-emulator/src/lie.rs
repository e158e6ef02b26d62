//! The lies that the service can be told to tell, each to be refused by a verifier for its own reason.
//!
//! A lie changes exactly one thing; where it does so is in the module that owns the thing (`quote`,
//! `collateral`), so that a further lie is one variant here and one branch there.

use clap::ValueEnum;

/// One thing that is wrong with everything this service says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lie {
    /// One bit of the quote's signature is flipped.
    FlipSignature,
    /// The quote, validly signed, answers for other report data than was asked for.
    OtherReportData,
    /// The report says that the TD can be debugged (`TDATTRIBUTES.DEBUG`).
    Debug,
    /// TCB info and QE identity ran out a month ago.
    ExpiredCollateral,
}
