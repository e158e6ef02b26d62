//! The launch facts that a guest shows to anybody (`GET /info`): what it runs and what it was
//! measured as.
//!
//! A convenience for people and for the app's own page. It is the guest's word, unsigned: whoever
//! needs proof asks for evidence.

use serde::{Deserialize, Serialize};

use crate::digest::{AppId, ComposeHash, InstanceId, Mrtd, Rtmr};
use crate::launch::LaunchClaims;
use crate::strict_json;

/// Largest document: a name, ids and registers.
pub const MAX_BYTES: usize = 16 * 1024;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// The app's name, from the measured app-compose.
    pub name: String,
    /// As extended.
    pub app_id: AppId,
    /// As extended; `None` for an app without instance ids.
    pub instance_id: Option<InstanceId>,
    /// As extended.
    pub compose_hash: ComposeHash,
    /// Image and shape as the host claimed them to the guest.
    pub claims: LaunchClaims,
    /// Absent where the app does not publish them (`public_tcbinfo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<InfoRegisters>,
}

/// Registers at the time of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfoRegisters {
    /// MRTD.
    pub mrtd: Mrtd,
    /// RTMR0: firmware configuration and ACPI.
    pub rtmr0: Rtmr,
    /// RTMR1: kernel.
    pub rtmr1: Rtmr,
    /// RTMR2: command line and initramfs.
    pub rtmr2: Rtmr,
    /// RTMR3: run-time events.
    pub rtmr3: Rtmr,
}

impl Info {
    /// Parses the document.
    pub fn parse(json: &[u8]) -> Result<Self, strict_json::JsonError> {
        strict_json::parse(json, MAX_BYTES)
    }

    /// The document's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_document_survives_with_and_without_registers() {
        let mut info = Info {
            name: "hello".into(),
            app_id: AppId([1; 20]),
            instance_id: None,
            compose_hash: ComposeHash([2; 32]),
            claims: fixtures::claims(),
            registers: None,
        };
        assert_eq!(Info::parse(&info.to_json()), Ok(info.clone()));
        let rtmr = |byte| Rtmr([byte; 48]);
        info.registers = Some(InfoRegisters {
            mrtd: Mrtd([0; 48]),
            rtmr0: rtmr(0),
            rtmr1: rtmr(1),
            rtmr2: rtmr(2),
            rtmr3: rtmr(3),
        });
        assert_eq!(Info::parse(&info.to_json()), Ok(info));
    }
}
