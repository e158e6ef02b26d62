//! The strict reading of a `docker-compose.yml`: text in, an app that can be run out, or every
//! refusal.
//!
//! The same bytes are read twice: by the command line before a boot, so that a person hears of a
//! mistake at once, and in the guest, where the file comes through the untrusted host. Nothing here
//! opens a file or a socket, and nothing is ignored: an unknown key, or one that a guest does not
//! have, is refused with its path and line, and a key that changes nothing is noted. Source: the
//! compose specification and its JSON schema.
#![forbid(unsafe_code)]

use protocol::app_compose::AppCompose;

mod app_directory;
mod attachments;
mod capabilities;
mod command;
mod data;
mod definitions;
pub mod digest;
mod document;
mod dotenv;
mod environment;
mod field;
mod fill_in;
pub mod flatten;
mod grants;
mod image;
mod inputs;
mod interpolate;
mod key_path;
mod keys;
mod lifecycle;
mod links;
mod missing;
pub mod model;
mod mounts;
pub mod pinning;
pub mod plan;
mod ports;
mod privileges;
mod process;
mod program;
mod reference;
mod refusal;
mod resolve;
mod resources;
mod scalar;
mod service;
mod target;

pub use document::{DocumentError, MAX_BYTES};
pub use dotenv::{DotenvError, DotenvFault};
pub use inputs::{Encrypted, Environment, Inputs, Wanted};
pub use interpolate::{InterpolationError, Unset};
pub use missing::MissingVariable;
pub use model::{AGENT_PORT, ComposeFile, OWNER_PORT, Program, Protocol, PublishedPort, Service};
pub use reference::{ImageName, ImageReference, ReferenceError, valid_registry};
pub use refusal::{Cause, ComposeError, KeyPath, Refusal, Refusals};

use field::{Field, Findings};
use keys::TOP;
use model::{AgentSocket, MountSource};

/// Each service costs a process, a network namespace and an address; apps in the field have fewer
/// than 20.
pub const MAX_SERVICES: usize = 64;

impl ComposeFile {
    /// Reads the compose file of a measured app with its own files and variables before a boot:
    /// what its encrypted environment will bring has stand-ins.
    pub fn of_app(app: &AppCompose) -> Result<Self, ComposeError> {
        Self::of_app_with(app, None)
    }

    /// The same as the guest does, with the variables that an encrypted environment brought; no
    /// refusal has a value of them.
    pub fn of_app_in_guest(app: &AppCompose, brought: &Environment) -> Result<Self, ComposeError> {
        Self::of_app_with(app, Some(brought))
            .map_err(|error| if brought.is_empty() { error } else { error.without_values() })
    }

    fn of_app_with(app: &AppCompose, brought: Option<&Environment>) -> Result<Self, ComposeError> {
        let environment =
            Environment::of_directory(&app.files).map_err(ComposeError::Environment)?;
        let inputs = Inputs {
            files: &app.files,
            environment: &environment,
            encrypted: Encrypted { names: &app.allowed_envs, values: brought },
            danger_privileged: app.danger_privileged,
            ..Inputs::default()
        };
        let file = Self::read(app.docker_compose_file.as_bytes(), &inputs)?;
        let (found, expected) = (file.pad_services(), app.pad_services.clone());
        if found == expected {
            Ok(file)
        } else {
            Err(ComposeError::PadServices { found, expected })
        }
    }

    /// The services that bind the socket for Pads, ascending: `pad_services` of the measured file.
    pub fn pad_services(&self) -> Vec<String> {
        let socket = MountSource::Socket(AgentSocket::Pads);
        let binds = |service: &&Service| service.mounts.iter().any(|mount| mount.source == socket);
        let mut names: Vec<_> =
            self.services.iter().filter(binds).map(|service| service.name.clone()).collect();
        names.sort();
        names
    }

    /// Reads a compose file, refusing all that cannot be run as written.
    pub fn read(bytes: &[u8], inputs: &Inputs<'_>) -> Result<Self, ComposeError> {
        let mut findings = Findings::new(*inputs);
        let file = read(bytes, &mut findings)?;
        findings.refuse_missing();
        findings.refusals.sort();
        match file {
            Some(file) if findings.refusals.is_empty() => Ok(file),
            _ => Err(ComposeError::Refused(findings.refusals)),
        }
    }

    /// The paths in the app directory that a compose file refers to, `.env` among them if a
    /// variable counts. What it is refused for does not matter here. A file of variables may refer
    /// to `.env`, so ask again with what was found.
    pub fn wanted(bytes: &[u8], inputs: &Inputs<'_>) -> Result<Wanted, ComposeError> {
        let mut findings = Findings::new(*inputs);
        read(bytes, &mut findings)?;
        Ok(findings.wanted)
    }
}

fn read(bytes: &[u8], findings: &mut Findings<'_>) -> Result<Option<ComposeFile>, DocumentError> {
    let mut root = document::parse(bytes)?;
    fill_in::document(&mut root, findings);
    let Inputs { encrypted, environment, .. } = findings.inputs;
    if let Some(name) = encrypted.names.iter().find(|name| environment.get(name).is_some()) {
        findings.refuse::<()>(&Field::root(&root), Cause::EncryptedAndPublic(name.clone()));
    }
    Ok(file(&Field::root(&root), findings))
}

fn file(root: &Field<'_>, findings: &mut Findings<'_>) -> Option<ComposeFile> {
    let file = root.section(TOP, findings)?;
    if let Some(field) = file.get("version") {
        findings.note(&field, "changes nothing: the compose specification no longer has versions");
    }
    let name = file.read("name", findings, project_name);
    let defined = definitions::read(&file, findings);
    let field = match file.get("services") {
        Some(field) => field,
        None => return findings.refuse(root, Cause::Missing("services")),
    };
    let entries = field.entries(findings);
    match entries.len() {
        // A value of another kind has been refused already.
        0 if findings.refusals.is_empty() => {
            return findings
                .refuse(&field, Cause::Kind { expected: "at least one service", found: "none" });
        }
        found if found > MAX_SERVICES => {
            return findings
                .refuse(&field, Cause::TooMany { what: "services", found, limit: MAX_SERVICES });
        }
        _ => {}
    }
    let written = entries
        .iter()
        .filter_map(|(name, field)| service::read(name, field, &defined, findings))
        .collect();
    Some(resolve::file(name, written, defined, &field, findings))
}

fn project_name(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let name = field.text(findings)?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = name.len() <= 63
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|b| word(b) || b == b'-' || b == b'_');
    let rule = "1 to 63 lower-case letters, digits, dashes or underscores, first a letter or digit";
    if valid { Some(name) } else { field.invalid("project name", &name, rule, findings) }
}
