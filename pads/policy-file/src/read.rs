//! From the text of a policy file to the policy that a Pad has.

use pad_format::contents::{MAX_CONSTRAINT_BYTES, Name};
use pad_format::{Policy, Uuid};
use pad_rules::{Constraints, SharePolicy};
use protocol::digest::Sha256Digest;
use toml::de::DeTable;

use crate::names::{Kind, Names, is_name};
use crate::problem::{PolicyFileError, Problem};
use crate::rules;
use crate::table::{Place, Table, Value};

/// Largest file: constraints of the largest size with a name for each digest take less.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The type of policies of the engine `share`; it is for people, the engine's digest decides.
pub const SHARE_TYPE: &str = "2f0b1e8c-93a4-4a0e-8f0d-6c1d1f9b7a55";
/// What stands where a digest is expected.
const DIGEST: &str = "a SHA-256 of 64 lower-case hexadecimal digits, or { file = \"path\" }";
/// What stands where a custodian is expected.
const CUSTODIAN: &str =
    "a custodian's id of 64 lower-case hexadecimal digits, or { file = \"path\" }";

/// What the caller says of files, by their paths as the policy file has them.
pub trait Files {
    /// The SHA-256 of an engine or program.
    ///
    /// # Errors
    /// If it cannot be read; the reason is told with the line.
    fn sha256(&mut self, path: &str) -> Result<Sha256Digest, String>;

    /// The id of the custodian whose public file it is.
    ///
    /// # Errors
    /// If it is none; the reason is told with the line.
    fn custodian(&mut self, path: &str) -> Result<Sha256Digest, String>;
}

/// A policy file that was read.
pub struct Compiled {
    /// The policy as a Pad has it.
    pub policy: Policy,
    /// Its rules.
    pub rules: SharePolicy,
    /// What the file calls custodians and programs.
    pub names: Names,
}

/// Reads a policy file.
///
/// # Errors
/// If it is not TOML, has a key that is not known, lacks one, or holds what no policy of the engine
/// `share` has.
pub fn compile(text: &str, files: &mut dyn Files) -> Result<Compiled, PolicyFileError> {
    let top = Place::top(text);
    if text.len() > MAX_FILE_BYTES {
        let problem = Problem::TooLarge { found: text.len(), most: MAX_FILE_BYTES };
        return Err(top.refused(problem));
    }
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        top.at(offset).refused(Problem::Syntax(error.message().to_owned()))
    })?;
    let mut table = Table::new(top.clone(), document.get_ref());
    let policy_type = match table.optional("type") {
        Some(value) => value.parsed("a UUID", |text| text.parse().ok())?,
        None => share_type(),
    };
    let engine = digest(&table.required("engine")?, DIGEST, &mut |path| files.sha256(path))?;
    let expected = "1 to 64 of a-z 0-9 . _ - that begin with a letter";
    let input_id = table.required("input_id")?.parsed(expected, |text| Name::new(text).ok())?;
    let mut names = Names::default();
    define(&mut names, Kind::Custodian, &mut table, &mut |value| {
        digest(value, CUSTODIAN, &mut |path| files.custodian(path))
    })?;
    define(&mut names, Kind::Program, &mut table, &mut |value| {
        digest(value, DIGEST, &mut |path| files.sha256(path))
    })?;
    let rules = rules::read(&mut table, &names)?;
    table.end()?;
    let Constraints { input, program, output } = checked(&rules, &top)?;
    let policy = Policy {
        policy_type,
        engine,
        input_id,
        input_constraint: input,
        program_constraint: program,
        output_constraint: output,
    };
    Ok(Compiled { policy, rules, names })
}

/// The type of a policy file that names none.
pub(crate) fn share_type() -> Uuid {
    SHARE_TYPE.parse().expect("the constant is a UUID")
}

/// The rules as the engine reads them, within the bounds of a Pad.
fn checked(rules: &SharePolicy, top: &Place<'_>) -> Result<Constraints, PolicyFileError> {
    let refused = |reason: String| top.refused(Problem::Refused(reason));
    let constraints = rules.to_constraints();
    SharePolicy::parse(&constraints).map_err(|error| refused(error.to_string()))?;
    for (part, bytes) in [
        ("input", &constraints.input),
        ("program", &constraints.program),
        ("output", &constraints.output),
    ] {
        if bytes.len() > MAX_CONSTRAINT_BYTES {
            let found = bytes.len();
            return Err(refused(format!(
                "the rules of {part} take {found} bytes, at most {MAX_CONSTRAINT_BYTES} are \
                 accepted"
            )));
        }
    }
    Ok(constraints)
}

/// Reads a table of names.
fn define(
    names: &mut Names,
    kind: Kind,
    table: &mut Table<'_>,
    read: &mut dyn FnMut(&Value<'_>) -> Result<Sha256Digest, PolicyFileError>,
) -> Result<(), PolicyFileError> {
    let Some(defined) = table.optional(kind.table()) else { return Ok(()) };
    for (name, value) in defined.table()?.into_pairs() {
        if !is_name(name) {
            let expected = "a name of 1 to 64 of a-z 0-9 _ - that begins with a letter";
            return Err(value.wrong(expected, name));
        }
        let digest = read(&value)?;
        names
            .of_mut(kind)
            .add(name, digest)
            .map_err(|other| value.place.refused(Problem::Twice(name.to_owned(), other)))?;
    }
    Ok(())
}

/// A digest, or the file that has it.
fn digest(
    value: &Value<'_>,
    expected: &'static str,
    of_file: &mut dyn FnMut(&str) -> Result<Sha256Digest, String>,
) -> Result<Sha256Digest, PolicyFileError> {
    if value.is_text() {
        return value.parsed(expected, |text| Sha256Digest::from_hex(text).ok());
    }
    let mut table = value.table()?;
    let file = table.required("file")?;
    let path = file.text()?;
    table.end()?;
    of_file(path)
        .map_err(|reason| file.place.refused(Problem::File { path: path.to_owned(), reason }))
}
