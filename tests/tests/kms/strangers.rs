//! What a host tries with somebody's KMS at hand: each guest ends without a key, and says why.

use std::fs;

use protocol::digest::AppId;
use protocol::identity::SEED_BYTES;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::guest::Host;
use tests::lab;

use crate::notes::{KMS, NAME, Owner};

/// A host that knows everything which the owner's machines show.
struct Attacker {
    kms_url: String,
    app_compose: Vec<u8>,
    app_id: AppId,
    seed: [u8; SEED_BYTES],
}

/// Each in a boot of its own, with the KMS of `owner` running.
pub fn get_nothing(owner: &Owner) {
    let attacker = Attacker::of(owner);
    let honest = attacker.host();

    // One byte more in the measured file, under the id of the listed app.
    let changed = [&attacker.app_compose[..], b"\n"].concat();
    refused(&Host { app_compose: Some(changed), ..honest.clone() });

    // The listed file under an id of the host's choice.
    let other = Some(AppId([9; 20]));
    refused(&Host { app_id: other, ..honest.clone() });

    // A new seed is another instance, and so an empty app: one is what the policy allows.
    refused(&Host { instance_seed: [8; SEED_BYTES], ..honest });
}

fn refused(host: &Host) {
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::KeysReleased).unwrap();
    assert_eq!(last.refusal, Refusal::KmsRefused, "{}", guest.console());
    let keys = guest.records().into_iter().filter(|record| record.phase == Phase::DiskOpened);
    assert_eq!(keys.count(), 0);
}

impl Attacker {
    fn of(owner: &Owner) -> Self {
        let [app, kms] = [NAME, KMS].map(|name| owner.0.record(name));
        let port = &kms["ports"][protocol::kms::CHANNEL_PORT.to_string()];
        let mut seed = [0; SEED_BYTES];
        hex::decode_to_slice(app["instance_id_seed"].as_str().unwrap(), &mut seed).unwrap();
        Self {
            kms_url: format!("https://10.0.2.2:{port}"),
            app_compose: fs::read(lab::checkout().join("examples/notes/app-compose.json")).unwrap(),
            app_id: AppId::from_hex(app["app_id"].as_str().unwrap()).unwrap(),
            seed,
        }
    }

    /// What `up` would launch.
    fn host(&self) -> Host {
        Host {
            vcpus: 1,
            memory_mib: 1024,
            app_compose: Some(self.app_compose.clone()),
            app_id: Some(self.app_id),
            instance_seed: self.seed,
            kms_urls: vec![self.kms_url.clone()],
            ..Host::default()
        }
    }
}
