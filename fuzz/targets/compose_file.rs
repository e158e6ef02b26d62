//! `docker-compose.yml`: what is accepted keeps its budgets and says the same when it is read twice.
#![no_main]

use std::collections::BTreeSet;

use containers::compose::{ComposeFile, Inputs, MAX_SERVICES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ComposeFile::read(bytes, &Inputs::default()) else { return };
    assert!((1..=MAX_SERVICES).contains(&file.services.len()));
    let names: BTreeSet<_> = file.services.iter().map(|service| &service.name).collect();
    assert_eq!(names.len(), file.services.len());
    assert_eq!(ComposeFile::read(bytes, &Inputs::default()).as_ref(), Ok(&file));
});
