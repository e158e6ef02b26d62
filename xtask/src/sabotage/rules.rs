//! Rules outside the judgement: the release of keys, what owners decide, who a KMS and an owner is,
//! the order of the channel, and the fields that a proof is bound to.
//!
//! Each rule is one call of `unless` (`protocol::rule`), each field one element of an array in
//! [`Family::fields_of`]. In the copy each of them asks an environment variable whether it is the
//! one that is missing, so that a family is compiled once and its tests run once for each removal.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Instant;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::{Copy, failed_tests, read};

/// Reports a rule: its first argument says whether the rule holds.
const REPORTS: &str = "unless";
/// Names the missing rule to a test program of the copy.
const VARIABLE: &str = "DSTYX_REMOVED_RULE";
/// Longest name of a rule: the beginning of what it answers.
const MAX_NAME: usize = 90;

/// Rules that quick tests of one package watch over.
pub struct Family {
    /// Name, for `--sabotage NAME`.
    pub name: &'static str,
    /// Where its rules are.
    files: &'static [&'static str],
    /// Functions whose fields are removed instead of rules; empty: rules are.
    fields_of: &'static [&'static str],
    /// Arguments of `cargo test`.
    tests: &'static [&'static str],
}

/// All families but the judgement.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "release",
        files: &[
            "kms/rules/src/state/guests.rs",
            "kms/rules/src/state/environments.rs",
            "kms/rules/src/state/members.rs",
            "kms/rules/src/state/statements.rs",
        ],
        fields_of: &[],
        tests: &["--package", "kms-rules", "--lib", "--", "state::"],
    },
    Family {
        name: "pad-keys",
        files: &[
            "kms/rules/src/state/custody.rs",
            "kms/rules/src/state/custody/custodians.rs",
            "kms/rules/src/state/custody/keep.rs",
            "kms/rules/src/state/custody/release.rs",
            "kms/rules/src/state/custody/request.rs",
            "kms/rules/src/state/custody/spend.rs",
            "kms/rules/src/state/custody/watch.rs",
        ],
        fields_of: &[],
        tests: &["--package", "kms-rules", "--lib", "--", "state::custody::"],
    },
    Family {
        name: "owners",
        files: &[
            "kms/rules/src/state/owners.rs",
            "kms/rules/src/state/epochs.rs",
            "kms/rules/src/policy.rs",
        ],
        fields_of: &[],
        tests: &["--package", "kms-rules", "--lib", "--", "state::", "policy::", "collection::"],
    },
    Family {
        name: "owner",
        files: &["attestation/src/owner.rs"],
        fields_of: &[],
        tests: &["--package", "attestation", "--lib", "--", "owner::"],
    },
    Family {
        name: "kms-identity",
        files: &["attestation/src/kms.rs", "attestation/src/signatures.rs"],
        fields_of: &[],
        tests: &["--package", "tests", "--test", "promises", "--", "kms_identity::"],
    },
    Family {
        name: "time",
        files: &[
            "kms/rules/src/time.rs",
            "kms/rules/src/time/kept.rs",
            "kms/rules/src/time/sample.rs",
        ],
        fields_of: &[],
        tests: &["--package", "kms-rules", "--lib", "--", "time::"],
    },
    Family {
        name: "pads",
        files: &[
            "pads/pipeline/src/submission.rs",
            "pads/pipeline/src/dataset.rs",
            "pads/pipeline/src/output.rs",
            "pads/pipeline/src/update.rs",
        ],
        fields_of: &[],
        tests: &["--package", "pad-pipeline", "--lib"],
    },
    Family {
        name: "channel",
        files: &["channel/src/machine.rs"],
        fields_of: &[],
        tests: &["--package", "channel", "--test", "order"],
    },
    Family {
        name: "binding",
        files: &["protocol/src/channel/binding.rs"],
        fields_of: &["report_data", "signed_bytes"],
        tests: &["--package", "protocol", "--lib", "--", "channel::"],
    },
    Family {
        name: "anchors",
        files: &["guest-agent/src/anchors.rs"],
        fields_of: &[],
        tests: &["--package", "guest-agent", "--bin", "guest-agent", "--", "anchors::"],
    },
];

/// A place in a source file that can be made to hold.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// What it answers, or the field.
    name: String,
    /// The condition, or the field, in bytes of the file.
    place: Range<usize>,
}

impl Family {
    /// Removes each rule in turn; how many there are, and which nobody missed.
    pub fn run(&self, copy: &Copy) -> Result<(usize, Vec<String>), String> {
        let mut originals = Vec::new();
        let mut names = Vec::new();
        for file in self.files {
            let original = read(&copy.source.join(file))?;
            let rules = self.rules(&original).map_err(|error| format!("{file}: {error}"))?;
            copy.write(file, &self.removable(&original, &rules, names.len()))?;
            names.extend(rules.into_iter().map(|rule| rule.name));
            originals.push((file, original));
        }
        let outcome = self.remove_each(copy, &names);
        for (file, original) in originals {
            copy.write(file, &original)?;
        }
        Ok((names.len(), outcome?))
    }

    fn remove_each(&self, copy: &Copy, names: &[String]) -> Result<Vec<String>, String> {
        let begun = Instant::now();
        let failed = self.failed_without(copy, "none")?;
        if !failed.is_empty() {
            return Err(format!("{} fail although no rule was removed", failed.join(", ")));
        }
        println!("{} untouched: ({:.0} s)", self.name, begun.elapsed().as_secs_f64());
        let mut unnoticed = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let begun = Instant::now();
            let failed = self.failed_without(copy, &index.to_string())?;
            let seconds = begun.elapsed().as_secs_f64();
            let rule = format!("{} {index}, {name}", self.name);
            match failed.first() {
                Some(test) => {
                    println!("{rule}: {} tests fail ({test}), {seconds:.1} s", failed.len())
                }
                None => {
                    println!("{rule}: NOT NOTICED, {seconds:.1} s");
                    unnoticed.push(rule);
                }
            }
        }
        Ok(unnoticed)
    }

    fn failed_without(&self, copy: &Copy, rule: &str) -> Result<Vec<String>, String> {
        let mut cargo = copy.cargo();
        failed_tests(cargo.args(["test", "--locked"]).args(self.tests).env(VARIABLE, rule))
    }

    /// The rules of a file, in its order.
    fn rules(&self, source: &str) -> Result<Vec<Rule>, String> {
        let tokens: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
        let mut rules = Vec::new();
        if self.fields_of.is_empty() {
            calls(source, tokens, &mut rules);
        } else {
            fields(source, tokens, self.fields_of, &mut rules);
        }
        if rules.is_empty() { Err("no rule".to_owned()) } else { Ok(rules) }
    }

    /// The source, with each rule behind a question; numbers begin with `first`.
    fn removable(&self, source: &str, rules: &[Rule], first: usize) -> String {
        let mut changed = source.to_owned();
        for (index, rule) in rules.iter().enumerate().rev() {
            let (number, original) = (first + index, &source[rule.place.clone()]);
            let edit = if self.fields_of.is_empty() {
                format!("({original}) || removed_rule({number})")
            } else {
                format!("kept_field({original}, {number})")
            };
            changed.replace_range(rule.place.clone(), &edit);
        }
        write!(
            changed,
            "\nfn removed_rule(number: usize) -> bool {{\n    \
             std::env::var({VARIABLE:?}).is_ok_and(|removed| removed == number.to_string())\n}}\n"
        )
        .expect("a string takes all");
        if !self.fields_of.is_empty() {
            changed.push_str(
                "\nfn kept_field(field: &[u8], number: usize) -> &[u8] {\n    \
                 if removed_rule(number) { &[] } else { field }\n}\n",
            );
        }
        changed
    }
}

/// Every call of [`REPORTS`]; its definition is none.
fn calls(source: &str, tokens: TokenStream, rules: &mut Vec<Rule>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let called = index.checked_sub(1).is_some_and(|before| is_word(&tokens[before], REPORTS));
        let defined = index.checked_sub(2).is_some_and(|before| is_word(&tokens[before], "fn"));
        if called && !defined && group.delimiter() == Delimiter::Parenthesis {
            let mut arguments = elements(group).into_iter();
            if let Some(place) = arguments.next() {
                let answer = arguments.next().map_or("", |answer| &source[answer]);
                rules.push(Rule { name: shortened(answer.trim_start_matches('|')), place });
            }
        }
        calls(source, group.stream(), rules);
    }
}

/// The elements of every array of several elements in the bodies of the named functions.
fn fields(source: &str, tokens: TokenStream, functions: &[&str], rules: &mut Vec<Rule>) {
    let mut inside = false;
    let mut previous = None;
    for token in tokens {
        if previous.as_ref().is_some_and(|before| is_word(before, "fn")) {
            inside = functions.iter().any(|name| is_word(&token, name));
        }
        if let TokenTree::Group(group) = &token {
            if group.delimiter() == Delimiter::Brace && inside {
                arrays(source, group.stream(), rules);
            } else if group.delimiter() == Delimiter::Brace {
                fields(source, group.stream(), functions, rules);
            }
        }
        previous = Some(token);
    }
}

fn arrays(source: &str, tokens: TokenStream, rules: &mut Vec<Rule>) {
    for token in tokens {
        let TokenTree::Group(group) = token else { continue };
        let elements = elements(&group);
        if group.delimiter() == Delimiter::Bracket && elements.len() > 1 {
            let rule =
                |place: Range<usize>| Rule { name: shortened(&source[place.clone()]), place };
            rules.extend(elements.into_iter().map(rule));
        } else {
            arrays(source, group.stream(), rules);
        }
    }
}

/// What stands between the commas of a group.
fn elements(group: &Group) -> Vec<Range<usize>> {
    let mut elements: Vec<Range<usize>> = Vec::new();
    let mut begins = true;
    for token in group.stream() {
        let place = token.span().byte_range();
        match &token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => begins = true,
            _ => match elements.last_mut() {
                Some(element) if !begins => element.end = place.end,
                _ => {
                    elements.push(place);
                    begins = false;
                }
            },
        }
    }
    elements
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// The text on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn family(name: &str) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == name).unwrap()
    }

    #[test]
    fn every_family_has_its_rules_and_the_changed_source_is_one() {
        let least = [
            ("release", 30),
            ("pad-keys", 35),
            ("owners", 16),
            ("owner", 2),
            ("kms-identity", 9),
            ("time", 8),
            ("pads", 19),
            ("channel", 12),
            ("binding", 16),
            ("anchors", 5),
        ];
        assert_eq!(FAMILIES.len(), least.len());
        for (name, least) in least {
            let family = family(name);
            let mut count = 0;
            for file in family.files {
                let source = read(&command::root().join(file)).unwrap();
                let rules = family.rules(&source).unwrap();
                let changed = family.removable(&source, &rules, count);
                assert!(syn::parse_file(&changed).is_ok(), "{file}");
                count += rules.len();
            }
            assert!(count >= least, "{}: {count}", family.name);
        }
    }

    #[test]
    fn a_rule_is_a_call_and_its_condition_ends_at_the_comma() {
        let source = "fn unless(a: bool) {}\nfn f() { x.unless(a(b, c) && d, || E::F { g })?; }";
        let rules = family("release").rules(source).unwrap();
        assert_eq!(rules.len(), 1);
        assert_eq!(
            (&source[rules[0].place.clone()], rules[0].name.as_str()),
            ("a(b, c) && d", "E::F { g }")
        );
        assert!(family("release").rules("fn f() {}").is_err());
    }

    #[test]
    fn a_field_is_an_element_of_an_array_in_a_named_function() {
        let source =
            "impl B { fn report_data(&self) { r(&[&[V], &self.a]) } fn other() { [1, 2] } }";
        let rules = family("binding").rules(source).unwrap();
        let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["&[V]", "&self.a"]);
    }
}
