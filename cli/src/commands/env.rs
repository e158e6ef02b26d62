//! `dstyx env`: variables that only an app's guests may know.

use std::process::ExitCode;

use protocol::digest::{AppId, decode_hex};
use serde_json::json;

use crate::app::App;
use crate::args::{Env, EnvSeal};
use crate::clock::now_secs;
use crate::environments::{self, Recipient};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::kms::local::Local;
use crate::output::Output;
use crate::owner::Owner;

/// Runs one of the verbs.
pub fn run(verb: &Env, output: &Output) -> Outcome<ExitCode> {
    match verb {
        Env::Seal(options) => seal(options, output),
    }
}

fn seal(options: &EnvSeal, output: &Output) -> Outcome<ExitCode> {
    let app = App::read(&options.dir)?;
    let variables = environments::read(&options.env_file)?;
    environments::check_names(&variables, &app.settings)?;
    let compose_hash = app.settings.hash;
    let app_id = match &options.app_id {
        Some(id) => AppId::from_hex(id).hint("--app-id", "40 lower-case hexadecimal digits")?,
        None => AppId::from_compose_hash(&compose_hash),
    };
    let public_key = match &options.public_key {
        Some(key) => decode_hex(key).hint("--public-key", "64 lower-case hexadecimal digits")?,
        None => environments::key_of(&mut Local::running()?.kms.connection, app_id)?,
    };
    let signer = match &options.signer {
        Some(file) => Owner::load_from(file)?.ok_or_else(|| {
            Failure::new(format!("{}: there is no such file", file.display()), "give a key's file")
        })?,
        None => Owner::expect()?,
    };
    let counter = options.counter.map_or_else(now_secs, Ok)?;
    let recipient = Recipient { app_id, compose_hash, public_key };
    let envelope = environments::seal(&variables, &recipient, counter, &signer)?;
    std::fs::write(&options.output, envelope.to_bytes())
        .hint(options.output.display(), "is the directory writable?")?;
    let names: Vec<&str> = variables.iter().map(|(name, _)| name).collect();
    let document = json!({
        "file": options.output,
        "app_id": app_id,
        "compose_hash": compose_hash,
        "counter": counter,
        "signer": signer.public(),
        "names": names,
    });
    output.result(&document, || {
        format!(
            "{} has {} for the app {app_id}, version {compose_hash}, counter {counter}\n\
             signed by {}, which the policy of its KMS must name in env_signers\n",
            options.output.display(),
            names.join(", "),
            signer.public()
        )
    });
    Ok(ExitCode::SUCCESS)
}
