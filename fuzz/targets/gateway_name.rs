//! Names that clients ask for, and TXT records of strangers' domains: what is read is written back
//! to the same, and names one place.
#![no_main]

use gateway_rules::custom::{Answer, RecordNames, read};
use gateway_rules::names::{self, Destination, DomainName, Handling, MAX_NAME_BYTES, Name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(found) = read(bytes) {
        assert_eq!(found.handling, Handling::Passthrough);
        assert_eq!(format!("{}:{}", found.id, found.port).as_bytes(), bytes.to_ascii_lowercase());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(name) = DomainName::parse(text) else { return };
    assert!(name.as_str().len() <= MAX_NAME_BYTES && !name.as_str().ends_with('.'));
    assert_eq!(DomainName::parse(name.as_str()).as_ref(), Ok(&name));
    let base = DomainName::parse("apps.example").expect("a constant name");
    match names::read(&name, std::slice::from_ref(&base)) {
        Ok(Name::App(found, below)) => {
            assert_eq!(below, base);
            assert_eq!(Destination::parse(&found.to_string()), Ok(found));
        }
        Ok(Name::Gateway(_) | Name::Health(_)) => assert!(name.as_str().ends_with(".apps.example")),
        Ok(Name::Custom(found)) => {
            assert!(!found.as_str().ends_with(".apps.example"));
            let records = RecordNames::of(&found);
            let none = || Answer::Records(vec![]);
            let of = |answer: Answer| records.read(&answer, &none(), &none());
            assert!(of(none()).is_err() && of(Answer::Failed).is_err());
            let record = || vec![bytes.to_vec()];
            assert_eq!(of(Answer::Records(vec![record()])).ok(), read(bytes));
            assert!(of(Answer::Records(vec![record(), record()])).is_err());
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
});
