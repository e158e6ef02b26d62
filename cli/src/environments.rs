//! Variables that only an app's guests may know: read from a file, sealed and signed.
//!
//! The values are in this process's memory alone; no message has one.

use std::path::Path;

use compose::Environment;
use environment::Variables;
use protocol::app_compose::{AppCompose, ENVIRONMENT_FILE};
use protocol::digest::{AppId, ComposeHash};
use protocol::environment::{Envelope, MAX_CONTENT_BYTES};
use protocol::kms::{AppIdRequest, PublicKeyResponse};
use zeroize::Zeroizing;

use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kms::channel::Calls;
use crate::owner::Owner;

/// For which guests an environment is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// The app.
    pub app_id: AppId,
    /// The version of it.
    pub compose_hash: ComposeHash,
    /// The app's key.
    pub public_key: [u8; 32],
}

/// The variables of a file in the form of `.env`; a file without any is a mistake.
pub fn read(file: &Path) -> Outcome<Variables> {
    let bytes = files::read_bounded(file, MAX_CONTENT_BYTES as u64)?;
    let files = [(ENVIRONMENT_FILE.to_owned(), bytes)].into();
    let pairs = Environment::of_directory(&files)
        .map_err(|error| Failure::new(place(file, error.line), "write one NAME=value a line"))?;
    let owned = |(name, value): (&str, &str)| (name.to_owned(), Zeroizing::new(value.to_owned()));
    let variables =
        Variables::of(pairs.iter().map(owned)).hint(file.display(), "correct the file")?;
    if variables.iter().next().is_none() {
        let what = format!("{} has no variable", file.display());
        return Err(Failure::new(what, "is it the right file? write one NAME=value a line"));
    }
    Ok(variables)
}

/// Refuses variables that the app's guests would refuse.
pub fn check_names(variables: &Variables, app: &AppCompose) -> Outcome<()> {
    let mut names = variables.iter().map(|(name, _)| name);
    match names.find(|name| !app.allowed_envs.iter().any(|known| known == name)) {
        Some(name) => Err(Failure::new(
            format!("the app does not allow the variable {name}"),
            "add it to allowed_envs in app-compose.json; that makes another version of the app",
        )),
        None => Ok(()),
    }
}

/// The app's key, as a KMS that was verified gives it.
pub fn key_of(kms: &mut impl Calls, app_id: AppId) -> Outcome<[u8; 32]> {
    let request = AppIdRequest { app_id: app_id.0.to_vec() };
    let answer: PublicKeyResponse = kms.call("GetAppEnvEncryptPubKey", &request)?;
    let found = answer.public_key.len();
    answer.public_key.try_into().map_err(|_| {
        let what = format!("the KMS gives a key of {found} bytes for the app, expected 32");
        Failure::new(what, "is it of another version than this program?")
    })
}

/// Seals and signs.
pub fn seal(
    variables: &Variables,
    recipient: &Recipient,
    counter: u64,
    signer: &Owner,
) -> Outcome<Envelope> {
    let Recipient { app_id, compose_hash, public_key } = recipient;
    let mut envelope = environment::seal(variables, public_key, *app_id, *compose_hash, counter)
        .hint("the environment", "give the key that the KMS gives for the app")?;
    signer.sign_environment(&mut envelope);
    Ok(envelope)
}

/// A parser's own message would quote a value.
fn place(file: &Path, line: usize) -> String {
    format!("{}, line {line}: no variable", file.display())
}

#[cfg(test)]
mod tests {
    use attestation::signatures::Signer;

    use super::*;

    #[test]
    fn a_file_of_variables_is_sealed_and_signed_for_one_version_of_an_app() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret.env");
        std::fs::write(&file, "A=\\\nDB_PASSWORD=\"pass word\"\n").unwrap();
        let variables = read(&file).unwrap();
        let expected = [("A", "\\"), ("DB_PASSWORD", "pass word")];
        assert_eq!(variables.iter().collect::<Vec<_>>(), expected);
        let (secret, owner) = ([0x42; 32], Owner::of_seed(1));
        let public_key = "132c442be010fbd57e72603328aa76e71fccc1503aae219327d14d9c9993f472";
        let recipient = Recipient {
            app_id: AppId([1; 20]),
            compose_hash: ComposeHash([2; 32]),
            public_key: hex::decode(public_key).unwrap().try_into().unwrap(),
        };
        let envelope = seal(&variables, &recipient, 9, &owner).unwrap();
        let envelope = Envelope::parse(&envelope.to_bytes()).unwrap();
        let Recipient { app_id, compose_hash, .. } = recipient;
        assert_eq!(environment::open(&envelope, &secret, app_id, compose_hash), Ok(variables));
        let signature = envelope.signature.unwrap();
        let signed = envelope.header.signed_bytes(&envelope.digest());
        assert_eq!(signature.signer, owner.public());
        assert!(Signer::from_key(&signature.signer).unwrap().signed(&signed, &signature.signature));
    }

    #[test]
    fn a_line_that_is_no_variable_is_told_without_its_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret.env");
        std::fs::write(&file, "A=a\nhunter2 hunter2\n").unwrap();
        let said = read(&file).unwrap_err().to_string();
        assert!(said.contains("line 2") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_json_file_and_one_without_variables_are_not_taken_for_no_variables() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret.json");
        for json in ["{\"A\": \"a\"}\n", "{\"A\": \"b=c\"}", "[\"A=a\"]", "{\n  \"A\": 1\n}\n"] {
            std::fs::write(&file, json).unwrap();
            let said = read(&file).unwrap_err().to_string();
            assert!(said.contains("no variable"), "{json}: {said}");
        }
        for nothing in ["", "\n", "# A=a\n"] {
            std::fs::write(&file, nothing).unwrap();
            assert!(read(&file).unwrap_err().to_string().contains("has no variable"));
        }
    }
}
