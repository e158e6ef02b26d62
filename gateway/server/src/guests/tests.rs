//! Guests that are judged: with evidence of the emulator, and what a KMS of the test states.

use ::tests::emulated::{Emulated, collateral_json, image, os_image_hash, root};
use attestation::policy::PlatformRules;
use attestation::release_statement::{ReleaseRefusal, ReleaseRules};
use attestation::released::{ReleasedRefusal, ReleasedRules};
use attestation::{Collateral, Image, MeasuredApp, Parts, TrustAnchor};
use protocol::app_compose::{AppFiles, KeyProvider, NewApp};
use protocol::channel::Proof;
use protocol::digest::{AppId, InstanceId, ReportData, Sha256Digest};
use protocol::gateway::TunnelStatement;
use protocol::kms::ReleaseStatement;
use tdx_emulator::pki::machine::Machine;

use super::fixtures::Kms;
use super::*;

/// The gateway's own KMS.
const KMS: Kms = Kms { seed: 1 };
/// That of strangers.
const OTHER: Kms = Kms { seed: 2 };
/// What the connection of these tests is bound by.
const BOUND: ReportData = ReportData([7; 64]);
/// The key that the guest's agent shows on it.
const SPKI: &[u8] = b"the key of an agent";

fn now() -> u64 {
    identity::Clock::default().now_secs()
}

/// A measured file, and what is changed in it.
fn file(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let files = AppFiles::new();
    let key_provider = KeyProvider::Kms { id: KMS.id() };
    let new = NewApp {
        key_provider,
        gateway_enabled: true,
        ..NewApp::of(name, ::tests::scene::COMPOSE, &files)
    };
    let mut file = serde_json::from_slice(&new.generate().unwrap()).unwrap();
    change(&mut file);
    serde_json::to_vec(&file).unwrap()
}

fn guest(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Emulated {
    Emulated::of(Machine::default(), file(name, change), true)
}

/// What a KMS states of a guest.
fn stated(kms: Kms, guest: &Emulated) -> ReleaseStatement {
    let app = MeasuredApp {
        app_id: guest.app_id(),
        instance_id: Some(InstanceId([guest.instance; 20])),
        compose_hash: guest.compose_hash(),
    };
    ReleaseStatement {
        os_image_hash: os_image_hash(),
        agent_key: Sha256Digest::of(SPKI),
        ..kms.statement(&app, now())
    }
}

/// What a guest shows on a connection that is bound by these report data.
fn proof(guest: &Emulated, bound: ReportData, release: String) -> Proof {
    let evidence = guest.evidence(bound);
    let statement = TunnelStatement { release, image: None, collateral: None };
    Proof {
        quote: evidence.quote,
        event_log: evidence.event_log,
        claims: evidence.claims,
        app_compose: guest.file.clone(),
        statement: statement.to_json(),
    }
}

/// What a guest shows that is what it should be.
fn honest(guest: &Emulated) -> Proof {
    proof(guest, BOUND, KMS.signed(&stated(KMS, guest)))
}

fn rules() -> ReleasedRules {
    ReleasedRules {
        anchor: TrustAnchor::DangerEmulated(root()),
        release: ReleaseRules { key_provider_id: KMS.id(), minimum_epoch: 1 },
        platform: PlatformRules::default(),
    }
}

fn judge_at(proof: Proof, spki: &[u8], now_secs: u64) -> Result<Guest, GuestRefusal> {
    let image = Image::ours(&image().to_json(), Parts::default()).unwrap();
    let collateral = Collateral::parse(&collateral_json()).unwrap();
    let (rules, collateral) = (&rules(), Some(&collateral));
    let judging = Judging { rules, image: &image, collateral, report_data: BOUND, spki };
    judge_guest(proof, &judging, now_secs)
}

fn judge(proof: Proof) -> Result<Guest, GuestRefusal> {
    judge_at(proof, SPKI, now())
}

/// The refusal of a release statement.
fn release_refusal(refused: Result<Guest, GuestRefusal>) -> ReleaseRefusal {
    match refused {
        Err(GuestRefusal::Released(ReleasedRefusal::Release(refusal))) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_is_reached_under_what_its_kms_stated_and_its_measured_file_says() {
    let guest = guest("app", |file| {
        file["port_policy"] =
            serde_json::json!({"ports": [{"port": 80, "pp": true}], "restrict_mode": true});
    });
    let judged = judge(honest(&guest)).unwrap();
    let facts = judged.facts();
    assert_eq!((facts.app, facts.instance), (guest.app_id(), InstanceId([0xbb; 20])));
    assert_eq!(facts.open_counter, 7);
    let port = |port| std::num::NonZeroU16::new(port).unwrap();
    assert!(facts.ports.wants_proxy_header(port(80)) && !facts.ports.allows(port(22)));
}

#[test]
fn another_tenants_guest_under_an_apps_id_is_refused() {
    let victim = guest("victim", |_| {});
    let mut stranger = guest("stranger", |_| {});
    stranger.stated_app = Some(victim.app_id());
    // By the victim's statement, which anybody can copy: the measured file is another one.
    let copied = judge(proof(&stranger, BOUND, KMS.signed(&stated(KMS, &victim))));
    assert!(
        matches!(copied, Err(GuestRefusal::Released(ReleasedRefusal::Evidence(_)))),
        "{copied:?}"
    );
    // By that of a KMS of its own.
    let own = judge(proof(&stranger, BOUND, OTHER.signed(&stated(OTHER, &stranger))));
    assert!(matches!(release_refusal(own), ReleaseRefusal::Kms(_)));
    // By one that says the victim's KMS signed it.
    let claimed = ReleaseStatement { key_provider_id: KMS.id(), ..stated(OTHER, &stranger) };
    let claimed = judge(proof(&stranger, BOUND, OTHER.signed(&claimed)));
    assert!(matches!(release_refusal(claimed), ReleaseRefusal::Kms(_)));
    // The same file in another guest, to which the KMS gave nothing.
    let key = judge_at(honest(&victim), b"the key of a clone", now());
    assert!(matches!(release_refusal(key), ReleaseRefusal::AgentKey { .. }));
    let mut instance = victim.clone();
    instance.instance = 0xcc;
    let instance = judge(proof(&instance, BOUND, KMS.signed(&stated(KMS, &victim))));
    assert!(matches!(release_refusal(instance), ReleaseRefusal::Instance { .. }));
}

#[test]
fn a_guest_that_hides_its_measured_file_claims_no_policy() {
    let guest = guest("app", |file| {
        file["port_policy"] = serde_json::json!({"restrict_mode": true});
    });
    let open = file("app", |_| {});
    for shown in [Vec::new(), b"{}".to_vec(), open] {
        let refused = judge(Proof { app_compose: shown, ..honest(&guest) });
        let refused = protocol::error::chain(&refused.unwrap_err());
        assert!(refused.contains("app-compose.json"), "{refused}");
    }
}

#[test]
fn an_identity_without_evidence_for_this_connection_is_none() {
    let guest = guest("app", |_| {});
    // The agent's own key and its KMS's statement, with evidence of another connection.
    let saved = proof(&guest, ReportData([8; 64]), KMS.signed(&stated(KMS, &guest)));
    let refused = judge(saved);
    assert!(matches!(refused, Err(GuestRefusal::Released(ReleasedRefusal::Evidence(_)))));
    let none = judge(Proof { quote: Vec::new(), ..honest(&guest) });
    assert!(matches!(none, Err(GuestRefusal::Released(ReleasedRefusal::Evidence(_)))));
    // Evidence alone is the host's word for an app id.
    let unstated = judge(proof(&guest, BOUND, String::new()));
    assert!(matches!(unstated, Err(GuestRefusal::Released(ReleasedRefusal::NoStatement(_)))));
    let nothing = judge(Proof { statement: Vec::new(), ..honest(&guest) });
    assert!(matches!(nothing, Err(GuestRefusal::Statement(_))));
}

#[test]
fn a_statement_counts_in_its_hour_and_no_time_breaks_the_judgement() {
    let guest = guest("app", |_| {});
    let statement = stated(KMS, &guest);
    let shown = || proof(&guest, BOUND, KMS.signed(&statement));
    judge_at(shown(), SPKI, statement.not_after_secs).unwrap();
    for late in [statement.not_after_secs + 1, statement.issued_secs + 365 * 86_400, u64::MAX] {
        let refused = release_refusal(judge_at(shown(), SPKI, late));
        assert!(matches!(refused, ReleaseRefusal::Ended { .. }), "{late}: {refused}");
    }
    for early in [0, statement.issued_secs - 301] {
        let refused = release_refusal(judge_at(shown(), SPKI, early));
        assert!(matches!(refused, ReleaseRefusal::Early { .. }), "{early}: {refused}");
    }
    // One of a year ahead, and one of the end of time.
    for issued_secs in [now() + 365 * 86_400, u64::MAX - 3600] {
        let not_after_secs = issued_secs + 3600;
        let ahead = ReleaseStatement { issued_secs, not_after_secs, ..statement.clone() };
        let refused = release_refusal(judge(proof(&guest, BOUND, KMS.signed(&ahead))));
        assert!(matches!(refused, ReleaseRefusal::Early { .. }), "{issued_secs}: {refused}");
    }
}

#[test]
fn an_app_that_does_not_ask_for_a_gateway_is_not_led_to() {
    let closed = guest("app", |file| file["gateway_enabled"] = false.into());
    let refused = judge(honest(&closed));
    assert_eq!(refused.unwrap_err(), GuestRefusal::NotEnabled(closed.app_id()));
}

#[test]
fn a_later_statement_of_the_same_mount_keeps_a_tunnel_and_others_end_it() {
    let guest = guest("app", |_| {});
    let judged = judge(honest(&guest)).unwrap();
    let renew = |statement: &ReleaseStatement, kms: Kms| {
        judged.released().renewed(&kms.signed(statement), &rules().release, now())
    };
    let first = stated(KMS, &guest);
    let later = ReleaseStatement { not_after_secs: first.not_after_secs - 1, ..first.clone() };
    assert!(renew(&later, KMS).is_ok());
    let newer = ReleaseStatement { open_counter: 8, ..first.clone() };
    let refused = renew(&newer, KMS).unwrap_err();
    assert_eq!(refused, ReleasedRefusal::OpenCounter { found: 8, first: 7 });
    let other_key = ReleaseStatement { agent_key: Sha256Digest([1; 32]), ..first.clone() };
    let other_app = ReleaseStatement { app_id: AppId([1; 20]), ..first.clone() };
    for other in [other_key, other_app] {
        assert!(matches!(renew(&other, KMS), Err(ReleasedRefusal::Release(_))));
    }
    assert!(matches!(renew(&first, OTHER), Err(ReleasedRefusal::Release(_))));
}
