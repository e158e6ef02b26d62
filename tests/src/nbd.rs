//! A block server for QEMU: disks of guests whose every read, write and flush a test sees.
//!
//! NBD's fixed newstyle handshake and simple replies, as far as QEMU's client needs them. Source:
//! `doc/proto.md` of the NBD project.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tempfile::TempDir;

const SERVER_MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_NO_ZEROES`, of server and client.
const HANDSHAKE_FLAGS: u16 = 3;
/// `NBD_FLAG_HAS_FLAGS` and `NBD_FLAG_SEND_FLUSH`.
const TRANSMISSION_FLAGS: u16 = 1 | 4;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// `NBD_INFO_EXPORT`.
const INFO_EXPORT: u16 = 0;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const EINVAL: u32 = 22;
/// Most bytes of one option or request: QEMU's are at most 32 MiB.
const MAX_BYTES: u32 = 32 << 20;

/// A disk behind the server. Requests of one come in order, and are done when they return.
pub trait Export: Send {
    /// Its size.
    fn bytes(&self) -> u64;
    /// Fills `to` with what is at `offset`.
    fn read(&mut self, offset: u64, to: &mut [u8]);
    /// Keeps `data` at `offset`.
    fn write(&mut self, offset: u64, data: &[u8]);
    /// Whatever was written is durable from here on.
    fn flush(&mut self);
}

/// Disks by their names.
pub type Exports = BTreeMap<&'static str, Arc<Mutex<dyn Export>>>;

/// A server on a socket of its own. It serves until the test ends.
#[derive(Debug)]
pub struct Server {
    directory: TempDir,
}

impl Server {
    /// Serves these disks by their names.
    pub fn start(exports: Exports) -> Self {
        let server = Self { directory: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(server.socket()).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let exports = exports.clone();
                // A client that goes away ends its connection only.
                std::thread::spawn(move || serve(&stream, &exports));
            }
        });
        server
    }

    /// `BlockdevOptions` of a client of one of them, as the file of a raw node.
    pub fn node(&self, export: &str) -> serde_json::Value {
        json!({
            "driver": "nbd", "export": export,
            "server": { "type": "unix", "path": self.socket() },
        })
    }

    fn socket(&self) -> PathBuf {
        Path::new(self.directory.path()).join("nbd.sock")
    }
}

fn serve(stream: &UnixStream, exports: &Exports) -> io::Result<()> {
    let mut writer = stream;
    writer.write_all(SERVER_MAGIC)?;
    writer.write_all(OPTION_MAGIC)?;
    writer.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    number::<4>(stream)?;
    let Some(export) = negotiated(stream, exports)? else { return Ok(()) };
    while let Some(request) = Request::read(stream)? {
        request.answer(stream, &export)?;
    }
    Ok(())
}

/// Answers options until the client has chosen a disk.
fn negotiated(
    stream: &UnixStream,
    exports: &Exports,
) -> io::Result<Option<Arc<Mutex<dyn Export>>>> {
    loop {
        let mut magic = [0; 8];
        let mut reader = stream;
        reader.read_exact(&mut magic)?;
        if magic != *OPTION_MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let option = number::<4>(stream)? as u32;
        let data = bytes(stream, number::<4>(stream)? as u32)?;
        // A length, the name, and what the client wants to know besides.
        let name = (option == OPTION_GO).then(|| {
            let end = data.get(..4)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) + 4;
            std::str::from_utf8(data.get(4..end)?).ok()
        });
        match name.flatten().and_then(|name| exports.get(name)) {
            Some(export) => {
                let size = export.lock().unwrap().bytes();
                let info = [
                    &INFO_EXPORT.to_be_bytes()[..],
                    &size.to_be_bytes(),
                    &TRANSMISSION_FLAGS.to_be_bytes(),
                ];
                reply(stream, option, REPLY_INFO, &info.concat())?;
                reply(stream, option, REPLY_ACK, &[])?;
                return Ok(Some(Arc::clone(export)));
            }
            None => reply(stream, option, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn reply(mut stream: &UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    let parts = [
        &OPTION_REPLY_MAGIC.to_be_bytes()[..],
        &option.to_be_bytes(),
        &kind.to_be_bytes(),
        &length.to_be_bytes(),
        data,
    ];
    stream.write_all(&parts.concat())
}

/// One request; the data of a write is in it.
struct Request {
    kind: u16,
    cookie: u64,
    offset: u64,
    length: u32,
    data: Vec<u8>,
}

impl Request {
    /// The next one, unless the client has gone.
    fn read(stream: &UnixStream) -> io::Result<Option<Self>> {
        if number::<4>(stream)? != u64::from(REQUEST_MAGIC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // No flag was offered.
        number::<2>(stream)?;
        let kind = number::<2>(stream)? as u16;
        let (cookie, offset) = (number::<8>(stream)?, number::<8>(stream)?);
        let length = number::<4>(stream)? as u32;
        let data = if kind == WRITE { bytes(stream, length)? } else { Vec::new() };
        Ok((kind != DISCONNECT).then_some(Self { kind, cookie, offset, length, data }))
    }

    fn answer(&self, mut stream: &UnixStream, export: &Mutex<dyn Export>) -> io::Result<()> {
        let mut export = export.lock().unwrap();
        let mut data = Vec::new();
        let mut error = 0;
        match self.kind {
            READ if self.length <= MAX_BYTES => {
                data.resize(self.length as usize, 0);
                export.read(self.offset, &mut data);
            }
            WRITE => export.write(self.offset, &self.data),
            FLUSH => export.flush(),
            _ => error = EINVAL,
        }
        drop(export);
        let parts = [
            &REPLY_MAGIC.to_be_bytes()[..],
            &error.to_be_bytes(),
            &self.cookie.to_be_bytes(),
            &data,
        ];
        stream.write_all(&parts.concat())
    }
}

/// A number of `N` bytes, most significant first.
fn number<const N: usize>(mut stream: &UnixStream) -> io::Result<u64> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn bytes(mut stream: &UnixStream, length: u32) -> io::Result<Vec<u8>> {
    if length > MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
