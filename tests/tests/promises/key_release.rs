//! Promise: a KMS gives keys to a guest only after its evidence passed the one judgement by the
//! owners' policy, at its boot, and as what the policy names.
//!
//! The guest never ran: see `tests::scene`.

use attestation::signatures::{Envelope, PayloadType, SigningKey};
use attestation::{
    CheckName, Collateral, Image, Parts, StatedFirmware, StatedImage, StatedMachine, TrustAnchor,
    expected_registers,
};
use kms_rules::policy::{
    GuestRefusal, Judging, PolicyApp, PolicyFile, PolicyRefusal, SignedPolicy,
};
use kms_rules::state::{State, bootstrap, certify_root, release, set_list, set_policy};
use kms_rules::{Guest, GuestError, Refused};
use protocol::digest::{AppId, ComposeHash, Ed25519Key, PlatformId};
use protocol::event_log::RuntimeEvent;
use protocol::image::Flavour;
use protocol::kms::{Cluster, KmsImage, KmsList, RootCertificate, payload_type};
use protocol::{event_name, report_data};
use serde_json::{Value, json, to_value};
use tests::emulated;
use tests::scene::{NONCE, Scene, now_secs};

/// The process that serves.
const MEMBER: Ed25519Key = Ed25519Key([2; 32]);

/// A KMS with a policy, and a guest that asks it.
struct Asking {
    scene: Scene,
    anchor: TrustAnchor,
    reserves_report_data: bool,
    policy: fn(&mut PolicyFile),
}

/// What the guest is told.
#[derive(Debug)]
enum Told {
    Keys,
    Evidence(CheckName),
    Refused(Refused),
}

impl Asking {
    /// A guest that measured all that a release depends on, and nothing more.
    fn at_boot() -> Self {
        let scene = Scene { measured: until_boot_mr_done, ..Scene::synthetic() };
        let anchor = TrustAnchor::DangerEmulated(emulated::root());
        Self { scene, anchor, reserves_report_data: true, policy: |_| {} }
    }

    fn measured(measured: fn(&mut Vec<RuntimeEvent>)) -> Self {
        let mut asking = Self::at_boot();
        asking.scene.measured = measured;
        asking
    }

    fn policy_file(&self, image: &Image) -> PolicyFile {
        let hash = ComposeHash::of(&self.scene.app_compose());
        let app: PolicyApp = serde_json::from_value(json!({
            "app_id": AppId::from_compose_hash(&hash), "compose_hashes": [hash],
        }))
        .unwrap();
        let mut file: PolicyFile = serde_json::from_value(json!({
            "key_provider_id": cluster().id(),
            "version": 1,
            "not_before_secs": now_secs() - 3600,
            "not_after_secs": now_secs() + 3600,
            "apps": [app],
            "os_images": [image.os_image_hash()],
        }))
        .unwrap();
        (self.policy)(&mut file);
        file
    }

    fn image(&self) -> Image {
        let mut manifest = self.scene.manifest(Flavour::Release);
        if !self.reserves_report_data {
            manifest.reserved_report_data = None;
        }
        Image::ours(&manifest.to_json(), Parts::default()).unwrap()
    }

    fn told(&self) -> Told {
        let image = self.image();
        self.told_by(&serving(&self.policy_file(&image)), &image, now_secs())
    }

    /// What a KMS in this state says, at this time of its own.
    fn told_by(&self, state: &State, image: &Image, now_secs: u64) -> Told {
        let guest = match self.guest(state, image, now_secs) {
            Ok(guest) => guest,
            Err(check) => return Told::Evidence(check),
        };
        match release(state, &guest, &MEMBER, now_secs) {
            Ok(_) => Told::Keys,
            Err(refused) => Told::Refused(refused),
        }
    }

    /// The guest as its evidence proves it, or the check that refuses.
    fn guest(&self, state: &State, image: &Image, now_secs: u64) -> Result<Guest, CheckName> {
        let collateral = Collateral::parse(&self.scene.collateral_json()).unwrap();
        let judging = Judging {
            anchor: self.anchor.clone(),
            report_data: report_data::evidence(&NONCE),
            image,
            collateral: Some(&collateral),
        };
        let evidence = self.scene.evidence(image.os_image_hash());
        let policy: &SignedPolicy = state.policy().unwrap();
        let verified = match policy.judge(&evidence, &judging, now_secs) {
            Ok(verified) => verified,
            Err(GuestRefusal::Evidence(refusal)) => return Err(refusal.check()),
            Err(other) => panic!("{other}"),
        };
        let other = Guest::of(&verified, b"{}", b"key");
        assert!(matches!(other, Err(GuestError::OtherFile { .. })), "{other:?}");
        Ok(Guest::of(&verified, &self.scene.app_compose(), b"key").unwrap())
    }
}

fn until_boot_mr_done(events: &mut Vec<RuntimeEvent>) {
    let done = events.iter().position(|event| event.name == event_name::BOOT_MR_DONE).unwrap();
    events.truncate(done + 1);
}

fn owner() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn cluster() -> Cluster {
    Cluster { name: "promises".into(), owners: vec![owner().signer().key()], threshold: 1 }
}

fn signed(payload_type: &'static str, document: &Value) -> String {
    let payload = document.to_string().into_bytes();
    let mut envelope = Envelope::new(PayloadType(payload_type), payload);
    envelope.sign(&owner());
    envelope.to_json()
}

/// A KMS that serves by this policy.
fn serving(policy: &PolicyFile) -> State {
    let (key_provider_id, identity) = (cluster().id(), Ed25519Key([3; 32]));
    let root = RootCertificate { key_provider_id, epoch: 1, identity, renewal: None };
    let root = signed(payload_type::ROOT, &to_value(root).unwrap());
    let image = KmsImage { os_image_hash: policy.os_images[0], compose_hash: ComposeHash([4; 32]) };
    let list = KmsList { key_provider_id, version: 1, images: vec![image] };
    let list = signed(payload_type::LIST, &to_value(list).unwrap());
    let policy = signed(payload_type::POLICY, &to_value(policy).unwrap());
    let mut state = State::default();
    let now = now_secs() - 60;
    let first = bootstrap(&state, &cluster(), identity, MEMBER, now).unwrap();
    state.apply(&first).unwrap();
    for decide in [
        |state: &State, [root, _, _]: [&str; 3], now| certify_root(state, root, now),
        |state: &State, [_, list, _]: [&str; 3], now| set_list(state, list, now),
        |state: &State, [_, _, policy]: [&str; 3], now| set_policy(state, policy, now),
    ] {
        let entry = decide(&state, [&root, &list, &policy], now).unwrap();
        state.apply(&entry).unwrap();
    }
    state
}

#[track_caller]
fn refused_by(asking: &Asking, check: CheckName) {
    let told = asking.told();
    assert!(matches!(told, Told::Evidence(found) if found == check), "{told:?}");
}

#[track_caller]
fn refused(asking: &Asking) -> Refused {
    match asking.told() {
        Told::Refused(refused) => refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_at_its_boot_that_the_policy_names_gets_keys() {
    let told = Asking::at_boot().told();
    assert!(matches!(told, Told::Keys), "{told:?}");
}

/// An image keeps what was predicted from it, by the machine that it was predicted for.
#[test]
fn an_image_that_judged_many_machines_expects_of_each_what_it_must() {
    let scene = Scene::synthetic();
    let read = || {
        let json = scene.manifest(Flavour::Release).to_json();
        Image::ours(&json, Parts::default()).unwrap()
    };
    let of = |image: &Image, vcpus| {
        let machine = StatedMachine { vcpus: Some(vcpus), ..StatedMachine::default() };
        let firmware = &StatedFirmware::default();
        let (machine, others, firmware_log) = (&machine, &[], &[]);
        let stated = StatedImage { image, machine, firmware, others, firmware_log };
        expected_registers(&stated, &scene.evidence(image.os_image_hash())).unwrap()
    };
    let used = read();
    for vcpus in (1..40).chain(1..40) {
        let expected = of(&read(), vcpus);
        assert_eq!(of(&used, vcpus), expected);
        assert_eq!(of(&used, vcpus), expected, "when it is asked again");
    }
}

#[test]
fn emulated_evidence_gets_no_keys_by_a_policy_for_hardware() {
    let asking = Asking { anchor: TrustAnchor::Intel, ..Asking::at_boot() };
    refused_by(&asking, CheckName::TrustAnchor);
}

#[test]
fn a_listed_app_under_another_id_gets_no_keys() {
    let asking = Asking::measured(|events| {
        until_boot_mr_done(events);
        events[1] = RuntimeEvent::new(event_name::APP_ID, [9; 20]);
    });
    refused_by(&asking, CheckName::AppList);
}

#[test]
fn an_empty_policy_and_one_for_others_refuse() {
    let nobody = Asking { policy: |file| file.apps.clear(), ..Asking::at_boot() };
    refused_by(&nobody, CheckName::ComposeHash);
    let elsewhere = Asking {
        policy: |file| file.platform_ids = Some(vec![PlatformId([9; 16])]),
        ..Asking::at_boot()
    };
    refused_by(&elsewhere, CheckName::PlatformId);
    let nowhere = Asking { policy: |file| file.platform_ids = Some(vec![]), ..Asking::at_boot() };
    refused_by(&nowhere, CheckName::PlatformId);
    let later = Asking {
        policy: |file| file.minimum_tcb_evaluation_number = Some(u32::MAX),
        ..Asking::at_boot()
    };
    refused_by(&later, CheckName::EvaluationNumber);
}

#[test]
fn a_guest_whose_containers_may_run_gets_no_keys() {
    assert_eq!(refused(&Asking::measured(|_| {})), Refused::Ready);
}

#[test]
fn a_privileged_guest_gets_keys_only_where_the_policy_says_the_word() {
    let privileged = || {
        Asking::measured(|events| {
            until_boot_mr_done(events);
            let done = events.pop().unwrap();
            events.extend([RuntimeEvent::new(event_name::DANGER_PRIVILEGED, []), done]);
        })
    };
    assert_eq!(refused(&privileged()), Refused::Privileged);
    let named = Asking { policy: |file| file.apps[0].danger_privileged = true, ..privileged() };
    assert!(matches!(named.told(), Told::Keys));
}

#[test]
fn a_guest_of_an_image_that_does_not_reserve_the_tags_gets_no_keys() {
    let asking = Asking { reserves_report_data: false, ..Asking::at_boot() };
    assert_eq!(refused(&asking), Refused::TagsNotReserved);
}

#[test]
fn a_clock_set_back_to_the_build_date_makes_no_old_collateral_current() {
    let asking = Asking::at_boot();
    let image = asking.image();
    let mut state = serving(&asking.policy_file(&image));
    assert!(matches!(asking.told_by(&state, &image, now_secs()), Told::Keys));
    // A guest came with collateral of a later time, to which the KMS holds on.
    let later = now_secs() + 60 * 24 * 3600;
    let guest = asking.guest(&state, &image, now_secs()).unwrap();
    let guest = Guest { collateral_issued_secs: later, ..guest };
    let entry = release(&state, &guest, &MEMBER, now_secs()).unwrap();
    state.apply(&entry).unwrap();
    let build_date = 0;
    assert_eq!(state.now(build_date), later);
    let told = asking.told_by(&state, &image, state.now(build_date));
    assert!(matches!(told, Told::Evidence(CheckName::CrlCurrent)), "{told:?}");
    // The old evidence at its own time: the policy has ended meanwhile.
    match asking.told_by(&state, &image, now_secs()) {
        Told::Refused(Refused::PolicyNotValid(PolicyRefusal::Expired { now_secs, .. })) => {
            assert_eq!(now_secs, later);
        }
        other => panic!("{other:?}"),
    }
}
