//! Firmware layouts: which events a firmware measures into RTMR0, in which order.
//!
//! A firmware file does not say which one it has (its code is compressed), so a layout is stated:
//! by an image's own metadata, by a person, or proposed by an event log, in which case only a match
//! of RTMR0 proves it. None is ever assumed.

use std::fmt;

/// Which events a firmware measures into RTMR0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirmwareLayout {
    /// 13 events: edk2 up to its stable tag 2025.02, whatever the platform (IntelTdxX64, the older
    /// OvmfPkgX64).
    Edk2_2025_02,
    /// 17 events: edk2 from its stable tag 2025.05 on, which also measures two fw_cfg items, the
    /// table of hand-off tables (SMBIOS) and one more boot option.
    Edk2_2025_05,
}

/// a layout that this program does not know
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "firmware layout `{layout}` is unknown, known are {}; is this image of a newer dstyx?",
    names()
)]
pub struct UnknownLayout {
    /// What was asked for.
    pub layout: String,
}

/// What stands for a layout in the facts of a firmware of which nothing says what it measures.
pub(crate) const NO_LAYOUT: &str = "";

impl FirmwareLayout {
    /// All layouts, oldest first.
    pub const ALL: [Self; 2] = [Self::Edk2_2025_02, Self::Edk2_2025_05];

    /// Its name in image.json and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edk2_2025_02 => "edk2-2025.02",
            Self::Edk2_2025_05 => "edk2-2025.05",
        }
    }

    /// The layout of that name.
    pub fn from_name(name: &str) -> Result<Self, UnknownLayout> {
        let known = Self::ALL.into_iter().find(|layout| layout.name() == name);
        known.ok_or_else(|| UnknownLayout { layout: name.to_owned() })
    }

    /// The layout that has this many events of RTMR0: what a log proposes, and no more than that.
    pub fn proposed_by(rtmr0_events: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.events() == rtmr0_events)
    }

    /// How many events it has.
    pub fn events(self) -> usize {
        match self {
            Self::Edk2_2025_02 => 13,
            Self::Edk2_2025_05 => 17,
        }
    }
}

impl fmt::Display for FirmwareLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn names() -> String {
    FirmwareLayout::ALL.map(FirmwareLayout::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_known_by_its_name_and_proposed_by_its_length() {
        for layout in FirmwareLayout::ALL {
            assert_eq!(FirmwareLayout::from_name(layout.name()), Ok(layout));
            assert_eq!(FirmwareLayout::proposed_by(layout.events()), Some(layout));
        }
        assert_eq!(FirmwareLayout::proposed_by(14), None);
        let error = FirmwareLayout::from_name("edk2-2027.02").unwrap_err();
        assert!(error.to_string().contains("edk2-2025.02, edk2-2025.05"));
    }
}
