//! Why a guest gets nothing: one variant a rule, each with what to try.

mod pads;

use attestation::policy::TcbStatus;
use protocol::digest::{AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, PlatformId};
use protocol::kms::KmsImage;

use crate::policy::PolicyRefusal;

pub use pads::PadRefused;

/// The rule that refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// a KMS that does not serve
    #[error("this KMS gives nothing now: {0}")]
    NotServing(&'static str),
    /// no policy
    #[error("no policy was set, and without one nobody gets keys")]
    NoPolicy,
    /// a policy that is not valid
    #[error("{0}")]
    PolicyNotValid(PolicyRefusal),
    /// containers could have asked
    #[error("the guest's boot is over (system-ready is in its log), so that a container may ask")]
    Ready,
    /// containers could have asked in the guest's name
    #[error("the guest's image lets containers make quotes with the guest's own report data")]
    TagsNotReserved,
    /// an app that the policy does not name
    #[error("the policy names no app {app_id}")]
    AppUnknown {
        /// The measured id.
        app_id: AppId,
    },
    /// a file that is not listed under this id
    #[error("the policy does not list the measured file {compose_hash} under the app {app_id}{}",
        if *.elsewhere { ", but under another one" } else { "" })]
    FileNotListed {
        /// The measured id.
        app_id: AppId,
        /// Hash of the measured file.
        compose_hash: ComposeHash,
        /// Whether it is listed under another app.
        elsewhere: bool,
    },
    /// an image that the policy does not name
    #[error("the policy does not list the image {0}")]
    ImageNotListed(OsImageHash),
    /// a platform that the policy does not name
    #[error("the policy does not list the platform {0}")]
    PlatformNotListed(String),
    /// a TCB below the policy's
    #[error("the collateral has the TCB evaluation number {found}, the policy asks for {minimum}")]
    EvaluationNumber {
        /// The collateral's.
        found: u32,
        /// The policy's.
        minimum: u32,
    },
    /// a TCB older than the policy's
    #[error("the platform's TCB is of {found_secs}, the policy asks for {minimum_secs} or later")]
    TcbDate {
        /// The platform's date, in seconds since 1970.
        found_secs: u64,
        /// The policy's.
        minimum_secs: u64,
    },
    /// a TCB status that is not tolerated
    #[error("the platform's TCB status is {status}{}, which the policy does not tolerate now",
        advisories(.advisory_ids))]
    TcbStatus {
        /// The status.
        status: TcbStatus,
        /// The platform's advisories.
        advisory_ids: Vec<String>,
    },
    /// a privileged app without the word
    #[error("the app may be privileged, and the policy does not say danger_privileged for it")]
    Privileged,
    /// a file system without the word
    #[error("the data disk is {0}, and the policy does not name that in danger_storage")]
    Storage(String),
    /// one id in two meanings
    #[error("the app id {0} is the id of a known instance")]
    AppIdIsInstance(AppId),
    /// one id in two meanings
    #[error("the instance id {0} is the id of an app")]
    InstanceIdIsApp(InstanceId),
    /// one instance under two apps
    #[error("the instance {instance_id} is known as one of the app {app_id}")]
    InstanceOfOther {
        /// The instance.
        instance_id: InstanceId,
        /// Its app.
        app_id: AppId,
    },
    /// an instance beyond the number
    #[error("the app has {known} known instances, and the policy allows {allowed}")]
    TooManyInstances {
        /// Instances that got keys before.
        known: usize,
        /// The policy's number.
        allowed: u32,
    },
    /// an instance that is not on the list
    #[error("the policy does not list the instance {0}")]
    InstanceNotListed(String),
    /// back to an older file
    #[error("the instance ran {newer} after {older}, and may not go back")]
    OlderFile {
        /// The file that wants keys.
        older: ComposeHash,
        /// The file that ran last.
        newer: ComposeHash,
    },
    /// back to an older image
    #[error("the instance ran in the image {newer} after {older}, and may not go back")]
    OlderImage {
        /// The image that wants keys.
        older: OsImageHash,
        /// The image that ran last.
        newer: OsImageHash,
    },
    /// a disk call before keys
    #[error("no key was given to this instance yet")]
    InstanceUnknown,
    /// a disk call of another pair than the one that got keys
    #[error("the instance got its keys as {recorded}, and asks as {found}")]
    OtherFile {
        /// The file in the ledger.
        recorded: ComposeHash,
        /// The file that asks.
        found: ComposeHash,
    },
    /// an instance that got its keys in another image
    #[error("the instance got its keys in the image {recorded}, and this is {found}")]
    OtherImage {
        /// The image that got keys last.
        recorded: OsImageHash,
        /// The image that asks.
        found: OsImageHash,
    },
    /// the second source
    #[error("the owners' policy allows it, and the webhook beside it refuses: {0}")]
    BootAuth(String),
    /// a second source without an answer
    #[error("the owners' policy allows it, and the webhook beside it gives no answer: {0}")]
    BootAuthSilent(String),
    /// an epoch that is not there
    #[error("there are no keys of the epoch {found}, the newest is {newest}")]
    EpochUnknown {
        /// As asked for.
        found: u32,
        /// The newest epoch.
        newest: u32,
    },
    /// an epoch that was left
    #[error("the instance runs on the epoch {runs_on}, and gets no keys of the epoch {found}")]
    EpochOlder {
        /// As asked for.
        found: u32,
        /// That of its disk.
        runs_on: u32,
    },
    /// an epoch beside the one that the disk is half under
    #[error(
        "the instance began to move to the epoch {moves_to}, and gets no keys of the epoch {found}"
    )]
    EpochOther {
        /// As asked for.
        found: u32,
        /// The later epoch whose keys it got.
        moves_to: u32,
    },
    /// no number is left
    #[error("the open counter {0} is beyond the last one")]
    CountersUsedUp(u64),
    /// an older mount
    #[error("superseded: the disk was opened again under {newest}, this mount is of {found}")]
    Superseded {
        /// The mount that asks.
        found: u64,
        /// The newest mount.
        newest: u64,
    },
    /// a disk whose earlier guest may still run
    #[error(
        "an earlier guest of the instance may run for {remaining_secs} s more (until \
         {until_secs}): it ends with its release statement"
    )]
    Held {
        /// The last second of the statement, in seconds since 1970.
        until_secs: u64,
        /// How long that is from now.
        remaining_secs: u64,
    },
    /// a mount whose guest has ended
    #[error("the guest of the open counter {0} said that nothing of its app runs any more")]
    Ended(u64),
    /// a statement that no anchor decided
    #[error("no release statement of the open counter {0} holds by the ledger now")]
    Unstated(u64),
    /// a mount that never was
    #[error("the open counter {found} was never given to this instance, whose newest is {newest}")]
    CounterUnknown {
        /// The mount that asks.
        found: u64,
        /// The newest mount; 0 if there was none.
        newest: u64,
    },
    /// a generation of another mount
    #[error("the generation {generation} is none of the open counter {counter}")]
    OutsideWindow {
        /// The generation.
        generation: u64,
        /// The mount.
        counter: u64,
    },
    /// an anchor that goes back
    #[error("the generation {found} is below the anchor {anchor}")]
    AnchorGoesBack {
        /// As the guest says.
        found: u64,
        /// The anchor.
        anchor: u64,
    },
    /// a name that the policy does not name
    #[error("the policy lets the app not have the name {0:?} certified")]
    NameNotListed(String),
    /// an environment's fields of another form
    #[error("the environment's {0}")]
    EnvironmentField(&'static str),
    /// an environment of somebody else
    #[error("the policy does not list {0} as a signer of the app's environments")]
    EnvironmentSigner(Ed25519Key),
    /// an environment that its signer did not sign
    #[error(
        "the environment is not signed by {0} for this app, this measured file and its counter"
    )]
    EnvironmentSignature(Ed25519Key),
    /// an environment that was replaced
    #[error("the environment has the counter {found}, and {accepted} was accepted for the app")]
    EnvironmentOlder {
        /// The environment's counter.
        found: u64,
        /// The counter that was accepted last.
        accepted: u64,
    },
    /// a KMS that stays alone
    #[error("the policy lets this KMS have no replicas")]
    NoReplicas,
    /// a process that is no KMS of the owners'
    #[error("image {} with measured file {} is not on the owners' list", .0.os_image_hash, .0.compose_hash)]
    NotOnList(KmsImage),
    /// two members on one platform
    #[error("a member is on the platform {0} already, where one host decides about both")]
    SamePlatform(PlatformId),
    /// members beyond the number
    #[error("the KMS has {known} members, and the policy allows {allowed}")]
    TooManyMembers {
        /// Members, whether they answer or not.
        known: usize,
        /// The policy's number.
        allowed: usize,
    },
    /// a process that was a member
    #[error("the process {0} was a member, and another one has its place")]
    FormerMember(Ed25519Key),
    /// two environments under one counter
    #[error("another environment with the counter {0} was accepted for the app")]
    EnvironmentOther(u64),
    /// a rule about keys of Pads
    #[error("{code}: {0}", code = .0.code())]
    Pads(Box<PadRefused>),
}

impl From<PadRefused> for Refused {
    fn from(refused: PadRefused) -> Self {
        Self::Pads(Box::new(refused))
    }
}

fn advisories(ids: &[String]) -> String {
    if ids.is_empty() { String::new() } else { format!(" with {}", ids.join(", ")) }
}

impl Refused {
    /// Whether another time is better: an owner used as much as a quota has for now.
    pub fn uses_up_quota(&self) -> bool {
        matches!(self, Self::Pads(refused) if matches!(**refused, PadRefused::QuotaUsedUp { .. }))
    }

    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotServing(_) => "its owners must act: `dstyx kms status` says what is missing",
            Self::NoPolicy => "let the owners set one: `dstyx kms policy sign`",
            Self::PolicyNotValid(refusal) => refusal.hint(),
            Self::Ready => "keys are for the boot only: restart the guest",
            Self::TagsNotReserved => "boot an image that reserves the tags of report data",
            Self::AppUnknown { .. } | Self::FileNotListed { .. } => self.hint_for_app(),
            Self::ImageNotListed(_) => "let the owners add the image to os_images",
            Self::PlatformNotListed(_) => {
                "let the owners add the platform to platform_ids, or use a listed one"
            }
            Self::EvaluationNumber { .. } => "let the collateral be fetched anew",
            Self::TcbDate { .. } => "update the platform's microcode and firmware",
            Self::TcbStatus { .. } => "update the platform, or let owners tolerate its status",
            Self::Privileged => "drop danger_privileged from the app, or let the owners allow it",
            Self::Storage(_) => "use btrfs, or let the owners name the file system",
            Self::AppIdIsInstance(_) | Self::InstanceIdIsApp(_) | Self::InstanceOfOther { .. } => {
                "launch with another seed: ids must have one meaning"
            }
            Self::TooManyInstances { .. } => {
                "keep to the known instance and its disk, or let the owners allow more instances"
            }
            Self::InstanceNotListed(_) => "let the owners add the instance, or use a listed one",
            Self::OlderFile { .. }
            | Self::OlderImage { .. }
            | Self::InstanceUnknown
            | Self::OtherFile { .. }
            | Self::OtherImage { .. } => self.hint_for_instance(),
            Self::EpochUnknown { .. }
            | Self::EpochOlder { .. }
            | Self::EpochOther { .. }
            | Self::CountersUsedUp(_)
            | Self::Superseded { .. }
            | Self::Held { .. }
            | Self::Ended(_)
            | Self::Unstated(_)
            | Self::CounterUnknown { .. }
            | Self::OutsideWindow { .. }
            | Self::AnchorGoesBack { .. } => self.hint_for_disk(),
            Self::EnvironmentField(_)
            | Self::EnvironmentSignature(_)
            | Self::EnvironmentSigner(_)
            | Self::EnvironmentOlder { .. }
            | Self::EnvironmentOther(_) => self.hint_for_environment(),
            Self::Pads(refused) => refused.hint(),
            Self::BootAuth(_) | Self::BootAuthSilent(_) => {
                "ask those who run the webhook that the KMS's measured file names"
            }
            Self::NameNotListed(_) => "let the owners add the name to certifiable_names",
            Self::NoReplicas
            | Self::NotOnList(_)
            | Self::SamePlatform(_)
            | Self::TooManyMembers { .. }
            | Self::FormerMember(_) => self.hint_for_process(),
        }
    }

    /// The same for an app that the policy does not name so.
    fn hint_for_app(&self) -> &'static str {
        match self {
            Self::AppUnknown { .. } => "let the owners add the app to the policy",
            Self::FileNotListed { elsewhere: true, .. } => {
                "the host launched the app under another id: launch it under its own"
            }
            _ => "let the owners add the file's hash to compose_hashes, or launch a listed one",
        }
    }

    /// The same for a guest whose instance got keys as something else, or none.
    fn hint_for_instance(&self) -> &'static str {
        match self {
            Self::OlderFile { .. } => {
                "launch the newer file, or let the owners name the older one in danger_go_back_to"
            }
            Self::OlderImage { .. } => {
                "boot the newer image, or let the owners name the older one in \
                 danger_go_back_to_images"
            }
            _ => "ask for the keys first",
        }
    }

    /// The same for a guest that has its keys, about its disk.
    fn hint_for_disk(&self) -> &'static str {
        match self {
            Self::EpochUnknown { .. } | Self::EpochOlder { .. } => {
                "ask for the keys of the epoch that the instance runs on, or of a newer one"
            }
            Self::EpochOther { .. } => "move the disk to that epoch first",
            Self::CountersUsedUp(_) => "this disk can be opened no more: make a new instance",
            Self::Superseded { .. } => "halt: another guest has the disk",
            Self::Held { .. } => {
                "wait, or stop the earlier guest with `dstyx down`: one that ends in order says so"
            }
            Self::CounterUnknown { .. } | Self::Ended(_) => "open the disk first",
            Self::Unstated(_) => "anchor the disk: a statement goes with the anchor",
            Self::OutsideWindow { .. } => "anchor a generation of this mount",
            _ => "anchor the newest generation",
        }
    }

    /// The same for an encrypted environment.
    fn hint_for_environment(&self) -> &'static str {
        match self {
            Self::EnvironmentField(_) | Self::EnvironmentSignature(_) => {
                "seal the environment again, for this app and its measured file"
            }
            Self::EnvironmentSigner(_) => {
                "let the owners add the key to env_signers, or sign with a listed one"
            }
            _ => "seal the environment again, with a higher counter",
        }
    }

    /// The same for another process of this KMS.
    fn hint_for_process(&self) -> &'static str {
        match self {
            Self::NoReplicas => "let the owners state `replicas` in the policy",
            Self::NotOnList(_) => "let the owners add the pair to the list: `dstyx kms list`",
            Self::SamePlatform(_) => "start each replica on a machine of its own",
            Self::TooManyMembers { .. } => {
                "restart a replica where it was, so that it takes its own place, or let the owners \
                 allow more"
            }
            Self::FormerMember(_) => "start the process again",
            _ => "",
        }
    }

    /// Whether the guest must halt: its disk is another guest's now.
    pub fn superseded(&self) -> bool {
        matches!(self, Self::Superseded { .. })
    }

    /// Whether the guest may ask again later: an earlier one may still use its disk.
    pub fn held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}
