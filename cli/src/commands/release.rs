//! `dstyx release`: an image with a statement of what it was built from, which k of n people sign.
//!
//! Signers need not meet: each builds the same commit, gets the same statement, and adds a
//! signature to the envelope that the others have signed before.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attestation::signatures::{Envelope, SigningKey, dsse, keys};
use image::BuiltImage;
use image::release::{PAYLOAD_TYPE, Sources, Statement};
use protocol::image::Flavour;
use reproducible_build::builder::Builder;
use serde_json::json;

use crate::args::{FlavourArg, Release, ReleaseCheck, ReleaseVerb};
use crate::commands::stated;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::signers::{ENVELOPE, STATEMENT};
use crate::{build, commit, files, paths, signers};

/// What is released.
const FILES: [&str; 4] = ["image.json", "firmware.fd", "kernel", "initrd"];
/// Largest released file: far above any real one, far below memory.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Writes a release, or checks one.
pub fn run(options: &Release, output: &Output) -> Outcome<ExitCode> {
    match &options.verb {
        Some(ReleaseVerb::Check(options)) => check(options, output),
        None => write(options, output),
    }
}

fn write(options: &Release, output: &Output) -> Outcome<ExitCode> {
    let keys = options.key.iter().map(|path| signing_key(path)).collect::<Outcome<Vec<_>>>()?;
    let checkout = paths::checkout()?;
    let flavour = match options.flavour {
        FlavourArg::Release => Flavour::Release,
        FlavourArg::Dev => Flavour::Dev,
    };
    let name = flavour.name();
    let (image, contents, statement) = commit::built(&checkout, |commit| {
        let builder = build::open()?;
        let image = build::image(&builder, flavour)?;
        let contents = contents(&image.directory)?;
        let statement = statement(&contents, name, commit, &checkout, &builder)?;
        Ok((image, contents, statement))
    })?;
    let directory =
        options.out.clone().unwrap_or_else(|| checkout.join("target/releases").join(name));
    let envelope = signed(&directory, &statement, &keys)?;
    store(&directory, &contents, &statement, &envelope)?;
    report(&directory, &image, statement.commit(), &envelope, output);
    Ok(ExitCode::SUCCESS)
}

/// The released files by name.
fn contents(directory: &Path) -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let read = |name: &&'static str| {
        Ok((*name, files::read_bounded(&directory.join(name), MAX_FILE_BYTES)?))
    };
    FILES.iter().map(read).collect()
}

fn statement(
    contents: &[(&'static str, Vec<u8>)],
    flavour: &str,
    commit: &str,
    checkout: &Path,
    builder: &Builder,
) -> Outcome<Statement> {
    let cargo_lock = files::read_bounded(&checkout.join("Cargo.lock"), MAX_FILE_BYTES)?;
    let files: Vec<(&str, &[u8])> =
        contents.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let version = env!("CARGO_PKG_VERSION");
    let sources =
        Sources { flavour, version, commit, lock: builder.lock(), cargo_lock: &cargo_lock };
    Statement::new(&files, &sources).hint("the statement", "is this a checkout of dstyx?")
}

fn signing_key(path: &Path) -> Outcome<SigningKey> {
    const HINT: &str = "make one: openssl genpkey -algorithm ed25519 -out key.pem";
    let mode = fs::metadata(path).hint(path.display(), HINT)?.permissions().mode();
    if mode & 0o077 != 0 {
        let what = format!(
            "{}: others on this machine may read or change it (mode {:o})",
            path.display(),
            mode & 0o777
        );
        return Err(Failure::new(what, format!("chmod 600 {}", path.display())));
    }
    let mut pem = files::read_bounded(path, keys::MAX_PEM_BYTES as u64)?;
    let key = SigningKey::from_pem(&String::from_utf8_lossy(&pem)).hint(path.display(), HINT);
    pem.fill(0);
    key
}

/// Adds signatures to the envelope in the directory, if there is one of the same statement.
fn signed(directory: &Path, statement: &Statement, keys: &[SigningKey]) -> Outcome<Envelope> {
    let payload = statement.to_json();
    let path = directory.join(ENVELOPE);
    let mut envelope = match path.exists() {
        false => statement.envelope(),
        true => {
            let json = files::read_bounded(&path, dsse::MAX_BYTES as u64)?;
            let earlier =
                Envelope::parse(&json, PAYLOAD_TYPE).hint(path.display(), "remove the file")?;
            if earlier.payload() != payload {
                let what = format!("{}: its statement is not that of this build", path.display());
                return Err(Failure::new(
                    what,
                    "check out the commit that it names, or write elsewhere with --out",
                ));
            }
            earlier
        }
    };
    keys.iter().for_each(|key| envelope.sign(key));
    Ok(envelope)
}

fn store(
    directory: &Path,
    contents: &[(&str, Vec<u8>)],
    statement: &Statement,
    envelope: &Envelope,
) -> Outcome<()> {
    const HINT: &str = "is the directory writable?";
    fs::create_dir_all(directory).hint(directory.display(), HINT)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).hint(path.display(), HINT)
    };
    for (name, bytes) in contents {
        write(name, bytes)?;
    }
    write(STATEMENT, &statement.to_json())?;
    if envelope.signatures().next().is_some() {
        write(ENVELOPE, envelope.to_json().as_bytes())?;
    }
    Ok(())
}

fn report(
    directory: &Path,
    image: &BuiltImage,
    commit: &str,
    envelope: &Envelope,
    output: &Output,
) {
    let signatures: Vec<String> = envelope.key_ids().map(|id| id.to_string()).collect();
    let document = json!({
        "directory": directory,
        "os_image_hash": image.os_image_hash,
        "commit": commit,
        "signatures": signatures,
    });
    output.result(&document, || {
        let signed = match signatures.len() {
            0 => "not signed: give --key\n".to_owned(),
            _ => signatures.iter().map(|id| format!("signed by {id}\n")).collect(),
        };
        format!(
            "{}\nos-image-hash {}\ncommit {commit}\n{signed}",
            directory.display(),
            image.os_image_hash
        )
    });
}

fn check(options: &ReleaseCheck, output: &Output) -> Outcome<ExitCode> {
    let release = signers::verified(&options.dir, &stated::signers(&options.signers))?;
    for name in release.statement().files() {
        let path: PathBuf = options.dir.join(name);
        signers::check(&release, name, &files::read_bounded(&path, MAX_FILE_BYTES)?)?;
    }
    let (manifest, os_image_hash) = files::read_manifest(&options.dir)?;
    release
        .image()
        .vouches_for(os_image_hash, manifest.flavour)
        .map_err(|error| Failure::new(&error, error.hint()))?;
    let statement = release.statement();
    let signers: Vec<String> = release.signers().iter().map(ToString::to_string).collect();
    let document = json!({
        "os_image_hash": os_image_hash,
        "flavour": statement.flavour(),
        "commit": statement.commit(),
        "files": statement.files().collect::<Vec<_>>(),
        "signers": signers,
    });
    output.result(&document, || {
        let signed: String = signers.iter().map(|id| format!("signed by {id}\n")).collect();
        let (flavour, commit) = (statement.flavour(), statement.commit());
        format!(
            "os-image-hash {os_image_hash}\nflavour {flavour}\ncommit {commit}\n{signed}every file is the signed one\n"
        )
    });
    Ok(ExitCode::SUCCESS)
}
