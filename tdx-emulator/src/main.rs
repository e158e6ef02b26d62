//! The command line of the emulated TDX device's host service.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};
use tdx_emulator::lie::Lie;
use tdx_emulator::pccs::server::Server;
use tdx_emulator::pki::machine::Machine;
use tdx_emulator::pki::root_certificate;
use tdx_emulator::quote::QuoteVersion;
use tdx_emulator::registers::Register;
use tdx_emulator::service::{Service, ServiceConfig, ServiceError};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{DateTime, Encode as _, EncodePem as _};

/// Stands in for TDX hardware so that a dev image can be booted anywhere. Proves nothing.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve one QEMU, which connects its second serial port, until it ends.
    Serve(Serve),
    /// Serve the platform's collateral over HTTP, as a PCCS does and always fresh, until killed.
    ServeCollateral(ServeCollateral),
    /// Print the worthless root certificate (PEM).
    Root {
        /// Write it there instead, as DER.
        #[arg(long, value_name = "FILE")]
        der: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Unix socket to listen on.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Existing directory for collateral.json, firmware_log.json and emulator.log.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// MRCONFIGID of the TD, 96 hexadecimal digits [default: zero].
    #[arg(long, value_name = "HEX", value_parser = parse_register)]
    mrconfigid: Option<Register>,
    /// Be another machine, whose ids and keys follow from this seed, 64 hexadecimal digits
    /// [default: the machine of the test vectors].
    #[arg(long, value_name = "HEX", value_parser = parse_machine)]
    machine_seed: Option<Machine>,
    /// Layout of quotes: 4 (TDX 1.0 body), 5 (TDX 1.5 body) or 5-extended.
    #[arg(long, value_name = "4|5|5-extended", default_value = "4", value_parser = parse_quote_version)]
    quote_version: QuoteVersion,
    /// Tell a lie, so that its refusal can be seen.
    #[arg(long, value_name = "LIE")]
    danger_lie: Option<Lie>,
    /// When the collateral is issued, like 2026-11-21T06:00:00Z [default: now].
    #[arg(long, value_name = "RFC3339")]
    now: Option<DateTime>,
}

#[derive(Debug, clap::Args)]
struct ServeCollateral {
    /// Loopback address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Tell a lie, so that its refusal can be seen.
    #[arg(long, value_name = "LIE")]
    danger_lie: Option<Lie>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(flags) => serve(flags),
        Command::ServeCollateral(flags) => serve_collateral(&flags),
        Command::Root { der } => root(der),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Logged) => ExitCode::FAILURE,
        Err(Failure::Plain(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How the program failed.
enum Failure {
    /// The log and standard error have it already.
    Logged,
    /// Nobody knows yet.
    Plain(Box<dyn Error>),
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Plain(Box::new(error))
    }
}

fn serve(flags: Serve) -> Result<(), Failure> {
    let config = ServiceConfig {
        socket: flags.socket,
        state_dir: flags.state_dir,
        mrconfigid: flags.mrconfigid.unwrap_or([0; 48]),
        machine: flags.machine_seed.unwrap_or_default(),
        quote_version: flags.quote_version,
        lie: flags.danger_lie,
        now: flags.now.map_or_else(|| DateTime::try_from(SystemTime::now()), Ok)?,
    };
    let socket = config.socket.display().to_string();
    let service = Service::start(config).map_err(|error: ServiceError| {
        eprintln!("error: {error}");
        eprintln!("hint: {}", error.hint());
        Failure::Logged
    })?;
    announce(&socket)?;
    service.run().map_err(|_| Failure::Logged)
}

fn serve_collateral(flags: &ServeCollateral) -> Result<(), Failure> {
    let server = Server::bind(flags.listen, flags.danger_lie, SystemTime::now)?;
    announce(&format!("http://{}", server.address()))?;
    server.run();
    Ok(())
}

/// The line that a parent waits for.
fn announce(address: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()
}

fn root(der: Option<PathBuf>) -> Result<(), Failure> {
    let certificate = root_certificate()?;
    match der {
        Some(path) => std::fs::write(path, certificate.to_der()?)?,
        None => print!("{}", certificate.to_pem(LineEnding::LF)?),
    }
    Ok(())
}

fn parse_register(text: &str) -> Result<Register, String> {
    protocol::digest::decode_hex(text).map_err(|error| error.to_string())
}

fn parse_machine(text: &str) -> Result<Machine, String> {
    let seed = protocol::digest::decode_hex(text).map_err(|error| error.to_string())?;
    Ok(Machine::of_seed(seed))
}

fn parse_quote_version(text: &str) -> Result<QuoteVersion, String> {
    match text {
        "4" => Ok(QuoteVersion::V4),
        "5" => Ok(QuoteVersion::V5),
        "5-extended" => Ok(QuoteVersion::V5Extended),
        _ => Err("legal are 4, 5 and 5-extended".to_owned()),
    }
}
