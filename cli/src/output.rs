//! What a person or a program sees: JSON or text on standard output, progress and failures on
//! standard error.
//!
//! Everything passes [`printable`] here: no text that came from elsewhere commands the terminal.

use std::io::Write as _;
use std::time::Instant;

use serde::Serialize;

use crate::failure::Failure;
use crate::printable;

/// Chooses between text and JSON once.
#[derive(Debug)]
pub struct Output {
    json: bool,
    started: Instant,
}

impl Output {
    /// `json`: one document on standard output.
    pub fn new(json: bool) -> Self {
        Self { json, started: Instant::now() }
    }

    /// Prints the result in the chosen form.
    pub fn result(&self, document: &impl Serialize, text: impl FnOnce() -> String) {
        let text = if self.json {
            let document =
                serde_json::to_string_pretty(document).expect("results hold strings and numbers");
            printable::json(&document) + "\n"
        } else {
            printable::text(&text())
        };
        // A closed pipe means that nobody reads on: nothing is lost by not printing.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    /// One of many results that come as they happen, a line each; whether anybody still reads.
    pub fn line(&self, document: &impl Serialize, text: &str) -> bool {
        let line = if self.json {
            let document =
                serde_json::to_string(document).expect("results hold strings and numbers");
            printable::json(&document) + "\n"
        } else {
            printable::text(text)
        };
        let mut out = std::io::stdout();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    /// One line about what is being done.
    pub fn step(&self, what: &str) {
        eprintln!("{:>6.1}s  {}", self.started.elapsed().as_secs_f64(), printable::quoted(what));
    }

    /// A failure and its hint.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let document =
                serde_json::json!({ "error": failure.to_string(), "hint": failure.hint });
            eprintln!("{}", printable::json(&document.to_string()));
        } else {
            let [error, hint] =
                [&failure.to_string(), &failure.hint].map(|text| printable::quoted(text));
            eprintln!("error: {error}\n hint: {hint}");
        }
    }
}

/// Something that a person should know and that changes nothing about what they asked for.
pub fn note(text: &str) {
    eprintln!("note: {}", printable::quoted(text));
}

/// Left-aligned columns, two spaces apart, wide as their widest cell; a cell is one line whatever
/// it holds.
pub fn columns(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| printable::line(cell)).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

/// A line for each name and its value, in two columns.
pub fn named(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let row = |(name, value): (&str, _)| vec![name.to_owned(), value];
    columns(&rows.into_iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(columns(&rows), "a     b\nlong  c\n");
    }

    #[test]
    fn a_cell_cannot_leave_its_row() {
        let rows = [vec!["a\n\u{1b}[2Jb".to_owned(), "c".to_owned()]];
        assert_eq!(columns(&rows), "a\\u{a}\\u{1b}[2Jb  c\n");
    }
}
