//! Phase `KeysReleased`: the pinned KMS has released this guest's keys, or the measured file asks
//! for none; and the log says which.

use std::sync::Arc;
use std::time::Duration;

use channel::tls::TlsError;
use protocol::app_compose::KeyProvider;
use protocol::digest::RequestId;
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::kms::{AppKeyResponse, GetAppKeyRequest};
use protocol::status::Phase;

use super::{BootError, HandoverRead, PhaseError};
use crate::disk::Opening;
use crate::keys::{AppKeys, KeysError};
use crate::kms_client::{AgentProof, KmsClient, KmsError, PinnedKms, Voice};
use crate::memory::Memory;
use crate::quotes::QuoteDesk;
use crate::reports::Reports;

/// The call.
const METHOD: &str = "GetAppKey";

/// Holding one says: who gave the keys is recorded, and so is the image that this KMS verified.
/// Only this opens the data disk.
#[derive(Debug)]
pub struct KeysReleased {
    pub(super) read: HandoverRead,
    pub(super) released: Option<Released>,
}

/// Keys, and who released them.
#[derive(Debug, Clone)]
pub struct Released {
    /// The keys.
    pub keys: Arc<AppKeys>,
    /// The KMS, for what is asked of it later.
    pub kms: Arc<KmsClient>,
}

/// The call for the keys of an epoch, or with 0 of the one that the instance runs on. It has a
/// number of its own: however often it has to be made again, it is one decision.
fn request(epoch: u32) -> Result<GetAppKeyRequest, KmsError> {
    let mut id = RequestId([0; 16]);
    getrandom::fill(&mut id.0).map_err(TlsError::from)?;
    Ok(GetAppKeyRequest { request_id: id.0.to_vec(), epoch, ..GetAppKeyRequest::default() })
}

impl KeysReleased {
    /// Asks the pinned KMS, unless an earlier agent of this boot has its answer; waits for one that
    /// is away.
    pub async fn enter(
        read: HandoverRead,
        desk: &Arc<QuoteDesk>,
        memory: &Memory,
        reports: &Reports,
    ) -> Result<Self, PhaseError> {
        let entered = async {
            let kms = client(&read, desk, reports)?;
            let ask = async |epoch| match &kms {
                Some(kms) => kms.wait_for(Phase::AgentStarted, METHOD, &request(epoch)?).await,
                None => Err(KmsError::NoAddress),
            };
            let keys = release(&read, memory, ask).await?;
            let released = keys.zip(kms).map(|(keys, kms)| Released { keys, kms });
            Ok(Self { read, released })
        };
        entered.await.map_err(BootError::entering(Phase::KeysReleased))
    }

    /// Whether the measured file asks for keys.
    pub fn has_keys(&self) -> bool {
        self.released.is_some()
    }

    fn anchor_max_age(&self) -> Option<Duration> {
        let secs = self.read.app.kms_bounds.anchor_max_age_secs;
        secs.map(|secs| Duration::from_secs(secs.into()))
    }

    /// How the data disk is opened.
    pub(super) fn opening(&self, reports: &Reports) -> Opening {
        use protocol::app_compose::{StorageFs, WithoutKms};
        match (&self.released, self.read.app.storage_fs) {
            (Some(Released { keys, kms }), _) => Opening::Kept {
                keys: Arc::clone(keys),
                kms: Arc::clone(kms),
                reports: reports.clone(),
                anchor_max_age: self.anchor_max_age(),
                stops: self.read.app.kms_bounds.without_kms == WithoutKms::Stop,
            },
            (None, StorageFs::BtrfsPlain) => Opening::Plain,
            (None, file_system) => Opening::ForThisBoot(file_system),
        }
    }
}

/// The client of the KMS that the measured file pins, if it pins one.
fn client(
    read: &HandoverRead,
    desk: &Arc<QuoteDesk>,
    reports: &Reports,
) -> Result<Option<Arc<KmsClient>>, BootError> {
    let KeyProvider::Kms { id } = read.app.key_provider else { return Ok(None) };
    let proof = AgentProof {
        desk: Arc::clone(desk),
        claims: read.handover.claims.clone(),
        app_compose: read.app_compose.as_slice().into(),
    };
    let pinned = PinnedKms::new(id, read.app.kms_bounds);
    let client =
        KmsClient::new(Voice::Agent, &read.handover.kms_urls, pinned, proof, reports.clone())?;
    Ok(Some(Arc::new(client)))
}

/// The keys, from the memory of earlier agents or by `ask`; recorded once, however often this runs.
/// They are kept before anything is recorded, so that the record always fits what is kept.
pub(super) async fn release(
    read: &HandoverRead,
    memory: &Memory,
    ask: impl AsyncFn(u32) -> Result<AppKeyResponse, KmsError>,
) -> Result<Option<Arc<AppKeys>>, BootError> {
    let provider = read.app.key_provider;
    let keys = match (provider, memory.read()?.keys) {
        (KeyProvider::None, _) => None,
        (KeyProvider::Kms { .. }, Some(keys)) => Some(keys),
        (KeyProvider::Kms { .. }, None) => {
            let keys = Arc::new(newest(ask).await?);
            memory.update(|kept| kept.keys = Some(Arc::clone(&keys)))?;
            Some(keys)
        }
    };
    if let Some(keys) = &keys {
        let verified = RuntimeEvent::new(event_name::OS_IMAGE_HASH, keys.os_image_hash.0);
        read.log.ensure(&verified)?;
    }
    read.log.ensure(&RuntimeEvent::new(event_name::KEY_PROVIDER, provider.event_payload()))?;
    Ok(keys)
}

/// The keys of the epoch that the instance is to run on. Where its disk is still under an older
/// one's, they have that key too.
async fn newest(
    ask: impl AsyncFn(u32) -> Result<AppKeyResponse, KmsError>,
) -> Result<AppKeys, BootError> {
    let runs_on = ask(0).await?;
    let expected = runs_on.newest_epoch;
    let keys = AppKeys::of(runs_on)?;
    if expected <= keys.epoch {
        return Ok(keys);
    }
    let newest = AppKeys::of(ask(expected).await?)?;
    let found = newest.epoch;
    if found != expected {
        return Err(KeysError::OtherEpoch { found, expected }.into());
    }
    tracing::info!("the KMS has a newer epoch: from {} to {found}", keys.epoch);
    Ok(newest.moving_from(&*keys.disk)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::app_compose::{AppFiles, NewApp};
    use protocol::digest::Sha256Digest;
    use tee::EventLog;
    use tee::fixtures::SoftwareTee;

    use super::super::tests::{handover, measured_log};
    use super::*;
    use crate::keys::tests::response;
    use crate::memory::tests::memory;
    use crate::quotes::SharedTee;

    fn read(log: EventLog<SharedTee>) -> HandoverRead {
        let files = AppFiles::new();
        let key_provider = KeyProvider::Kms { id: Sha256Digest([7; 32]) };
        let new = NewApp { key_provider, ..NewApp::of("a", "services: {}\n", &files) };
        HandoverRead::of(&handover(&new.generate().unwrap()), log).unwrap()
    }

    fn events(read: &HandoverRead) -> Vec<(String, String)> {
        let events = read.log.snapshot(|_| ()).unwrap().0.events().unwrap();
        let behind = events.into_iter().skip(event_name::REQUIRED.len());
        behind.map(|event| (event.event, event.event_payload)).collect()
    }

    fn log(directory: &Path, tee: &SharedTee) -> EventLog<SharedTee> {
        match directory.join("log").exists() {
            true => EventLog::new(directory.join("log"), Arc::clone(tee)),
            false => measured_log(directory, Arc::clone(tee)),
        }
    }

    #[tokio::test]
    async fn keys_are_asked_for_once_and_each_event_is_recorded_once() {
        let directory = tempfile::tempdir().unwrap();
        let tee: SharedTee = Arc::new(SoftwareTee::default());
        let (memory, first) = (memory(), read(log(directory.path(), &tee)));
        let keys = release(&first, &memory, async |_| Ok(response())).await.unwrap().unwrap();
        let recorded = events(&first);
        let provider = format!(r#"{{"name":"kms","id":"{}"}}"#, "07".repeat(32));
        let expected = [
            (event_name::OS_IMAGE_HASH.to_owned(), "05".repeat(32)),
            (event_name::KEY_PROVIDER.to_owned(), hex::encode(provider)),
        ];
        assert_eq!(recorded, expected);

        let again = read(log(directory.path(), &tee));
        let never = async |_| panic!("an agent that is started again asks for nothing");
        let kept = release(&again, &memory, never).await.unwrap().unwrap();
        assert_eq!((*kept.disk, events(&again)), (*keys.disk, recorded));
    }

    #[tokio::test]
    async fn the_keys_are_those_of_the_newest_epoch_and_the_disk_s_old_one_is_at_hand() {
        let directory = tempfile::tempdir().unwrap();
        let tee: SharedTee = Arc::new(SoftwareTee::default());
        let (memory, read) = (memory(), read(log(directory.path(), &tee)));
        let ask = async |epoch| {
            let newest_epoch = 3;
            Ok(match epoch {
                0 => AppKeyResponse { newest_epoch, ..response() },
                _ => AppKeyResponse {
                    epoch,
                    newest_epoch,
                    disk_crypt_key: vec![9; 64],
                    earlier: vec![crate::keys::tests::earlier(1, 2)],
                    ..response()
                },
            })
        };
        let keys = release(&read, &memory, ask).await.unwrap().unwrap();
        assert_eq!((keys.epoch, *keys.disk), (3, [9; 64]));
        assert_eq!(keys.moves_from.as_deref(), Some(&[1; 64]));
        let kept = memory.read().unwrap().keys.unwrap();
        assert_eq!((kept.moves_from.as_deref(), kept.earlier[0].epoch), (Some(&[1; 64]), 1));
    }

    #[tokio::test]
    async fn keys_of_another_epoch_than_was_asked_for_are_refused_and_without_a_newer_one_nothing_moves()
     {
        let ask = async |_| Ok(AppKeyResponse { newest_epoch: 3, ..response() });
        let refused = newest(ask).await.unwrap_err();
        let expected = KeysError::OtherEpoch { found: 1, expected: 3 };
        assert!(matches!(refused, BootError::Keys(error) if error == expected));
        for newest_epoch in [0, 1] {
            let ask = async |epoch| {
                assert_eq!(epoch, 0, "nothing else is asked for");
                Ok(AppKeyResponse { newest_epoch, ..response() })
            };
            assert_eq!(newest(ask).await.unwrap().moves_from, None);
        }
    }

    #[tokio::test]
    async fn an_agent_that_was_killed_before_the_records_makes_them_of_what_it_kept() {
        let directory = tempfile::tempdir().unwrap();
        let tee: SharedTee = Arc::new(SoftwareTee::default());
        let (memory, read) = (memory(), read(log(directory.path(), &tee)));
        let keys = Arc::new(AppKeys::of(response()).unwrap());
        memory.update(|kept| kept.keys = Some(keys)).unwrap();
        let never = async |_| panic!("the keys are kept");
        release(&read, &memory, never).await.unwrap().unwrap();
        assert_eq!(events(&read).len(), 2);
    }

    #[tokio::test]
    async fn without_a_release_nothing_is_recorded_or_kept_and_the_reason_has_its_code() {
        use protocol::status::Refusal;
        let directory = tempfile::tempdir().unwrap();
        let tee: SharedTee = Arc::new(SoftwareTee::default());
        let (memory, read) = (memory(), read(log(directory.path(), &tee)));
        let refused = || KmsError::Refused("the policy has no such app".into());
        let error = release(&read, &memory, async |_| Err(refused())).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::KmsRefused));
        let cut = || AppKeyResponse { disk_crypt_key: vec![1; 63], ..response() };
        let error = release(&read, &memory, async |_| Ok(cut())).await.unwrap_err();
        assert!(matches!(error, BootError::Keys(_)));
        assert!(events(&read).is_empty() && memory.read().unwrap().keys.is_none());
    }
}
