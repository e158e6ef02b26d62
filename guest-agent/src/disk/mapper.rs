//! The kernel's device mapper: a device of one encrypted target is made, found by its number, and
//! removed.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use zeroize::Zeroize as _;

use super::key::{Key, TableError};
use crate::sys::{self, MAPPER_HEADER_BYTES, MapperCommand, MapperRequest};

/// The device mapper's own node.
const CONTROL: &str = "/dev/mapper/control";
/// What is spoken here; kernels of the same major version and no smaller minor one understand it.
const VERSION: [u32; 3] = [4, 0, 0];
/// The kernel wipes its copies of the request, and ours, when it is done (`DM_SECURE_DATA_FLAG`).
const SECURE_DATA: u32 = 1 << 15;
/// Type of the only target.
const CRYPT: &[u8] = b"crypt\0";

/// A step that the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum MapperError {
    /// no device mapper
    #[error("{CONTROL}: {0}")]
    Control(io::Error),
    /// a command failed
    #[error("device mapper, {command:?}: {source}")]
    Refused {
        /// The command.
        command: MapperCommand,
        /// What the kernel said.
        source: io::Error,
    },
    /// the parameters do not fit
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The open control node.
pub struct Mapper {
    control: File,
}

impl Mapper {
    /// Opens the control node.
    pub fn open() -> Result<Self, MapperError> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONTROL)
            .map_err(MapperError::Control)?;
        Ok(Self { control })
    }

    /// Makes the device `name`: all of `node`, which has `sectors` sectors, encrypted under `key`;
    /// gives its node.
    pub fn encrypt(
        &self,
        name: &str,
        node: &str,
        sectors: u64,
        key: &Key,
    ) -> Result<PathBuf, MapperError> {
        let mut made = Request::about(name);
        self.send(MapperCommand::Create, &mut made)?;
        let path = PathBuf::from(format!("/dev/dm-{}", minor(made.0.dev)));
        self.start(name, node, sectors, key).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.remove_if_there(name);
        })?;
        Ok(path)
    }

    fn start(&self, name: &str, node: &str, sectors: u64, key: &Key) -> Result<(), MapperError> {
        let mut load = Request::about(name);
        load.set_target(node, sectors, key)?;
        self.send(MapperCommand::LoadTable, &mut load)?;
        self.send(MapperCommand::Suspend, &mut Request::about(name))
    }

    /// Removes the device `name`, with its key, if there is one.
    pub fn remove_if_there(&self, name: &str) -> Result<(), MapperError> {
        match self.send(MapperCommand::Remove, &mut Request::about(name)) {
            Err(MapperError::Refused { source, .. })
                if source.raw_os_error() == Some(Errno::ENXIO as i32) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    fn send(&self, command: MapperCommand, request: &mut Request) -> Result<(), MapperError> {
        sys::mapper(&self.control, command, &mut request.0)
            .map_err(|source| MapperError::Refused { command, source })
    }
}

/// A request, wiped when it is no longer needed.
struct Request(Box<MapperRequest>);

impl Request {
    /// About the device `name`, without a target.
    fn about(name: &str) -> Self {
        let mut request = Box::new(MapperRequest {
            version: VERSION,
            data_size: 0,
            data_start: MAPPER_HEADER_BYTES as u32,
            target_count: 0,
            open_count: 0,
            flags: SECURE_DATA,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: [0; 128],
            uuid: [0; 129],
            data: [0; 7],
            sector_start: 0,
            length: 0,
            status: 0,
            next: 0,
            target_type: [0; 16],
            parameters: [0; 512],
        });
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Self(request)
    }

    fn set_target(&mut self, node: &str, sectors: u64, key: &Key) -> Result<(), TableError> {
        let request = &mut self.0;
        request.target_count = 1;
        request.length = sectors;
        request.next = (size_of::<MapperRequest>() - MAPPER_HEADER_BYTES) as u32;
        request.target_type[..CRYPT.len()].copy_from_slice(CRYPT);
        key.write_table(node, &mut request.parameters)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.parameters.zeroize();
    }
}

/// The minor number in the kernel's 64-bit form: eight low bits, and the others above the major
/// number.
fn minor(dev: u64) -> u64 {
    dev & 0xff | dev >> 12 & 0xf_ff00
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_device_and_its_one_target() {
        let mut request = Request::about("dstyx-data");
        assert_eq!(&request.0.name[..11], b"dstyx-data\0");
        request.set_target("/dev/vdc", 2_097_152, &Key::random().unwrap()).unwrap();
        let MapperRequest {
            target_count, length, next, data_start, target_type, parameters, ..
        } = *request.0;
        assert_eq!((target_count, length, next, data_start), (1, 2_097_152, 552, 312));
        assert_eq!(&target_type[..6], b"crypt\0");
        assert!(parameters.starts_with(b"aes-xts-plain64 "));
    }

    #[test]
    fn device_numbers_are_read_as_the_kernel_writes_them() {
        assert_eq!(minor(0xfd00), 0);
        assert_eq!(minor(0x0010_fd02), 0x102);
    }
}
