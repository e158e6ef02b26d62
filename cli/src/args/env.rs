//! The verbs of `dstyx env`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is done with environments.
#[derive(Debug, Subcommand)]
pub enum Env {
    /// Seal a file of variables for one version of an app, for `up --encrypted-env`.
    Seal(EnvSeal),
}

/// Options of `env seal`.
#[derive(Debug, Args)]
pub struct EnvSeal {
    /// Directory of the app, with the app-compose.json that will be launched; its allowed_envs name
    /// the variables.
    pub dir: PathBuf,
    /// The variables: NAME=value a line, as in .env.
    #[arg(long, value_name = "FILE")]
    pub env_file: PathBuf,
    /// Where the envelope is written.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// PEM of the Ed25519 key that signs, which the KMS's policy names in env_signers; by default
    /// this user's owner key.
    #[arg(long, value_name = "FILE")]
    pub signer: Option<PathBuf>,
    /// The app's key as its KMS gives it (GetAppEnvEncryptPubKey, 64 hex digits); by default this
    /// user's KMS is asked, which must run.
    #[arg(long, value_name = "HEX")]
    pub public_key: Option<String>,
    /// The app's id, if it is not that of its first version.
    #[arg(long, value_name = "HEX")]
    pub app_id: Option<String>,
    /// Version of the environment: a KMS takes none below the last one; by default the time in
    /// seconds.
    #[arg(long)]
    pub counter: Option<u64>,
}
