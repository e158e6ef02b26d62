//! Plain technical English, as far as a program can check it: doc comments are sentences, docs of
//! errors have one form, lines of comments fit, and identifiers are the field's names.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::Source;
use super::test_code;

/// Columns of a line of comment; rustfmt leaves comments alone.
const MAX_COLUMNS: usize = 100;
/// Parts of identifiers that stand for a name of the field.
const NAMES: &[(&str, &str)] = &[
    ("folder", "directory"),
    ("folders", "directories"),
    ("lies", "the faults or positions that it means"),
    ("patience", "timeout"),
    ("places", "the paths, mount points or positions that it means"),
    ("said", "message or stated"),
    ("witness", "cross_check"),
    ("words", "arguments, message or text"),
];
/// Doc comments that only repeat a question.
const QUESTIONS: &[&str] =
    &["Allowed", "Found", "From where", "How", "What", "Where", "Which", "Who", "Whose", "Why"];
/// How an attribute that prints its field and nothing else is written.
const ONLY_THE_CAUSE: &str = "#[error(\"{0}\")]";
/// Marks of a field that is the cause of an error.
const CAUSE: [&str; 2] = ["#[from]", "#[source]"];

/// Crates whose docs and names are not of this form yet.
const PENDING: &[&str] = &[];

/// Checks every file.
pub fn check(sources: &[Source]) -> Vec<String> {
    let checked =
        sources.iter().filter(|source| !PENDING.iter().any(|name| source.path.starts_with(name)));
    checked.flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let mut findings = Vec::new();
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    for (index, raw) in source.text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        if lines[index].starts_with("//") && raw.chars().count() > MAX_COLUMNS {
            findings.push(format!("{at}: a comment of more than {MAX_COLUMNS} columns"));
        }
        let field = lines.get(index + 1).copied().unwrap_or_default();
        if lines[index] == ONLY_THE_CAUSE && CAUSE.iter().any(|mark| field.contains(mark)) {
            findings.push(format!("{at}: an error that is its cause is #[error(transparent)]"));
        }
        let follows = index.checked_sub(1).is_some_and(|before| doc(lines[before]).is_some());
        if !follows && doc(lines[index]).is_some() {
            findings.extend(doc_fault(&lines[index..]).map(|fault| format!("{at}: {fault}")));
        }
    }
    let is_test = source.path.components().any(|part| part.as_os_str() == "tests");
    let names = if is_test { BTreeSet::new() } else { identifiers(&source.text) };
    for (part, better) in NAMES {
        let named = names.iter().filter(|name| name.split('_').any(|found| found == *part));
        findings.extend(
            named.map(|name| format!("{path}: the name {name}: write {better} for {part}")),
        );
    }
    findings
}

/// The text of a line of doc comment.
fn doc(line: &str) -> Option<&str> {
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
}

/// What is wrong with the doc comment that begins the lines.
fn doc_fault(lines: &[&str]) -> Option<String> {
    let texts: Vec<&str> = lines.iter().map_while(|line| doc(line)).collect();
    let text = texts.join(" ");
    let mut attributes = lines[texts.len()..].iter().take_while(|line| line.starts_with("#["));
    if attributes.any(|line| line.starts_with("#[error(")) {
        return (!is_error_doc(&text)).then(|| {
            format!("the doc of an error begins in lower case and has no full stop: {text:?}")
        });
    }
    let sentence = text.trim_end_matches(['.', '?']);
    if QUESTIONS.contains(&sentence) {
        return Some(format!("the doc {text:?} says nothing: a sentence, or none"));
    }
    let ended = text.ends_with(['.', ':', '!', '?', ')', '|', '`', '>']);
    (!ended).then(|| format!("the doc {text:?} has no full stop"))
}

/// Lower case but for names and acronyms, and no full stop.
fn is_error_doc(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    let capitals = first.chars().filter(|letter| letter.is_uppercase()).count();
    let is_name = capitals > 1 || PROPER.contains(&first);
    (is_name || !first.starts_with(char::is_uppercase)) && !text.ends_with('.')
}

/// Names that begin docs of errors.
const PROPER: &[&str] = &["Btrfs", "Cargo", "Debian", "Docker", "Intel", "Intel's", "Unix"];

/// Every identifier of a file outside its tests.
fn identifiers(text: &str) -> BTreeSet<String> {
    let mut found = Identifiers(BTreeSet::new());
    if let Ok(file) = syn::parse_file(text) {
        found.visit_file(&file);
    }
    found.0
}

struct Identifiers(BTreeSet<String>);

impl Identifiers {
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => self.found(&ident),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// `snake_case`, whatever it was.
    fn found(&mut self, ident: &proc_macro2::Ident) {
        let mut name = String::new();
        for letter in ident.to_string().chars() {
            if letter.is_uppercase() && name.ends_with(|before: char| before.is_lowercase()) {
                name.push('_');
            }
            name.extend(letter.to_lowercase());
        }
        self.0.insert(name);
    }
}

impl<'ast> Visit<'ast> for Identifiers {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !test_code::is_item(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.found(ident);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check_file(&Source { path: "a.rs".into(), text: text.to_owned() })
    }

    #[test]
    fn docs_are_sentences() {
        assert!(found("/// Name of the file.\nstruct A;").is_empty());
        assert_eq!(found("/// Name of the file\nstruct A;").len(), 1);
        assert_eq!(found("/// From where.\nstruct A;").len(), 1);
        assert_eq!(found(&format!("// {}", "x".repeat(MAX_COLUMNS))).len(), 1);
    }

    #[test]
    fn docs_of_errors_have_one_form() {
        let error =
            |doc: &str| found(&format!("/// {doc}\n#[derive(Error)]\n#[error(\"x\")]\nstruct E;"));
        assert!(error("a file that is no archive").is_empty());
        assert!(error("JSON that is no object").is_empty());
        assert_eq!(error("A file that is no archive").len(), 1);
        assert_eq!(error("a file that is no archive.").len(), 1);
        assert_eq!(found(&format!("{ONLY_THE_CAUSE}\nA(#[from] Cause),")).len(), 1);
        assert!(found(&format!("{ONLY_THE_CAUSE}\nA(String),")).is_empty());
    }

    #[test]
    fn identifiers_are_names_of_the_field() {
        assert_eq!(found("fn f() { let last_words = 1; g!(last_words) }").len(), 1);
        assert_eq!(found("struct BuildFolder;").len(), 1);
        assert!(found("fn swords() {}\n#[cfg(test)]\nmod tests { fn words() {} }").is_empty());
    }
}
