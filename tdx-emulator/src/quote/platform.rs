//! The emulated machine: identities and security versions that quote, certificate and collateral
//! agree on.
//!
//! One place, because a verifier compares them with one another. The values are made up, within
//! what real ones look like; where a real verifier wants a constant of Intel's, it is that.

use sha2::{Digest, Sha384};

use super::QuoteVersion;
use crate::lie::Lie;
use crate::pki::machine::Machine;
use crate::pki::pck_extension::PckFacts;

/// `TEE_TCB_SVN`: TDX module SVN 5, module version 1 (so TCB info's identity `TDX_01` applies),
/// SEAM loader 2.
pub const TEE_TCB_SVN: [u8; 16] = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Security versions of the CPU's components.
pub const CPU_SVN: [u8; 16] = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
/// Security version of the provisioning enclave.
pub const PCE_SVN: u8 = 13;
/// The same before the last updates.
pub const OLD_PCE_SVN: u8 = 5;
/// Security version of the SEAM loader (component 2 of `TEE_TCB_SVN`) before the last updates.
pub const OLD_LOADER_SVN: u8 = 1;
/// Security version of the TDX module before the last updates.
pub const OLD_MODULE_SVN: u8 = 2;
/// Family and platform of the machine.
pub const FMSPC: [u8; 6] = [0xda, 0x96, 0xe4, 0x00, 0x00, 0x00];
/// `XFAM`: x87, SSE, AVX and AVX-512 state.
pub const XFAM: u64 = 0xe7;
/// What the quoting enclave adds to its report over the attestation key; 32 bytes, as Intel's does.
pub const QE_AUTH_DATA: [u8; 32] = *b"dstyx emulated quoting enclave\0\0";
/// `isvsvn` of the quoting enclave.
pub const QE_SVN: u16 = 4;
/// `isvsvn` of a quoting enclave that needs configuration.
pub const UNCONFIGURED_QE_SVN: u16 = 3;
/// `isvsvn` of the quoting enclave before the last updates.
pub const OLD_QE_SVN: u16 = 2;
/// `isvprodid` of a TD quoting enclave.
pub const QE_PRODUCT: u16 = 2;
/// Attributes of the quoting enclave: initialised, not debuggable, provisioning key, 64-bit.
pub const QE_ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
/// Signer of the quoting enclave: made up.
pub const QE_SIGNER: [u8; 32] = *b"dstyx emulated TD_QE signer\0\0\0\0\0";

/// `TDATTRIBUTES.SEPT_VE_DISABLE`, without which a host could confuse the guest by unmapped pages.
const SEPT_VE_DISABLE: u64 = 1 << 28;

/// Names the maker of the quoting enclave; verifiers accept only Intel's,
/// `939a7233-f79c-4ca9-940a-0db3957f0607`.
const QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// The parts of quotes that no guest decides, with or without a lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `TEE_TCB_SVN`: when the TD was launched.
    pub tee_tcb_svn: [u8; 16],
    /// `TEE_TCB_SVN2`: now; only quotes of version 5 have it.
    pub current_tee_tcb_svn: [u8; 16],
    /// `MRSIGNERSEAM`: zero for a module of Intel's.
    pub mr_signer_seam: [u8; 48],
    /// `SEAMATTRIBUTES`.
    pub seam_attributes: u64,
    /// `TDATTRIBUTES`.
    pub td_attributes: u64,
    /// `XFAM`.
    pub xfam: u64,
    /// `MRSERVICETD`; only quotes of version 5 have it.
    pub mr_service_td: [u8; 48],
    /// `VMID`, 0 for the TD as a whole; only extended bodies have it.
    pub vm_id: u8,
    /// Vendor of the quoting enclave.
    pub qe_vendor_id: [u8; 16],
    /// Signer of the quoting enclave.
    pub qe_signer: [u8; 32],
    /// Security version of the quoting enclave.
    pub qe_svn: u16,
    /// What the quoting enclave hashes with the attestation key.
    pub qe_auth_data: Vec<u8>,
}

impl Platform {
    /// The machine, one thing of it changed.
    pub fn new(version: QuoteVersion, lie: Option<Lie>) -> Self {
        let mut platform = Self::honest();
        let attributes = &mut platform.td_attributes;
        match lie {
            Some(Lie::Debug) => *attributes |= 1,
            Some(Lie::UnknownAttribute) => *attributes |= 1 << 40,
            Some(Lie::NoSeptVeDisable) => *attributes &= !SEPT_VE_DISABLE,
            Some(Lie::Migratable) => *attributes |= 1 << 29,
            Some(Lie::Pks) => *attributes |= 1 << 30,
            Some(Lie::ServiceTd) if version == QuoteVersion::V4 => *attributes |= 1 << 17,
            Some(Lie::ServiceTd) => platform.mr_service_td = Sha384::digest("a service TD").into(),
            Some(Lie::TdPartition) => platform.vm_id = 1,
            Some(Lie::UnknownXfam) => platform.xfam |= 1 << 40,
            Some(Lie::SeamAttributes) => platform.seam_attributes = 1,
            Some(Lie::WrongMrsignerseam) => {
                platform.mr_signer_seam = Sha384::digest("another module's signer").into()
            }
            Some(Lie::UnknownModule) => platform.tee_tcb_svn[1] = 9,
            Some(Lie::ForeignQeVendor) => platform.qe_vendor_id = *b"another vendor\0\0",
            Some(Lie::WrongQeIdentity) => {
                platform.qe_signer = *b"another enclave's signer\0\0\0\0\0\0\0\0"
            }
            Some(Lie::LongQeAuthData) => platform.qe_auth_data.push(0),
            Some(Lie::OldModule) => platform.tee_tcb_svn[0] = OLD_MODULE_SVN,
            Some(Lie::OldQe) => platform.qe_svn = OLD_QE_SVN,
            Some(Lie::UnconfiguredQe) => platform.qe_svn = UNCONFIGURED_QE_SVN,
            _ => {}
        }
        platform.current_tee_tcb_svn = platform.tee_tcb_svn; // not updated since the launch
        match lie {
            Some(Lie::OldLaunch) => platform.tee_tcb_svn[2] = OLD_LOADER_SVN,
            Some(Lie::OldCurrent) => platform.current_tee_tcb_svn[2] = OLD_LOADER_SVN,
            _ => {}
        }
        platform
    }

    fn honest() -> Self {
        Self {
            tee_tcb_svn: TEE_TCB_SVN,
            current_tee_tcb_svn: TEE_TCB_SVN,
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: SEPT_VE_DISABLE,
            xfam: XFAM,
            mr_service_td: [0; 48],
            vm_id: 0,
            qe_vendor_id: QE_VENDOR_ID,
            qe_signer: QE_SIGNER,
            qe_svn: QE_SVN,
            qe_auth_data: QE_AUTH_DATA.to_vec(),
        }
    }

    /// What an extended body has behind `MRSERVICETD` (Intel DCAP, `sgx_quote_5.h`,
    /// `sgx_report2_body_v1_5_ex_t`): a machine without attached devices and service TDs, not
    /// updated since the launch.
    pub fn extension(&self) -> Vec<u8> {
        let mut extension = vec![self.vm_id];
        extension.extend([0xd1; 32]); // TD_ID
        extension.extend([0; 48]); // DEV_INFO
        extension.extend([0; 48 + 8]); // service TDs when the TD was created
        extension.extend(CPU_SVN);
        extension.extend(self.tee_tcb_svn);
        extension.extend([0; 12]); // FMSPC, which the certificate says
        extension.extend([0; 48 + 8]); // service TDs now
        extension
    }

    /// The quoting enclave's SGX report (384 bytes; Intel SDM volume 3D, table 38-21, without key
    /// id and MAC), over the hash that names the attestation key.
    pub fn qe_report(&self, report_data: &[u8; 32]) -> [u8; 384] {
        let mut report = [0; 384];
        let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &CPU_SVN);
        put(48, &QE_ATTRIBUTES);
        put(64, b"dstyx emulated TD_QE\0\0\0\0\0\0\0\0\0\0\0\0"); // MRENCLAVE
        put(128, &self.qe_signer);
        put(256, &QE_PRODUCT.to_le_bytes());
        put(258, &self.qe_svn.to_le_bytes());
        put(320, report_data);
        report
    }
}

/// `MRSEAM`: the hash of a sentence, so that everybody can see that it is no module.
pub fn mr_seam() -> [u8; 48] {
    Sha384::digest("dstyx emulated TDX module, proves nothing").into()
}

/// What the PCK certificate says of the machine of the test vectors.
pub fn pck_facts(lie: Option<Lie>) -> PckFacts {
    pck_facts_of(Machine::default(), lie)
}

/// What the PCK certificate says of a machine.
pub fn pck_facts_of(machine: Machine, lie: Option<Lie>) -> PckFacts {
    let mut facts = PckFacts {
        machine,
        ppid: machine.id("PPID", *b"dstyx-emul-ppid\0"),
        tcb_components: CPU_SVN,
        pcesvn: PCE_SVN,
        pceid: [0, 0],
        fmspc: FMSPC,
        platform_instance: machine.id("platform instance", *b"dstyx-emul-piid\0"),
        smt_enabled: true,
    };
    match lie {
        Some(Lie::OtherPlatformId) => {
            (facts.ppid, facts.platform_instance) = (*b"dstyx-other-ppid", *b"dstyx-other-piid")
        }
        Some(Lie::OldTcb) => facts.pcesvn = OLD_PCE_SVN,
        _ => {}
    }
    facts
}
