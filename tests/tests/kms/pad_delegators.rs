//! A run on Pads of two custodians, each of whom has its key with a KMS of its own choice.

use protocol::pad_calls::Outcome;

use crate::failover::kms_url;
use crate::hosts::with_a_kms_of_strangers;
use crate::notes::{KMS, Owner, cut_power};
use crate::pad_scene::{Asked, Scene, assert_refused};

/// A number of B's, which is in no other file, and the mean of as many of it as of A's.
pub const MARK: &str = "2.71828182845904523536028747135266249775724709369995";
const MEAN_OF_BOTH: &str = "2.930";
/// Where a guest reaches its host.
const HOST_IN_GUEST: &str = "10.0.2.2";
/// B's Pad.
const THEIRS: &str = "theirs.pad";

/// The guest asks each KMS for the key that its custodian left there, and each counts the uses of
/// its own custodian's quota. While one of them is away, there is no run and no use.
pub fn give_keys_for_one_run(scene: &Scene, ours: &str, data: &str) {
    let other = with_a_kms_of_strangers(&scene.owner, &scene.path(""));
    let init = other.0.dstyx(["kms", "init"]);
    let id = init.text("/key_provider_id");
    scene.may_enrol(&other, "b");
    let statement = format!("--key b.key --delegator {id} --out there.enrolment");
    scene.does_of(&other, &format!("enrol-file b.custodian {statement}"));
    scene.does_of(&other, "enrol there.enrolment --key b.key");
    scene.packs(&other, data, "kills.toml", "b", THEIRS);
    scene.pushes(&other, THEIRS, "b", "--danger-privileged");
    [ours, THEIRS].iter().for_each(|pad| scene.puts(pad));

    let address = kms_url(&other.0).replace("127.0.0.1", HOST_IN_GUEST);
    let uses = || (spent(scene, &scene.owner, "a"), spent(scene, &other, "b"));
    let before = spent(scene, &scene.owner, "a");
    let together = run(scene, ours, Some(&address));
    let [result] = together.outputs[..] else { panic!("{together:#?}") };
    let sealed = scene.fetched(&result.sha256).unwrap();
    assert_eq!(scene.opened(&together.run, &sealed), MEAN_OF_BOTH);
    assert_eq!(uses(), (before + 1, 1));

    // The guest's own KMS is not the one that B's enrolment names.
    let misled = run(scene, ours, None);
    assert_refused(&misled, "no address");
    cut_power(&other.0, KMS);
    let away = run(scene, ours, Some(&address));
    assert_refused(&away, "answers");
    assert_eq!(spent(scene, &scene.owner, "a"), before + 1);
}

/// The mean of both Pads, for B.
fn run(scene: &Scene, ours: &str, address: Option<&str>) -> Outcome {
    let pads = [ours, THEIRS];
    let asked = Asked {
        program: "service:mean",
        pads: &pads,
        plain: None,
        is_signed: true,
        parties: &[("a.enrolment", None), ("there.enrolment", address)],
    };
    scene.outcome(&scene.request(&asked))
}

fn spent(scene: &Scene, owner: &Owner, custodian: &str) -> usize {
    scene.audited_of(owner, custodian, "quotas_spent").len()
}
