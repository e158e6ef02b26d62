//! `dstyx`: build the image, boot an app in it, verify what runs.
//!
//! This program joins the libraries and talks to a person; it decides nothing about trust itself.
//! Results go to standard output, progress and errors to standard error, so that `--json` can be
//! piped.

#![forbid(unsafe_code)]

mod age;
mod app;
mod app_files;
mod args;
mod build;
mod clock;
mod collateral;
mod commands;
mod commit;
mod compose_files;
mod data_disk;
mod doctor;
mod domain;
mod endpoint;
mod environments;
mod failure;
mod files;
mod gateway;
mod guest;
mod image_archive;
mod image_directory;
mod judge;
mod kept;
mod kms;
mod launch;
mod links;
mod mirror;
mod new_file;
mod output;
mod owner;
mod owners_channel;
mod owners_view;
mod pad;
mod parts;
mod paths;
mod platform;
mod ports;
mod printable;
mod private;
mod qmp;
mod report;
mod signers;
mod vm;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    let cli = Cli::try_parse().unwrap_or_else(|error| misused(&error));
    let output = output::Output::new(cli.json);
    let result = match &cli.command {
        Command::Up(options) => commands::up::run(options, &output),
        Command::Pin(options) => commands::pin::run(options, &output),
        Command::Down(options) => commands::down::run(options, &output),
        Command::Export(options) => commands::transfer::export(options, &output),
        Command::Import(options) => commands::transfer::import(options, &output),
        Command::Ps(options) => commands::ps::run(options, &output),
        Command::Logs(options) => commands::logs::run(options, &output),
        Command::Stats(options) => commands::stats::run(options, &output),
        Command::Events(options) => commands::events::run(options, &output),
        Command::Env(verb) => commands::env::run(verb, &output),
        Command::Kms(command) => commands::kms::run(command, &output),
        Command::Pad(verb) => commands::pad::run(verb, &output),
        Command::Build(options) => commands::build::run(options, &output),
        Command::Rebuild(options) => commands::rebuild::run(options, &output),
        Command::Lock(options) => commands::lock::run(options, &output),
        Command::Release(options) => commands::release::run(options, &output),
        Command::Measure(options) => commands::measure::run(options, &output),
        Command::Verify(options) => commands::verify::run(options, &output),
        Command::Domain(verb) => commands::domain::run(verb, &output),
        Command::Gateway(verb) => commands::gateway::run(verb, &output),
        Command::Diff(options) => commands::diff::run(options, &output),
        Command::Collateral(options) => commands::collateral::run(options, &output),
        Command::Doctor => commands::doctor::run(&output),
        Command::Config(options) => commands::config::run(options, &output),
        Command::ServeImages(options) => commands::serve_images::run(options),
        Command::CheckApps(options) => commands::check_apps::run(options, &output),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure::EXIT)
        }
    }
}

/// Help is no failure; a command line that is none ends with the status of what could not be
/// judged, not with clap's own 2, which says here that a check was skipped.
fn misused(error: &clap::Error) -> ! {
    // Where nobody reads, nothing is lost.
    let _ = error.print();
    std::process::exit(if error.use_stderr() { failure::EXIT.into() } else { 0 })
}
