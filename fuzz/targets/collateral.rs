//! Collateral: what is accepted survives its own JSON.
#![no_main]

use attestation::Collateral;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(accepted) = Collateral::parse(json) else { return };
    assert_eq!(Collateral::parse(&accepted.to_json()), Ok(accepted));
});
