//! What a machine's guest shows to the holder of a key that its measured file names.
//!
//! A channel a command. The guest is judged as `verify --vm` judges it, but by what was launched:
//! the image and the measured file are the copies in the machine's directory, so that later builds
//! and edits do not count; the quote must be for this very connection. Nothing is asked of what
//! does not pass.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attestation::policy::ExpectedReportData;
use attestation::{Appraisal, CheckVerdict, StatedFirmware, StatedMachine, Verdict};
use bytes::Bytes;
use channel::Judge;
use channel::calls::{Caller, Document};
use protocol::app_compose;
use protocol::channel::{ALPN_OWNER, Binding, OwnerProof, Proof, Refusal, RefusalCode, Role};
use protocol::digest::{ComposeHash, Ed25519Key};
use protocol::error::chain;
use protocol::evidence::Evidence;
use tokio::runtime::Runtime;

use crate::app::APP_COMPOSE_FILE;
use crate::clock::now_secs;
use crate::collateral::named_service;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::judge::{self, AppraisalRequest, Gathered, Source, StatedApp};
use crate::owner::Owner;
use crate::owners_channel::{self, Service};
use crate::vm::Vm;

/// The owner's view of a guest.
const VIEW: Service = Service { alpn: ALPN_OWNER, server: Role::Agent };

/// An open channel to a guest that was verified.
#[derive(Debug)]
pub struct View {
    runtime: Runtime,
    caller: Caller<()>,
}

impl View {
    /// Opens a channel to the guest of a machine; none where its app does not name this user's key.
    pub fn open(vm: &Vm) -> Outcome<Option<Self>> {
        let (Some(address), Some(owner)) = (vm.owner_address, Owner::load()?) else {
            return Ok(None);
        };
        let directory = vm.directory()?;
        let file = directory.join(APP_COMPOSE_FILE);
        let bytes = files::read_bounded(&file, app_compose::MAX_BYTES as u64)?;
        if !names(&bytes, owner.public()) {
            return Ok(None);
        }
        let request = AppraisalRequest {
            source: Source::Vm(vm.clone().into()),
            event_logs: Vec::new(),
            report_data: None,
            image: Some(directory),
            release: None,
            app: Some(StatedApp::Hash(ComposeHash::of(&bytes))),
            app_id: None,
            machine: StatedMachine::default(),
            firmware: StatedFirmware::default(),
            collateral: None,
            policy: None,
            pccs: named_service(None),
            now_secs: now_secs()?,
            danger_accept_emulated: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .hint("starting the client", "see the message")?;
        let (address, owner, judge) = (address.to_string(), Arc::new(owner), LaunchJudge(request));
        let caller = runtime.block_on(async {
            let channel = owners_channel::open(&address, VIEW, owner, judge).await;
            let channel = channel.map_err(|error| no_channel(&address, &error))?;
            Caller::over(channel).await.map_err(|error| no_channel(&address, &error))
        })?;
        Ok(Some(Self { runtime, caller }))
    }

    /// Asks for a path; the status of the answer and its body, which takes at most `within`.
    pub fn get(&mut self, path: &str, within: Option<Duration>) -> Outcome<(u16, Body<'_>)> {
        let Self { runtime, caller } = self;
        let answer = runtime
            .block_on(caller.get(path))
            .map_err(|error| Failure::new(format!("{path}: {}", chain(&error)), "try again"))?;
        let status = answer.status();
        let until = within.map(|within| Instant::now() + within);
        Ok((status, Body { runtime, answer, piece: Bytes::new(), until }))
    }
}

/// Whether the measured file names this owner. One that this version cannot read names nobody.
fn names(app_compose: &[u8], owner: Ed25519Key) -> bool {
    app_compose::parse(app_compose).is_ok_and(|app| app.owners.contains(&owner))
}

fn no_channel(address: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        format!("the owner's view at {address}: {}", chain(error)),
        "nothing was asked; `dstyx verify --vm NAME` shows every check, `dstyx logs NAME` how far the guest is",
    )
}

/// The body of an answer, read as it comes.
pub struct Body<'a> {
    runtime: &'a Runtime,
    answer: Document<'a>,
    piece: Bytes,
    until: Option<Instant>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let next = self.answer.next();
            let next = match self.until {
                None => self.runtime.block_on(next),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let next = async { tokio::time::timeout(left, next).await };
                    self.runtime.block_on(next).map_err(|_| io::ErrorKind::TimedOut)?
                }
            };
            match next.map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Judges by what was launched.
struct LaunchJudge(AppraisalRequest);

impl Judge for LaunchJudge {
    type Peer = ();

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<(), Refusal> {
        let refused = |text: &str| Refusal::new(RefusalCode::Evidence, text);
        let report_data = binding.report_data();
        let report_data =
            report_data.ok_or_else(|| refused("the server's role has no report data"))?;
        let request = AppraisalRequest {
            report_data: Some(ExpectedReportData::Exactly(report_data)),
            ..self.0.clone()
        };
        let evidence = Evidence::from(proof);
        let judged = judge::judge_gathered(&request, Gathered::of_channel(evidence))
            .map_err(|failure| refused(&failure.to_string()))?;
        match objection(&judged.appraisal) {
            None => Ok(()),
            Some(text) => Err(refused(&text)),
        }
    }

    async fn judge_owner(&self, _proof: OwnerProof, _signed: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a guest proves with evidence"))
    }

    fn unattested(&self) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::Evidence, "a guest proves with evidence"))
    }
}

/// The first check that did not pass; none under the verdict `pass` alone.
fn objection(appraisal: &Appraisal) -> Option<String> {
    if appraisal.verdict == Verdict::Pass {
        return None;
    }
    let first = |verdict| appraisal.checks.iter().find(|check| check.verdict == verdict);
    let check = first(CheckVerdict::Fail).or_else(|| first(CheckVerdict::Skipped));
    Some(check.map_or_else(
        || "the verdict is not a pass".to_owned(),
        |check| {
            let (name, finding) = (check.name.name(), &check.finding);
            match check.verdict {
                CheckVerdict::Skipped => format!("{name} was skipped: {}", finding.hint),
                _ => format!("{name}: expected {}, found {}", finding.expected, finding.found),
            }
        },
    ))
}

#[cfg(test)]
mod tests {
    use app_compose::NewApp;

    use super::*;

    #[test]
    fn a_view_is_of_those_whom_the_measured_file_names() {
        let [ours, theirs] = [1, 2].map(|byte| Ed25519Key([byte; 32]));
        let files = app_compose::AppFiles::new();
        let owners = [ours];
        let new = NewApp { owners: &owners, ..NewApp::of("a", "x", &files) };
        let file = new.generate().unwrap();
        assert!(names(&file, ours) && !names(&file, theirs));
        assert!(!names(b"{}", ours));
        assert!(!names(&app_compose::generate("a", "x").unwrap(), ours));
    }
}
