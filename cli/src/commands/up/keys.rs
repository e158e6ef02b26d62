//! Where the keys of an app come from: this user's KMS, another one, or nowhere.

use protocol::app_compose::{KeyProvider, StorageFs};
use protocol::digest::{Ed25519Key, Sha256Digest};

use crate::app::App;
use crate::args::KeyFlags;
use crate::commands::up::variables::AskedEnvironment;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::kept::Kept;
use crate::kms::allow;
use crate::kms::local::{Local, MACHINE, Start};
use crate::kms::policy::Wanted;
use crate::launch::for_guest;
use crate::output::{Output, note};
use crate::owner::Owner;
use crate::parts::Parts;

/// What a launch of an app takes besides.
pub struct Keys {
    /// Disk, seed and id that outlive the machine, for an app with keys.
    pub kept: Option<Kept>,
    /// Where the guest finds its KMS.
    pub urls: Vec<String>,
    /// The app's encrypted environment.
    pub encrypted_env: Option<Vec<u8>>,
}

/// Where keys may come from, and what is sealed under one of them.
#[derive(Clone, Copy)]
pub struct KeySources<'a> {
    /// As a person asked.
    pub flags: &'a KeyFlags,
    /// With what this user's KMS is started.
    pub start: Start<'a>,
    /// The environment.
    pub environment: &'a AskedEnvironment,
}

/// Who has the keys of an app that keeps data, in a measured file that is made.
pub fn for_data(flags: &KeyFlags, output: &Output) -> Outcome<Option<Sha256Digest>> {
    if flags.no_kms {
        return Ok(None);
    }
    if let Some(id) = &flags.kms_id {
        let id = Sha256Digest::from_hex(id)
            .hint("--kms-id", "`dstyx kms status` of its owner shows the key_provider_id")?;
        return Ok(Some(id));
    }
    Ok(Some(Owner::ensured(output)?.key_provider_id()))
}

/// Whom a measured file that is made names as its owner.
pub fn owner(flags: &KeyFlags, output: &Output) -> Outcome<Option<Ed25519Key>> {
    match flags.no_owner {
        true => Ok(None),
        false => Ok(Some(Owner::ensured(output)?.public())),
    }
}

/// Refuses the name of this user's own KMS.
pub fn check_name(name: &str) -> Outcome<()> {
    if name != MACHINE {
        return Ok(());
    }
    let what = format!("{MACHINE} is the name of this user's own KMS");
    Err(Failure::new(what, "give the app another --name"))
}

impl Keys {
    /// What the measured file asks for; this user's KMS is started and allows the app, if the file
    /// pins that and no address is given.
    pub fn of(
        name: &str,
        app: &App,
        parts: &Parts,
        KeySources { flags, start, environment }: KeySources<'_>,
        output: &Output,
    ) -> Outcome<Self> {
        notes_on_data(app).iter().for_each(|text| note(text));
        let KeyProvider::Kms { id } = app.settings.key_provider else {
            return Ok(Self { kept: None, urls: Vec::new(), encrypted_env: None });
        };
        let kept = Kept::for_start(name, app.settings.hash, flags.upgrade)?;
        if !flags.kms.is_empty() {
            output.step(&format!("the app's keys are with the KMS {id}; its owners must allow it"));
            let urls = flags.kms.iter().map(|url| for_guest(url)).collect();
            let encrypted_env = environment.sealed_elsewhere()?;
            return Ok(Self { kept: Some(kept), urls, encrypted_env });
        }
        let own = Owner::load()?.map(|owner| owner.key_provider_id());
        if own != Some(id) {
            return Err(Failure::new(
                format!("the app pins the KMS {id}, which is not this user's"),
                "give its address with --kms, or remove app-compose.json to have it made anew",
            ));
        }
        let mut local = Local::serving(start, output)?;
        let mut wanted = Wanted::of(&app.settings, Some(&kept.record), parts.os_image_hash)?;
        wanted.env_signer =
            (!app.settings.allowed_envs.is_empty()).then(|| local.kms.owner.public());
        let image_json = files::read_image_json(&parts.image)?;
        allow::allow(&mut local.kms, &wanted, &image_json, output)?;
        let encrypted_env = environment.sealed_for(&wanted, &mut local, output)?;
        Ok(Self { urls: vec![local.url_for_guests()?], kept: Some(kept), encrypted_env })
    }
}

/// What becomes of what the app writes to each of its volumes and data directories, said before the
/// boot. Of a disk that the host reads, the guest uses named volumes alone.
fn notes_on_data(app: &App) -> Vec<String> {
    let plain = app.settings.storage_fs == StorageFs::BtrfsPlain;
    let data: Vec<String> = app.compose.data.iter().map(|path| format!("./{path}")).collect();
    let kinds = [("volumes", &app.compose.volumes, plain), ("data directories", &data, false)];
    let used = kinds.into_iter().filter(|(_, names, _)| !names.is_empty());
    used.map(|(what, names, plain)| {
        let becomes = match (app.settings.key_provider, plain) {
            (KeyProvider::Kms { .. }, _) => "is kept, readable for guests with the app's keys",
            (KeyProvider::None, true) => "is kept, readable for the host",
            (KeyProvider::None, false) => {
                "lasts for one boot: its app-compose.json asks for no keys"
            }
        };
        format!("what the app writes to its {what} ({}) {becomes}", names.join(", "))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Asked;

    #[test]
    fn what_becomes_of_data_is_told_by_name_with_and_without_keys() {
        let directory = tempfile::tempdir().unwrap();
        let image = format!("x.local/a@sha256:{}", "ab".repeat(32));
        let text = format!(
            "services:\n  web:\n    image: {image}\n    \
             volumes: [\"db:/db\", \"./counts:/c\", \"./b/log:/l\"]\nvolumes: {{db: {{}}}}\n"
        );
        std::fs::write(directory.path().join("compose.yaml"), text).unwrap();
        let keys = || Ok(Some(Sha256Digest([7; 32])));
        let with = Asked { keys_for_data: Some(&keys), ..Asked::default() };
        for (asked, becomes) in [
            (with, "is kept, readable for guests with the app's keys"),
            (Asked::default(), "lasts for one boot: its app-compose.json asks for no keys"),
        ] {
            let app = App::read_or_make(directory.path(), asked).unwrap();
            let expected = ["volumes (db)", "data directories (./b/log, ./counts)"]
                .map(|named| format!("what the app writes to its {named} {becomes}"));
            assert_eq!(notes_on_data(&app), expected);
        }
    }
}
