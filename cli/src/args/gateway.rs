//! The verbs of `dstyx gateway`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What owners ask of a running gateway.
#[derive(Debug, Subcommand)]
pub enum Gateway {
    /// What is served under each base domain, and what failed.
    Status(GatewayCall),
    /// Get a new certificate for a base domain now.
    Renew(GatewayCallAbout),
    /// Forget the stored account of a base domain, so that a new one is made where no CAA record
    /// forbids it.
    ForgetAccount(GatewayCallAbout),
    /// Sign a call that another owner wrote with --out, in place.
    Sign {
        /// The file.
        file: PathBuf,
    },
    /// Send a call that enough owners signed.
    Send {
        /// The gateway's port for owners (http://, host and port).
        url: String,
        /// The file.
        file: PathBuf,
    },
}

/// Where a call goes.
#[derive(Debug, Args)]
pub struct GatewayCall {
    /// The gateway's port for owners (http://, host and port).
    pub url: String,
    /// Write the call to this file in place of sending it, for other owners to sign; it holds for
    /// ten minutes.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// A call about a base domain.
#[derive(Debug, Args)]
pub struct GatewayCallAbout {
    #[command(flatten)]
    /// Where it goes.
    pub call: GatewayCall,
    /// The base domain.
    pub base: String,
}
