//! `Info`: what runs here, in dstack's form.
//!
//! The guest's word without a quote. Where dstack has facts that a guest without keys lacks, they
//! are empty. The image's hash is the one that the KMS verified; without a KMS it is the host's
//! claim, as the machine always is, here as in evidence.

use protocol::digest::{MrConfigId, Sha256Digest};
use protocol::event_log::{self, RawEvent, RuntimeEvent};
use protocol::event_name;
use protocol::prpc::AppInfo;
use serde::Serialize;
use tee::{Registers, Tee};

use super::ApiError;
use crate::boot::Boot;

/// `tcb_info`, in the order of dstack's.
#[derive(Serialize)]
struct TcbInfo<'a> {
    mrtd: String,
    rtmr0: String,
    rtmr1: String,
    rtmr2: String,
    rtmr3: String,
    mr_aggregated: String,
    os_image_hash: String,
    compose_hash: String,
    device_id: String,
    event_log: &'a [RawEvent],
    app_compose: &'a str,
}

/// Everything, or on the public port only what the app publishes. It blocks: registers are read
/// from files that the TDX module answers.
pub(super) fn info(boot: &Boot, app_cert: String, public: bool) -> Result<AppInfo, ApiError> {
    let (log, registers) = boot.log.snapshot(|tee| tee.registers())?;
    let (event_log, registers) = (log.events()?, registers?);
    let shown = !public || boot.app.public_tcbinfo;
    let mr_aggregated = mr_aggregated(&registers);
    let device_id = Sha256Digest::of(b"");
    let verified = boot.keys.as_ref().map(|keys| keys.os_image_hash);
    let os_image_hash = verified.unwrap_or(Sha256Digest(boot.handover.claims.os_image_hash.0));
    let tcb_info = TcbInfo {
        mrtd: registers.mrtd.to_string(),
        rtmr0: registers.rtmrs[0].to_string(),
        rtmr1: registers.rtmrs[1].to_string(),
        rtmr2: registers.rtmrs[2].to_string(),
        rtmr3: registers.rtmrs[3].to_string(),
        mr_aggregated: mr_aggregated.to_string(),
        os_image_hash: os_image_hash.to_string(),
        compose_hash: boot.handover.compose_hash.to_string(),
        device_id: device_id.to_string(),
        event_log: &event_log,
        app_compose: &String::from_utf8_lossy(&boot.app_compose),
    };
    Ok(AppInfo {
        app_id: boot.handover.app_id.0.to_vec(),
        instance_id: boot.handover.instance_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        app_cert,
        tcb_info: if shown { pretty(&tcb_info) } else { String::new() },
        app_name: boot.app.name.clone(),
        device_id: device_id.0.to_vec(),
        mr_aggregated: mr_aggregated.0.to_vec(),
        os_image_hash: os_image_hash.0.to_vec(),
        key_provider_info: key_provider(&event_log),
        compose_hash: boot.handover.compose_hash.0.to_vec(),
        vm_config: if shown { vm_config(boot) } else { String::new() },
        cloud_vendor: String::new(),
        cloud_product: String::new(),
        epoch: boot.keys.as_ref().map_or(0, |keys| keys.epoch),
    })
}

/// The machine and the image as the host claims them, in dstack's JSON.
pub(super) fn vm_config(boot: &Boot) -> String {
    protocol::foreign::vm_config(&boot.handover.claims)
}

/// SHA-256 over MRTD, RTMR0 to 3, and MRCONFIGID with MROWNER and MROWNERCONFIG behind it if any is
/// not zero; a dstyx launch sets neither owner.
fn mr_aggregated(registers: &Registers) -> Sha256Digest {
    let mut bytes = registers.mrtd.0.to_vec();
    registers.rtmrs.iter().for_each(|rtmr| bytes.extend(rtmr.0));
    if registers.mr_config_id != MrConfigId::ZERO {
        bytes.extend(registers.mr_config_id.0);
        bytes.extend([0; 2 * 48]);
    }
    Sha256Digest::of(&bytes)
}

/// Payload of the boot's event; the log is ours, and stands behind it.
fn key_provider(event_log: &[RawEvent]) -> String {
    let events = event_log::runtime_events(event_log).unwrap_or_default();
    let payload = |event: &RuntimeEvent| String::from_utf8_lossy(&event.payload).into_owned();
    event_log::find(&events, event_name::KEY_PROVIDER).map(payload).unwrap_or_default()
}

fn pretty(tcb_info: &TcbInfo<'_>) -> String {
    serde_json::to_string_pretty(tcb_info).expect("strings and numbers serialise")
}
