//! The TDX guest driver's registers: tsm-mr attributes in sysfs, one file a register.
//!
//! tsm-mr extends a register with *any* write of 48 bytes or more and silently cuts the rest, so a
//! digest is written by exactly one system call of exactly 48 bytes on a descriptor of its own.
//! Source: Linux 7.2, `drivers/virt/coco/guest/tsm-mr.c`,
//! `drivers/virt/coco/tdx-guest/tdx-guest.c`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use protocol::digest::{MrConfigId, Mrtd, ReportData, Rtmr, Sha384Digest};
use protocol::event_log::RUNTIME_REGISTER;

use crate::{Registers, Tee, TeeError, report};

/// Where the driver shows registers.
const MEASUREMENTS: &str = "sys/devices/virtual/misc/tdx_guest/measurements";
/// Where quotes are requested.
const REPORTS: &str = "sys/kernel/config/tsm/report";
/// Bytes of every register and digest.
const REGISTER_BYTES: usize = 48;

/// The device of the machine, found once; holding one says that a driver named `tdx_guest` is
/// bound, not that the machine is a TDX guest.
#[derive(Debug, Clone)]
pub struct TdxGuest {
    measurements: PathBuf,
    reports: PathBuf,
}

impl TdxGuest {
    /// Looks for the driver below `root`, which is `/` but in tests; sysfs must be mounted.
    pub fn open(root: &Path) -> Result<Self, TeeError> {
        let measurements = root.join(MEASUREMENTS);
        if !measurements.is_dir() {
            return Err(TeeError::NoDevice { path: measurements.display().to_string() });
        }
        Ok(Self { measurements, reports: root.join(REPORTS) })
    }

    /// MRCONFIGID alone, for those who need no other register.
    pub fn mr_config_id(&self) -> Result<MrConfigId, TeeError> {
        self.read_register("mrconfigid").map(MrConfigId)
    }

    fn read_register(&self, name: &str) -> Result<[u8; REGISTER_BYTES], TeeError> {
        let path = self.measurements.join(name);
        let mut value = Vec::with_capacity(REGISTER_BYTES + 1);
        let file = File::open(&path).map_err(|source| TeeError::io("open", &path, source))?;
        // One byte more than a register has, so that a longer file is noticed.
        file.take(REGISTER_BYTES as u64 + 1)
            .read_to_end(&mut value)
            .map_err(|source| TeeError::io("read", &path, source))?;
        value.as_slice().try_into().map_err(|_| length(&path, value.len()))
    }

    fn rtmr(&self, index: u32) -> Result<Rtmr, TeeError> {
        self.read_register(&rtmr_name(index)).map(Rtmr)
    }
}

impl Tee for TdxGuest {
    fn registers(&self) -> Result<Registers, TeeError> {
        Ok(Registers {
            mrtd: Mrtd(self.read_register("mrtd:sha384")?),
            rtmrs: [self.rtmr(0)?, self.rtmr(1)?, self.rtmr(2)?, self.rtmr(3)?],
            mr_config_id: self.mr_config_id()?,
        })
    }

    fn runtime_register(&self) -> Result<Rtmr, TeeError> {
        self.rtmr(RUNTIME_REGISTER)
    }

    fn extend(&self, digest: &Sha384Digest) -> Result<(), TeeError> {
        let path = self.measurements.join(rtmr_name(RUNTIME_REGISTER));
        let mut file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|source| TeeError::io("open", &path, source))?;
        // `write`, not `write_all`: a second write would be a second extension.
        match file
            .write(digest.as_bytes())
            .map_err(|source| TeeError::io("extend", &path, source))?
        {
            REGISTER_BYTES => Ok(()),
            found => Err(length(&path, found)),
        }
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, TeeError> {
        report::quote(&self.reports, report_data)
    }
}

fn length(path: &Path, found: usize) -> TeeError {
    TeeError::Length { path: path.display().to_string(), found, expected: REGISTER_BYTES }
}

fn rtmr_name(index: u32) -> String {
    format!("rtmr{index}:sha384")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake_sysfs() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let measurements = root.path().join(MEASUREMENTS);
        std::fs::create_dir_all(&measurements).unwrap();
        for (value, name) in [
            "mrtd:sha384",
            "rtmr0:sha384",
            "rtmr1:sha384",
            "rtmr2:sha384",
            "rtmr3:sha384",
            "mrconfigid",
        ]
        .into_iter()
        .enumerate()
        {
            std::fs::write(measurements.join(name), [value as u8; REGISTER_BYTES]).unwrap();
        }
        root
    }

    #[test]
    fn registers_are_read_by_their_names() {
        let root = fake_sysfs();
        let registers = TdxGuest::open(root.path()).unwrap().registers().unwrap();
        assert_eq!(
            (registers.mrtd.0[0], registers.rtmrs[3].0[0], registers.mr_config_id.0[0]),
            (0, 4, 5)
        );
    }

    #[test]
    fn a_machine_without_the_driver_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(TdxGuest::open(root.path()), Err(TeeError::NoDevice { .. })));
    }

    #[test]
    fn a_register_of_another_length_is_refused() {
        let root = fake_sysfs();
        let tdx = TdxGuest::open(root.path()).unwrap();
        for wrong in [47, 49] {
            std::fs::write(tdx.measurements.join("rtmr3:sha384"), vec![0; wrong]).unwrap();
            assert!(
                matches!(tdx.runtime_register(), Err(TeeError::Length { found, .. }) if found == wrong)
            );
        }
    }

    #[test]
    fn an_extension_is_one_write_of_48_bytes() {
        let root = fake_sysfs();
        let tdx = TdxGuest::open(root.path()).unwrap();
        tdx.extend(&Sha384Digest([7; 48])).unwrap();
        assert_eq!(std::fs::read(tdx.measurements.join("rtmr3:sha384")).unwrap(), [7; 48]);
        std::fs::remove_file(tdx.measurements.join("rtmr3:sha384")).unwrap();
        assert!(matches!(
            tdx.extend(&Sha384Digest([7; 48])),
            Err(TeeError::Io { action: "open", .. })
        ));
    }
}
