//! Release envelopes: one that is accepted survives its own JSON, and a signer vouches for no
//! payload but the signed one.
#![no_main]

use std::sync::LazyLock;

use attestation::signatures::{Envelope, Signer, Trust};
use image::release::{PAYLOAD_TYPE, Statement, verify};
use libfuzzer_sys::fuzz_target;

/// The payload of the one seed that the signer below has signed (RFC 8032, section 7.1, test 1).
const SIGNED: &[u8] = include_bytes!("../corpus/provenance/statement.json");

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
               -----END PUBLIC KEY-----\n";
    let signer = Signer::from_pem(pem).expect("a key of the RFC");
    Trust::new(vec![signer], 1).expect("one of one")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(Statement::parse(&statement.to_json()), Ok(statement));
    }
    let Ok(envelope) = Envelope::parse(bytes, PAYLOAD_TYPE) else { return };
    assert_eq!(
        Envelope::parse(envelope.to_json().as_bytes(), PAYLOAD_TYPE).as_ref(),
        Ok(&envelope)
    );
    if let Ok(release) = verify(bytes, &TRUST) {
        assert_eq!((envelope.payload(), release.signers().len()), (SIGNED, 1));
    }
});
