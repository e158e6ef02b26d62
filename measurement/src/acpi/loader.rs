//! The table loader script (QEMU, `hw/acpi/bios-linker-loader.c`): 128-byte commands that the
//! firmware runs.

/// Length of a command.
pub(super) const COMMAND_BYTES: usize = 128;
/// Length of a file name field.
const NAME_BYTES: usize = 56;
/// The script is padded to a multiple of this.
const SCRIPT_UNIT: usize = 0x1000;

/// The fw_cfg file with the root pointer.
pub(super) const RSDP_FILE: &str = "etc/acpi/rsdp";
/// The fw_cfg file with the tables.
pub(super) const TABLES_FILE: &str = "etc/acpi/tables";

/// Where the firmware has to place a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    /// Anywhere.
    High = 1,
    /// Where a BIOS would look for a root pointer.
    FSegment = 2,
}

/// A script under construction.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<u8>);

impl Script {
    /// Loads `file` at an address that is a multiple of `alignment`.
    pub(super) fn allocate(&mut self, file: &str, alignment: u32, zone: Zone) {
        self.command(1, &[&name_field(file), &alignment.to_le_bytes(), &[zone as u8]]);
    }

    /// Adds the address of `target` to the pointer of `size` bytes at `offset` of `file`.
    pub(super) fn add_pointer(&mut self, file: &str, target: &str, offset: usize, size: u8) {
        self.command(2, &[&name_field(file), &name_field(target), &number(offset), &[size]]);
    }

    /// Writes the checksum of `length` bytes from `start` of `file` to `offset`.
    pub(super) fn add_checksum(&mut self, file: &str, offset: usize, start: usize, length: usize) {
        self.command(3, &[&name_field(file), &number(offset), &number(start), &number(length)]);
    }

    /// The blob.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(SCRIPT_UNIT), 0);
        self.0
    }

    fn command(&mut self, code: u32, fields: &[&[u8]]) {
        let end = self.0.len() + COMMAND_BYTES;
        self.0.extend(code.to_le_bytes());
        fields.iter().for_each(|field| self.0.extend_from_slice(field));
        self.0.resize(end, 0);
    }
}

fn name_field(file: &str) -> [u8; NAME_BYTES] {
    let mut field = [0; NAME_BYTES];
    field[..file.len()].copy_from_slice(file.as_bytes());
    field
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).expect("blobs are far smaller than 4 GiB").to_le_bytes()
}
