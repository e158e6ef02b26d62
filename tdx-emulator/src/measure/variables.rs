//! UEFI variables that the firmware measures: secure boot, empty, and the boot entries it makes
//! itself.
//!
//! Sources: UEFI 2.10, sections 3.1.3 and 32.6 (EFI_LOAD_OPTION, UEFI_VARIABLE_DATA), 10.3 (device
//! paths); edk2 2025.02 `OvmfPkg` for the GUIDs of its boot manager.

/// EFI_GLOBAL_VARIABLE, `8be4df61-93ca-11d2-aa0d-00e098032b8c`, as stored.
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
/// EFI_IMAGE_SECURITY_DATABASE, `d719b2cb-3d3a-4596-a3bc-dad00e67656f`, as stored.
const SECURITY_DATABASE: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];
/// Firmware volume with the boot manager, `7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1`, as stored.
const BOOT_VOLUME: [u8; 16] = [
    0xc9, 0xbd, 0xb8, 0x7c, 0xeb, 0xf8, 0x34, 0x4f, 0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1,
];
/// UiApp, `462caa21-7614-4503-836e-8ab6f4662331`, as stored.
const UI_APP: [u8; 16] = [
    0x21, 0xaa, 0x2c, 0x46, 0x14, 0x76, 0x03, 0x45, 0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31,
];

/// A variable of secure boot, which this firmware has no use for and so measures without contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecureBootVariable {
    /// Its name.
    pub name: &'static str,
    vendor: [u8; 16],
}

/// In the order of measurement.
pub const SECURE_BOOT: [SecureBootVariable; 5] = [
    SecureBootVariable { name: "SecureBoot", vendor: GLOBAL },
    SecureBootVariable { name: "PK", vendor: GLOBAL },
    SecureBootVariable { name: "KEK", vendor: GLOBAL },
    SecureBootVariable { name: "db", vendor: SECURITY_DATABASE },
    SecureBootVariable { name: "dbx", vendor: SECURITY_DATABASE },
];

impl SecureBootVariable {
    /// UEFI_VARIABLE_DATA without data: vendor, characters of the name, bytes of data, name.
    pub fn empty_variable_data(&self) -> Vec<u8> {
        let characters = self.name.encode_utf16().count() as u64;
        [&self.vendor[..], &characters.to_le_bytes(), &0_u64.to_le_bytes(), &utf16(self.name)]
            .concat()
    }
}

/// The contents of `BootOrder`: only entry 0.
pub fn boot_order() -> Vec<u8> {
    0_u16.to_le_bytes().to_vec()
}

/// The contents of `Boot0000`: the boot manager, active, hidden, an application.
pub fn boot_manager_option() -> Vec<u8> {
    let path = [
        media_path(7, &BOOT_VOLUME), // firmware volume
        media_path(6, &UI_APP),      // file in it
        vec![0x7f, 0xff, 4, 0],      // end of path
    ]
    .concat();
    let length = path.len() as u16;
    [&0x109_u32.to_le_bytes()[..], &length.to_le_bytes(), &utf16("UiApp\0"), &path].concat()
}

/// A media device path node (type 4) that holds a GUID.
fn media_path(subtype: u8, guid: &[u8; 16]) -> Vec<u8> {
    [&[4, subtype, 20, 0], &guid[..]].concat()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_specification() {
        assert_eq!(boot_manager_option().len(), 62);
        assert_eq!(SECURE_BOOT[0].empty_variable_data().len(), 16 + 8 + 8 + 2 * "SecureBoot".len());
    }
}
