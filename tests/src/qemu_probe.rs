//! Asks a QEMU for the ACPI blobs that it would give a firmware, without booting anything.
//!
//! QEMU finishes its tables when a firmware first reads them, from what the firmware has set up by
//! then. Under `-accel qtest` no processor runs (nor, where a distribution leaves that out, stopped
//! under `-accel tcg`) and this probe does those few things itself: power management ports,
//! memory-mapped configuration space, 64-bit BARs. That a booted OVMF reads the same bytes is shown
//! by every verified emulated guest, whose RTMR0 is computed from the blobs that its kernel read.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use measurement::AcpiBlobs;

/// PCI configuration mechanism 1.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
/// fw_cfg's selector and its DMA address register, high half first.
const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DMA: u16 = 0x514;
/// fw_cfg's list of named files.
const FILE_DIRECTORY: u16 = 0x19;
const DIRECTORY_ENTRY_BYTES: usize = 64;
/// Guest memory for a DMA request and its data.
const REQUEST_ADDRESS: u64 = 0x10_0000;
const DATA_ADDRESS: u64 = 0x20_0000;
/// Bytes that one answer line may carry.
const READ_BYTES: usize = 64 * 1024;

/// Where OVMF puts things on q35, see `measurement::acpi`.
const PM_BASE_ENABLED: u32 = 0x601;
const ECAM_BASE_ENABLED: u32 = 0xe000_0001;
const FIRST_BAR64: u64 = 0x3800_0000_0000;

const HOST_BRIDGE: Function = Function { slot: 0, function: 0 };
const LPC_BRIDGE: Function = Function { slot: 31, function: 0 };

/// A QEMU that runs no processor and obeys this program.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A function on the root bus.
#[derive(Debug, Clone, Copy)]
struct Function {
    slot: u32,
    function: u32,
}

/// A file of fw_cfg.
struct File {
    selector: u16,
    length: usize,
}

impl Probe {
    /// Starts `qemu`, to which the machine's arguments were given, but none of `-accel`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(qemu: &mut Command) -> io::Result<Self> {
        let mut child = qemu
            .args([
                "-accel",
                "qtest",
                "-accel",
                "tcg",
                "-S",
                "-qtest",
                "stdio",
                "-qtest-log",
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(commands), Some(answers)) = (commands, answers) else {
            return Err(io::Error::other("a child without pipes"));
        };
        Ok(Self { child, commands, answers: BufReader::new(answers) })
    }

    /// The blobs as a booted OVMF would read them.
    ///
    /// # Errors
    /// If QEMU ends, answers something else, or has no such files.
    pub fn acpi_blobs(&mut self) -> io::Result<AcpiBlobs> {
        self.set_up_chipset()?;
        self.place_bars()?;
        Ok(AcpiBlobs {
            tables: self.file("etc/acpi/tables")?,
            rsdp: self.file("etc/acpi/rsdp")?,
            loader: self.file("etc/table-loader")?,
        })
    }

    fn set_up_chipset(&mut self) -> io::Result<()> {
        const PM_BASE: u32 = 0x40;
        const ACPI_CONTROL: u32 = 0x44;
        const ACPI_ENABLE: u32 = 0x80;
        const ECAM_LOW: u32 = 0x60;
        const ECAM_HIGH: u32 = 0x64;
        self.write_config(LPC_BRIDGE, PM_BASE, PM_BASE_ENABLED)?;
        self.write_config(LPC_BRIDGE, ACPI_CONTROL, ACPI_ENABLE)?;
        self.write_config(HOST_BRIDGE, ECAM_HIGH, 0)?;
        self.write_config(HOST_BRIDGE, ECAM_LOW, ECAM_BASE_ENABLED)
    }

    /// Gives every 64-bit BAR an address, upwards from the firmware's window.
    fn place_bars(&mut self) -> io::Result<()> {
        const ABSENT: u32 = u32::MAX;
        let mut next = FIRST_BAR64;
        for slot in 1..LPC_BRIDGE.slot {
            let function = Function { slot, function: 0 };
            if self.read_config(function, 0)? != ABSENT {
                next = self.place_bars_of(function, next)?;
            }
        }
        Ok(())
    }

    fn place_bars_of(&mut self, function: Function, mut next: u64) -> io::Result<u64> {
        const COMMAND: u32 = 0x04;
        const MEMORY_ENABLE: u32 = 0x02;
        const FIRST_BAR: u32 = 0x10;
        const KIND: u32 = 0x07;
        const MEMORY_64: u32 = 0x04;
        const FLAGS: u32 = 0x0f;
        for bar in (FIRST_BAR..FIRST_BAR + 24).step_by(4) {
            if self.read_config(function, bar)? & KIND != MEMORY_64 {
                continue;
            }
            self.write_config(function, bar, u32::MAX)?;
            let length = u64::from(!(self.read_config(function, bar)? & !FLAGS)) + 1;
            let address = next.next_multiple_of(length);
            self.write_config(function, bar, address as u32)?;
            self.write_config(function, bar + 4, (address >> 32) as u32)?;
            next = address + length;
        }
        self.write_config(function, COMMAND, MEMORY_ENABLE)?;
        Ok(next)
    }

    fn read_config(&mut self, function: Function, register: u32) -> io::Result<u32> {
        self.out(CONFIG_ADDRESS, function.address(register))?;
        let answer = self.ask(&format!("inl {CONFIG_DATA:#x}"))?;
        let value = answer.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        value.ok_or_else(|| io::Error::other(format!("QEMU answered {answer:?} to inl")))
    }

    fn write_config(&mut self, function: Function, register: u32, value: u32) -> io::Result<()> {
        self.out(CONFIG_ADDRESS, function.address(register))?;
        self.out(CONFIG_DATA, value)
    }

    fn out(&mut self, port: u16, value: u32) -> io::Result<()> {
        self.ask(&format!("outl {port:#x} {value:#x}")).map(drop)
    }

    fn file(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let directory = self.read_item(&File { selector: FILE_DIRECTORY, length: 4 })?;
        let count =
            u32::from_be_bytes([directory[0], directory[1], directory[2], directory[3]]) as usize;
        let length = 4 + DIRECTORY_ENTRY_BYTES * count;
        let directory = self.read_item(&File { selector: FILE_DIRECTORY, length })?;
        let entry = directory[4..].chunks_exact(DIRECTORY_ENTRY_BYTES).find(|entry| {
            let end =
                entry[8..].iter().position(|byte| *byte == 0).map_or(entry.len(), |at| 8 + at);
            &entry[8..end] == name.as_bytes()
        });
        let entry = entry.ok_or_else(|| io::Error::other(format!("fw_cfg has no {name}")))?;
        let length = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]) as usize;
        self.read_item(&File { selector: u16::from_be_bytes([entry[4], entry[5]]), length })
    }

    /// Reads an item by DMA (QEMU, `docs/specs/fw_cfg.rst`).
    fn read_item(&mut self, file: &File) -> io::Result<Vec<u8>> {
        const READ: u32 = 0x02;
        self.ask(&format!("outw {FW_CFG_SELECTOR:#x} {:#x}", file.selector))?;
        let length = u32::try_from(file.length).map_err(io::Error::other)?;
        let request =
            [&READ.to_be_bytes()[..], &length.to_be_bytes(), &DATA_ADDRESS.to_be_bytes()].concat();
        self.ask(&format!(
            "write {REQUEST_ADDRESS:#x} {} 0x{}",
            request.len(),
            hex::encode(request)
        ))?;
        self.out(FW_CFG_DMA, 0)?;
        self.out(FW_CFG_DMA + 4, (REQUEST_ADDRESS as u32).swap_bytes())?;
        self.read_memory(DATA_ADDRESS, file.length)
    }

    fn read_memory(&mut self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let (at, count) = (address + bytes.len() as u64, READ_BYTES.min(length - bytes.len()));
            let answer = self.ask(&format!("read {at:#x} {count}"))?;
            bytes.extend(hex::decode(answer.trim_start_matches("0x")).map_err(io::Error::other)?);
        }
        Ok(bytes)
    }

    /// Sends one command of the qtest protocol and gives what follows `OK`.
    fn ask(&mut self, command: &str) -> io::Result<String> {
        writeln!(self.commands, "{command}")?;
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!(
                    "QEMU ended at {command:?}; its message is above"
                )));
            }
            if let Some(answer) = line.strip_prefix("OK") {
                return Ok(answer.trim().to_owned());
            }
            // Interrupt lines that change are reported in between.
            if !line.starts_with("IRQ") {
                return Err(io::Error::other(format!(
                    "QEMU answered {:?} to {command:?}",
                    line.trim()
                )));
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Either it is gone already, or nothing of it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Function {
    /// What selects a register of this function.
    fn address(self, register: u32) -> u32 {
        const ENABLE: u32 = 1 << 31;
        ENABLE | self.slot << 11 | self.function << 8 | register
    }
}
