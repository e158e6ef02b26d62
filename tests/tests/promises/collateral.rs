//! Promise: a collateral service decides nothing. One that is down, lies, stalls or floods makes a
//! verdict incomplete, never better; what is kept of it is sound, and serves until it expires.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use protocol::digest::OsImageHash;
use serde_json::Value;
use tdx_emulator::collateral::Collateral;
use tdx_emulator::lie::Lie;
use tdx_emulator::pki::holder::Holder;
use tdx_emulator::pki::{Chain, sign_raw};
use tdx_emulator::quote::platform::pck_facts;
use tests::dstyx::{Answer, User};
use tests::pccs::{Mood, Pccs};
use tests::samples;
use tests::scene::{NOW, Scene};

/// Before the collateral was issued; when other collateral is valid.
const EARLIER: &str = "2026-11-16T06:00:00Z";
const BEFORE: &str = "2026-11-18T06:00:00Z";
/// Within the collateral's month, and after it.
const LATER: &str = "2026-12-05T06:00:00Z";
const TOO_LATE: &str = "2027-01-05T06:00:00Z";
/// Within the real collateral's.
const IN_ITS_TIME: &str = "2026-10-15T00:00:00Z";
/// Questions for one platform's collateral.
const QUESTIONS: usize = 4;
const FILE: &str = "emulated/da96e4000000-platform.json";

/// A person with a file of evidence, and a service to ask.
struct Person {
    user: User,
    directory: tempfile::TempDir,
}

impl Person {
    fn new() -> Self {
        Self::with_evidence_of(&Scene::synthetic())
    }

    fn with_evidence_of(scene: &Scene) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let evidence = scene.evidence(OsImageHash([0; 32]));
        fs::write(directory.path().join("evidence.json"), evidence.to_json()).unwrap();
        Self { user: User::with_empty_cache(), directory }
    }

    fn ask(&self, command: &[&str], service: Option<&Pccs>, at: &str) -> Answer {
        let evidence = self.directory.path().join("evidence.json").display().to_string();
        let mut arguments = command.to_vec();
        arguments.extend(["--evidence", &evidence, "--danger-accept-emulated", "--at", at]);
        if let Some(service) = service {
            arguments.extend(["--pccs", &service.url]);
        }
        self.user.dstyx(arguments)
    }

    fn verify(&self, service: Option<&Pccs>, at: &str) -> Answer {
        self.ask(&["verify"], service, at)
    }

    fn fetch(&self, service: &Pccs) -> Answer {
        self.ask(&["collateral", "fetch"], Some(service), NOW)
    }

    /// What lies in the cache for the emulated platform.
    fn kept(&self) -> Vec<u8> {
        fs::read(self.user.collateral().join(FILE)).unwrap()
    }

    fn has_kept_anything(&self) -> bool {
        self.user.collateral().exists()
    }
}

fn honest() -> Mood {
    Mood::Honest(Scene::synthetic().collateral_json())
}

fn lying(lie: Lie) -> Mood {
    Mood::Honest(Scene { lie: Some(lie), ..Scene::synthetic() }.collateral_json())
}

/// Collateral of five days before, in its time still.
fn earlier() -> Value {
    let earlier = EARLIER.parse().unwrap();
    let chain = Chain::issue(earlier, &pck_facts(None), None).unwrap();
    serde_json::from_slice(&Collateral::issue(&chain, earlier, None).unwrap().to_json()).unwrap()
}

fn answers(collateral: &Value) -> Mood {
    Mood::Honest(collateral.to_string().into_bytes())
}

/// No image and no app are stated, so rows are skipped; none may fail, and the collateral's must
/// have been judged.
fn is_judged(answer: &Answer) {
    assert_eq!((answer.code, answer.failed()), (2, Vec::new()), "{answer:#?}");
    assert_eq!(
        (answer.verdict("tcb-info-current"), answer.verdict("tcb-status")),
        ("pass", "pass"),
        "{answer:#?}"
    );
}

fn is_not_judged(answer: &Answer) {
    assert_eq!((answer.code, answer.failed()), (2, Vec::new()), "{answer:#?}");
    assert_eq!(
        (answer.verdict("tcb-info-current"), answer.verdict("tcb-status")),
        ("skipped", "skipped")
    );
}

#[test]
fn nothing_is_fetched_unasked_and_nothing_twice() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    is_not_judged(&person.verify(None, NOW));
    assert_eq!(service.asked(), 0);

    is_judged(&person.verify(Some(&service), NOW));
    assert_eq!(service.asked(), QUESTIONS);
    is_judged(&person.verify(None, NOW));
    is_judged(&person.verify(Some(&service), LATER));
    assert_eq!(service.asked(), QUESTIONS, "what is valid is not asked for again");

    assert_eq!(person.fetch(&service).code, 0, "but who asks for it gets it");
    assert_eq!(service.asked(), 2 * QUESTIONS);
}

#[test]
fn a_file_for_the_user_alone_says_what_it_is_for() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    let fetched = person.fetch(&service);
    let file = person.user.collateral().join(FILE);
    assert_eq!((fetched.code, fetched.text("/path")), (0, file.to_str().unwrap()), "{fetched:#?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = person.user.dstyx(["collateral", "show"]);
    assert_eq!((shown.code, shown.json.as_array().unwrap().len()), (0, 1));
    assert_eq!((shown.text("/0/fmspc"), shown.text("/0/tcb_info/issued")), ("da96e4000000", NOW));
    assert_eq!(shown.text("/0/tcb_info/next_update"), "2026-12-21T06:00:00Z");
    assert_eq!(shown.json[0]["tcb_evaluation_number"], 17);
    let named = person.user.dstyx(["collateral", "show", file.to_str().unwrap()]);
    assert_eq!(named.json, shown.json);
}

#[test]
fn with_the_service_down_what_is_kept_serves_until_it_expires_and_then_refuses() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    assert_eq!(person.fetch(&service).code, 0);
    service.be(Mood::Status(503));
    is_judged(&person.verify(Some(&service), LATER));
    let expired = person.verify(Some(&service), TOO_LATE);
    expired.fails(&["crl-current", "tcb-info-current", "qe-identity-current"]);
    assert!(expired.stderr.contains("status 503"), "{}", expired.stderr);
}

#[test]
fn a_service_that_answers_badly_leaves_the_verdict_incomplete_and_keeps_nothing() {
    let elsewhere = Pccs::start(honest());
    let moods = [
        (Mood::Status(500), "status 500"),
        (Mood::Status(404), "status 404"),
        (Mood::Redirect(elsewhere.url.clone()), "status 302"),
        (Mood::Garbage("<html>"), "expected value"),
        (Mood::Garbage("00"), "invalid number"),
        (Mood::Garbage("{}"), "missing field"),
        (Mood::HangUp, "did not answer to the end"),
        (Mood::Flood, "more than 262144 bytes"),
    ];
    for (mood, words) in moods {
        let (person, service) = (Person::new(), Pccs::start(mood.clone()));
        let verdict = person.verify(Some(&service), NOW);
        is_not_judged(&verdict);
        assert!(verdict.stderr.contains(words), "{mood:?}: {}", verdict.stderr);
        let fetched = person.fetch(&service);
        assert_eq!(fetched.code, 3, "{mood:?}: {fetched:#?}");
        assert!(!person.has_kept_anything(), "{mood:?}");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirection is not followed");
}

#[test]
fn a_service_that_stalls_is_given_up_within_half_a_minute() {
    for mood in [Mood::Stall, Mood::Drip] {
        let (person, service) = (Person::new(), Pccs::start(mood.clone()));
        let started = std::time::Instant::now();
        let fetched = person.fetch(&service);
        assert_eq!(fetched.code, 3, "{mood:?}: {fetched:#?}");
        assert!(started.elapsed().as_secs() < 30, "{mood:?}: {:?}", started.elapsed());
        assert!(fetched.stderr.contains("timeout"), "{mood:?}: {}", fetched.stderr);
    }
}

#[test]
fn nobody_at_the_address_is_no_failure_of_verify() {
    let person = Person::new();
    let evidence = person.directory.path().join("evidence.json").display().to_string();
    let verify = ["verify", "--evidence", &evidence, "--danger-accept-emulated", "--at", NOW];
    let nobody = person.user.dstyx([&verify[..], &["--pccs", "http://127.0.0.1:9"]].concat());
    is_not_judged(&nobody);
    assert!(
        nobody.stderr.contains("http://127.0.0.1:9/sgx/certification/v4/pckcrl"),
        "{}",
        nobody.stderr
    );
}

/// Intel's own documents for a real platform, as Intel's service hands them out, under Intel's
/// root.
#[test]
fn a_real_platforms_collateral_is_kept_and_used_at_its_time() {
    let [quote, collateral] = samples::V5_EXTENDED;
    let quote = samples::path(quote).display().to_string();
    let service = Pccs::start(Mood::Honest(samples::bytes(collateral)));
    let user = User::with_empty_cache();
    let fetch = ["collateral", "fetch", "--evidence", &quote, "--pccs", &service.url];
    let late = user.dstyx([&fetch[..], &["--at", NOW]].concat());
    assert!(
        late.code == 3 && late.stderr.contains("expired") && !user.collateral().exists(),
        "{late:#?}"
    );
    let fetched = user.dstyx([&fetch[..], &["--at", IN_ITS_TIME]].concat());
    assert_eq!((fetched.code, fetched.text("/fmspc")), (0, "b0c06f000000"), "{fetched:#?}");
    assert!(user.collateral().join("intel/b0c06f000000-platform.json").exists());
    let verdict = user.dstyx(["verify", "--evidence", &quote, "--at", IN_ITS_TIME]);
    assert_eq!(verdict.text("/trust_anchor"), "intel");
    for row in [
        "trust-anchor",
        "tcb-info-signature",
        "tcb-info-platform",
        "quote-verification",
        "tcb-status",
    ] {
        assert_eq!(verdict.verdict(row), "pass", "{row}: {verdict:#?}");
    }
}

#[test]
fn what_a_service_makes_up_is_not_believed_and_not_kept() {
    let lies = [
        (Lie::ForeignTcbSigner, "the collateral's signers do not lead to the trust anchor"),
        (Lie::ForeignCrl, "a revocation list is not by the CA that it is used for"),
        (Lie::ExpiredCrl, "a revocation list is expired"),
        (Lie::ExpiredCollateral, "the TCB info is expired"),
        (Lie::WrongFmspc, "the TCB info belongs to another platform"),
    ];
    for (lie, words) in lies {
        let (person, service) = (Person::new(), Pccs::start(lying(lie)));
        let verdict = person.verify(Some(&service), NOW);
        is_not_judged(&verdict);
        assert!(verdict.stderr.contains(words), "{lie:?}: {}", verdict.stderr);
        assert!(!person.has_kept_anything(), "{lie:?}");
    }
}

#[test]
fn a_revoked_platform_is_refused_however_its_list_came() {
    let (person, service) = (Person::new(), Pccs::start(lying(Lie::RevokedPck)));
    person.verify(Some(&service), NOW).fails(&["revocation"]);
}

#[test]
fn a_service_cannot_turn_time_back() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    assert_eq!(person.fetch(&service).code, 0);
    let kept = person.kept();
    service.be(answers(&earlier()));
    let refused = person.fetch(&service);
    assert!(
        refused.code == 3 && refused.stderr.contains("older than what is kept"),
        "{refused:#?}"
    );
    assert_eq!(person.kept(), kept);
}

/// Each document is signed by itself: an older one among newer ones would undo a revocation or a
/// TCB recovery.
#[test]
fn a_service_cannot_turn_time_back_for_one_document() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    assert_eq!(person.fetch(&service).code, 0);
    let kept = person.kept();
    let (newer, older): (Value, _) = (serde_json::from_slice(&kept).unwrap(), earlier());
    let parts: [(&str, &[&str]); 4] = [
        ("TCB info", &["tcb_info", "tcb_info_signature"]),
        ("QE identity", &["qe_identity", "qe_identity_signature"]),
        ("root CA's revocation list", &["root_ca_crl"]),
        ("PCK CA's revocation list", &["pck_crl"]),
    ];
    let mut mixed: Vec<(&str, Value)> =
        vec![("TCB evaluation number", of_an_earlier_evaluation(&newer))];
    for (part, keys) in parts {
        let mut collateral = newer.clone();
        keys.iter().for_each(|key| collateral[key] = older[key].clone());
        mixed.push((part, collateral));
    }
    for (part, collateral) in mixed {
        service.be(answers(&collateral));
        let refused = person.fetch(&service);
        assert!(
            refused.code == 3 && refused.stderr.contains(&format!("already: its {part}")),
            "{part}: {refused:#?}"
        );
        assert_eq!(person.kept(), kept, "{part}");
    }
}

/// The same day's TCB info, properly signed, by the evaluation before.
fn of_an_earlier_evaluation(collateral: &Value) -> Value {
    let mut collateral = collateral.clone();
    let mut tcb_info: Value =
        serde_json::from_str(collateral["tcb_info"].as_str().unwrap()).unwrap();
    tcb_info["tcbEvaluationDataNumber"] = 16.into();
    let tcb_info = tcb_info.to_string();
    collateral["tcb_info_signature"] =
        hex::encode(sign_raw(&Holder::TcbSigner.key(), tcb_info.as_bytes())).into();
    collateral["tcb_info"] = tcb_info.into();
    collateral
}

#[test]
fn a_stated_time_brings_nothing_back() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    assert_eq!(person.fetch(&service).code, 0);
    let kept = person.kept();
    service.be(answers(&earlier()));
    let refused = person.ask(&["collateral", "fetch"], Some(&service), BEFORE);
    assert!(
        refused.code == 3 && refused.stderr.contains("older than what is kept"),
        "{refused:#?}"
    );
    let verdict = person.verify(Some(&service), BEFORE);
    assert!(verdict.stderr.contains("older than what is kept"), "{verdict:#?}");
    assert_eq!(person.kept(), kept);
}

/// Whoever makes up a platform of a real kind signs its revocation list too: it must not lie in the
/// real ones' place.
#[test]
fn nothing_is_kept_for_a_platform_that_somebody_made_up() {
    let platforms = [
        (Lie::ForeignCa, "the PCK certificates lead to another root"),
        (Lie::ForgedCa, "the PCK certificates are absent, unreadable or do not sign one another"),
        (Lie::ExpiredPck, "a certificate is not valid at this time"),
    ];
    for (lie, words) in platforms {
        let scene = Scene { lie: Some(lie), ..Scene::synthetic() };
        let (person, service) = (Person::with_evidence_of(&scene), Pccs::start(lying(lie)));
        let refused = person.fetch(&service);
        assert!(refused.code == 3 && refused.stderr.contains(words), "{lie:?}: {refused:#?}");
        assert_eq!(person.verify(Some(&service), NOW).code, 1, "{lie:?}");
        assert!(!person.has_kept_anything(), "{lie:?}");
    }
}

#[test]
fn a_damaged_file_in_the_cache_is_as_good_as_none() {
    let (person, service) = (Person::new(), Pccs::start(honest()));
    assert_eq!(person.fetch(&service).code, 0);
    let file = person.user.collateral().join(FILE);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let verdict = person.verify(None, NOW);
    is_not_judged(&verdict);
    assert!(verdict.stderr.contains("da96e4000000-platform.json"), "{}", verdict.stderr);
    is_judged(&person.verify(Some(&service), NOW));
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn the_environment_may_name_the_service_and_an_address_must_be_one() {
    let person = Person::new();
    let evidence = person.directory.path().join("evidence.json").display().to_string();
    let fetch =
        ["collateral", "fetch", "--danger-accept-emulated", "--at", NOW, "--evidence", &evidence];
    let wrong = person.user.dstyx([&fetch[..], &["--pccs", "pccs"]].concat());
    assert!(
        wrong.code == 3 && wrong.stderr.contains("no address of a collateral service"),
        "{wrong:#?}"
    );
    let service = Pccs::start(honest());
    let named = person.user.dstyx_with(("DSTYX_PCCS", &service.url), fetch);
    assert_eq!((named.code, service.asked()), (0, QUESTIONS), "{named:#?}");
}
