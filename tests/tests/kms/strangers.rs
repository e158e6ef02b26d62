//! What a host tries with somebody's KMS at hand: each guest ends without a key, and says why.

use std::fs;

use protocol::digest::AppId;
use protocol::identity::SEED_BYTES;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::guest::Host;
use tests::lab;

use crate::notes::{Owner, host};

/// Each in a boot of its own, with the KMS of `owner` running. The rule that refuses is told.
pub fn get_nothing(owner: &Owner) {
    // What a host knows that has seen all which the owner's machines show.
    let listed = fs::read(lab::checkout().join("examples/notes/app-compose.json")).unwrap();
    let honest = host(owner, listed.clone());

    // One byte more in the measured file, under the id of the listed app.
    let changed = [&listed[..], b"\n"].concat();
    let changed = Host { app_compose: Some(changed), ..honest.clone() };
    refused(&changed, "compose-hash");

    // The listed file under an id of the host's choice.
    let other = Host { app_id: Some(AppId([9; 20])), ..honest.clone() };
    refused(&other, "app-list");

    // A new seed is another instance, and so an empty app: one is what the policy allows.
    let second = Host { instance_seed: [8; SEED_BYTES], ..honest };
    refused(&second, "instance");
}

fn refused(host: &Host, rule: &str) {
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::KeysReleased).unwrap();
    assert_eq!(last.refusal, Refusal::KmsRefused, "{}", guest.console());
    guest.ended();
    assert!(guest.console().contains(rule), "{}", guest.console());
    let keys = guest.records().into_iter().filter(|record| record.phase == Phase::DiskOpened);
    assert_eq!(keys.count(), 0);
}
