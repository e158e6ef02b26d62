//! The supervisor as the delegators of a run.

use std::os::unix::net::UnixStream;

use pad_format::run::RunId;
use pad_pipeline::Delegator;
use pad_pipeline::conversation::{Command, KeyOfUpdate, KeyToKeep, Report};
use pad_pipeline::delegator::{
    AuditEntry, Denied, KeyRequest, NewKey, ReleasedKey, Spend, UpdatedKey,
};
use pad_run::wire::{Wire, WireError};
use zeroize::Zeroizing;

/// Asks over the stream. After the first error of the stream everything is denied.
pub(super) struct Asker<'a> {
    wire: &'a mut Wire<UnixStream>,
    failed: Option<WireError>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(wire: &'a mut Wire<UnixStream>) -> Self {
        Self { wire, failed: None }
    }

    /// What went wrong with the stream meanwhile.
    pub(super) fn finish(self) -> Result<(), WireError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn asked(&mut self, report: &Report) -> Result<Command, Denied> {
        if self.failed.is_none() {
            match self.wire.send(report).and_then(|()| self.wire.receive()) {
                Ok(Command::Denied(denied)) => return Err(denied),
                Ok(command) => return Ok(command),
                Err(error) => self.failed = Some(error),
            }
        }
        Err(Denied::Failed("the supervisor is away".to_owned()))
    }

    fn done(&mut self, report: &Report) -> Result<(), Denied> {
        match self.asked(report)? {
            Command::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> Denied {
    Denied::Failed("the supervisor answered something else".to_owned())
}

impl Delegator for Asker<'_> {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        match self.asked(&Report::Keys(request.clone()))? {
            Command::Keys(keys) => Ok(keys),
            _ => Err(unexpected()),
        }
    }

    fn spend(&mut self, run: RunId, uses: &[Spend]) -> Result<(), Denied> {
        self.done(&Report::Spend(run, uses.to_vec()))
    }

    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied> {
        self.done(&Report::Keep(Box::new(KeyToKeep {
            run: new.run,
            pad_id: new.pad_id,
            key_id: new.key_id.clone(),
            key: Zeroizing::new(*new.key.as_bytes()),
            custodian: new.custodian,
            key_provider_id: new.key_provider_id,
            engines: new.engines.clone(),
            parents: new.parents.clone(),
        })))
    }

    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied> {
        self.done(&Report::Audit(entry.clone()))
    }

    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        self.done(&Report::Update(Box::new(KeyOfUpdate {
            run: new.run,
            old: new.old.clone(),
            key_id: new.key_id.clone(),
            key: Zeroizing::new(*new.key.as_bytes()),
            signed: new.signed.clone(),
        })))
    }
}
