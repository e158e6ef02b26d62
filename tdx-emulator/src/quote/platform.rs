//! The emulated machine: identities and security versions that quote, certificate and collateral agree on.
//!
//! One place, because a verifier compares them with one another. The values are made up, within what real
//! ones look like; where a real verifier wants a constant of Intel's, it is that.

use sha2::{Digest, Sha384};

use crate::lie::Lie;
use crate::pki::pck_extension::PckFacts;

/// `TEE_TCB_SVN`: TDX module SVN 5, module version 1 (so TCB info's identity `TDX_01` applies), SEAM loader 2.
pub const TEE_TCB_SVN: [u8; 16] = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Security versions of the CPU's components.
pub const CPU_SVN: [u8; 16] = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
/// Security version of the provisioning enclave.
pub const PCE_SVN: u8 = 13;
/// Family and platform of the machine.
pub const FMSPC: [u8; 6] = [0xda, 0x96, 0xe4, 0x00, 0x00, 0x00];
/// `XFAM`: x87, SSE, AVX and AVX-512 state.
pub const XFAM: u64 = 0xe7;
/// What the quoting enclave adds to its report over the attestation key; 32 bytes, as Intel's does.
pub const QE_AUTH_DATA: [u8; 32] = *b"dstyx emulated quoting enclave\0\0";
/// `isvsvn` of the quoting enclave.
pub const QE_SVN: u16 = 4;
/// `isvprodid` of a TD quoting enclave.
pub const QE_PRODUCT: u16 = 2;
/// Attributes of the quoting enclave: initialised, not debuggable, provisioning key, 64-bit.
pub const QE_ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
/// Signer of the quoting enclave: made up.
pub const QE_SIGNER: [u8; 32] = *b"dstyx emulated TD_QE signer\0\0\0\0\0";

/// `TDATTRIBUTES.DEBUG`.
const DEBUG: u64 = 1;
/// `TDATTRIBUTES.SEPT_VE_DISABLE`, without which a host could confuse the guest by unmapped pages.
const SEPT_VE_DISABLE: u64 = 1 << 28;

/// `MRSEAM`: the hash of a sentence, so that everybody can see that it is no module.
pub fn mr_seam() -> [u8; 48] {
    Sha384::digest("dstyx emulated TDX module, proves nothing").into()
}

/// `TDATTRIBUTES`.
pub fn td_attributes(lie: Option<Lie>) -> u64 {
    match lie {
        Some(Lie::Debug) => SEPT_VE_DISABLE | DEBUG,
        _ => SEPT_VE_DISABLE,
    }
}

/// What the PCK certificate says of the machine.
pub fn pck_facts() -> PckFacts {
    PckFacts {
        ppid: *b"dstyx-emul-ppid\0",
        tcb_components: CPU_SVN,
        pcesvn: PCE_SVN,
        pceid: [0, 0],
        fmspc: FMSPC,
        platform_instance: *b"dstyx-emul-piid\0",
        smt_enabled: true,
    }
}

/// The quoting enclave's SGX report (384 bytes; Intel SDM volume 3D, table 38-21, without key id and MAC),
/// over the hash that names the attestation key.
pub fn qe_report(report_data: &[u8; 32]) -> [u8; 384] {
    let mut report = [0; 384];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &CPU_SVN);
    put(48, &QE_ATTRIBUTES);
    put(64, b"dstyx emulated TD_QE\0\0\0\0\0\0\0\0\0\0\0\0"); // MRENCLAVE
    put(128, &QE_SIGNER);
    put(256, &QE_PRODUCT.to_le_bytes());
    put(258, &QE_SVN.to_le_bytes());
    put(320, report_data);
    report
}
