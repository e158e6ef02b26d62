//! What a resolver, or anybody on the way to it, answers about a name: whatever records it has, a
//! plan keeps those of others and leads to a state in which there is nothing more to do.
#![no_main]

use gateway_domain::caa::{Binding, Caa, IssueValue, Plan};
use gateway_domain::dns::Question;
use gateway_domain::name::DomainName;
use libfuzzer_sys::fuzz_target;

const ACCOUNT: &str = "https://authority.example/1";

fuzz_target!(|bytes: &[u8]| {
    let name: DomainName = "example.org".parse().expect("a name");
    let issuer: DomainName = "authority.example".parse().expect("a name");
    let binding = Binding { issuer, account_uri: ACCOUNT.to_owned() };
    let _ = Question::txt(&name).texts(bytes);
    if let Ok(value) = IssueValue::parse(bytes) {
        // A final dot, or an asterisk, is no name of an authority.
        assert!(value.issuer().is_none_or(|name| !name.as_str().ends_with('.')));
    }
    let Ok(records) = Question::caa(&name).caa_records(bytes) else { return };
    let plan = binding.plan(&records, &[]);
    let mut after: Vec<_> =
        records.iter().filter(|record| !plan.remove.contains(record)).cloned().collect();
    for removed in &plan.remove {
        assert!(String::from_utf8_lossy(&removed.value).contains(ACCOUNT), "another's record");
    }
    after.extend(plan.add);
    assert_eq!(binding.plan(&after, &[]), Plan::default());
    // A record of this account in another form is replaced.
    let strangers = |records: &[Caa]| {
        let mut found = binding.others(records);
        found.retain(|other| other.account_uri.as_deref() != Some(ACCOUNT));
        found
    };
    assert_eq!(strangers(&after), strangers(&records));
});
