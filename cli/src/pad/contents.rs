//! Attributes as a person states them, and the contents that members of a custodian sign.

use std::path::Path;

use pad_format::contents::{Name, Origin, Value};
use pad_format::{Attribute, Contents, Custodian, PadId, Policy};

use super::custodian::Public;
use super::keys::{MemberKeys, signed_by};
use super::policies;
use crate::failure::{Failure, Hint as _, Outcome};

/// What an attribute looks like.
const HINT: &str = "write NAME=VALUE: a number such as entries=100, or source=text:…, or \
                    fingerprint=hex:…; docs/pads.md has the other forms";

/// Reads `entries=100`, `source=text:…`, `fingerprint=hex:…`, or bytes that a file has.
///
/// # Errors
/// If the name or the value is none, or the file is not what is asked of it.
pub fn attribute(stated: &str) -> Outcome<(Name, Value)> {
    let refused = |what: String| Failure::new(what, HINT);
    let (name, value) = stated
        .split_once('=')
        .ok_or_else(|| refused(format!("the attribute {stated:?} has no value")))?;
    let name = Name::new(name).hint("an attribute", HINT)?;
    let value = match value.split_once(':') {
        Some(("text", text)) => Value::Text(text.to_owned()),
        Some(("hex", digits)) => {
            let bytes = hex::decode(digits);
            Value::Bytes(bytes.map_err(|error| refused(format!("{stated:?}: {error}")))?)
        }
        Some((part, file)) => match of_file(part, Path::new(file))? {
            Some(bytes) => Value::Bytes(bytes),
            None => return Err(refused(format!("{stated:?}: {part}: is not known"))),
        },
        None if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = value.parse();
            Value::Integer(number.map_err(|_| refused(format!("{stated:?}: more than 64 bits")))?)
        }
        None => return Err(refused(format!("{stated:?}: neither a number nor text:… nor hex:…"))),
    };
    Ok((name, value))
}

/// What a program is told by an attribute of the Pad that it is to propose: a part of a policy, or
/// a custodian's id.
fn of_file(part: &str, file: &Path) -> Outcome<Option<Vec<u8>>> {
    let constraint: fn(Policy) -> Vec<u8> = match part {
        "input-of" => |policy| policy.input_constraint,
        "program-of" => |policy| policy.program_constraint,
        "output-of" => |policy| policy.output_constraint,
        "custodian-of" => {
            let id = Public::load(file)?.custodian.id();
            return Ok(Some(id.0.as_bytes().to_vec()));
        }
        _ => return Ok(None),
    };
    Ok(Some(constraint(policies::load(file)?.policy)))
}

/// The contents of a new Pad, whose attributes all these members sign.
///
/// # Errors
/// If an attribute is stated twice.
pub fn signed(
    pad_id: &PadId,
    custodian: Custodian,
    policies: Vec<Policy>,
    mut stated: Vec<(Name, Value)>,
    members: &[MemberKeys],
) -> Outcome<Contents> {
    stated.sort_by(|(one, _), (other, _)| one.cmp(other));
    if let Some(pair) = stated.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let what = format!("the attribute {} is stated twice", pair[0].0.as_str());
        return Err(Failure::new(what, "state each once"));
    }
    let id = custodian.id();
    let sign = |(name, value): (Name, Value)| {
        let signatures = signed_by(members, &value.signed_bytes(&name, pad_id, &id));
        Attribute { name, value, origin: Origin::Custodian(signatures) }
    };
    let attributes = stated.into_iter().map(sign).collect();
    Ok(Contents { policy_version: 1, custodian, policies, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_a_number_a_text_or_bytes_and_nothing_is_guessed() {
        let value = |stated| attribute(stated).map(|(_, value)| value);
        assert!(value("entries=100").unwrap() == Value::Integer(100));
        assert!(value("source=text:100").unwrap() == Value::Text("100".into()));
        assert!(value("a=text:x=y").unwrap() == Value::Text("x=y".into()));
        assert!(value("print=hex:00ff").unwrap() == Value::Bytes(vec![0, 0xff]));
        for stated in [
            "entries",
            "entries=",
            "entries=-1",
            "entries=1.5",
            "entries=ten",
            "Entries=1",
            "=1",
            "print=hex:0",
            "entries=18446744073709551616",
            "entries=other:100",
            "model-input=input-of:/nonexistent.toml",
        ] {
            assert!(value(stated).is_err(), "{stated}");
        }
    }
}
