//! The app directory: a compose file and the app-compose.json that is measured.
//!
//! The bytes of app-compose.json are the app's identity. Where the directory has none, it is made
//! in dstack's canonical form and written beside the compose file, so that everybody sees what was
//! measured. One that was made so and not edited since is made anew for a launch when the compose
//! file has changed; one that a person edited is theirs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use compose::flatten::{self, Flattened};
use compose::model::Note;
use compose::plan::Plan;
use compose::{Cause, ComposeError, ComposeFile, Encrypted, Environment, Inputs, MissingVariable};
use protocol::app_compose::{
    self, AppCompose, AppFiles, ENVIRONMENT_FILE, KeyProvider, NewApp, StorageFs,
};
use protocol::digest::{Ed25519Key, Sha256Digest};

use crate::app_files::{self, Referred};
use crate::compose_files;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::output::note;
use crate::owner::Owner;

/// Name of the measured file in an app directory.
pub const APP_COMPOSE_FILE: &str = "app-compose.json";

/// An app that passed every check that is possible before a boot.
#[derive(Debug)]
pub struct App {
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// Exact bytes of app-compose.json.
    pub bytes: Vec<u8>,
    /// What they say.
    pub settings: AppCompose,
    /// What its compose file says.
    pub compose: ComposeFile,
    /// The files that this was made of, and where each of its lines comes from.
    pub source: Flattened,
    /// Whether app-compose.json was made anew.
    renewed: bool,
}

/// Who has the keys of apps whose data are to last; `None` if nobody has.
type KeysForData<'a> = &'a dyn Fn() -> Outcome<Option<Sha256Digest>>;

/// What a person asks for beside the directory.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Compose files, relative to the directory; Docker's choice if there are none.
    pub compose_files: &'a [PathBuf],
    /// The file of variables that takes the place of the directory's `.env`.
    pub env_file: Option<&'a Path>,
    /// Allows what breaks confinement in an app-compose.json that is made.
    pub danger_privileged: bool,
    /// Keeps the data disk without encryption, in an app-compose.json that is made.
    pub danger_host_readable_disk: bool,
    /// Lets a gateway lead to the app, in an app-compose.json that is made; without, as the one
    /// that is there says.
    pub gateway_enabled: bool,
    /// Variables that an encrypted environment brings, in an app-compose.json that is made;
    /// without, those of the one that is there.
    pub allowed_envs: &'a [String],
    /// Owners whom an app-compose.json that is made names, ascending.
    pub owners: &'a [Ed25519Key],
    /// Whose keys an app-compose.json that is made asks for, where its services keep data; asked
    /// only then.
    pub keys_for_data: Option<KeysForData<'a>>,
    /// Whether the app's disk came from another host, whose owner and KMS its app-compose.json may
    /// name; asked only where that file would otherwise be made anew for another one of them.
    pub imported: Option<&'a dyn Fn(&AppCompose) -> Outcome<bool>>,
}

impl App {
    /// Reads the directory; makes app-compose.json if there is none. One that is there says itself
    /// which compose files it was made of, and its own variables count, wherever they came from.
    pub fn read(directory: &Path) -> Outcome<Self> {
        let existing = directory.canonicalize().ok().and_then(|path| read_existing(&path).ok());
        let made_of = existing.flatten().map(|(_, settings)| {
            let files = flatten::made_of(&settings.docker_compose_file);
            files.into_iter().map(PathBuf::from).collect::<Vec<_>>()
        });
        let compose_files = &made_of.unwrap_or_default();
        let keys_for_data = Some(&own_keys as KeysForData<'_>);
        let owner = Owner::load()?.map(|owner| owner.public());
        let owners = owner.as_slice();
        let asked = Asked { compose_files, owners, keys_for_data, ..Asked::default() };
        Self::load(directory, asked, false)
    }

    /// The same for a launch: an app-compose.json that nobody edited follows the compose files.
    pub fn read_or_make(directory: &Path, asked: Asked<'_>) -> Outcome<Self> {
        Self::load(directory, asked, true)
    }

    fn load(directory: &Path, asked: Asked<'_>, renew: bool) -> Outcome<Self> {
        let existing = match directory.canonicalize() {
            Ok(directory) => read_existing(&directory)?,
            Err(_) => None,
        };
        let stated = existing.as_ref().map(|(_, settings)| settings.allowed_envs.clone());
        let stated = stated.unwrap_or_default();
        let allowed_envs = match asked.allowed_envs {
            [] => stated.as_slice(),
            asked => asked,
        };
        let gateway_enabled = asked.gateway_enabled
            || existing.as_ref().is_some_and(|(_, settings)| settings.gateway_enabled);
        let asked = Asked { allowed_envs, gateway_enabled, ..asked };
        let sources = Sources::read(directory, asked)?;
        let directory = sources.directory.clone();
        let make = |asked| -> Outcome<(Vec<u8>, AppCompose)> {
            let made = sources.make(asked).map_err(|error| error.failure(&sources))?;
            write(&directory, &made.0)?;
            Ok(made)
        };
        let mut renewed = false;
        let (bytes, settings) = match existing {
            None => make(asked)?,
            Some((bytes, settings)) => {
                let mut wanted = sources.new_app(asked);
                let files = without_variables(&sources.files);
                if !renew && settings.files.contains_key(ENVIRONMENT_FILE) {
                    tell_other_variables(&directory, &settings, &sources.files);
                    wanted.files = &files;
                }
                let follows = renew && is_as_made(&bytes, &settings);
                match difference(&sources, &settings, &wanted) {
                    None if follows
                        && (settings.owners != asked.owners || other_keys(asked, &settings)?)
                        && !asked.imported.map_or(Ok(false), |imported| imported(&settings))? =>
                    {
                        renewed = true;
                        let danger_privileged =
                            asked.danger_privileged || settings.danger_privileged;
                        make(Asked { danger_privileged, ..asked })?
                    }
                    None => (bytes, settings),
                    Some(_) if follows => {
                        renewed = true;
                        make(asked)?
                    }
                    Some(failure) => return Err(failure),
                }
            }
        };
        let compose = ComposeFile::of_app(&settings)
            .map_err(|error| NoApp::Compose(error).failure(&sources))?;
        let app = Self { directory, bytes, settings, compose, source: sources.compose, renewed };
        app.check_networks(None)?;
        Ok(app)
    }

    /// Refuses networks that the guest would refuse, before it is booted; `uplink` is the network
    /// that the guest itself is on, where it is known.
    pub fn check_networks(&self, uplink: Option<&str>) -> Outcome<()> {
        let occupied = uplink.map(str::parse).transpose();
        let occupied = occupied.hint("the guest's network", "this is an error of dstyx")?;
        Plan::new(&self.compose, occupied.as_slice()).map(drop).hint(
            self.directory.display(),
            "nothing was booted: the guest would refuse the same networks; docs/compose.md has the rules",
        )
    }

    /// What a person should know before this app becomes public.
    pub fn notes(&self) -> Vec<String> {
        let at = |note: &Note| {
            let (file, line) = self.source.origin(note.line);
            format!("{file}, line {line}: {}: {}", note.path, note.what)
        };
        let mut notes: Vec<String> = self.compose.notes.iter().map(at).collect();
        if self.renewed {
            notes.push(format!(
                "{APP_COMPOSE_FILE} is made anew of {}: it is another app, with another app id",
                self.source.distinct_files().join(", ")
            ));
        }
        if self.source.is_made() {
            notes.push(format!(
                "{} are measured as one compose file, which {APP_COMPOSE_FILE} shows",
                self.source.distinct_files().join(", ")
            ));
        }
        notes.extend(
            self.compose.dangers.iter().map(|danger| format!("danger_privileged: {}", at(danger))),
        );
        if !self.settings.allowed_envs.is_empty() {
            notes.push(format!(
                "variables from the encrypted environment alone (names are measured, values are not): {}",
                self.settings.allowed_envs.join(", ")
            ));
        }
        if !self.settings.files.is_empty() {
            let names: Vec<&str> = self.settings.files.keys().map(String::as_str).collect();
            notes.push(format!(
                "{APP_COMPOSE_FILE} carries {}: measured, readable by everybody, and read-only in the guest",
                names.join(", ")
            ));
        }
        notes
    }
}

/// What a directory holds of an app before anything is made of it.
#[derive(Debug)]
pub struct Sources {
    /// The directory, absolute.
    pub directory: PathBuf,
    /// The compose file, and where its lines come from.
    pub compose: Flattened,
    /// The files that it refers to.
    pub files: AppFiles,
    /// Directories that are there and do not travel.
    directories: BTreeSet<String>,
}

/// Why a directory holds no app that can be started.
#[derive(Debug)]
pub enum NoApp {
    /// The compose file cannot be run as written.
    Compose(ComposeError),
    /// Something else.
    Other(Failure),
}

impl NoApp {
    fn failure(self, sources: &Sources) -> Failure {
        match self {
            Self::Other(failure) => failure,
            Self::Compose(error) => Failure::new(
                told(sources, &error),
                "nothing was booted: the guest would refuse the same file; docs/compose.md has every key",
            ),
        }
    }
}

/// What is wrong, each refusal with the file and line that a person wrote.
fn told(sources: &Sources, error: &ComposeError) -> String {
    let Sources { directory, compose, .. } = sources;
    let refusals = match error {
        ComposeError::Refused(refusals) if compose.is_made() => refusals,
        _ => return format!("{}: {error}", directory.join(compose.origin(1).0).display()),
    };
    let place = |line| {
        let (file, line) = compose.origin(line);
        format!("{file}, line {line}")
    };
    let mut text = format!("{}: {} cannot be run as one", directory.display(), {
        compose.distinct_files().join(", ")
    });
    for refusal in refusals.iter() {
        text.push_str(&format!("\n{}: {}: ", place(refusal.line), refusal.path));
        match &refusal.cause {
            Cause::MissingVariables(missing) => {
                text.push_str("variables without a value:");
                for variable in missing {
                    let at = variable.at.strip_prefix("line ").and_then(|line| line.parse().ok());
                    let at = at.map_or_else(|| variable.at.clone(), place);
                    let variable = MissingVariable { at, ..variable.clone() };
                    text.push_str(&format!("\n    {variable}"));
                }
            }
            cause => text.push_str(&cause.to_string()),
        }
        match (refusal.hint(), &refusal.cause) {
            // A list of lines goes before its hint.
            (Some(hint), Cause::MissingVariables(_)) => text.push_str(&format!("\n  {hint}")),
            (Some(hint), _) => text.push_str(&format!(" ({hint})")),
            (None, _) => {}
        }
    }
    text
}

impl Sources {
    /// Reads the compose files of `directory` and the files that they refer to.
    pub fn read(directory: &Path, asked: Asked<'_>) -> Outcome<Self> {
        let directory = directory.canonicalize().hint(
            directory.display(),
            "give a directory with a compose file, such as examples/hello",
        )?;
        let names = compose_files::chosen(&directory, asked.compose_files)?;
        let compose = compose_files::read(&directory, &names)?;
        let Referred { files, directories } =
            app_files::referred(&directory, &compose.text, asked.env_file, asked.allowed_envs)?;
        Ok(Self { directory, compose, files, directories })
    }

    /// Without name and keys, which the compose file's content decides.
    fn new_app<'a>(&'a self, asked: Asked<'a>) -> NewApp<'a> {
        let Self { compose, files, .. } = self;
        NewApp {
            danger_privileged: asked.danger_privileged,
            danger_host_readable_disk: asked.danger_host_readable_disk,
            allowed_envs: asked.allowed_envs,
            gateway_enabled: asked.gateway_enabled,
            owners: asked.owners,
            ..NewApp::of("", &compose.text, files)
        }
    }

    /// The measured file of these sources and what it says, after every check that is possible
    /// before a boot. It is named as the compose file or the directory is.
    pub fn make(&self, asked: Asked<'_>) -> Result<(Vec<u8>, AppCompose), NoApp> {
        let app = self.new_app(asked);
        let place = self.directory.display();
        let environment = Environment::of_directory(app.files)
            .hint(self.directory.join(ENVIRONMENT_FILE).display(), "write one NAME=value a line");
        let environment = environment.map_err(NoApp::Other)?;
        let inputs = Inputs {
            files: app.files,
            directories: &self.directories,
            environment: &environment,
            encrypted: Encrypted { names: asked.allowed_envs, values: None },
            danger_privileged: asked.danger_privileged,
        };
        let compose =
            ComposeFile::read(self.compose.text.as_bytes(), &inputs).map_err(NoApp::Compose)?;
        let key_provider = key_provider(asked, &compose).map_err(NoApp::Other)?;
        let pad_services = compose.pad_services();
        let name = compose.name.unwrap_or_else(|| name_of(&self.directory));
        let bytes = NewApp { name: &name, key_provider, pad_services: &pad_services, ..app }
            .generate()
            .hint(&place, "give the app a plain name with `name:` in the compose file");
        let bytes = bytes.map_err(NoApp::Other)?;
        let settings =
            app_compose::parse(&bytes).hint(&place, "this is an error of dstyx, please report it");
        Ok((bytes, settings.map_err(NoApp::Other)?))
    }
}

/// Data outlive a guest only under keys that do, and encrypted variables need one.
fn key_provider(asked: Asked<'_>, compose: &ComposeFile) -> Outcome<KeyProvider> {
    // A Pad whose policies were replaced in a guest is nowhere else until it was fetched.
    let keeps_data = !compose.volumes.is_empty()
        || !compose.data.is_empty()
        || !compose.pad_services().is_empty();
    let id = match asked.keys_for_data {
        Some(keys) if keeps_data || asked.gateway_enabled || !asked.allowed_envs.is_empty() => {
            keys()?
        }
        _ => None,
    };
    Ok(id.map_or(KeyProvider::None, |id| KeyProvider::Kms { id }))
}

/// Whether a file that would be made now asks for other keys. A compose file that cannot be read is
/// told of later.
fn other_keys(asked: Asked<'_>, settings: &AppCompose) -> Outcome<bool> {
    match ComposeFile::of_app(settings) {
        Ok(compose) => Ok(key_provider(asked, &compose)? != settings.key_provider),
        Err(_) => Ok(false),
    }
}

/// The KMS of this user's key, as `up` would write it; nothing is made for a look.
fn own_keys() -> Outcome<Option<Sha256Digest>> {
    Ok(Owner::load()?.map(|owner| owner.key_provider_id()))
}

/// The measured file of the directory, if there is one.
fn read_existing(directory: &Path) -> Outcome<Option<(Vec<u8>, AppCompose)>> {
    let file = directory.join(APP_COMPOSE_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let bytes = files::read_bounded(&file, app_compose::MAX_BYTES as u64)
        .map_err(|failure| Failure::new(failure, "make it readable, or remove it"))?;
    let settings = app_compose::parse(&bytes).hint(
        file.display(),
        "change that key, or remove the file to have one made from the compose file",
    )?;
    Ok(Some((bytes, settings)))
}

/// In what the measured file is not of this directory.
fn difference(sources: &Sources, settings: &AppCompose, wanted: &NewApp<'_>) -> Option<Failure> {
    let file = sources.directory.join(APP_COMPOSE_FILE);
    let (file, anew) = (file.display(), format!("remove {APP_COMPOSE_FILE} to have it made anew"));
    if settings.docker_compose_file != wanted.docker_compose_file {
        let files = sources.compose.distinct_files().join(", ");
        let what = format!("{file} holds another compose file than {files}");
        return Some(Failure::new(what, anew));
    }
    let mut paths = wanted.files.keys();
    if let Some(path) = paths.find(|path| settings.files.get(*path) != wanted.files.get(*path)) {
        return Some(Failure::new(format!("{file} holds another {path} than the directory"), anew));
    }
    if settings.allowed_envs != wanted.allowed_envs {
        let what = format!("{file} has other allowed_envs than {}", wanted.allowed_envs.join(", "));
        return Some(Failure::new(what, anew));
    }
    if wanted.gateway_enabled && !settings.gateway_enabled {
        return Some(Failure::new(format!("{file} does not say gateway_enabled"), anew));
    }
    let unsaid = wanted.danger_privileged && !settings.danger_privileged;
    unsaid.then(|| Failure::new(format!("{file} does not have danger_privileged"), anew))
}

fn without_variables(files: &AppFiles) -> AppFiles {
    let mut files = files.clone();
    files.remove(ENVIRONMENT_FILE);
    files
}

/// Says that the app has other variables than the directory: those of `up --env-file`, or the
/// directory's changed since.
fn tell_other_variables(directory: &Path, settings: &AppCompose, files: &AppFiles) {
    if settings.files.get(ENVIRONMENT_FILE) != files.get(ENVIRONMENT_FILE) {
        note(&format!(
            "{} holds other variables than {ENVIRONMENT_FILE} beside it; its own count",
            directory.join(APP_COMPOSE_FILE).display()
        ));
    }
}

/// Whether nobody edited the file since it was made: what is in it gives its bytes again.
fn is_as_made(bytes: &[u8], settings: &AppCompose) -> bool {
    let app = NewApp {
        danger_privileged: settings.danger_privileged,
        key_provider: settings.key_provider,
        danger_host_readable_disk: settings.storage_fs == StorageFs::BtrfsPlain,
        allowed_envs: &settings.allowed_envs,
        gateway_enabled: settings.gateway_enabled,
        owners: &settings.owners,
        pad_services: &settings.pad_services,
        ..NewApp::of(&settings.name, &settings.docker_compose_file, &settings.files)
    };
    app.generate().is_ok_and(|made| made == bytes)
}

/// Writes the measured file beside the compose file.
fn write(directory: &Path, bytes: &[u8]) -> Outcome<()> {
    let file = directory.join(APP_COMPOSE_FILE);
    fs::write(&file, bytes)
        .hint(file.display(), "the measured file is written beside the compose file")
}

/// The directory's name without what no name may have; `app` if nothing is left.
fn name_of(directory: &Path) -> String {
    let directory_name =
        directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String =
        directory_name.chars().filter(|c| legal(*c)).take(app_compose::MAX_NAME_BYTES).collect();
    match name.trim_start_matches('.') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
