//! A whole platform under a root of its own, every part of which can be made to lie.
//!
//! [`Forge::honest`] gives evidence that the judgement accepts; a test changes one field and
//! expects one refusal.

use attestation::policy::{
    ExpectedApp, ExpectedRegister, ExpectedRegisters, ExpectedReportData, Prediction,
};
use attestation::{Collateral, Policy, TrustAnchor, VerifiedImage};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use protocol::digest::{ComposeHash, Rtmr};
use protocol::event_log::{self, RuntimeEvent};
use protocol::evidence::Evidence;
use protocol::{fixtures, mr_config, report_data};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::der;

/// 2027-01-15T08:00:00Z, the time of every forged thing.
pub const NOW: u64 = 1_800_000_000;
pub const DAY: u64 = 24 * 3600;
pub const NONCE: [u8; 32] = [7; 32];
pub const APP: &[u8] = b"{\"name\":\"forged\"}";
/// Security versions that the TCB info's level asks for.
const CPU_SVN: [u8; 16] = [3; 16];
/// TDX module SVN 5 of module 1, SEAM loader 2; each has an older level, below it none.
const TEE_TCB_SVN: [u8; 16] = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Advisories of the older levels of platform, TDX module and QE.
pub const OLD_LEVEL: &str = "INTEL-SA-00091";
pub const OLD_MODULE: &str = "INTEL-SA-00092";
pub const OLD_QE: &str = "INTEL-SA-00093";
const PPID: [u8; 16] = [0x11; 16];
const ROOT: &str = "Forged Root CA";
const PCK_CA: &str = "Forged PCK Platform CA";

/// The parts; all public, so that a test can change one.
#[derive(Clone)]
pub struct Forge {
    pub version: u16,
    /// Of a version 5 quote: 2 (TDX 1.0), 3 (TDX 1.5) or 4 (extended).
    pub body_type: u16,
    /// Behind MRSERVICETD in a body of type 4.
    pub extension: [u8; 237],
    pub td_attributes: u64,
    pub xfam: u64,
    pub seam_attributes: u64,
    pub mr_signer_seam: [u8; 48],
    pub mr_service_td: [u8; 48],
    pub tee_tcb_svn: [u8; 16],
    pub current_tee_tcb_svn: [u8; 16],
    pub cpu_svn: [u8; 16],
    pub qe_svn: u8,
    pub mr_config_id: [u8; 48],
    pub report_data: [u8; 64],
    pub measured: Vec<RuntimeEvent>,
    pub logged: Option<Vec<RuntimeEvent>>,
    pub registers: [[u8; 48]; 4],
    pub fmspc: [u8; 6],
    pub stated_fmspc: [u8; 6],
    pub qe_signer: [u8; 32],
    pub qe_vendor: u8,
    pub qe_auth_data: Vec<u8>,
    pub qe_bound_data: Vec<u8>,
    /// Last byte of the QE's report data.
    pub qe_report_tail: u8,
    /// The root that the PCK chain in the quote ends in, where it is not the signing one.
    pub shown_root: Option<Vec<u8>>,
    pub root_until: u64,
    pub crls_from: u64,
    pub stated_pce: &'static str,
    /// Certificates behind those of the signers of the TCB info.
    pub behind_signers: Vec<Vec<u8>>,
    /// What the TCB info says of the TDX module: signer and attributes, with a mask over all bits.
    pub module_signer: u8,
    pub module_attributes: u64,
    /// What becomes of the PEM text of the PCK chain in the quote.
    pub chain_text: fn(String) -> String,
    pub ppid: [u8; 16],
    pub certificates_until: u64,
    pub crls_until: u64,
    pub tcb_info_until: u64,
    pub qe_identity_until: u64,
    pub revoked_by_root: Vec<u8>,
    pub revoked_by_pck_ca: Vec<u8>,
    pub pck_crl_extension: Option<der::Extension<'static>>,
    pub pck_ca_usage: Option<[u8; 2]>,
    pub tcb_info_id: &'static str,
    pub qe_identity_version: u8,
    pub tcb_status: &'static str,
    pub advisories: Vec<&'static str>,
    /// The highest levels of the TDX module and of the QE.
    pub module_status: &'static str,
    pub qe_status: &'static str,
    pub tcb_date: &'static str,
    pub evaluation_number: u32,
    /// The key that the PCK certificate is about.
    pub pck_key: SigningKey,
    /// Keys by role: each can be swapped for a stranger's.
    pub pck_signs_qe: SigningKey,
    pub attestation_key_signs: SigningKey,
    pub tcb_signer_signs: SigningKey,
    pub qe_identity_signs: SigningKey,
    pub root_signs_tcb_signer: SigningKey,
    pub root_signs_pck_ca: SigningKey,
    pub pck_ca_signs_crl: SigningKey,
}

/// A key from its number; these are worth nothing.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

/// What a boot of the app extends.
pub fn boot() -> Vec<RuntimeEvent> {
    fixtures::boot(&ComposeHash::of(APP), &[9; 20])
}

impl Forge {
    // Long: a value for each field.
    pub fn honest() -> Self {
        Self {
            version: 5,
            body_type: 3,
            extension: [0; 237],
            td_attributes: 1 << 28,
            xfam: 0xe7,
            seam_attributes: 0,
            mr_signer_seam: [0; 48],
            mr_service_td: [0; 48],
            tee_tcb_svn: TEE_TCB_SVN,
            current_tee_tcb_svn: TEE_TCB_SVN,
            cpu_svn: CPU_SVN,
            qe_svn: 4,
            mr_config_id: mr_config::v1(&ComposeHash::of(APP)).0,
            report_data: report_data::evidence(&NONCE).0,
            measured: boot(),
            logged: None,
            registers: [[0xd0; 48], [0xa0; 48], [0xa1; 48], [0xa2; 48]],
            fmspc: [0x50; 6],
            stated_fmspc: [0x50; 6],
            qe_signer: [0xee; 32],
            qe_vendor: 0x93,
            qe_auth_data: (0..32).collect(),
            qe_bound_data: (0..32).collect(),
            qe_report_tail: 0,
            shown_root: None,
            root_until: NOW + 4000 * DAY,
            crls_from: NOW - 10 * DAY,
            stated_pce: "0000",
            behind_signers: Vec::new(),
            module_signer: 0,
            module_attributes: 0,
            chain_text: |text| text,
            ppid: PPID,
            certificates_until: NOW + 365 * DAY,
            crls_until: NOW + 20 * DAY,
            tcb_info_until: NOW + 20 * DAY,
            qe_identity_until: NOW + 20 * DAY,
            revoked_by_root: Vec::new(),
            revoked_by_pck_ca: Vec::new(),
            pck_crl_extension: None,
            pck_ca_usage: None,
            tcb_info_id: "TDX",
            qe_identity_version: 2,
            tcb_status: "UpToDate",
            advisories: Vec::new(),
            module_status: "UpToDate",
            qe_status: "UpToDate",
            tcb_date: "2026-08-13T00:00:00Z",
            evaluation_number: 20,
            pck_key: key(3),
            pck_signs_qe: key(3),
            attestation_key_signs: key(5),
            tcb_signer_signs: key(4),
            qe_identity_signs: key(4),
            root_signs_tcb_signer: key(1),
            root_signs_pck_ca: key(1),
            pck_ca_signs_crl: key(2),
        }
    }

    /// Other authentication data, properly bound by the QE.
    pub fn qe_auth_data_bytes(&mut self, bytes: usize) {
        self.qe_auth_data = vec![0; bytes];
        self.qe_bound_data = self.qe_auth_data.clone();
    }

    pub fn root(&self) -> Vec<u8> {
        let content =
            der::Certificate { is_ca: true, until: self.root_until, ..self.content(ROOT, ROOT, 1) };
        der::certificate(&content, &key(1), &key(1))
    }

    pub fn policy(&self) -> Policy {
        let anchor = TrustAnchor::DangerEmulated(Self::honest().root());
        let mut policy = Policy::strict(anchor, ExpectedReportData::Nonce(NONCE));
        let register = |value| {
            Prediction::Value(ExpectedRegister {
                value,
                source: "stated shape".into(),
                cross_check: None,
                explanation: None,
            })
        };
        let [mrtd, rtmr0, rtmr1, rtmr2] = Self::honest().registers.map(register);
        policy.image = Some(ExpectedRegisters {
            identity: VerifiedImage {
                os_image_hash: fixtures::claims().os_image_hash,
                shape: fixtures::shape(),
                believed: Vec::new(),
                reserves_report_data: true,
            },
            mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
        });
        let compose_hash = ComposeHash::of(APP);
        policy.app = Some(ExpectedApp::of(compose_hash));
        policy
    }

    pub fn evidence(&self) -> Evidence {
        let logged = self.logged.as_ref().unwrap_or(&self.measured);
        Evidence {
            quote: self.quote(),
            event_log: logged.iter().map(RuntimeEvent::to_raw).collect(),
            nonce: NONCE,
            claims: fixtures::claims(),
            app_compose: Some(APP.to_vec()),
        }
    }

    pub fn collateral_json(&self) -> Value {
        let root = self.root();
        let signer = self.content("Forged TCB Signing", ROOT, 4);
        let signer = der::certificate(&signer, &key(4), &self.root_signs_tcb_signer);
        let (from, until) = (self.crls_from, self.crls_until);
        let root_crl = der::RevocationList {
            issuer: ROOT,
            from,
            until,
            revoked: &self.revoked_by_root,
            extension: None,
        };
        let root_crl = der::revocation_list(&root_crl, &key(1));
        let (revoked, extension) = (&self.revoked_by_pck_ca, self.pck_crl_extension);
        let pck_crl = der::RevocationList { issuer: PCK_CA, from, until, revoked, extension };
        let pck_crl = der::revocation_list(&pck_crl, &self.pck_ca_signs_crl);
        let behind: Vec<&[u8]> = self.behind_signers.iter().map(Vec::as_slice).collect();
        let (tcb_info, qe_identity) = (self.tcb_info().to_string(), self.qe_identity().to_string());
        json!({
            "pck_crl_issuer_chain": der::pem(&[&self.pck_ca(), &root]),
            "root_ca_crl": hex::encode(root_crl),
            "pck_crl": hex::encode(pck_crl),
            "tcb_info_issuer_chain": der::pem(&[&signer, &root]) + &der::pem(&behind),
            "tcb_info_signature": hex::encode(sign(&self.tcb_signer_signs, tcb_info.as_bytes())),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": der::pem(&[&signer, &root]),
            "qe_identity_signature": hex::encode(sign(&self.qe_identity_signs, qe_identity.as_bytes())),
            "qe_identity": qe_identity,
        })
    }

    pub fn collateral(&self) -> Collateral {
        Collateral::parse(self.collateral_json().to_string().as_bytes()).unwrap()
    }

    pub fn pck_chain(&self) -> String {
        let sgx = Some(der::sgx_extension(self.fmspc, self.cpu_svn, 11, self.ppid));
        let content = der::Certificate { sgx, ..self.content("Forged PCK Certificate", PCK_CA, 3) };
        let pck = der::certificate(&content, &self.pck_key, &key(2));
        der::pem(&[&pck, &self.pck_ca(), self.shown_root.as_ref().unwrap_or(&self.root())])
    }

    fn pck_ca(&self) -> Vec<u8> {
        let content = der::Certificate {
            is_ca: true,
            usage: self.pck_ca_usage,
            ..self.content(PCK_CA, ROOT, 2)
        };
        der::certificate(&content, &key(2), &self.root_signs_pck_ca)
    }

    /// What all certificates but the root have in common.
    fn content<'a>(&self, subject: &'a str, issuer: &'a str, serial: u8) -> der::Certificate<'a> {
        let (from, until) = (NOW - 800 * DAY, self.certificates_until);
        der::Certificate {
            subject,
            issuer,
            serial,
            is_ca: false,
            from,
            until,
            sgx: None,
            usage: None,
        }
    }

    /// The quote's bytes.
    pub fn quote(&self) -> Vec<u8> {
        let mut quote = self.header_and_body();
        let signature = sign(&self.attestation_key_signs, &quote);
        let data = self.signature_data(signature);
        quote.extend((data.len() as u32).to_le_bytes());
        quote.extend(data);
        quote
    }

    fn header_and_body(&self) -> Vec<u8> {
        let mut vendor = *b"\x93\x9a\x72\x33\xf7\x9c\x4c\xa9\x94\x0a\x0d\xb3\x95\x7f\x06\x07";
        vendor[0] = self.qe_vendor;
        let rtmr3 = event_log::replay(&self.measured);
        let mut bytes = Vec::new();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend([2, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(vendor);
        bytes.extend([0; 20]);
        if self.version == 5 {
            let size: u32 = [584, 648, 885][usize::from(self.body_type - 2)];
            bytes.extend(self.body_type.to_le_bytes());
            bytes.extend(size.to_le_bytes());
        }
        bytes.extend(self.tee_tcb_svn);
        bytes.extend([0x5e; 48]);
        bytes.extend(self.mr_signer_seam);
        for word in [self.seam_attributes, self.td_attributes, self.xfam] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.registers[0]);
        bytes.extend(self.mr_config_id);
        bytes.extend([0; 96]);
        for register in self.registers[1..].iter().map(|value| Rtmr(*value)).chain([rtmr3]) {
            bytes.extend(register.0);
        }
        bytes.extend(self.report_data);
        if self.version == 5 && self.body_type > 2 {
            bytes.extend(self.current_tee_tcb_svn);
            bytes.extend(self.mr_service_td);
        }
        if self.version == 5 && self.body_type == 4 {
            bytes.extend(self.extension);
        }
        bytes
    }

    fn signature_data(&self, signature: [u8; 64]) -> Vec<u8> {
        let point = VerifyingKey::from(&key(5)).to_sec1_point(false);
        let attestation_key = &point.as_bytes()[1..];
        let bound: [u8; 32] = Sha256::new()
            .chain_update(attestation_key)
            .chain_update(&self.qe_bound_data)
            .finalize()
            .into();
        let mut report = [0; 384];
        report[48] = 0x11; // ATTRIBUTES: INIT and PROVISION_KEY
        report[128..160].copy_from_slice(&self.qe_signer);
        report[256] = 2; // ISVPRODID
        report[258] = self.qe_svn; // ISVSVN
        report[320..352].copy_from_slice(&bound);
        report[383] = self.qe_report_tail;
        let chain = (self.chain_text)(self.pck_chain());
        let mut inner = report.to_vec();
        inner.extend(sign(&self.pck_signs_qe, &report));
        inner.extend((self.qe_auth_data.len() as u16).to_le_bytes());
        inner.extend(&self.qe_auth_data);
        inner.extend(5u16.to_le_bytes());
        inner.extend((chain.len() as u32).to_le_bytes());
        inner.extend(chain.as_bytes());
        let mut data = signature.to_vec();
        data.extend(attestation_key);
        data.extend(6u16.to_le_bytes());
        data.extend((inner.len() as u32).to_le_bytes());
        data.extend(inner);
        data
    }

    fn tcb_info(&self) -> Value {
        let module = |id: &str| {
            json!({
                "id": id, "mrsigner": hex::encode([self.module_signer; 48]),
                "attributes": hex::encode(self.module_attributes.to_le_bytes()), "attributesMask": "FF".repeat(8),
                "tcbLevels": [
                    self.level(json!({"isvsvn": 5}), self.module_status, &[]),
                    self.level(json!({"isvsvn": 4}), "OutOfDate", &[OLD_MODULE]),
                ],
            })
        };
        let components = |svns: [u8; 16]| svns.map(|svn| json!({"svn": svn}));
        let tcb = |loader: u8| {
            json!({
                "sgxtcbcomponents": components(CPU_SVN), "pcesvn": 11,
                "tdxtcbcomponents": components([5, 0, loader, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            })
        };
        json!({
            "id": self.tcb_info_id, "version": 3,
            "issueDate": der::rfc3339(NOW - 10 * DAY), "nextUpdate": der::rfc3339(self.tcb_info_until),
            "fmspc": hex::encode_upper(self.stated_fmspc), "pceId": self.stated_pce,
            "tcbType": 0, "tcbEvaluationDataNumber": self.evaluation_number,
            "tdxModule": module("TDX"), "tdxModuleIdentities": [module("TDX_01")],
            // The lowest first: the order of the text decides nothing.
            "tcbLevels": [
                self.level(tcb(1), "OutOfDate", &[OLD_LEVEL]),
                self.level(tcb(2), self.tcb_status, &self.advisories),
            ],
        })
    }

    fn level(&self, tcb: Value, status: &str, advisories: &[&str]) -> Value {
        json!({"tcb": tcb, "tcbDate": self.tcb_date, "tcbStatus": status, "advisoryIDs": advisories})
    }

    fn qe_identity(&self) -> Value {
        json!({
            "id": "TD_QE", "version": self.qe_identity_version,
            "issueDate": der::rfc3339(NOW - 10 * DAY), "nextUpdate": der::rfc3339(self.qe_identity_until),
            "tcbEvaluationDataNumber": self.evaluation_number,
            "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": format!("11{}", "00".repeat(15)), "attributesMask": format!("FB{}{}", "FF".repeat(7), "00".repeat(8)),
            "mrsigner": "EE".repeat(32), "isvprodid": 2,
            "tcbLevels": [
                self.level(json!({"isvsvn": 4}), self.qe_status, &[]),
                self.level(json!({"isvsvn": 3}), "OutOfDate", &[OLD_QE]),
            ],
        })
    }
}

fn sign(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    let signature: Signature = key.sign(message);
    signature.to_bytes().into()
}
