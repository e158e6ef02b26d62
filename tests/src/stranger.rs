//! Evidence as other software hands it out, signed by the emulator's library; no image and no guest
//! is needed.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use protocol::digest::{Rtmr, Sha384Digest};
use protocol::event_log::{RUNTIME_REGISTER, RawEvent};
use serde_json::Value;
use tdx_emulator::collateral::Collateral;
use tdx_emulator::pki::Chain;
use tdx_emulator::quote::platform::pck_facts;
use tdx_emulator::quote::{QuoteVersion, Quoter};
use tdx_emulator::registers::Registers;
use x509_cert::der::DateTime;

/// When it was made, and shall be judged.
pub const NOW: &str = "2026-11-21T06:00:00Z";
/// What its quotes are made for.
pub const REPORT_DATA: [u8; 64] = [0x5a; 64];

/// A file of the repository's vectors.
pub fn vector(path: &str) -> PathBuf {
    crate::lab::checkout().join("tests/vectors").join(path)
}

/// Its bytes.
pub fn vector_bytes(path: &str) -> Vec<u8> {
    fs::read(vector(path)).unwrap()
}

/// Writes the image that dstack's get-quote vector is of, as far as that carries it: its list and
/// its measurement.
pub fn write_dstack_image(directory: &Path) {
    let lite: Value =
        serde_json::from_slice(&vector_bytes("protocol/dstack-getquote.json")).unwrap();
    let config: Value = serde_json::from_str(lite["vm_config"].as_str().unwrap()).unwrap();
    for (key, file) in [("checksum_file", "sha256sum.txt"), ("measurement", "measurement.tdx.cbor")]
    {
        let part = config["tdx_measurement"][key].as_str().unwrap();
        fs::write(
            directory.join(file),
            base64::engine::general_purpose::STANDARD.decode(part).unwrap(),
        )
        .unwrap();
    }
}

/// A quote whose registers are what this log replays to; `rtmrs` replaces registers by index.
pub fn quote_of(log: &[RawEvent], rtmrs: &[(usize, [u8; 48])]) -> Vec<u8> {
    let mut values = [0, 1, 2, 3].map(|register| replay(log, register).0);
    for (register, value) in rtmrs {
        values[*register] = *value;
    }
    let zero = [0; 48];
    let registers = Registers {
        mrtd: [1; 48],
        rtmrs: values,
        mrconfigid: zero,
        mrowner: zero,
        mrownerconfig: zero,
    };
    Quoter::new(&chain(), QuoteVersion::V4, None).unwrap().quote(&registers, &REPORT_DATA)
}

/// Writes the collateral that belongs to such quotes.
pub fn write_collateral(file: &Path) {
    let collateral = Collateral::issue(&chain(), NOW.parse().unwrap(), None).unwrap();
    fs::write(file, collateral.to_json()).unwrap();
}

fn chain() -> Chain {
    let now: DateTime = NOW.parse().unwrap();
    Chain::issue(now, &pck_facts(None), None).unwrap()
}

fn replay(log: &[RawEvent], register: u32) -> Rtmr {
    let of_register = log.iter().filter(|event| event.imr == register);
    let digests: Vec<_> = of_register.map(digest).collect();
    Rtmr::replay(&digests)
}

fn digest(event: &RawEvent) -> Sha384Digest {
    assert!(
        event.imr != RUNTIME_REGISTER || !event.digest.is_empty(),
        "logs made here state their digests"
    );
    Sha384Digest::from_hex(&event.digest).unwrap()
}
