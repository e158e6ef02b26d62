//! `owners`: whose keys open the owner's view of a guest.

use super::{AppComposeError, refused};
use crate::digest::Ed25519Key;

/// More people than look after one app.
pub const MAX_OWNERS: usize = 16;

/// The keys; one spelling of them is accepted, so that one set of owners has one measurement.
pub(super) fn parse(owners: &[String]) -> Result<Vec<Ed25519Key>, AppComposeError> {
    if owners.len() > MAX_OWNERS {
        let what = format!("at most {MAX_OWNERS} keys are expected, found {}", owners.len());
        return Err(refused("owners", &what));
    }
    let keys = owners.iter().map(|key| Ed25519Key::from_hex(key)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| {
        refused("owners", &format!("{error}: 64 lower-case hexadecimal digits are expected"))
    })?;
    match keys.is_sorted_by(|key, next| key < next) {
        true => Ok(keys),
        false => Err(refused("owners", "keys are expected in ascending order, each once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_different_keys_in_order() {
        let hex = |byte: u8| hex::encode([byte; 32]);
        assert_eq!(parse(&[]).unwrap(), []);
        assert_eq!(parse(&[hex(1), hex(2)]).unwrap(), [1, 2].map(|byte| Ed25519Key([byte; 32])));
        let many = (0..=16).map(hex).collect::<Vec<_>>();
        assert_eq!(parse(&many[..16]).unwrap().len(), MAX_OWNERS);
        let rows = [
            (many, "at most 16"),
            (vec![hex(2), hex(1)], "ascending"),
            (vec![hex(1), hex(1)], "each once"),
            (vec![hex(0xab).to_uppercase()], "lower-case"),
            (vec![hex(1)[2..].to_owned()], "64 lower-case"),
        ];
        for (owners, expected) in rows {
            let error = parse(&owners).unwrap_err().to_string();
            assert!(error.starts_with("app-compose.json: owners: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
