//! Promise: every lie, every changed byte, every other machine and every rule of a policy is
//! refused, by exactly the checks that it concerns and in words of its own; and nothing is refused
//! without it.
//!
//! One row, one trial, named by what is wrong and by the checks that must fail: `cargo xtask test
//! --sabotage CHECK` removes a check from a copy of the source and looks for its name among the
//! trials that then fail. No guest is booted and no image built: see `tests::scene`. The real
//! program refuses in `refusals.rs`.

#![allow(clippy::unwrap_used)] // a test without the harness, so that clippy does not see it as one

#[path = "verdicts/case.rs"]
mod case;
#[path = "verdicts/collateral.rs"]
mod collateral;
#[path = "verdicts/image.rs"]
mod image;
#[path = "verdicts/log.rs"]
mod log;
#[path = "verdicts/policy.rs"]
mod policy;
#[path = "verdicts/quote.rs"]
mod quote;

use std::collections::BTreeSet;
use std::process::ExitCode;

use attestation::CheckName;
use libtest_mimic::{Arguments, Failed, Trial};
use tdx_emulator::lie::Lie;

use crate::case::Row;

/// Fewest rows, counting those once that differ in nothing that the verdict shows.
const ROWS: usize = 60;
/// Fewest checks that are the first to refuse in some row.
const REFUSALS: usize = 35;

fn main() -> ExitCode {
    let groups = [quote::rows(), collateral::rows(), policy::rows(), log::rows(), image::rows()];
    let rows: Vec<Row> = groups.into_iter().flatten().collect();
    let (kinds, refusals) = counted(&rows);
    println!("{} rows, {kinds} of a kind of their own, {refusals} distinct refusals", rows.len());
    let mut trials = vec![Trial::test("the_table_is_whole", {
        let findings = missing(&rows);
        move || if findings.is_empty() { Ok(()) } else { Err(Failed::from(findings.join("\n"))) }
    })];
    trials.extend(
        rows.into_iter()
            .map(|row| Trial::test(row.title(), move || row.holds().map_err(Failed::from))),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What the table does not have.
fn missing(rows: &[Row]) -> Vec<String> {
    let (kinds, refusals) = counted(rows);
    let mut missing = Vec::new();
    if kinds < ROWS || refusals < REFUSALS {
        missing.push(format!("{kinds} rows and {refusals} refusals, wanted {ROWS} and {REFUSALS}"));
    }
    let covered: BTreeSet<CheckName> =
        rows.iter().flat_map(|row| row.fails.iter().copied()).collect();
    let uncovered = CheckName::ALL.iter().filter(|check| !covered.contains(check));
    missing.extend(uncovered.map(|check| format!("no row for the check {}", check.name())));
    let told: Vec<Lie> = rows.iter().filter_map(Row::lie_told).collect();
    let untold = Lie::all().iter().filter(|lie| !told.contains(lie));
    missing.extend(untold.map(|lie| format!("no row for the lie {}", lie.name())));
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    if names.len() < rows.len() {
        missing.push("two rows have one name".to_owned());
    }
    missing
}

/// Rows that differ in the failing checks or in the words; and the checks that refuse first.
fn counted(rows: &[Row]) -> (usize, usize) {
    let kinds: BTreeSet<_> = rows.iter().map(|row| (row.fails, row.message)).collect();
    let first: BTreeSet<_> = rows.iter().filter_map(|row| row.fails.first()).collect();
    (kinds.len(), first.len())
}
