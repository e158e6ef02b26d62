//! The encrypted environment of a launch: sealed now, or before.

use environment::Variables;
use protocol::app_compose::EnvEnvelope;
use protocol::environment::{Envelope, MAX_BYTES};

use crate::app::App;
use crate::args::Up;
use crate::clock::now_secs;
use crate::environments::{self, Recipient};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kms::local::Local;
use crate::kms::policy::Wanted;
use crate::output::Output;

/// What a person gives.
pub enum AskedEnvironment {
    /// Nothing.
    None,
    /// Variables to be sealed, and their names.
    Variables(Variables, Vec<String>),
    /// An envelope.
    Sealed(Vec<u8>),
}

impl AskedEnvironment {
    /// Reads what the options name.
    pub fn of(options: &Up) -> Outcome<Self> {
        if let Some(file) = &options.secret_env_file {
            let variables = environments::read(file)?;
            let names = variables.iter().map(|(name, _)| name.to_owned()).collect();
            return Ok(Self::Variables(variables, names));
        }
        match &options.encrypted_env {
            // Hexadecimal digits, as dstack's SDKs give them, are twice as many.
            Some(file) => Ok(Self::Sealed(files::read_bounded(file, 2 * MAX_BYTES as u64 + 1)?)),
            None => Ok(Self::None),
        }
    }

    /// Names of variables, for an app-compose.json that is made; none where they are not known.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Variables(_, names) => names,
            Self::None | Self::Sealed(_) => &[],
        }
    }

    /// Refuses what the app's guest would refuse, as far as it can be told without a key.
    pub fn check(&self, app: &App) -> Outcome<()> {
        match self {
            Self::None => Ok(()),
            Self::Variables(variables, _) => environments::check_names(variables, &app.settings),
            Self::Sealed(_) if app.settings.env_envelope == EnvEnvelope::DangerDstack => Ok(()),
            Self::Sealed(bytes) => {
                const AGAIN: &str = "seal it again with `dstyx env seal`";
                let envelope = Envelope::parse(bytes).hint("--encrypted-env", AGAIN)?;
                let (found, asked) = (envelope.header.compose_hash, app.settings.hash);
                if found == asked {
                    return Ok(());
                }
                let what = format!("the environment is for the version {found}, this is {asked}");
                Err(Failure::new(what, AGAIN))
            }
        }
    }

    /// The envelope that was given, for an app whose KMS is others'.
    pub fn sealed_elsewhere(&self) -> Outcome<Option<Vec<u8>>> {
        match self {
            Self::None => Ok(None),
            Self::Sealed(bytes) => Ok(Some(without_hex(bytes))),
            Self::Variables(..) => Err(Failure::new(
                "--secret-env-file is for apps of this user's KMS",
                "seal the file with `dstyx env seal --public-key`, and give it as --encrypted-env",
            )),
        }
    }

    /// The envelope for an app of this user's KMS.
    pub fn sealed_for(
        &self,
        wanted: &Wanted,
        local: &mut Local,
        output: &Output,
    ) -> Outcome<Option<Vec<u8>>> {
        let Self::Variables(variables, names) = self else { return self.sealed_elsewhere() };
        let (app_id, compose_hash) = (wanted.app_id, wanted.compose_hash);
        let public_key = environments::key_of(&mut local.kms.connection, app_id)?;
        let recipient = Recipient { app_id, compose_hash, public_key };
        let envelope = environments::seal(variables, &recipient, now_secs()?, &local.kms.owner)?;
        output.step(&format!("sealed and signed by this user's key: {}", names.join(", ")));
        Ok(Some(envelope.to_bytes()))
    }
}

/// dstack's SDKs give hexadecimal digits; an envelope of ours does not consist of them.
fn without_hex(bytes: &[u8]) -> Vec<u8> {
    hex::decode(bytes.trim_ascii()).unwrap_or_else(|_| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_dstack_s_envelope_are_one() {
        let text = include_str!("../../../../tests/vectors/environment/dstack.hex");
        let bytes = hex::decode(text.trim()).unwrap();
        assert_eq!(without_hex(text.as_bytes()), bytes);
        assert_eq!(without_hex(&bytes), bytes);
        let ours = include_bytes!("../../../../tests/vectors/environment/sealed.bin");
        assert_eq!(without_hex(ours), ours);
    }
}
