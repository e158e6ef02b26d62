//! Where checks write their rows, so that a check is one call and no check is forgotten.

use crate::appraisal::{Check, CheckVerdict, Verdict};
use crate::refusal::{CheckName, Finding, Property};

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct CheckRows {
    rows: Vec<Check>,
}

impl CheckRows {
    /// A check that was made: passes if `holds`.
    pub(crate) fn judge(&mut self, name: CheckName, holds: bool, finding: Finding) {
        self.push(name, if holds { CheckVerdict::Pass } else { CheckVerdict::Fail }, finding);
    }

    /// A check that failed.
    pub(crate) fn fail(
        &mut self,
        name: CheckName,
        expected: impl ToString,
        found: impl ToString,
        hint: impl ToString,
    ) {
        self.judge(name, false, Finding::new(expected, found, hint));
    }

    /// A check that holds.
    pub(crate) fn pass(&mut self, name: CheckName, expected: impl ToString, found: impl ToString) {
        self.judge(name, true, Finding::new(expected, found, ""));
    }

    /// Checks that could not be made.
    pub(crate) fn skip(&mut self, names: &[CheckName], why: impl ToString) {
        for name in names {
            self.push(*name, CheckVerdict::Skipped, Finding::new("", "", why.to_string()));
        }
    }

    /// Checks of one kind that could not be made.
    pub(crate) fn skip_all(&mut self, property: Property, why: impl ToString) {
        let names: Vec<_> = CheckName::all_with(property).collect();
        self.skip(&names, why);
    }

    /// Notes for the last row what else confirmed the prediction it compared with.
    pub(crate) fn cross_checked_by(&mut self, cross_check: Option<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.cross_check = cross_check;
        }
    }

    /// Names of the checks that failed among those that count.
    pub(crate) fn failed(&self, counts: impl Fn(CheckName) -> bool) -> Vec<&'static str> {
        let failed =
            self.rows.iter().filter(|row| row.verdict == CheckVerdict::Fail && counts(row.name));
        failed.map(|row| row.name.name()).collect()
    }

    /// All rows in order, and what they come to; a check without a row is skipped, unless it is a
    /// rule that nobody asked for.
    pub(crate) fn finish(mut self) -> (Vec<Check>, Verdict) {
        let written = |name: &CheckName| self.rows.iter().any(|row| row.name == *name);
        let unwritten =
            CheckName::ALL.iter().filter(|name| !written(name) && !name.is(Property::Optional));
        let unwritten: Vec<_> = unwritten.copied().collect();
        self.skip(&unwritten, "what it needs could not be read");
        self.rows.sort_by_key(|row| row.name);
        let any = |verdict| self.rows.iter().any(|row| row.verdict == verdict);
        let verdict = match (any(CheckVerdict::Fail), any(CheckVerdict::Skipped)) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Incomplete,
            (false, false) => Verdict::Pass,
        };
        (self.rows, verdict)
    }

    fn push(&mut self, name: CheckName, verdict: CheckVerdict, finding: Finding) {
        self.rows.push(Check { name, verdict, finding, cross_check: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rows_are_incomplete_and_names_every_mandatory_check() {
        let (rows, verdict) = CheckRows::default().finish();
        assert_eq!(verdict, Verdict::Incomplete);
        assert_eq!(
            rows.len(),
            CheckName::ALL.iter().filter(|name| !name.is(Property::Optional)).count()
        );
    }

    #[test]
    fn one_failure_outweighs_every_skip() {
        let mut rows = CheckRows::default();
        rows.fail(CheckName::Debug, 0, 1, "");
        assert_eq!(rows.failed(|_| true), ["debug"]);
        assert_eq!(rows.finish().1, Verdict::Fail);
    }
}
