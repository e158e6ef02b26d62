//! `cargo xtask test --sabotage NAME|all`: removes a check of the judgement and wants the table of
//! verdicts to notice; removes a rule of another family and wants a quick test to notice
//! ([`rules`]).
//!
//! A check of the judgement is removed by an edit of a copy of the source, never by a feature or
//! variable of a product crate: in the copy, the one function through which every check reports
//! answers *pass* where that check says *fail*. Then the table (`tests/tests/verdicts.rs`) runs in
//! the copy, and a row that names the check must fail. The copy and what is compiled of it lie in
//! the user's cache directory; from one check to the next only two crates are compiled again.

mod copy;
mod rules;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use proc_macro2::TokenTree;

use crate::command;
use rules::{FAMILIES, Family};

/// Where the names of all checks are, in a call of [`NAMES_MACRO`].
const NAMES: &str = "attestation/src/refusal.rs";
const NAMES_MACRO: &str = "checks";
/// Where every check reports, and the line behind which the copy is changed.
const CHECK_ROWS: &str = "attestation/src/check_rows.rs";
const REPORTS: &str =
    "    fn push(&mut self, name: CheckName, verdict: CheckVerdict, finding: Finding) {\n";
/// The table; what follows is part of the names of the rows to run.
const TABLE: [&str; 7] = ["test", "--locked", "--package", "tests", "--test", "verdicts", "--"];
/// Between a row's name and the checks that it names.
const ARROW: &str = " => ";
/// Stands for all checks.
const ALL: &str = "all";

/// A directory with a copy of the source.
struct Copy {
    source: PathBuf,
    target: PathBuf,
    check_rows: String,
}

/// Removes one check, those of a family, or all in turn; the number of removals that were noticed.
pub fn run(which: &str) -> Result<usize, String> {
    let names = checks()?;
    let wanted: Vec<&String> = names.iter().filter(|name| which == ALL || *name == which).collect();
    let families: Vec<&Family> =
        FAMILIES.iter().filter(|family| which == ALL || family.name == which).collect();
    if wanted.is_empty() && families.is_empty() {
        let families: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        return Err(format!(
            "no check is called {which:?}; there are {}, the families {}, and {ALL}",
            names.join(", "),
            families.join(", ")
        ));
    }
    let copy = Copy::prepare()?;
    let mut noticed = 0;
    if !wanted.is_empty() {
        noticed += noticed_of("judgement", wanted.len(), &remove_checks(&copy, &wanted)?)?;
    }
    for family in families {
        let (removed, unnoticed) = family.run(&copy)?;
        noticed += noticed_of(family.name, removed, &unnoticed)?;
    }
    Ok(noticed)
}

/// Says how many of a family's removals were noticed; one that was not is an error.
fn noticed_of(family: &str, removed: usize, unnoticed: &[String]) -> Result<usize, String> {
    println!("{family}: {} of {removed} removals were noticed", removed - unnoticed.len());
    if unnoticed.is_empty() {
        Ok(removed)
    } else {
        Err(format!("nobody misses {}", unnoticed.join("; ")))
    }
}

/// Removes checks of the judgement in turn; those that nobody missed.
fn remove_checks(copy: &Copy, wanted: &[&String]) -> Result<Vec<String>, String> {
    let started = Instant::now();
    let red = copy.red_rows("")?;
    if !red.is_empty() {
        return Err(format!("rows fail although no check was removed: {}", red.join("; ")));
    }
    println!("untouched: every row passes ({:.0} s)", started.elapsed().as_secs_f64());
    let mut unnoticed = Vec::new();
    for name in wanted {
        let begun = Instant::now();
        let red = copy.red_rows_without(name)?;
        let own: Vec<_> = red.iter().filter(|title| names_check(title, name)).collect();
        let seconds = begun.elapsed().as_secs_f64();
        // The shortest title names the fewest other checks.
        match own.iter().min_by_key(|title| title.len()) {
            Some(row) => println!("{name}: {} rows fail ({row}), {seconds:.1} s", own.len()),
            None => {
                println!("{name}: NOT NOTICED, {seconds:.1} s");
                unnoticed.push(name.to_string());
            }
        }
    }
    Ok(unnoticed)
}

impl Copy {
    /// Brings the copy up to date; what did not change keeps its time, so that cargo compiles
    /// little.
    fn prepare() -> Result<Self, String> {
        let directory = command::cache_dir().join("sabotage");
        let (source, target) = (directory.join("source"), directory.join("target"));
        copy::mirror(&command::root(), &source)
            .map_err(|error| format!("{}: {error}", source.display()))?;
        let check_rows = read(&source.join(CHECK_ROWS))?;
        Ok(Self { source, target, check_rows })
    }

    /// The titles of the rows that fail among those that name the check, while it is missing.
    fn red_rows_without(&self, check: &str) -> Result<Vec<String>, String> {
        self.write(CHECK_ROWS, &sabotaged(&self.check_rows, check)?)?;
        let red = self.red_rows(check);
        self.write(CHECK_ROWS, &self.check_rows)?;
        red
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let path = self.source.join(file);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The titles of the rows that fail in the copy as it is, among those with `part` in their
    /// titles.
    fn red_rows(&self, part: &str) -> Result<Vec<String>, String> {
        let mut cargo = self.cargo();
        failed_tests(cargo.args(TABLE).arg(part))
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.source).env("CARGO_TARGET_DIR", &self.target);
        // Debug information would cost a third of the time and is read by nobody.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "1");
        cargo
    }
}

/// Runs a test program; the titles of its tests that failed.
fn failed_tests(cargo: &mut Command) -> Result<Vec<String>, String> {
    let output = cargo.output().map_err(|error| format!("cargo: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let failed = failed_trials(&printed);
    if printed.lines().any(|line| line.starts_with("test result:"))
        && output.status.success() == failed.is_empty()
    {
        return Ok(failed);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{cargo:?}: {}\n{message}", output.status))
}

/// The names of all checks, in the judgement's order.
fn checks() -> Result<Vec<String>, String> {
    let path = command::root().join(NAMES);
    let file = syn::parse_file(&read(&path)?).map_err(|error| format!("{NAMES}: {error}"))?;
    let mut calls = file.items.iter().filter_map(|item| match item {
        syn::Item::Macro(call) if call.mac.path.is_ident(NAMES_MACRO) => Some(&call.mac.tokens),
        _ => None,
    });
    let (Some(tokens), None) = (calls.next(), calls.next()) else {
        return Err(format!("{NAMES}: expected one call of {NAMES_MACRO}!"));
    };
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let names = tokens.windows(3).filter_map(|window| match window {
        [TokenTree::Ident(_), TokenTree::Punct(equals), TokenTree::Literal(name)]
            if equals.as_char() == '=' =>
        {
            Some(name.to_string().trim_matches('"').to_owned())
        }
        _ => None,
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() { Err(format!("{NAMES}: no names in {NAMES_MACRO}!")) } else { Ok(names) }
}

/// The check_rows's source, in which that check never fails.
fn sabotaged(check_rows: &str, check: &str) -> Result<String, String> {
    if check_rows.matches(REPORTS).count() != 1 {
        return Err(format!(
            "{CHECK_ROWS}: expected this line exactly once, as every check reports there: {REPORTS}"
        ));
    }
    let edit = format!(
        "        let removed = name.name() == {check:?} && verdict == CheckVerdict::Fail;\n        \
         let verdict = if removed {{ CheckVerdict::Pass }} else {{ verdict }};\n"
    );
    Ok(check_rows.replacen(REPORTS, &format!("{REPORTS}{edit}"), 1))
}

/// Trials that failed, by the lines of the test program.
fn failed_trials(output: &str) -> Vec<String> {
    let failed =
        output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix("... FAILED"));
    failed.map(|title| title.trim().to_owned()).collect()
}

fn names_check(title: &str, check: &str) -> bool {
    title.split_once(ARROW).is_some_and(|(_, checks)| checks.split(", ").any(|name| name == check))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_are_found_and_can_be_removed() {
        let names = checks().unwrap();
        assert!(
            names.len() > 50 && names[0] == "tee-type" && names.contains(&"mrconfigid".to_owned()),
            "{names:?}"
        );
        let check_rows = read(&command::root().join(CHECK_ROWS)).unwrap();
        let removed = sabotaged(&check_rows, "debug").unwrap();
        assert!(removed.contains(r#"name.name() == "debug""#) && syn::parse_file(&removed).is_ok());
    }

    #[test]
    fn a_source_of_another_shape_is_refused() {
        assert!(sabotaged("fn push() {}", "debug").is_err());
        assert!(sabotaged(&format!("{REPORTS}{REPORTS}"), "debug").is_err());
    }

    #[test]
    fn rows_that_fail_are_read_from_the_test_programs_lines() {
        let output = "\nrunning 3 tests\ntest a lie => debug, tdx-module    ... FAILED\ntest b => pks ... ok\n";
        let failed = failed_trials(output);
        assert_eq!(failed, ["a lie => debug, tdx-module"]);
        assert!(names_check(&failed[0], "tdx-module") && !names_check(&failed[0], "tdx"));
    }
}
