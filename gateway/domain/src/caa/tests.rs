//! Records of a zone, ours and those of others.

use proptest::prelude::*;

use super::*;

const ACCOUNT: &str = "https://authority.example/acct/1";
const FORMER: &str = "https://authority.example/acct/0";

fn binding() -> Binding {
    Binding { issuer: "authority.example".parse().unwrap(), account_uri: ACCOUNT.to_owned() }
}

fn caa(tag: &str, value: &str) -> Caa {
    Caa::new(0, tag, value.as_bytes()).unwrap()
}

#[test]
fn records_name_the_account_and_one_way_of_validation() {
    let [issue, wild] = binding().records();
    assert_eq!((issue.tag.as_str(), wild.tag.as_str()), ("issue", "issuewild"));
    let (_, value) = wild.issue().unwrap();
    let value = value.unwrap();
    assert_eq!(value.issuer().unwrap().as_str(), "authority.example");
    assert_eq!(value.parameter("accounturi"), Some(ACCOUNT));
    assert_eq!(value.parameter("validationmethods"), Some("dns-01"));
}

#[test]
fn unrelated_records_are_never_removed() {
    let foreign = [
        caa("iodef", "mailto:owner@example.org"),
        caa("issue", "other.example"),
        caa("issue", "authority.example"),
        caa("issue", "authority.example; accounturi=https://authority.example/acct/77"),
        caa("issue", ";"),
        caa("issuemail", "mail.example"),
        caa("issue", "authority.example; accounturi"),
        caa("contactemail", "owner@example.org"),
    ];
    let plan = binding().plan(&foreign, &[FORMER.to_owned()]);
    assert_eq!(plan, Plan { add: binding().records().to_vec(), remove: Vec::new() });
}

#[test]
fn what_a_former_account_may_goes_after_the_new_one_is_there() {
    let old = Binding { account_uri: FORMER.to_owned(), ..binding() };
    let looser = caa("issue", &format!("authority.example; accounturi={ACCOUNT}"));
    let current = [old.records().to_vec(), vec![looser.clone()]].concat();
    let plan = binding().plan(&current, &[FORMER.to_owned()]);
    assert_eq!(plan.add, binding().records());
    assert_eq!(plan.remove, [old.records().to_vec(), vec![looser]].concat());
    // Without evidence of that account its records are somebody else's.
    assert_eq!(binding().plan(&old.records(), &[]).remove, []);
}

#[test]
fn a_second_issuance_changes_nothing() {
    assert_eq!(binding().plan(&binding().records(), &[FORMER.to_owned()]), Plan::default());
}

#[test]
fn everybody_else_who_may_issue_is_named() {
    let records = [
        binding().records().to_vec(),
        vec![
            caa("issue", "other.example; accounturi=https://other.example/9"),
            caa("issue", ";"),
            caa("issuewild", "third.example"),
            caa("issue", "b\u{e9}.example"),
        ],
    ];
    let others = binding().others(&records.concat());
    let named: Vec<_> =
        others.iter().map(|other| (other.property, other.issuer.as_str())).collect();
    let expected = [(Property::Issue, "other.example"), (Property::IssueWild, "third.example")];
    assert_eq!(named, expected);
    assert_eq!(others[0].account_uri.as_deref(), Some("https://other.example/9"));
}

#[test]
fn a_value_that_no_authority_reads_permits_nobody() {
    for bad in ["a b.example", "ca.example; x", "ca.example; =y", "ca.example; a=1; A=2", "ca"] {
        assert!(IssueValue::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for good in ["ca.example", " ca.example ; a=1", "ca.example;a=1;", ";", ""] {
        assert!(IssueValue::parse(good.as_bytes()).is_ok(), "{good}");
    }
    assert!(matches!(IssueValue::parse(b"ca.example\n"), Err(ValueError::Byte { .. })));
}

#[test]
fn records_beyond_their_budgets_are_refused() {
    assert!(matches!(Caa::new(0, "is sue", b""), Err(CaaError::Tag(_))));
    assert_eq!(Caa::new(0, "issue", &[b'a'; 1025]), Err(CaaError::Long(1025)));
    let many = vec![caa("issue", ";"); MAX_RECORDS + 1];
    assert_eq!(sorted(many), Err(CaaError::Many(MAX_RECORDS + 1)));
}

proptest! {
    #[test]
    fn whatever_is_there_the_plan_leads_to_our_records_and_keeps_others(
        values in proptest::collection::vec(("(issue|issuewild|iodef)", "[ -~]{0,60}"), 0..8),
    ) {
        let current: Vec<Caa> = values.iter().map(|(tag, value)| caa(tag, value)).collect();
        let plan = binding().plan(&current, &[]);
        let mut after: Vec<Caa> = current.iter().filter(|old| !plan.remove.contains(old)).cloned().collect();
        after.extend(plan.add);
        prop_assert!(binding().records().iter().all(|record| after.contains(record)));
        prop_assert_eq!(binding().plan(&after, &[]), Plan::default());
        for removed in &plan.remove {
            prop_assert!(String::from_utf8_lossy(&removed.value).contains(ACCOUNT));
        }
    }
}
