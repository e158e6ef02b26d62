//! The verbs of `dstyx domain`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Signers;

/// What to do about a name that a gateway serves.
#[derive(Debug, Subcommand)]
pub enum Domain {
    /// Check that every key that was ever certified for a name has evidence of its gateway.
    Verify(Box<DomainVerify>),
}

/// Options of `domain verify`.
#[derive(Debug, Args)]
pub struct DomainVerify {
    /// The name, such as <app id>.example.org.
    pub name: String,
    /// Id of the gateway's app, 40 hex digits; by default that of its file.
    #[arg(long, value_name = "HEX")]
    pub app_id: Option<String>,
    /// App directory of the gateway; its app-compose.json is hashed as it is.
    #[arg(long, required_unless_present_any = ["compose_hash", "policy"])]
    pub app: Option<PathBuf>,
    /// Hash of the gateway's app-compose.json, 64 hex digits, in place of --app.
    #[arg(long, value_name = "HEX", conflicts_with = "app")]
    pub compose_hash: Option<String>,
    /// Who gives the gateway its keys (the key_provider_id of its KMS, 64 hex digits).
    #[arg(long, value_name = "HEX")]
    pub kms_id: Option<String>,
    /// Image directory that the gateway must run.
    #[arg(long)]
    pub image: PathBuf,
    #[command(flatten)]
    /// Who must have released that image; without one, the directory is believed as it is.
    pub signers: Signers,
    /// Policy (TOML) for the gateway's evidence; see docs/policy.md. It can list several versions
    /// of the gateway's app.
    #[arg(long, value_name = "FILE", requires = "app_id")]
    pub policy: Option<PathBuf>,
    /// Accept the emulator's root: such a verdict proves nothing about hardware.
    #[arg(long)]
    pub danger_accept_emulated: bool,
    /// The gateway's published evidence, an address or a file [default:
    /// https://gateway.<base>/.dstyx/evidence].
    #[arg(long, value_name = "URL|FILE")]
    pub evidence: Option<String>,
    /// Connect there instead of where the name leads.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<SocketAddr>,
    /// Ask these resolvers over HTTPS for CAA records; twice.
    #[arg(
        long,
        value_name = "URL",
        default_values = ["https://cloudflare-dns.com/dns-query", "https://dns.google/dns-query"]
    )]
    pub resolver: Vec<String>,
    /// Ask this aggregator of certificate logs (crt.sh's JSON interface).
    #[arg(long, value_name = "URL", default_value = "https://crt.sh/")]
    pub aggregator: String,
    /// The logs that are known, as browsers list them (log_list.json, version 3): what
    /// certificates name of them, and --watch, is read from their tiles.
    #[arg(long, value_name = "FILE")]
    pub logs: Option<PathBuf>,
    /// Certificates that ended before this time (RFC 3339) do not matter: the name was not the
    /// gateway's yet.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Remember heads of logs and of the evidence in this file, and check that the next ones
    /// continue them.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Look again and again, and read what the logs add, until something is found (status 1).
    #[arg(long, requires = "state")]
    pub watch: bool,
    /// Seconds between two looks.
    #[arg(long, requires = "watch", default_value_t = 600)]
    pub interval: u64,
    /// Believe HTTPS servers by this root (PEM) alone, instead of by those of this machine.
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}
