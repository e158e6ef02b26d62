//! From a document of a service to work for `pad-runner`, and from what left to files of the
//! service.

use std::fs::File;
use std::io;
use std::sync::Arc;

use pad_format::Policy;
use pad_format::run::RunId;
use pad_run::{Limits, MAX_PLAIN_BYTES, MAX_PROPOSALS};
use pad_supervisor::{Job, Kind, Outputs, Replacement};
use protocol::digest::Sha256Digest;
use protocol::pad_calls::{
    MAX_PARTIES, MAX_WALL_MILLIS, Output, OutputKind, Party, Program, RunLimits, RunRequest,
    UpdateRequest,
};
use zeroize::Zeroizing;

use super::files::{Files, FilesError, Writing};
use super::refused::Refused;

/// Address of a delegator that nobody stated.
const UNKNOWN: &str = "unknown";

/// What a guest adds to a document.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// What stands for keying material of a channel.
    pub exporter: [u8; 32],
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// The run that a document asks for.
///
/// # Errors
/// If a file is missing, or a value is out of its range.
pub fn run(
    request: RunRequest,
    files: &Files,
    guest: Guest,
    services: impl Fn(&str) -> Option<File>,
) -> Result<Job, Refused> {
    let limits = limits(&request.limits)?;
    if request.plain.len() > MAX_PLAIN_BYTES {
        let found = request.plain.len();
        return Err(Refused::Range { field: "plain", found, expected: MAX_PLAIN_BYTES });
    }
    let room = files.room();
    if room < limits.proposals as usize {
        return Err(Refused::Room { room, proposals: limits.proposals });
    }
    let program = match &request.program {
        Program::File(digest) => reader(files, digest)?,
        Program::Service(name) => services(name).ok_or_else(|| Refused::Service(name.clone()))?,
    };
    let read = |digests: &[Sha256Digest]| {
        digests.iter().map(|digest| reader(files, digest)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Job {
        run: run_id(&request.run)?,
        exporter: guest.exporter,
        now: guest.now,
        program,
        engines: read(&request.engines)?,
        pads: read(&request.pads)?,
        plain: (!request.plain.is_empty()).then(|| Zeroizing::new(request.plain)),
        signed: (!request.signed.is_empty()).then_some(request.signed),
        parties: parties(request.parties)?,
        limits,
    })
}

/// The change of policies that a document asks for, and the file that the new Pad is written to.
///
/// # Errors
/// As [`run`].
pub fn update(
    request: UpdateRequest,
    files: &Arc<Files>,
    guest: Guest,
) -> Result<(Replacement, Writing), Refused> {
    let run = run_id(&request.run)?;
    let policies = request.policies.iter().map(|bytes| Policy::parse(bytes));
    let policies = policies.collect::<Result<_, _>>().map_err(Refused::Policy)?;
    let engines = request.engines.iter().map(|digest| reader(files, digest));
    let engines = engines.collect::<Result<_, _>>()?;
    let kept = files.get(&request.pad).ok_or(Refused::NoFile(request.pad))?;
    let party = parties(vec![request.party])?.remove(0);
    // Other policies may be longer, and never by so much.
    let writing = files.begin_named(&hex::encode(run.0), kept.bytes() + (1 << 20))?;
    let replacement = Replacement {
        run,
        now: guest.now,
        engines,
        pad: kept.reader().map_err(FilesError::from)?,
        out: writing.given_away().map_err(FilesError::from)?,
        policies,
        signed: request.signed,
        party,
    };
    Ok((replacement, writing))
}

/// A run id of 16 bytes.
///
/// # Errors
/// If it has another length.
pub fn run_id(bytes: &[u8]) -> Result<RunId, Refused> {
    let wrong = |_| Refused::Range { field: "run", found: bytes.len(), expected: 16 };
    bytes.try_into().map(RunId).map_err(wrong)
}

fn reader(files: &Files, digest: &Sha256Digest) -> Result<File, Refused> {
    let kept = files.get(digest).ok_or(Refused::NoFile(*digest))?;
    Ok(kept.reader().map_err(FilesError::from)?)
}

fn parties(parties: Vec<Party>) -> Result<Vec<(Vec<u8>, String)>, Refused> {
    let found = parties.len();
    if found > MAX_PARTIES {
        return Err(Refused::Range { field: "parties", found, expected: MAX_PARTIES });
    }
    let stated =
        |Party { enrolment, address }| (enrolment, address.unwrap_or_else(|| UNKNOWN.to_owned()));
    Ok(parties.into_iter().map(stated).collect())
}

fn limits(stated: &RunLimits) -> Result<Limits, Refused> {
    let usual = Limits::default();
    let limits = Limits {
        memory_bytes: stated.memory_bytes.unwrap_or(usual.memory_bytes),
        table_elements: stated.table_elements.unwrap_or(usual.table_elements),
        data_bytes: stated.data_bytes.unwrap_or(usual.data_bytes),
        wall_millis: stated.wall_millis.unwrap_or(usual.wall_millis),
        proposals: stated.proposals.unwrap_or(usual.proposals),
    };
    let above = |field, found: u64, most: u64| match found > most {
        true => {
            let number = |value| usize::try_from(value).unwrap_or(usize::MAX);
            Err(Refused::Range { field, found: number(found), expected: number(most) })
        }
        false => Ok(()),
    };
    above("limits.wall_millis", limits.wall_millis, MAX_WALL_MILLIS)?;
    above("limits.proposals", limits.proposals.into(), MAX_PROPOSALS.into())?;
    Ok(limits)
}

/// Writes what leaves a run into files of its service.
pub struct Spooled {
    files: Arc<Files>,
    current: Option<(Kind, Writing, u64)>,
    /// What has left.
    pub outputs: Vec<Output>,
}

impl Spooled {
    /// Nothing has left yet.
    pub fn into_files(files: Arc<Files>) -> Self {
        Self { files, current: None, outputs: Vec::new() }
    }

    fn finish_if_whole(&mut self) -> Result<(), FilesError> {
        let Some((kind, writing, 0)) = self.current.take_if(|(_, _, left)| *left == 0) else {
            return Ok(());
        };
        let info = writing.finish(None)?;
        let kind = match kind {
            Kind::Pad => OutputKind::Pad,
            Kind::Plain => OutputKind::Result,
        };
        self.outputs.push(Output { kind, sha256: info.sha256, bytes: info.bytes });
        Ok(())
    }
}

impl Outputs for Spooled {
    fn begin(&mut self, kind: Kind, length: u64) -> io::Result<()> {
        let writing = self.files.begin(length).map_err(io::Error::other)?;
        self.current = Some((kind, writing, length));
        self.finish_if_whole().map_err(io::Error::other)
    }

    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, writing, left)) = &mut self.current {
            writing.write(bytes)?;
            *left = left.saturating_sub(bytes.len() as u64);
        }
        self.finish_if_whole().map_err(io::Error::other)
    }
}
