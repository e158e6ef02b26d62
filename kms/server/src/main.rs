//! The program of [`kms`]: its log, and its end.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use protocol::error::chain;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).without_time().init();
    match kms::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            tracing::error!("hint: {}", error.hint());
            ExitCode::FAILURE
        }
    }
}
