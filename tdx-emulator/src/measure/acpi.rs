//! The ACPI blobs that QEMU hands to the firmware, which measures them before it patches addresses
//! in.

/// Raw contents of the three `fw_cfg` files, at their full length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareBlobs {
    /// `etc/table-loader`: the script by which firmware places the others.
    pub loader: Vec<u8>,
    /// `etc/acpi/rsdp`.
    pub rsdp: Vec<u8>,
    /// `etc/acpi/tables`.
    pub tables: Vec<u8>,
}

impl FirmwareBlobs {
    /// Names and contents in the order of measurement.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let named: [(_, &[u8]); 3] = [
            ("acpi-loader", &self.loader),
            ("acpi-rsdp", &self.rsdp),
            ("acpi-tables", &self.tables),
        ];
        named.into_iter()
    }
}
