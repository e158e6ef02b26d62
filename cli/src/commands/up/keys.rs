//! Where the keys of an app come from: this user's KMS, another one, or nowhere.

use protocol::app_compose::KeyProvider;
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
        let KeyProvider::Kms { id } = app.settings.key_provider else {
            warn_of_one_boot(app);
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

/// Said before the boot: without keys that outlive the guest the disk's key is made anew at every
/// boot.
fn warn_of_one_boot(app: &App) {
    let data = app.compose.data.iter().map(|path| format!("./{path}"));
    for (what, names) in
        [("volumes", app.compose.volumes.clone()), ("data directories", data.collect::<Vec<_>>())]
    {
        if !names.is_empty() {
            note(&format!(
                "what the app writes to its {what} ({}) lasts for one boot: its app-compose.json asks for no keys",
                names.join(", ")
            ));
        }
    }
}
