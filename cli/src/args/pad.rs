//! The verbs of `dstyx pad`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{KmsAt, Verify};

/// What is done with Pads.
#[derive(Debug, Subcommand)]
pub enum Pad {
    /// Make a custodian's keys: a file for its user alone, and a public one beside it.
    Keygen(PadKeygen),
    /// Write the public file of a custodian of several, of whom some decide together.
    Joint(PadJoint),
    /// Sign which delegator keeps a custodian's keys, for `enrol`.
    EnrolFile(PadEnrolFile),
    /// Make a KMS the delegator of a custodian, after it was verified.
    Enrol(PadEnrol),
    /// Seal a file with policies and attributes.
    Pack(PadPack),
    /// Hand a Pad's key to its custodian's delegator, and say to whom it is released.
    Push(PadPush),
    /// End the release of a Pad's key, for ever.
    Revoke(PadRevoke),
    /// Write what the delegator decided about a custodian's keys.
    Audit(PadAudit),
    /// Show what a Pad says of itself; with its key, its policies and attributes too.
    Inspect(PadInspect),
    /// Write the data of a Pad.
    Open(PadOpen),
    /// Seal a Pad again under other policies on which enough owners agree.
    Update(PadUpdate),
    /// Run a program on Pads: in a guest, or on this machine for its author, where nothing is
    /// proved.
    Run(PadRun),
    /// Verify a guest, and print what owners sign in the place of a channel to it.
    Exporter(Box<Verify>),
    /// Sign a run of a program in a guest, as its owner.
    Sign(PadSign),
    /// Open a result in plain of a run in a guest.
    Result(PadResult),
    /// Sign other policies for a Pad, as its owners, for an update in a guest.
    Agree(PadAgree),
    /// Show what a custodian may read of the record of a local run.
    Record(PadRecord),
    /// Make a program for the sandbox of a WebAssembly module.
    Component(PadComponent),
    /// Build the policy engine `share` from the checkout.
    Engine(PadEngine),
    /// Compile, show or explain a policy of the engine `share`.
    #[command(subcommand)]
    Policy(PadPolicy),
}

/// Options of `pad keygen`.
#[derive(Debug, Args)]
pub struct PadKeygen {
    /// File of the private keys; the public file has the ending .custodian in place of its own.
    pub file: PathBuf,
}

/// Options of `pad joint`.
#[derive(Debug, Args)]
pub struct PadJoint {
    /// Public files of the members. Results in plain go to the first one.
    #[arg(required = true)]
    pub member: Vec<PathBuf>,
    /// How many of them decide together.
    #[arg(long, value_name = "K")]
    pub threshold: u8,
    /// Public file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Options of `pad enrol-file`.
#[derive(Debug, Args)]
pub struct PadEnrolFile {
    /// The custodian's public file, or an enrolment that waits for signatures of more members.
    pub file: PathBuf,
    /// A member's private keys; again for each.
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// The delegator's key_provider_id, 64 hex digits; by default that of this user's own KMS.
    #[arg(long, value_name = "HEX")]
    pub delegator: Option<String>,
    /// The enrolment's version; a later one replaces an earlier one [default: 1].
    #[arg(long, value_name = "N")]
    pub number: Option<u64>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Options of `pad enrol`.
#[derive(Debug, Args)]
pub struct PadEnrol {
    /// The signed enrolment, which `pad enrol-file` wrote.
    pub file: PathBuf,
    /// The private keys of a member, which sign the connection.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Which KMS; by default this user's own.
    #[command(flatten)]
    pub at: KmsAt,
}

/// Options of `pad push`.
#[derive(Debug, Args)]
pub struct PadPush {
    /// The file of the data key, which `pad pack` wrote beside the Pad; its list of engines counts.
    pub file: PathBuf,
    /// A member's private keys; again for each. The first ones sign the connection.
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// The public file of a custodian of several.
    #[arg(long, value_name = "FILE")]
    pub custodian: Option<PathBuf>,
    /// Release it to guests with this image (the directory with its image.json); again for each.
    #[arg(long, value_name = "DIR", conflicts_with = "signed")]
    pub image: Vec<PathBuf>,
    /// Release it to guests with this app-compose.json, or that of a directory; again for each.
    #[arg(long, value_name = "FILE", conflicts_with = "signed")]
    pub app: Vec<PathBuf>,
    /// The id of these apps (40 hex digits); by default that of a first version.
    #[arg(long, value_name = "HEX", requires = "app")]
    pub app_id: Option<String>,
    /// Release it so many times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub releases: Option<u64>,
    /// Release it until this second since 1970.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub until_secs: Option<u64>,
    /// Release it to guests whose containers may be privileged, and can take it.
    #[arg(long)]
    pub danger_privileged: bool,
    /// The grant's version; a later one replaces an earlier one.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub number: u64,
    /// Go on with this grant, which --out wrote, instead of a new one.
    #[arg(long, value_name = "FILE")]
    pub signed: Option<PathBuf>,
    /// Write the grant for other members to sign, and push nothing.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Which KMS; by default this user's own.
    #[command(flatten)]
    pub at: KmsAt,
}

/// Options of `pad revoke`.
#[derive(Debug, Args)]
pub struct PadRevoke {
    /// The file of the data key.
    pub file: PathBuf,
    /// A member's private keys; again for each. The first ones sign the connection.
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// The public file of a custodian of several.
    #[arg(long, value_name = "FILE")]
    pub custodian: Option<PathBuf>,
    /// Go on with this revocation, which --out wrote, instead of a new one.
    #[arg(long, value_name = "FILE")]
    pub signed: Option<PathBuf>,
    /// Write the revocation for other members to sign, and revoke nothing.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Which KMS; by default this user's own.
    #[command(flatten)]
    pub at: KmsAt,
}

/// Options of `pad audit`.
#[derive(Debug, Args)]
pub struct PadAudit {
    /// File to write, a line of JSON for each entry.
    pub out: PathBuf,
    /// The private keys of a member, which sign the connection.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The public file of a custodian of several.
    #[arg(long, value_name = "FILE")]
    pub custodian: Option<PathBuf>,
    /// Which KMS; by default this user's own.
    #[command(flatten)]
    pub at: KmsAt,
}

/// Options of `pad pack`.
#[derive(Debug, Args)]
pub struct PadPack {
    /// The data.
    pub file: PathBuf,
    /// A policy, as a file that people write or compiled; again for each, all have to agree.
    #[arg(long, value_name = "FILE", required = true)]
    pub policy: Vec<PathBuf>,
    /// Who owns the Pad: a single custodian's private keys, or the public file of any.
    #[arg(long, value_name = "FILE")]
    pub custodian: PathBuf,
    /// Private keys of a member of the custodian, which signs the attributes; again for each.
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// A signed fact about the data: entries=100 is a number, text:… a text, hex:… bytes;
    /// input-of:, program-of: and output-of: a policy, and custodian-of: a public file, are bytes
    /// of that file.
    #[arg(long, value_name = "NAME=VALUE")]
    pub attribute: Vec<String>,
    /// The delegator's key_provider_id, 64 hex digits; by default that of this user's own KMS.
    #[arg(long, value_name = "HEX")]
    pub delegator: Option<String>,
    /// Where the delegator may be; a hint.
    #[arg(long, value_name = "URI", default_value = "unknown")]
    pub address: String,
    /// Size of the chunks as a power of two, 8 to 20.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub chunk_log2: u8,
    /// Pad to write [default: FILE.pad]; its key is written beside it, with .key behind its name.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Options of `pad inspect`.
#[derive(Debug, Args)]
pub struct PadInspect {
    /// The Pad.
    pub file: PathBuf,
    /// The file of its data key.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A policy file whose names of custodians and programs are shown.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub names: Option<PathBuf>,
}

/// Options of `pad open`.
#[derive(Debug, Args)]
pub struct PadOpen {
    /// The Pad.
    pub file: PathBuf,
    /// The file of its data key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// File to write, for this user alone.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Options of `pad run`.
#[derive(Debug, Args)]
pub struct PadRun {
    /// The program: a component of the world `consumer`.
    pub program: PathBuf,
    /// Policy engines, components of the world `policy-engine`.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub engine: Vec<PathBuf>,
    /// The Pads, in their order; the key of each is beside it, with .key behind its name.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub pad: Vec<PathBuf>,
    /// Signed enrolments of the custodians of Pads and outputs, and of the owner.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub enrolment: Vec<PathBuf>,
    /// Private keys of the program's owner, who signs the run; again for each member.
    #[arg(long, value_name = "FILE")]
    pub owner: Vec<PathBuf>,
    /// The owner's public file, if it is a custodian of several.
    #[arg(long, value_name = "FILE", requires = "owner")]
    pub owner_custodian: Option<PathBuf>,
    /// Plain input for the program.
    #[arg(long, value_name = "FILE")]
    pub plain: Option<PathBuf>,
    /// The time of the run in seconds since 1970, by which quotas and signatures go [default: now].
    #[arg(long, value_name = "SECONDS")]
    pub at: Option<u64>,
    /// Directory to make for outputs, and the record of a local run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The program pad-runner; by default the one beside dstyx, or that of a checkout.
    #[arg(long, value_name = "FILE")]
    pub runner: Option<PathBuf>,
    /// Have a guest run it: address of the service of its app that passes calls on to the guest's
    /// socket for Pads, such as http://127.0.0.1:8080. It sees the plain input.
    #[arg(long, value_name = "URL", requires = "exporter", conflicts_with_all = ["at", "runner"])]
    pub guest: Option<String>,
    /// What stands for that guest, 64 hex digits, as `exporter` prints it: the owner signs for no
    /// other one.
    #[arg(long, value_name = "HEX", requires = "guest")]
    pub exporter: Option<String>,
    /// For a guest whose app has the program as this service: the file here says which component is
    /// signed for, and does not go there.
    #[arg(long, value_name = "NAME", requires = "guest")]
    pub service: Option<String>,
}

/// The owner of a program, who signs its runs and opens their results.
#[derive(Debug, Args)]
pub struct PadRunOwner {
    /// Private keys of the program's owner; again for each member.
    #[arg(long = "owner", value_name = "FILE", required = true)]
    pub keys: Vec<PathBuf>,
    /// The owner's public file, if it is a custodian of several.
    #[arg(long = "owner-custodian", value_name = "FILE")]
    pub custodian: Option<PathBuf>,
}

/// Options of `pad sign`.
#[derive(Debug, Args)]
pub struct PadSign {
    /// The program: a component of the world `consumer`.
    pub program: PathBuf,
    /// The Pads, in their order.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub pad: Vec<PathBuf>,
    /// Plain input for the program.
    #[arg(long, value_name = "FILE")]
    pub plain: Option<PathBuf>,
    /// The run id that the guest drew, 32 hex digits.
    #[arg(long, value_name = "HEX")]
    pub run: String,
    /// What stands for the guest, 64 hex digits; compare it with the guest's evidence.
    #[arg(long, value_name = "HEX")]
    pub exporter: String,
    /// Who owns the program.
    #[command(flatten)]
    pub owner: PadRunOwner,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Options of `pad result`.
#[derive(Debug, Args)]
pub struct PadResult {
    /// The result, as it left the run.
    pub file: PathBuf,
    /// The run id, 32 hex digits.
    #[arg(long, value_name = "HEX")]
    pub run: String,
    /// Who owns the program.
    #[command(flatten)]
    pub owner: PadRunOwner,
    /// File to write, for this user alone.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Options of `pad record`.
#[derive(Debug, Args)]
pub struct PadRecord {
    /// An entry of the record, as `run` writes it.
    pub file: PathBuf,
    /// The custodian's private keys.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

/// Options of `pad update`.
#[derive(Debug, Args)]
pub struct PadUpdate {
    /// The Pad.
    pub file: PathBuf,
    /// The file of its data key, for a change on this machine.
    #[arg(long, value_name = "FILE", required_unless_present = "guest", conflicts_with = "guest")]
    pub key: Option<PathBuf>,
    /// A new policy; again for each, they take the place of all that the Pad has.
    #[arg(long, value_name = "FILE", required = true)]
    pub policy: Vec<PathBuf>,
    /// Private keys of an owner who agrees; again for each.
    #[arg(long, value_name = "FILE", required = true)]
    pub approve: Vec<PathBuf>,
    /// Policy engines of the old policies, which decide, and of the new ones.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub engine: Vec<PathBuf>,
    /// The signed enrolment of the Pad's custodian.
    #[arg(long, value_name = "FILE")]
    pub enrolment: PathBuf,
    /// Pad to write; after a change on this machine its key is written beside it, with .key behind
    /// its name.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The program pad-runner; by default the one beside dstyx, or that of a checkout.
    #[arg(long, value_name = "FILE")]
    pub runner: Option<PathBuf>,
    /// Have a guest change them, whose delegator has the key: address of the service of its app
    /// that passes calls on to the guest's socket for Pads.
    #[arg(long, value_name = "URL", conflicts_with = "runner")]
    pub guest: Option<String>,
    /// For a guest: the version of the new policies, above the one in force; the first is 1.
    #[arg(long, value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(2..))]
    pub number: u64,
}

/// Options of `pad agree`.
#[derive(Debug, Args)]
pub struct PadAgree {
    /// The Pad, of which nobody here needs a key.
    pub file: PathBuf,
    /// A new policy; again for each, they take the place of all that the Pad has.
    #[arg(long, value_name = "FILE", required = true)]
    pub policy: Vec<PathBuf>,
    /// The version of the new policies: above that of the Pad's, which is 1 when it is packed.
    #[arg(long, value_name = "N")]
    pub number: u64,
    /// Private keys of an owner who agrees; again for each.
    #[arg(long, value_name = "FILE", required = true)]
    pub approve: Vec<PathBuf>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Options of `pad component`.
#[derive(Debug, Args)]
pub struct PadComponent {
    /// The module, as a linker wrote it.
    pub file: PathBuf,
    /// Component to write [default: FILE with the ending .component.wasm].
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Options of `pad engine`.
#[derive(Debug, Args)]
pub struct PadEngine {
    /// Component to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub enum PadPolicy {
    /// Write the policy as a Pad has it.
    Compile {
        /// The policy file.
        file: PathBuf,
        /// File to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the policy file that gives exactly this policy.
    Show {
        #[command(flatten)]
        /// The policy.
        policy: ShownPolicy,
    },
    /// Say in sentences what the policy allows.
    Explain {
        #[command(flatten)]
        /// The policy.
        policy: ShownPolicy,
    },
}

/// A policy that is shown.
#[derive(Debug, Args)]
pub struct ShownPolicy {
    /// The policy, as a file that people write or compiled.
    pub file: PathBuf,
    /// A policy file whose names of custodians and programs are shown.
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
}
