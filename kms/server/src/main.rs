//! The program of [`kms`]: its log, and its end.

#![forbid(unsafe_code)]

use std::alloc::System;
use std::io;
use std::process::ExitCode;

use protocol::error::chain;
use zeroizing_alloc::ZeroAlloc;

/// Clears all memory that is freed: answers with keys pass through buffers of HTTP and TLS.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

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
