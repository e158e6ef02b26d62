//! Finds out what a running QEMU was really started with: its arguments by `/proc`, its files from
//! disk.
//!
//! The arguments are read, not told, so that the service measures what runs and not what somebody
//! meant to run. QEMU is the peer of the socket; it may stand behind a dynamic loader with
//! arguments of its own.

use std::io;
use std::path::{Path, PathBuf};

use crate::measure::Launched;
use crate::measure::authenticode::MAX_KERNEL_BYTES;
use crate::measure::tdvf::MAX_FIRMWARE_BYTES;

/// Longest command line of a process: Linux's limit for one argument is 128 KiB, and QEMU's have
/// few.
const MAX_ARGV_BYTES: u64 = 1 << 20;
/// Largest initrd.
const MAX_INITRD_BYTES: usize = 512 << 20;

/// Why the launch could not be learnt.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// the peer's command line could not be read
    #[error("command line of process {pid}: {source}")]
    Process {
        /// Process id of the peer.
        pid: i32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// an option without which nothing can be measured
    #[error("QEMU was started without {0}")]
    Missing(&'static str),
    /// an option twice, or without its value
    #[error("QEMU was started with {option} {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// a number that is none
    #[error("QEMU was started with {option} {value}, which is no {what}")]
    Number {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        what: &'static str,
    },
    /// a file that QEMU was started with
    #[error("{option} {path}: {source}", path = .path.display())]
    File {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// Why it could not be read.
        source: io::Error,
    },
    /// a file beyond its limit
    #[error("{option} {path}: {found} bytes, at most {limit} are accepted", path = .path.display())]
    TooLarge {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        limit: usize,
    },
}

/// The arguments that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchArguments {
    /// `-bios`.
    pub firmware: PathBuf,
    /// `-kernel`.
    pub kernel: PathBuf,
    /// `-initrd`.
    pub initrd: PathBuf,
    /// `-append`.
    pub cmdline: String,
    /// `-m`, in bytes.
    pub memory_bytes: u64,
    /// `-smp`; QEMU's default is 1.
    pub vcpus: u32,
}

impl LaunchArguments {
    /// Reads those of process `pid`; relative paths become absolute.
    pub fn of_process(pid: i32) -> Result<Self, QemuError> {
        let process = |source| QemuError::Process { pid, source };
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let raw = read_bounded(&proc.join("cmdline")).map_err(process)?;
        let text = String::from_utf8(raw).map_err(|error| process(io::Error::other(error)))?;
        let argv: Vec<&str> = text.split_terminator('\0').collect();
        let mut arguments = Self::parse(&argv)?;
        let directory = std::fs::read_link(proc.join("cwd")).map_err(process)?;
        for path in [&mut arguments.firmware, &mut arguments.kernel, &mut arguments.initrd] {
            *path = directory.join(&*path);
        }
        Ok(arguments)
    }

    /// Picks the options out of an argument vector.
    pub fn parse(argv: &[&str]) -> Result<Self, QemuError> {
        let required = |option| value(argv, option)?.ok_or(QemuError::Missing(option));
        Ok(Self {
            firmware: required("-bios")?.into(),
            kernel: required("-kernel")?.into(),
            initrd: required("-initrd")?.into(),
            cmdline: value(argv, "-append")?.unwrap_or_default().to_owned(),
            memory_bytes: memory(required("-m")?)?,
            vcpus: value(argv, "-smp")?.map_or(Ok(1), vcpus)?,
        })
    }

    /// Reads the files.
    pub fn read_files(&self) -> Result<Launched, QemuError> {
        Ok(Launched {
            firmware: read_file("-bios", &self.firmware, MAX_FIRMWARE_BYTES)?,
            kernel: read_file("-kernel", &self.kernel, MAX_KERNEL_BYTES)?,
            initrd: read_file("-initrd", &self.initrd, MAX_INITRD_BYTES)?,
            cmdline: self.cmdline.clone(),
            memory_bytes: self.memory_bytes,
        })
    }
}

/// The value behind `option`, which QEMU takes with one dash or two; at most once.
fn value<'a>(argv: &[&'a str], option: &'static str) -> Result<Option<&'a str>, QemuError> {
    let is =
        |argument: &str, option| argument == option || argument.strip_prefix('-') == Some(option);
    let mut found = None;
    let mut rest = argv.iter();
    while let Some(argument) = rest.next() {
        if !is(argument, option) {
            // The one value that a person writes freely, and that may look like anything.
            if is(argument, "-append") {
                rest.next();
            }
            continue;
        }
        let value = rest.next().ok_or(QemuError::Option { option, problem: "and no value" })?;
        if found.replace(*value).is_some() {
            return Err(QemuError::Option { option, problem: "twice" });
        }
    }
    Ok(found)
}

/// `2048`, `2048M`, `2G` or `size=2G`; MiB where no unit stands.
fn memory(text: &str) -> Result<u64, QemuError> {
    let wrong = || QemuError::Number {
        option: "-m",
        value: text.to_owned(),
        what: "size of memory like 2048M or 2G",
    };
    let size = text.strip_prefix("size=").unwrap_or(text);
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &size[digits.len()..] {
        "" | "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        "K" | "k" => 1 << 10,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// `2` or `cpus=2`, and whatever stands behind a comma.
fn vcpus(text: &str) -> Result<u32, QemuError> {
    let first = text.split(',').next().unwrap_or_default();
    let number =
        first.strip_prefix("cpus=").unwrap_or(first).parse().ok().filter(|vcpus| *vcpus > 0);
    number.ok_or_else(|| QemuError::Number {
        option: "-smp",
        value: text.to_owned(),
        what: "number of CPUs",
    })
}

fn read_file(option: &'static str, path: &Path, limit: usize) -> Result<Vec<u8>, QemuError> {
    let file = |source| QemuError::File { option, path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(file)?.len();
    if found > limit as u64 {
        return Err(QemuError::TooLarge { option, path: path.to_owned(), found, limit });
    }
    std::fs::read(path).map_err(file)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_ARGV_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGV: [&str; 20] = [
        "/root/usr/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        "/root/usr/lib",
        "/root/usr/bin/qemu-system-x86_64",
        "-nographic",
        "-name",
        "a guest",
        "-smp",
        "cpus=4,sockets=1",
        "-m",
        "2048M",
        "-bios",
        "/image/firmware.fd",
        "-kernel",
        "kernel",
        "--initrd",
        "/image/initrd",
        "-append",
        "-m",
        "-no-reboot",
    ];

    #[test]
    fn options_are_found_behind_a_loader() {
        let found = LaunchArguments::parse(&ARGV).unwrap();
        let expected = LaunchArguments {
            firmware: "/image/firmware.fd".into(),
            kernel: "kernel".into(),
            initrd: "/image/initrd".into(),
            cmdline: "-m".into(),
            memory_bytes: 2 << 30,
            vcpus: 4,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_doubled_or_no_number_is_named() {
        let error = |argv: &[&str]| LaunchArguments::parse(argv).unwrap_err().to_string();
        assert_eq!(error(&ARGV[..11]), "QEMU was started without -bios");
        assert_eq!(error(&ARGV[..12]), "QEMU was started with -bios and no value");
        let twice = [&ARGV[..], &["-kernel", "other"]].concat();
        assert_eq!(error(&twice), "QEMU was started with -kernel twice");
        let mut odd = ARGV;
        odd[10] = "2T";
        assert_eq!(
            error(&odd),
            "QEMU was started with -m 2T, which is no size of memory like 2048M or 2G"
        );
    }

    #[test]
    fn memory_is_read_as_qemu_reads_it() {
        let sizes =
            [("512", 512 << 20), ("2G", 2 << 30), ("size=3g", 3 << 30), ("1048576K", 1 << 30)];
        for (text, bytes) in sizes {
            assert_eq!(memory(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "G", "-1", "0", "99999999999999999999", "18446744073709551615G"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
