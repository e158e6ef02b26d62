//! The program of [`gateway`]: its file, its log, and its end.

#![forbid(unsafe_code)]

use std::alloc::System;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use protocol::error::chain;
use zeroizing_alloc::ZeroAlloc;

/// Clears all memory that is freed: keys of certificates pass through buffers of TLS and HTTP.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Where the compose file mounts the gateway's file.
const FILE: &str = "/gateway.json";

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).without_time().init();
    let file = std::env::args_os().nth(1).map_or_else(|| FILE.into(), PathBuf::from);
    match gateway::run(&file).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            tracing::error!("hint: {}", error.hint());
            ExitCode::FAILURE
        }
    }
}
