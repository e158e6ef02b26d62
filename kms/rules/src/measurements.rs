//! Registers by the names that dstack's services know them by.

use protocol::app_compose::KeyProvider;
use protocol::digest::{MrConfigId, Sha256Digest};
use protocol::quote::TdReport;

/// What dstack's services know registers by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootMeasurements {
    /// SHA-256 over all registers.
    pub mr_aggregated: Option<Sha256Digest>,
    /// SHA-256 over those of the image, and the key provider.
    pub mr_system: Option<Sha256Digest>,
    /// The payload of the event `key-provider`; empty before it is measured.
    pub key_provider_info: String,
}

impl BootMeasurements {
    /// Of a verified report; the key provider once it is measured.
    pub fn of(report: &TdReport, key_provider: Option<KeyProvider>) -> Self {
        let info = key_provider.map(|provider| provider.event_payload()).unwrap_or_default();
        let mut boot = report.mrtd.0.to_vec();
        report.rtmrs[..3].iter().for_each(|rtmr| boot.extend(rtmr.0));
        let provider = match info.as_str() {
            "" => Sha256Digest::ZERO,
            info => Sha256Digest::of(info.as_bytes()),
        };
        let system = [&boot[..], provider.as_bytes()].concat();
        let mut all = [&boot[..], &report.rtmrs[3].0].concat();
        let configured = report.mr_config_id != MrConfigId::ZERO;
        let owned = [report.mr_owner, report.mr_owner_config].iter().any(|id| *id != [0; 48]);
        if configured || owned {
            all.extend(report.mr_config_id.0);
            all.extend(report.mr_owner);
            all.extend(report.mr_owner_config);
        }
        Self {
            mr_aggregated: Some(Sha256Digest::of(&all)),
            mr_system: Some(Sha256Digest::of(&system)),
            key_provider_info: info,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::digest::{Mrtd, ReportData, Rtmr};

    use super::*;

    fn report() -> TdReport {
        TdReport {
            tee_tcb_svn: [0; 16],
            mr_seam: [0; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: 0,
            xfam: 0,
            mrtd: Mrtd([1; 48]),
            mr_config_id: MrConfigId::ZERO,
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmrs: [2, 3, 4, 5].map(|byte| Rtmr([byte; 48])),
            report_data: ReportData([0; 64]),
            td15: None,
            td15_extension: Vec::new(),
        }
    }

    fn registers(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().flat_map(|byte| [*byte; 48]).collect()
    }

    #[test]
    fn registers_are_joined_as_dstack_joins_them() {
        let mut configured = report();
        configured.mr_config_id.0[0] = 1;
        let provider = KeyProvider::None;
        let measured = BootMeasurements::of(&configured, Some(provider));
        let info = provider.event_payload();
        let behind = [&configured.mr_config_id.0[..], &[0; 96]].concat();
        let all = [&registers(&[1, 2, 3, 4, 5])[..], &behind].concat();
        assert_eq!(measured.mr_aggregated, Some(Sha256Digest::of(&all)));
        let digest = Sha256Digest::of(info.as_bytes());
        let system = [&registers(&[1, 2, 3, 4])[..], digest.as_bytes()].concat();
        assert_eq!(measured.mr_system, Some(Sha256Digest::of(&system)));
        assert_eq!(measured.key_provider_info, info);
        let mut owned = report();
        owned.mr_owner_config[47] = 1;
        let plain = BootMeasurements::of(&report(), None);
        assert_ne!(BootMeasurements::of(&owned, None).mr_aggregated, plain.mr_aggregated);
    }
}
