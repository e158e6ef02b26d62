//! The verbs of `dstyx kms`, where `up` gets an app's keys, and what moves its disk.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Accel;

/// Where the keys of an app come from, and whose key it names.
#[derive(Debug, Clone, Default, Args)]
pub struct KeyFlags {
    /// The KMS at this address (https://, host and port) has the app's keys; its owners allow the
    /// app. By default this user's own KMS is started, where the app keeps data.
    #[arg(long, value_name = "URL", conflicts_with = "no_kms")]
    pub kms: Vec<String>,
    /// Who that KMS is (its key_provider_id, 64 hex digits), for an app-compose.json that is made;
    /// by default this user's own.
    #[arg(long, value_name = "HEX", requires = "kms")]
    pub kms_id: Option<String>,
    /// Make an app-compose.json without keys: what the app writes to its volumes lasts for one
    /// boot.
    #[arg(long)]
    pub no_kms: bool,
    /// Start another version of the app on the data that are kept for its virtual machine.
    #[arg(long, conflicts_with = "no_kms")]
    pub upgrade: bool,
    /// Do not name this user's owner key in an app-compose.json that is made: nobody reads more of
    /// the guest than the app publishes.
    #[arg(long)]
    pub no_owner: bool,
}

/// Options of `export` and `import`.
#[derive(Debug, Args)]
pub struct Transfer {
    /// Name of the virtual machine.
    pub name: String,
    /// The file.
    pub file: PathBuf,
}

/// A KMS and what is done with it.
#[derive(Debug, Args)]
pub struct KmsCommand {
    /// Which KMS; by default this user's own.
    #[command(flatten)]
    pub at: KmsAt,
    /// What is done.
    #[command(subcommand)]
    pub verb: Kms,
}

/// A KMS that is not this user's machine, and what it is verified against.
#[derive(Debug, Clone, Default, Args)]
pub struct KmsAt {
    /// The KMS at this address (https://, host and port) instead of this user's own.
    #[arg(long, value_name = "URL", global = true)]
    pub kms: Option<String>,
    /// The app-compose.json that it must run, or its directory; it names the owners.
    #[arg(long, value_name = "FILE", global = true)]
    pub kms_app: Option<PathBuf>,
    /// The directory of the image that it must run in.
    #[arg(long, value_name = "DIR", global = true)]
    pub kms_image: Option<PathBuf>,
    /// Take a KMS whose TDX is emulated, which proves nothing.
    #[arg(long, global = true)]
    pub danger_accept_emulated: bool,
    /// Open this owner's sealed share with the identity in this file, which `age-keygen` wrote.
    #[arg(long, value_name = "FILE", global = true)]
    pub age_identity: Option<PathBuf>,
}

/// What an owner does with a KMS.
#[derive(Debug, Subcommand)]
pub enum Kms {
    /// Make this user's owner key, if there is none, and print who its KMS is.
    Init {
        /// Seal the shares of roots that are taken from now on to this age key (age1…, as
        /// `age-keygen` prints it), whose identity can be kept elsewhere.
        #[arg(long, value_name = "AGE1")]
        age_recipient: Option<String>,
    },
    /// Start this user's KMS, the machine `kms`, and lead it to where it serves; with --cluster the
    /// KMS of several owners, which each of them leads with `next`.
    Start(KmsStart),
    /// Show how the KMS is, after its evidence was verified.
    Status,
    /// Do what the KMS waits for from this owner: share, certificate, list, word to go on.
    Next,
    /// Let a KMS that never had a root make one, and certify it.
    Bootstrap,
    /// Take this owner's share of the root and keep it.
    Share,
    /// Give the kept share to a restarted KMS, so that it has its root again.
    Recover,
    /// Sign that a restarted KMS may go on from its state.
    Resume {
        /// Sign for another process than before at the same entry, which then gives out the same
        /// open counters: only if the earlier one never served.
        #[arg(long)]
        danger_again: bool,
    },
    /// Sign a list that names what runs as the KMS, and set it.
    List,
    /// Write, sign, check, explain or set the policy: which guests get keys.
    #[command(subcommand)]
    Policy(KmsPolicy),
    /// Begin, certify or show epochs of the root.
    #[command(subcommand)]
    Epoch(KmsEpoch),
    /// Export the ledger of decisions, or verify an exported one.
    #[command(subcommand)]
    Ledger(KmsLedger),
    /// Verify a release statement that a guest showed; neither key nor KMS is needed.
    Statement(KmsStatement),
    /// Give the KMS the reference values of an image.
    #[command(subcommand)]
    Image(KmsImageVerb),
}

/// Options of `kms start`.
#[derive(Debug, Args)]
pub struct KmsStart {
    /// Image directory; by default the checkout's image of the flavour that fits is built.
    #[arg(long)]
    pub image: Option<PathBuf>,
    /// Run on TDX, or fail.
    #[arg(long, conflicts_with = "emulate")]
    pub tdx: bool,
    /// Run with an emulated TDX device, which proves nothing about hardware.
    #[arg(long)]
    pub emulate: bool,
    /// Use this QEMU; it must be of the version in image.json.
    #[arg(long)]
    pub qemu: Option<PathBuf>,
    /// CPU of an emulated guest.
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    pub accel: Accel,
    /// Start the KMS of the cluster with this name, as the machine `kms-NAME`.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The key of one of its owners (`dstyx kms init` prints it); for the first start.
    #[arg(long, value_name = "HEX", requires = "cluster")]
    pub owner: Vec<String>,
    /// How many of them decide together; for the first start.
    #[arg(long, value_name = "K", requires = "owner")]
    pub threshold: Option<u8>,
    /// Store in the etcd with this member (http://, host and port), once for each member, instead
    /// of on the machine's disk; for the first start.
    #[arg(long, value_name = "URL", requires = "owner")]
    pub etcd: Vec<String>,
    /// Where one of its processes may be reached (https://, host and port), once for each, the one
    /// that is started included; for the first start of a KMS of several.
    #[arg(long, value_name = "URL", requires = "owner")]
    pub peer: Vec<String>,
    /// Ask the webhook at this address, in dstack's form (bootAuth), about guests that the owners'
    /// policy allows: it can refuse them, and allows nobody else; for the first start.
    #[arg(long, value_name = "URL", requires = "owner")]
    pub boot_auth: Option<String>,
    /// Take the time from the majority of these servers of Network Time Security (host and port),
    /// once for each of three to seven, instead of from the machine's clock; for the first start.
    #[arg(long, value_name = "HOST:PORT", requires = "owner")]
    pub time_server: Vec<String>,
    /// Address on this host where its ports are published.
    #[arg(long, default_value = "127.0.0.1", requires = "cluster")]
    pub bind: IpAddr,
    /// Port of that address for channels, in place of 8443; later starts take it too.
    #[arg(long, requires = "cluster")]
    pub port: Option<u16>,
    /// Port on this host's loopback for the collateral of emulated machines. It is measured, so
    /// all processes of a KMS have one; it is chosen at the first start of a user's KMS.
    #[arg(long, requires = "cluster")]
    pub collateral_port: Option<u16>,
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub enum KmsPolicy {
    /// Write the next version to a file, for editing: what the KMS has now, renewed for 30 days.
    Init {
        /// File to write.
        file: PathBuf,
        /// Allow this app directory's app too.
        #[arg(long, requires = "image")]
        app: Option<PathBuf>,
        /// Allow this image directory's image too.
        #[arg(long)]
        image: Option<PathBuf>,
    },
    /// Sign a policy; signatures of other owners in the envelope stay.
    Sign {
        /// The policy, or an envelope of it.
        file: PathBuf,
        /// Envelope to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the envelope of a policy that waits for signatures of more owners.
    Pending {
        /// File to write.
        file: PathBuf,
    },
    /// Check a policy, or what is in an envelope.
    Check {
        /// The policy, or an envelope of it.
        file: PathBuf,
    },
    /// Say whether an app would get keys, and which line of the policy says so.
    Explain {
        /// App directory.
        #[arg(long)]
        app: PathBuf,
        /// Image directory.
        #[arg(long)]
        image: PathBuf,
        /// Name of its virtual machine; by default the app's name.
        #[arg(long)]
        name: Option<String>,
        /// The policy, or an envelope of it; by default the one that the KMS has.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Hand a signed policy to the KMS; it counts once enough owners' signatures are there.
    Push {
        /// The envelope.
        file: PathBuf,
    },
}

/// What is done with epochs.
#[derive(Debug, Subcommand)]
pub enum KmsEpoch {
    /// Show each epoch, and how many instances run on it.
    List,
    /// Let the KMS make the root of another epoch, take this owner's share of it and certify it.
    New(NewEpoch),
    /// Erase the root of an epoch on which nothing runs; owners get new shares.
    Retire {
        /// The epoch.
        epoch: u32,
        /// Erase it although so many instances at most run on it, and lose their disks.
        #[arg(long, value_name = "N", default_value_t = 0)]
        danger_lose_instances: u64,
    },
    /// Take this owner's share of the root that another owner let the KMS make, and certify it.
    Certify,
}

/// Which keys an epoch has.
#[derive(Debug, Clone, Default, Args)]
pub struct NewEpoch {
    /// Apps get no keys in it: it gives owners new shares.
    #[arg(long, conflicts_with_all = ["dstack_ca", "dstack_k256"])]
    pub shares_only: bool,
    /// Take over a dstack KMS: the file with the scalar of its root authority's P-256 key, 32 bytes
    /// or 64 hex digits.
    #[arg(long, value_name = "FILE", requires = "dstack_k256")]
    pub dstack_ca: Option<PathBuf>,
    /// The same of its root secp256k1 key.
    #[arg(long, value_name = "FILE", requires = "dstack_ca")]
    pub dstack_k256: Option<PathBuf>,
}

/// What is done with ledgers.
#[derive(Debug, Subcommand)]
pub enum KmsLedger {
    /// Write every entry to a file, a line each.
    Export {
        /// File to write.
        file: PathBuf,
    },
    /// Verify an exported ledger: its chain, the owners' signatures and the order of decisions.
    Verify {
        /// The file.
        file: PathBuf,
    },
}

/// Options of `kms statement`.
#[derive(Debug, Args)]
pub struct KmsStatement {
    /// The file with the statement, as a guest's `GET /release` gives it.
    pub file: PathBuf,
    /// Who the KMS must be (its key_provider_id, 64 hex digits).
    #[arg(long, value_name = "HEX")]
    pub kms_id: String,
    /// The oldest epoch whose root counts.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub minimum_epoch: u32,
}

/// What is done with images.
#[derive(Debug, Subcommand)]
pub enum KmsImageVerb {
    /// Upload an image's image.json.
    Put {
        /// Image directory.
        dir: PathBuf,
    },
}
