//! What the TD is: attributes, XFAM, SEAM attributes and service TDs, straight from the report; needs no collateral.

use protocol::quote::TdReport;

use crate::ledger::Ledger;
use crate::policy::TdRules;
use crate::policy::td_attributes::{DEBUG, ICSSD, LASS, MIGRATABLE, PKS, SEPT_VE_DISABLE, SERVTD_EXT};
use crate::policy::td_attributes::{KEY_LOCKER, PERFMON, PROVISIONING_AGENT};
use crate::refusal::{CheckName, Finding};

/// Rows of this file.
pub(crate) const ROWS: [CheckName; 9] = [
    CheckName::Debug,
    CheckName::TdAttributes,
    CheckName::SeptVeDisable,
    CheckName::Migratable,
    CheckName::ServiceTd,
    CheckName::Pks,
    CheckName::Xfam,
    CheckName::SeamAttributes,
    CheckName::MrSignerSeam,
];
/// Bits that have rows of their own.
const JUDGED_APART: u64 = DEBUG | SEPT_VE_DISABLE | MIGRATABLE | SERVTD_EXT | PKS;
/// Bits that a policy may accept.
const ACCEPTABLE: u64 = KEY_LOCKER | PROVISIONING_AGENT | PERFMON;
/// XFAM bits that the TDX module lets a TD have: x87, SSE, AVX, AVX-512, PT, PKRU, CET, UINTR, LBR, AMX.
/// Source: Intel TDX Module base specification, `XFAM_FIXED0`.
const KNOWN_XFAM: u64 = 0x0006_DBE7;

/// Judges every attribute.
pub(crate) fn judge(ledger: &mut Ledger, report: &TdReport, rules: &TdRules) {
    let attributes = report.td_attributes;
    let bit = |mask: u64| u8::from(attributes & mask != 0);
    ledger.judge(
        CheckName::Debug,
        attributes & DEBUG == 0,
        Finding::new(0, bit(DEBUG), "start the guest without debug: its secrets are open to the host"),
    );
    let accepted = JUDGED_APART | ICSSD | LASS | (rules.accepted_attributes & ACCEPTABLE);
    ledger.judge(
        CheckName::TdAttributes,
        attributes & !accepted == 0,
        Finding::new(
            format!("no bits but {accepted:#018x}"),
            format!("{attributes:#018x}"),
            "bits that the judgement does not know, or that the policy does not name, are refused",
        ),
    );
    ledger.judge(
        CheckName::SeptVeDisable,
        attributes & SEPT_VE_DISABLE != 0,
        Finding::new(1, bit(SEPT_VE_DISABLE), "QEMU sets it unless told otherwise (sept-ve-disable=on)"),
    );
    ledger.judge(
        CheckName::Migratable,
        attributes & MIGRATABLE == 0,
        Finding::new(0, bit(MIGRATABLE), "start the guest without migration"),
    );
    ledger.judge(
        CheckName::Pks,
        attributes & PKS == 0 || rules.accept_pks,
        Finding::new(u8::from(rules.accept_pks), bit(PKS), "start the guest without PKS, or let the policy accept it"),
    );
    judge_service_td(ledger, report);
    ledger.judge(
        CheckName::Xfam,
        report.xfam & !KNOWN_XFAM == 0,
        Finding::new(format!("no bits but {KNOWN_XFAM:#x}"), format!("{:#x}", report.xfam), "unknown bits are refused"),
    );
    ledger.judge(
        CheckName::SeamAttributes,
        report.seam_attributes == 0,
        Finding::new("0x0", format!("{:#x}", report.seam_attributes), "a TDX module in debug or test mode is refused"),
    );
    ledger.judge(
        CheckName::MrSignerSeam,
        report.mr_signer_seam == [0; 48],
        Finding::new(hex::encode([0; 48]), hex::encode(report.mr_signer_seam), "zero stands for Intel's own module"),
    );
}

fn judge_service_td(ledger: &mut Ledger, report: &TdReport) {
    let bound = report.td15.map_or([0; 48], |fields| fields.mr_service_td);
    let text = |hash: [u8; 48], extension: bool| {
        format!("MRSERVICETD {}, SERVTD_EXT {}", hex::encode(hash), u8::from(extension))
    };
    let extension = report.td_attributes & SERVTD_EXT != 0;
    let hint = "a service TD can see or move the guest";
    let finding = Finding::new(text([0; 48], false), text(bound, extension), hint);
    ledger.judge(CheckName::ServiceTd, bound == [0; 48] && !extension, finding);
}
