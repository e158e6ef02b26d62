//! What the TD is: attributes, XFAM, SEAM attributes, service TDs and partition, straight from the
//! report; needs no collateral.

use protocol::quote::TdReport;
use protocol::reader::{ReadError, Reader};

use crate::check_rows::CheckRows;
use crate::policy::TdRules;
use crate::policy::td_attributes::{
    DEBUG, ICSSD, LASS, MIGRATABLE, PKS, SEPT_VE_DISABLE, SERVTD_EXT,
};
use crate::refusal::{CheckName, Finding};

/// Bits that have rows of their own.
const JUDGED_APART: u64 = DEBUG | SEPT_VE_DISABLE | MIGRATABLE | SERVTD_EXT | PKS;
/// XFAM bits that the TDX module lets a TD have: x87, SSE, AVX, AVX-512, PT, PKRU, CET, UINTR, LBR,
/// AMX. Source: Intel TDX Module base specification, `XFAM_FIXED0`.
const KNOWN_XFAM: u64 = 0x0006_DBE7;

/// Judges every attribute.
pub(crate) fn judge(rows: &mut CheckRows, report: &TdReport, rules: &TdRules, now: u64) {
    let tolerated = rules.accepted_at(now);
    judge_bits(rows, report.td_attributes, tolerated);
    judge_pks(rows, report.td_attributes, tolerated);
    judge_service_td(rows, report);
    judge_partition(rows, report);
    rows.judge(
        CheckName::Xfam,
        report.xfam & !KNOWN_XFAM == 0,
        Finding::new(
            format!("no bits but {KNOWN_XFAM:#x}"),
            format!("{:#x}", report.xfam),
            "unknown bits are refused",
        ),
    );
    rows.judge(
        CheckName::SeamAttributes,
        report.seam_attributes == 0,
        Finding::new(
            "0x0",
            format!("{:#x}", report.seam_attributes),
            "a TDX module in debug or test mode is refused",
        ),
    );
    rows.judge(
        CheckName::MrSignerSeam,
        report.mr_signer_seam == [0; 48],
        Finding::new(
            hex::encode([0; 48]),
            hex::encode(report.mr_signer_seam),
            "zero stands for Intel's own module",
        ),
    );
}

fn judge_bits(rows: &mut CheckRows, attributes: u64, tolerated: u64) {
    let bit = |mask: u64| u8::from(attributes & mask != 0);
    rows.judge(
        CheckName::Debug,
        attributes & DEBUG == 0,
        Finding::new(
            0,
            bit(DEBUG),
            "start the guest without debug: its secrets are open to the host",
        ),
    );
    let accepted = JUDGED_APART | ICSSD | LASS | tolerated;
    rows.judge(
        CheckName::TdAttributes,
        attributes & !accepted == 0,
        Finding::new(
            format!("no bits but {accepted:#018x}"),
            format!("{attributes:#018x}"),
            "bits that the judgement does not know, or that the policy does not tolerate today, are refused",
        ),
    );
    rows.judge(
        CheckName::SeptVeDisable,
        attributes & SEPT_VE_DISABLE != 0,
        Finding::new(
            1,
            bit(SEPT_VE_DISABLE),
            "QEMU sets it unless told otherwise (sept-ve-disable=on)",
        ),
    );
    rows.judge(
        CheckName::Migratable,
        attributes & MIGRATABLE == 0,
        Finding::new(0, bit(MIGRATABLE), "start the guest without migration"),
    );
}

fn judge_pks(rows: &mut CheckRows, attributes: u64, tolerated: u64) {
    let expected = if tolerated & PKS == 0 { "0" } else { "0, or 1 as the policy tolerates" };
    let hint = "start the guest without PKS, or let the policy tolerate it until a date";
    rows.judge(
        CheckName::Pks,
        attributes & PKS & !tolerated == 0,
        Finding::new(expected, u8::from(attributes & PKS != 0), hint),
    );
}

/// Fields of the extended report behind MRSERVICETD. Source: Intel DCAP, `sgx_quote_5.h`,
/// `sgx_report2_body_v1_5_ex_t`.
struct Extension {
    /// 0 for a TD without partitions, or its L1 monitor.
    vm_id: u8,
    /// Hash of attached devices; zero if there are none.
    device_info: [u8; 48],
    /// Hash and attributes of the service TDs of the TD's creation, and of those bound now.
    service_tds: [([u8; 48], u64); 2],
}

impl Extension {
    fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let vm_id = reader.u8("VMID")?;
        reader.take("TD_ID", 32)?;
        let device_info = reader.array("DEV_INFO")?;
        let initial = (
            reader.array("initial service TD hash")?,
            reader.u64("initial service TD attributes")?,
        );
        reader.take("initial CPUSVN, TEE_TCB_SVN and FMSPC", 16 + 16 + 12)?;
        let current = (
            reader.array("current service TD hash")?,
            reader.u64("current service TD attributes")?,
        );
        reader.finish()?;
        Ok(Self { vm_id, device_info, service_tds: [initial, current] })
    }
}

/// The extension of an extended report; what cannot be read was refused with the quote.
fn extension(report: &TdReport) -> Option<Extension> {
    Extension::read(&report.td15_extension).ok()
}

fn judge_service_td(rows: &mut CheckRows, report: &TdReport) {
    let flagged = report.td_attributes & SERVTD_EXT != 0;
    let bound = report.td15.map_or([0; 48], |fields| fields.mr_service_td);
    let extended = extension(report).map_or([([0; 48], 0); 2], |extension| extension.service_tds);
    let [initial, current] = extended;
    let text = |flag: bool, hashes: [[u8; 48]; 3]| {
        let [bound, initial, current] =
            hashes.map(|hash| if hash == [0; 48] { "none".to_owned() } else { hex::encode(hash) });
        format!(
            "SERVTD_EXT {}, MRSERVICETD {bound}, initial {initial}, current {current}",
            u8::from(flag)
        )
    };
    let holds = !flagged && bound == [0; 48] && extended == [([0; 48], 0); 2];
    let finding = Finding::new(
        text(false, [[0; 48]; 3]),
        text(flagged, [bound, initial.0, current.0]),
        "a service TD can see or move the guest",
    );
    rows.judge(CheckName::ServiceTd, holds, finding);
}

fn judge_partition(rows: &mut CheckRows, report: &TdReport) {
    let (vm_id, devices) = extension(report)
        .map_or((0, [0; 48]), |extension| (extension.vm_id, extension.device_info));
    let text = |vm_id: u8, devices: [u8; 48]| {
        let devices = if devices == [0; 48] { "none".to_owned() } else { hex::encode(devices) };
        format!("VM {vm_id}, attached devices: {devices}")
    };
    let finding = Finding::new(
        text(0, [0; 48]),
        text(vm_id, devices),
        "the guest must be the whole TD, without devices of its own",
    );
    rows.judge(CheckName::TdPartition, (vm_id, devices) == (0, [0; 48]), finding);
}
