//! The policy of this user's KMS: what `up` adds to it, and whether it allows an app.
//!
//! The file's form and its judgement are the KMS's; here its owner writes the next version.

use kms_rules::policy::{Instances, MAX_VALIDITY_SECS, PolicyApp, PolicyFile};
use protocol::app_compose::AppCompose;
use protocol::digest::{AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, Sha256Digest};

use crate::failure::Outcome;
use crate::kept::Record;

/// How far the clock of the KMS may be behind this machine's.
const CLOCK_MARGIN_SECS: u64 = 600;

/// What an `up` wants to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The app.
    pub app_id: AppId,
    /// The version that is started now.
    pub compose_hash: ComposeHash,
    /// The instance; `None` for an app without instance ids.
    pub instance_id: Option<InstanceId>,
    /// The image that it is started in.
    pub os_image_hash: OsImageHash,
    /// Whether its measured file lets containers depart from the default confinement.
    pub danger_privileged: bool,
    /// Who signs its environments, if it takes any.
    pub env_signer: Option<Ed25519Key>,
    /// Whether it is the gateway.
    pub gateway: bool,
}

impl Wanted {
    /// What an app would be: under the id and instance that are kept for it, or under new ones.
    pub fn of(
        settings: &AppCompose,
        kept: Option<&Record>,
        os_image_hash: OsImageHash,
    ) -> Outcome<Self> {
        let of_hash = || AppId::from_compose_hash(&settings.hash);
        let instance_id = match kept {
            Some(record) if !settings.no_instance_id => Some(record.instance_id()?),
            _ => None,
        };
        Ok(Self {
            app_id: kept.map_or_else(of_hash, |record| record.app_id),
            compose_hash: settings.hash,
            instance_id,
            os_image_hash,
            danger_privileged: settings.danger_privileged,
            env_signer: None,
            gateway: false,
        })
    }
}

/// The next version: what was allowed, and `wanted`. It is valid from now on for 30 days.
/// `signed_version` is the highest that this owner ever signed.
pub fn extended(
    previous: Option<&PolicyFile>,
    key_provider_id: Sha256Digest,
    signed_version: u64,
    wanted: Option<&Wanted>,
    now_secs: u64,
) -> PolicyFile {
    let previous_version = previous.map_or(0, |file| file.version);
    let not_before_secs = now_secs.saturating_sub(CLOCK_MARGIN_SECS);
    let mut file = PolicyFile {
        key_provider_id,
        version: previous_version.max(signed_version) + 1,
        not_before_secs,
        not_after_secs: not_before_secs + MAX_VALIDITY_SECS,
        ..previous.cloned().unwrap_or_else(|| empty(key_provider_id))
    };
    if let Some(wanted) = wanted {
        allow(&mut file, wanted);
    }
    file
}

/// A policy that allows nothing; its version and dates are still to be set.
fn empty(key_provider_id: Sha256Digest) -> PolicyFile {
    PolicyFile {
        key_provider_id,
        version: 0,
        not_before_secs: 0,
        not_after_secs: 0,
        apps: Vec::new(),
        os_images: Vec::new(),
        danger_go_back_to_images: Vec::new(),
        platform_ids: None,
        minimum_tcb_evaluation_number: None,
        minimum_tcb_date_secs: None,
        tolerate_tcb: Vec::new(),
        gateway_app_id: None,
        replicas: None,
        pad_custodians: Vec::new(),
    }
}

fn allow(file: &mut PolicyFile, wanted: &Wanted) {
    push_new(&mut file.os_images, wanted.os_image_hash);
    if wanted.gateway {
        file.gateway_app_id = Some(wanted.app_id);
    }
    let app = match file.apps.iter_mut().find(|app| app.app_id == wanted.app_id) {
        Some(app) => app,
        None => {
            file.apps.push(PolicyApp {
                app_id: wanted.app_id,
                compose_hashes: Vec::new(),
                instances: match wanted.instance_id {
                    Some(_) => Instances::Ids(Vec::new()),
                    None => Instances::default(),
                },
                danger_privileged: false,
                danger_storage: Vec::new(),
                danger_go_back_to: Vec::new(),
                env_signers: Vec::new(),
                certifiable_names: Vec::new(),
            });
            file.apps.last_mut().expect("pushed above")
        }
    };
    push_new(&mut app.compose_hashes, wanted.compose_hash);
    app.danger_privileged |= wanted.danger_privileged;
    if let Some(signer) = wanted.env_signer {
        push_new(&mut app.env_signers, signer);
    }
    // A number or `any` is a word of the owner's own, and stays.
    if let (Instances::Ids(ids), Some(id)) = (&mut app.instances, wanted.instance_id) {
        push_new(ids, id);
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// A line of the policy about an app, and whether it allows the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key, such as `apps[2].compose_hashes`.
    pub place: String,
    /// What it says of this app.
    pub says: String,
    /// Whether keys may be released as far as this line goes.
    pub allows: bool,
}

/// Which lines decide about `wanted`; keys are released if all of them allow it, as far as can be
/// said without evidence.
pub fn explain(file: &PolicyFile, wanted: &Wanted, now_secs: u64) -> Vec<Line> {
    let line = |place: &str, says: String, allows| Line { place: place.to_owned(), says, allows };
    let valid = (file.not_before_secs..=file.not_after_secs).contains(&now_secs);
    let mut lines = vec![line(
        "not_before_secs, not_after_secs",
        format!("version {} is {}valid now", file.version, if valid { "" } else { "not " }),
        valid,
    )];
    let image = file.os_images.iter().position(|image| *image == wanted.os_image_hash);
    lines.push(match image {
        Some(index) => line(&format!("os_images[{index}]"), "names this image".into(), true),
        None => line("os_images", format!("no line names image {}", wanted.os_image_hash), false),
    });
    let app = file.apps.iter().enumerate().find(|(_, app)| app.app_id == wanted.app_id);
    let Some((index, app)) = app else {
        lines.push(line("apps", format!("no line names app {}", wanted.app_id), false));
        return lines;
    };
    let place = |key: &str| format!("apps[{index}].{key}");
    lines.push(line(&place("app_id"), "names this app".into(), true));
    let hash = app.compose_hashes.iter().position(|hash| *hash == wanted.compose_hash);
    lines.push(match hash {
        Some(at) => line(&place(&format!("compose_hashes[{at}]")), "names this file".into(), true),
        None => {
            let says = format!("no line names the file {}", wanted.compose_hash);
            line(&place("compose_hashes"), says, false)
        }
    });
    let (says, allows) = instances(&app.instances, wanted.instance_id);
    lines.push(line(&place("instances"), says, allows));
    if wanted.danger_privileged {
        let says = match app.danger_privileged {
            true => "accepts containers that depart from the default confinement",
            false => "is not there, and this app's containers may depart from their confinement",
        };
        lines.push(line(&place("danger_privileged"), says.into(), app.danger_privileged));
    }
    lines
}

fn instances(instances: &Instances, wanted: Option<InstanceId>) -> (String, bool) {
    match (instances, wanted) {
        (Instances::Any(_), _) => ("any instance".into(), true),
        (Instances::Number(0), _) => ("no instance".into(), false),
        (Instances::Number(number), _) => (format!("the first {number} that ask"), true),
        (Instances::Ids(ids), Some(id)) if ids.contains(&id) => {
            ("names this instance".into(), true)
        }
        (Instances::Ids(_), Some(id)) => (format!("no line names instance {id}"), false),
        (Instances::Ids(_), None) => {
            ("names instances; none is kept here for this app".into(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Sha256Digest = Sha256Digest([9; 32]);
    const NOW: u64 = 2_000_000_000;

    fn wanted(byte: u8) -> Wanted {
        Wanted {
            app_id: AppId([byte; 20]),
            compose_hash: ComposeHash([byte; 32]),
            instance_id: Some(InstanceId([byte; 20])),
            os_image_hash: OsImageHash([1; 32]),
            danger_privileged: false,
            env_signer: Some(Ed25519Key([byte; 32])),
            gateway: false,
        }
    }

    fn allows(file: &PolicyFile, wanted: &Wanted, now_secs: u64) -> bool {
        explain(file, wanted, now_secs).iter().all(|line| line.allows)
    }

    #[test]
    fn the_next_version_allows_what_was_allowed_and_what_is_wanted() {
        let first = extended(None, ID, 0, Some(&wanted(1)), NOW);
        let second = extended(Some(&first), ID, 1, Some(&wanted(2)), NOW + 5);
        first.check().unwrap();
        second.check().unwrap();
        assert_eq!((first.version, second.version), (1, 2));
        assert_eq!(second.not_after_secs - second.not_before_secs, MAX_VALIDITY_SECS);
        assert_eq!(second.apps[1].env_signers, [Ed25519Key([2; 32])]);
        assert!(allows(&first, &wanted(1), NOW) && !allows(&first, &wanted(2), NOW));
        assert!(allows(&second, &wanted(1), NOW + 5) && allows(&second, &wanted(2), NOW + 5));
        assert!(!allows(&second, &wanted(2), second.not_after_secs + 1));
    }

    #[test]
    fn a_version_is_above_every_one_that_was_signed() {
        let first = extended(None, ID, 0, None, NOW);
        assert_eq!(extended(Some(&first), ID, 7, None, NOW).version, 8);
        assert_eq!(extended(None, ID, 7, None, NOW).version, 8);
    }

    #[test]
    fn the_same_want_twice_adds_nothing_and_an_upgrade_adds_its_file() {
        let first = extended(None, ID, 0, Some(&wanted(1)), NOW);
        let again = extended(Some(&first), ID, 1, Some(&wanted(1)), NOW);
        assert_eq!((&again.apps, &again.os_images), (&first.apps, &first.os_images));
        let upgrade = Wanted { compose_hash: ComposeHash([7; 32]), ..wanted(1) };
        let upgraded = extended(Some(&again), ID, 2, Some(&upgrade), NOW);
        assert_eq!(upgraded.apps[0].compose_hashes, [ComposeHash([1; 32]), ComposeHash([7; 32])]);
        assert!(allows(&upgraded, &upgrade, NOW));
    }

    #[test]
    fn each_line_that_does_not_allow_names_its_place() {
        let file = extended(None, ID, 0, Some(&wanted(1)), NOW);
        let refused = |wanted: &Wanted| -> Vec<String> {
            let lines = explain(&file, wanted, NOW);
            lines.into_iter().filter(|line| !line.allows).map(|line| line.place).collect()
        };
        let other_file = Wanted { compose_hash: ComposeHash([7; 32]), ..wanted(1) };
        assert_eq!(refused(&other_file), ["apps[0].compose_hashes"]);
        let other_instance = Wanted { instance_id: Some(InstanceId([7; 20])), ..wanted(1) };
        assert_eq!(refused(&other_instance), ["apps[0].instances"]);
        let other_image = Wanted { os_image_hash: OsImageHash([7; 32]), ..wanted(1) };
        assert_eq!(refused(&other_image), ["os_images"]);
        let privileged = Wanted { danger_privileged: true, ..wanted(1) };
        assert_eq!(refused(&privileged), ["apps[0].danger_privileged"]);
        assert_eq!(refused(&wanted(2)), ["apps"]);
    }

    #[test]
    fn the_gateway_stays_the_gateway_until_another_one_is_wanted() {
        let gateway = Wanted { gateway: true, ..wanted(1) };
        let first = extended(None, ID, 0, Some(&gateway), NOW);
        let second = extended(Some(&first), ID, 1, Some(&wanted(2)), NOW);
        assert_eq!(second.gateway_app_id, Some(AppId([1; 20])));
        let other = Wanted { gateway: true, ..wanted(3) };
        let third = extended(Some(&second), ID, 2, Some(&other), NOW);
        assert_eq!(third.gateway_app_id, Some(AppId([3; 20])));
    }

    #[test]
    fn an_app_without_instance_ids_is_one_instance() {
        let wanted = Wanted { instance_id: None, ..wanted(1) };
        let file = extended(None, ID, 0, Some(&wanted), NOW);
        assert_eq!(file.apps[0].instances, Instances::Number(1));
        assert!(allows(&file, &wanted, NOW));
    }
}
