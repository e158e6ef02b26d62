//! Every example of `docs/policy.md` is parsed, and does what the page says.

use std::collections::BTreeMap;

use attestation::policy::{Policy, Rules};
use attestation::{CheckName, TrustAnchor, judge};
use protocol::digest::{ComposeHash, OsImageHash};
use protocol::event_log::RuntimeEvent;

use crate::der;
use crate::forge::{APP, DAY, Forge, NOW};

/// The page.
const PAGE: &str = include_str!("../../../docs/policy.md");
/// A time behind every date of the page; forged collateral that is judged then must be valid for so
/// long.
const AFTER: u64 = NOW + 100 * DAY;

/// What an example does: it refuses the honest platform by a check, unless a value is replaced by
/// the platform's own.
struct Refuses {
    key: &'static str,
    check: CheckName,
    from: &'static str,
    to: fn() -> String,
}

fn refusing() -> Vec<Refuses> {
    let rule = |key, check, from, to| Refuses { key, check, from, to };
    vec![
        rule("fmspcs", CheckName::Fmspc, "b0c06f000000", || "50".repeat(6)),
        rule("platform_ids", CheckName::PlatformId, "fb5ed45bb3bbd4b0b42a6f0a8c2d1e33", || {
            "11".repeat(16)
        }),
        rule("minimum_tcb_date", CheckName::MinimumTcbDate, "2026-11-12", || "2026-08-13".into()),
        rule("minimum_tcb_evaluation_number", CheckName::EvaluationNumber, "21", || "20".into()),
        rule("maximum_collateral_age_days", CheckName::CollateralAge, "7", || "10".into()),
        rule("os_image_hashes", CheckName::ImageList, first_hash("os_image_hashes"), || {
            IMAGE.to_string()
        }),
        rule("compose_hashes", CheckName::AppList, first_hash("compose_hashes"), || {
            ComposeHash::of(APP).to_string()
        }),
        rule("accept_app", CheckName::AppList, first_hash("accept_app"), || {
            ComposeHash::of(APP).to_string()
        }),
        rule("require_event", CheckName::RequiredEvents, r#"{"name":"kms","id":"2f"}"#, || {
            r#"{"name":"none","id":""}"#.into()
        }),
        rule("danger_root", CheckName::TrustAnchor, pem_of_page(), || {
            der::pem(&[&Forge::honest().root()])
        }),
    ]
}

/// The image that the forged platform is judged by.
const IMAGE: OsImageHash = OsImageHash([2; 32]);

/// Examples by the key in their heading.
fn examples() -> BTreeMap<&'static str, &'static str> {
    let sections = PAGE.split("\n## `").skip(1);
    let example = |section: &'static str| {
        let (key, rest) = section.split_once('`').unwrap();
        (key, rest.split("```toml\n").nth(1).unwrap().split("```").next().unwrap())
    };
    sections.map(example).collect()
}

fn first_hash(key: &str) -> &'static str {
    examples()[key].split('"').nth(1).unwrap()
}

fn pem_of_page() -> &'static str {
    examples()["danger_root"].split("\"\"\"\n").nth(1).unwrap()
}

/// The forge's policy with these rules added; the forge's root counts unless the rules name one.
fn policy(forge: &Forge, rules: &str) -> Policy {
    let honest = forge.policy();
    let rules = Rules::parse(rules.as_bytes()).unwrap();
    let mut policy = rules.into_policy(honest.anchor, honest.report_data);
    policy.image = honest.image;
    policy.image.as_mut().unwrap().identity.os_image_hash = IMAGE;
    policy.app = honest.app;
    policy
}

fn refused_by(forge: &Forge, policy: &Policy, now: u64) -> Option<CheckName> {
    let verified = judge(&forge.evidence(), policy, Some(&forge.collateral()), now).into_verified();
    verified.err().map(|refusal| refusal.check())
}

#[test]
fn each_stricter_example_refuses_by_its_check_and_accepts_what_it_names() {
    let (forge, examples) = (Forge::honest(), examples());
    for Refuses { key, check, from, to } in refusing() {
        let text = examples[key];
        assert!(text.contains(from), "{key}");
        assert_eq!(refused_by(&forge, &policy(&forge, text), NOW), Some(check), "{key}");
        let replaced = text.replacen(from, &to(), 1);
        assert_eq!(refused_by(&forge, &policy(&forge, &replaced), NOW), None, "{key}");
    }
}

#[test]
fn each_tolerating_example_tolerates_what_it_names_until_its_date() {
    let lasting = || Forge {
        crls_until: AFTER + DAY,
        tcb_info_until: AFTER + DAY,
        qe_identity_until: AFTER + DAY,
        ..Forge::honest()
    };
    let old = Forge {
        tcb_status: "OutOfDate",
        advisories: vec!["INTEL-SA-01192", "INTEL-SA-01245"],
        ..lasting()
    };
    let pks = Forge { td_attributes: 1 << 28 | 1 << 30, ..lasting() };
    for (key, forge, check) in
        [("tolerate_tcb", old, CheckName::TcbStatus), ("tolerate_attribute", pks, CheckName::Pks)]
    {
        let with = policy(&forge, examples()[key]);
        assert_eq!(
            refused_by(&forge, &policy(&forge, examples()["version"]), NOW),
            Some(check),
            "{key}"
        );
        assert_eq!(refused_by(&forge, &with, NOW), None, "{key}");
        assert_eq!(refused_by(&forge, &with, AFTER), Some(check), "{key}");
    }
    let another =
        Forge { tcb_status: "OutOfDate", advisories: vec!["INTEL-SA-01313"], ..lasting() };
    let with = policy(&another, examples()["tolerate_tcb"]);
    assert_eq!(refused_by(&another, &with, NOW), Some(CheckName::TcbAdvisories));
}

#[test]
fn the_forbidden_event_refuses_a_guest_that_has_it() {
    let honest = Forge::honest();
    let mut privileged = Forge::honest();
    privileged.measured.insert(4, RuntimeEvent::new("danger-privileged", ""));
    let with = |forge: &Forge| refused_by(forge, &policy(forge, examples()["forbid_event"]), NOW);
    assert_eq!((with(&honest), with(&privileged)), (None, Some(CheckName::ForbiddenEvents)));
    assert_eq!(refused_by(&privileged, &privileged.policy(), NOW), None);
}

#[test]
fn the_shortest_example_changes_nothing() {
    let forge = Forge::honest();
    assert_eq!(refused_by(&forge, &policy(&forge, examples()["version"]), NOW), None);
}

#[test]
fn a_root_that_the_rules_name_counts_instead_of_intels() {
    let forge = Forge::honest();
    let text = examples()["danger_root"].replace(pem_of_page(), &der::pem(&[&forge.root()]));
    let rules = Rules::parse(text.as_bytes()).unwrap();
    let anchor = rules.into_policy(TrustAnchor::Intel, forge.policy().report_data).anchor;
    assert_eq!(anchor, TrustAnchor::DangerEmulated(forge.root()));
}

/// An empty list is a list: it refuses everybody.
#[test]
fn every_list_refuses_everybody_when_it_is_empty() {
    let forge = Forge::honest();
    for key in ["fmspcs", "platform_ids", "os_image_hashes", "compose_hashes"] {
        assert!(
            refused_by(&forge, &policy(&forge, &format!("version = 1\n{key} = []")), NOW).is_some(),
            "{key}"
        );
    }
}

/// No key without an example, no example without a test.
#[test]
fn the_page_has_every_key_and_every_key_is_tested() {
    let shown: Vec<_> = examples().into_keys().collect();
    let mut tested: Vec<_> = refusing().iter().map(|rule| rule.key).collect();
    tested.extend(["version", "forbid_event", "tolerate_tcb", "tolerate_attribute"]);
    tested.sort_unstable();
    assert_eq!(shown, tested);
    let unknown = Rules::parse(b"version = 1\nx = 1").unwrap_err().to_string();
    for key in shown {
        assert!(unknown.contains(&format!("`{key}`")), "{key} is no key: {unknown}");
    }
}
