//! What each row says of a name.

use ::tests::chrony::now_secs;
use gateway_domain::caa::Binding;
use gateway_domain::certificate::Certificate;

use super::*;
use crate::fixtures::{ACCOUNT, Made, account, attested, certificate};

const NAMES: [&str; 2] = ["example.org", "*.example.org"];

fn question() -> Question {
    let name = "a.example.org".parse().unwrap();
    Question { name, now_secs: now_secs(), since_secs: 0 }
}

fn records(account_uri: &str) -> Vec<Caa> {
    let issuer = "authority.example".parse().unwrap();
    let mut records = Binding { issuer, account_uri: account_uri.to_owned() }.records().to_vec();
    records.sort();
    records
}

fn relevant(records: Vec<Caa>) -> Result<Relevant, String> {
    Ok(Relevant { at: "example.org".parse().unwrap(), records })
}

fn logged(certificate: &Certificate, source: &str) -> Logged {
    Logged { source: source.to_owned(), certificate: Ok(certificate.clone()) }
}

/// A name in order: its served certificate is logged, twice.
fn in_order(made: &Made) -> Gathered {
    Gathered {
        served: Some(Ok(made.certificate.clone())),
        caa: vec![relevant(records(ACCOUNT)), relevant(records(ACCOUNT))],
        logged: vec![logged(&made.certificate, "number 1"), logged(&made.certificate, "number 2")],
        ..Gathered::default()
    }
}

fn failures(findings: &Findings) -> Vec<&str> {
    let failed = findings.rows.iter().filter(|row| row.verdict == RowVerdict::Fail);
    failed.map(|row| row.text.as_str()).collect()
}

#[test]
fn a_name_whose_every_key_has_evidence_passes() {
    let made = certificate(&NAMES);
    let attested = attested([account(), made.leaf.clone()]);
    let findings = judge(&question(), &attested, &in_order(&made));
    assert_eq!(findings.verdict(), Verdict::Pass, "{findings:?}");
}

#[test]
fn a_planted_certificate_is_named_wherever_it_is_logged() {
    let (made, planted) = (certificate(&NAMES), certificate(&["a.example.org"]));
    let attested = attested([account(), made.leaf.clone()]);
    let mut gathered = in_order(&made);
    gathered.logged.push(logged(&planted.certificate, "number 9 of an aggregator"));
    let findings = judge(&question(), &attested, &gathered);
    let serial = hex::encode(planted.certificate.serial());
    assert_eq!(findings.verdict(), Verdict::Fail);
    assert!(
        failures(&findings)[0].contains(&serial) && failures(&findings)[0].contains("number 9")
    );
    // One that ended before the name was the gateway's does not matter, if a verifier says so.
    let later = Question { since_secs: u64::MAX, ..question() };
    let findings = judge(&later, &attested, &gathered);
    assert_eq!(failures(&findings), Vec::<&str>::new());
    // One for another name is nobody's matter here.
    gathered.logged.pop();
    gathered.logged.push(logged(&certificate(&["b.example.net"]).certificate, "number 10"));
    assert_eq!(judge(&question(), &attested, &gathered).verdict(), Verdict::Pass);
}

#[test]
fn a_logged_certificate_that_cannot_be_read_is_named() {
    let made = certificate(&NAMES);
    let mut gathered = in_order(&made);
    let certificate = Err("no certificate".to_owned());
    gathered.logged.push(Logged { source: "number 3".to_owned(), certificate });
    let findings = judge(&question(), &attested([account(), made.leaf]), &gathered);
    assert_eq!(failures(&findings), ["number 3 cannot be read: no certificate"]);
}

#[test]
fn a_served_certificate_without_evidence_of_key_or_account_fails() {
    let (made, other) = (certificate(&NAMES), certificate(&NAMES));
    let gathered = Gathered { logged: Vec::new(), ..in_order(&made) };
    let without_key = judge(&question(), &attested([account(), other.leaf]), &gathered);
    assert!(failures(&without_key)[0].starts_with("no evidence for the certificate"));
    let without_account = judge(&question(), &attested([made.leaf.clone()]), &gathered);
    assert!(failures(&without_account).iter().any(|text| text.contains("for the account")));
    let foreign = certificate(&["b.example.net"]);
    let gathered = Gathered { served: Some(Ok(foreign.certificate.clone())), ..gathered };
    let other_name = judge(&question(), &attested([account(), foreign.leaf]), &gathered);
    assert!(failures(&other_name)[0].ends_with("is not for a.example.org"));
}

#[test]
fn records_that_permit_anybody_else_are_named() {
    let made = certificate(&NAMES);
    let attested = attested([account(), made.leaf.clone()]);
    let with = |caa: Vec<Result<Relevant, String>>| {
        let gathered = Gathered { caa, ..in_order(&made) };
        let findings = judge(&question(), &attested, &gathered);
        failures(&findings).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let issue = |value: &str| Caa::new(0, "issue", value.as_bytes()).unwrap();
    let other = |record: Caa| {
        let records = [records(ACCOUNT), vec![record]].concat();
        with(vec![relevant(records.clone()), relevant(records)])
    };
    assert!(other(issue("other.example"))[0].contains("also permits 0 issue \"other.example\""));
    assert_eq!(other(issue("authority.example")).len(), 1, "any account there");
    let by_http = format!("authority.example; accounturi={ACCOUNT}; validationmethods=http-01");
    assert_eq!(other(issue(&by_http)).len(), 1, "another way of validation");
    assert_eq!(other(issue(";")), Vec::<String>::new());
    let stranger = records("https://authority.example/2");
    assert_eq!(with(vec![relevant(stranger.clone()), relevant(stranger)]).len(), 2);
    assert!(with(vec![relevant(Vec::new())])[0].contains("restricts"));
    let views = vec![relevant(records(ACCOUNT)), relevant(Vec::new())];
    assert_eq!(with(views), ["the resolvers give different records"]);
}

#[test]
fn what_could_not_be_asked_leaves_the_verdict_open() {
    let made = certificate(&NAMES);
    let attested = attested([account(), made.leaf.clone()]);
    let why = || "no answer".to_owned();
    let cases = [
        Gathered { served: Some(Err(why())), ..in_order(&made) },
        Gathered { served: None, ..in_order(&made) },
        Gathered { caa: vec![relevant(records(ACCOUNT)), Err(why())], ..in_order(&made) },
        Gathered { caa: Vec::new(), ..in_order(&made) },
        Gathered { unread: vec![why()], ..in_order(&made) },
        Gathered { logged: Vec::new(), ..in_order(&made) },
        Gathered { not_attested: vec![why()], ..in_order(&made) },
        Gathered {
            proofs: vec![Proof { what: why(), outcome: Outcome::Unknown(why()) }],
            ..in_order(&made)
        },
    ];
    for (index, gathered) in cases.iter().enumerate() {
        let findings = judge(&question(), &attested, gathered);
        assert_eq!(findings.verdict(), Verdict::Incomplete, "{index} {findings:?}");
    }
    let broken = Proof { what: why(), outcome: Outcome::Broken(why()) };
    let broken = Gathered { proofs: vec![broken], ..in_order(&made) };
    assert_eq!(judge(&question(), &attested, &broken).verdict(), Verdict::Fail);
    let nothing = judge(&question(), &Attested::default(), &Gathered::default());
    assert_eq!(nothing.verdict(), Verdict::Fail);
}
