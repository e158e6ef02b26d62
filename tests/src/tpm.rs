//! A software TPM 2.0 (swtpm) that a virtual machine measures into and that is asked for its PCRs
//! afterwards.
//!
//! QEMU holds swtpm's control channel while it runs. When QEMU is killed, the TPM goes on with what
//! it has; a machine that ended by itself would have told it to end too. Sources: swtpm 0.7
//! `swtpm_ioctls(3)`; TCG TPM 2.0 Library, Part 3, section 22.4 (`TPM2_PCR_Read`).

use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use protocol::digest::Rtmr;

use crate::lab;

/// Until swtpm listens.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A TPM in software answers at once.
const ANSWER: Duration = Duration::from_secs(10);
/// The algorithm identifier of SHA-384 and the length of its digests.
const SHA384: u16 = 0x000c;
const SHA384_BYTES: usize = 48;

/// A running TPM with an empty state; it is killed when this is dropped.
#[derive(Debug)]
pub struct Tpm {
    child: Child,
    control: PathBuf,
}

impl Tpm {
    /// Starts the TPM of the root `tools`; its state and its socket lie in `directory`.
    ///
    /// # Errors
    /// If it does not start to listen.
    pub fn start(tools: &Path, directory: &Path) -> io::Result<Self> {
        let control = directory.join("tpm.sock");
        let mut command = lab::tool(tools, "usr/bin/swtpm");
        command.args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", directory.display())]);
        command.args(["--ctrl", &format!("type=unixio,path={}", control.display())]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let tpm = Self { child, control };
        let started = Instant::now();
        while !tpm.control.exists() {
            if started.elapsed() > TIMEOUT {
                return Err(io::Error::other("swtpm does not listen"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(tpm)
    }

    /// The control socket, for QEMU.
    pub fn control_socket(&self) -> &Path {
        &self.control
    }

    /// The values of some PCRs of the SHA-384 bank. Nothing else may hold the control channel.
    ///
    /// # Errors
    /// If the TPM has no such bank or does not answer.
    pub fn pcrs<const N: usize>(&self, indices: [u8; N]) -> io::Result<[Rtmr; N]> {
        let (_control, mut data) = self.connect()?;
        let mut values = [Rtmr::ZERO; N];
        for (value, index) in values.iter_mut().zip(indices) {
            *value = read_pcr(&mut data, index)?;
        }
        Ok(values)
    }

    /// Opens the control channel, which must stay open, and passes it one end of a data channel.
    fn connect(&self) -> io::Result<(UnixStream, UnixStream)> {
        const SET_DATA_FD: u32 = 0x10;
        let mut control = UnixStream::connect(&self.control)?;
        let (ours, theirs) = UnixStream::pair()?;
        for stream in [&control, &ours] {
            stream.set_read_timeout(Some(ANSWER))?;
        }
        let command = SET_DATA_FD.to_be_bytes();
        let passed = [theirs.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&passed)];
        sendmsg::<()>(
            control.as_raw_fd(),
            &[IoSlice::new(&command)],
            &rights,
            MsgFlags::empty(),
            None,
        )?;
        let mut result = [0; 4];
        control.read_exact(&mut result)?;
        if result != [0; 4] {
            return Err(io::Error::other(format!("swtpm refuses a data channel: {result:02x?}")));
        }
        Ok((control, ours))
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_pcr(tpm: &mut UnixStream, index: u8) -> io::Result<Rtmr> {
    const NO_SESSIONS: u16 = 0x8001;
    const PCR_READ: u32 = 0x17e;
    const SELECTION_BYTES: u8 = 3;
    const COMMAND_BYTES: u32 = 20;
    let mut selected = [0; SELECTION_BYTES as usize];
    selected[usize::from(index / 8)] = 1 << (index % 8);
    let mut command = Vec::new();
    command.extend(NO_SESSIONS.to_be_bytes());
    command.extend(COMMAND_BYTES.to_be_bytes());
    command.extend(PCR_READ.to_be_bytes());
    command.extend(1u32.to_be_bytes());
    command.extend(SHA384.to_be_bytes());
    command.push(SELECTION_BYTES);
    command.extend(selected);
    tpm.write_all(&command)?;
    let mut header = [0; 10];
    tpm.read_exact(&mut header)?;
    let [_, _, length @ .., c0, c1, c2, c3] = header;
    let (length, code) = (u32::from_be_bytes(length), u32::from_be_bytes([c0, c1, c2, c3]));
    let mut body = vec![0; (length as usize).saturating_sub(header.len())];
    tpm.read_exact(&mut body)?;
    // Update counter, selection, number of digests, length of the digest; an absent bank gives no
    // digest.
    let value = body.get(20..).and_then(|digest| <[u8; SHA384_BYTES]>::try_from(digest).ok());
    match (code, value) {
        (0, Some(value)) => Ok(Rtmr(value)),
        _ => Err(io::Error::other(format!(
            "PCR {index}: code {code:#x}, answer {}",
            hex::encode(body)
        ))),
    }
}
