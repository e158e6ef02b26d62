//! The socket that QEMU's second serial port connects to, and the loop behind it.
//!
//! One service serves one virtual machine: its first peer is QEMU, and when QEMU goes, so does the
//! service.

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use x509_cert::der::DateTime;

use crate::collateral::Collateral;
use crate::firmware_log;
use crate::frame::Decoder;
use crate::journal::Journal;
use crate::lie::Lie;
use crate::measure::{LaunchMeasurement, MeasureError};
use crate::pki::machine::Machine;
use crate::pki::{Chain, PkiError};
use crate::qemu::{LaunchArguments, QemuError};
use crate::quote::platform::pck_facts_of;
use crate::quote::{QuoteVersion, Quoter};
use crate::registers::Register;
use crate::session::{News, Session};
use crate::state_dir::{StateDir, StateDirError};

/// A service whose QEMU never comes ends after this; QEMU connects within a second of its start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the socket is looked at meanwhile.
const CONNECT_POLL: Duration = Duration::from_millis(20);
/// A frame whose rest does not come within this was cut off; the driver's own limit is 5 s.
const FRAME_GAP: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// What to serve.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Where QEMU connects.
    pub socket: PathBuf,
    /// Directory for files.
    pub state_dir: PathBuf,
    /// MRCONFIGID of the TD.
    pub mrconfigid: Register,
    /// Which machine makes the quotes.
    pub machine: Machine,
    /// Layout of quotes.
    pub quote_version: QuoteVersion,
    /// What to lie about.
    pub lie: Option<Lie>,
    /// When the collateral is issued.
    pub now: DateTime,
}

/// Why the service ended other than with its QEMU.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// the state directory cannot be used
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// certificates or collateral could not be made
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// the socket cannot be used
    #[error("socket {path}: {source}", path = .path.display())]
    Socket {
        /// Path of the socket.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// nobody connected
    #[error("no QEMU connected within {} s", CONNECT_TIMEOUT.as_secs())]
    NobodyCame,
    /// what QEMU runs could not be learnt
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// what QEMU runs could not be measured
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// the connection broke
    #[error("connection to QEMU: {0}")]
    Connection(#[source] io::Error),
}

impl ServiceError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::StateDir(StateDirError::InUse(_)) => {
                "give every virtual machine a state directory of its own"
            }
            Self::StateDir(StateDirError::File { .. }) => {
                "the state directory must exist and be writable"
            }
            Self::Pki(_) => {
                "look at --now: certificates are issued for one year before and after it, until 2049"
            }
            Self::Socket { .. } => {
                "the directory must exist and be writable, and the path have at most 107 bytes"
            }
            Self::NobodyCame => {
                "start QEMU after this service, with -chardev socket,id=tdx,path=SOCKET"
            }
            Self::Qemu(QemuError::Process { .. }) => {
                "run this service as the user who runs QEMU, in its PID namespace"
            }
            Self::Qemu(QemuError::File { .. }) => {
                "give QEMU paths, not names in its own data directory, and leave the files alone"
            }
            Self::Qemu(_) => {
                "a dstyx guest is started with -bios, -kernel, -initrd, -append and -m, each once"
            }
            Self::Measure(_) => {
                "launch the files of one image directory, as `dstyx build` makes it"
            }
            Self::Connection(_) => "look whether QEMU crashed",
        }
    }
}

/// A service that listens.
#[derive(Debug)]
pub struct Service {
    config: ServiceConfig,
    state: StateDir,
    journal: Journal,
    listener: UnixListener,
    quoter: Quoter,
}

impl Service {
    /// Makes certificates and collateral, writes them, and listens.
    pub fn start(config: ServiceConfig) -> Result<Self, ServiceError> {
        let state = StateDir::claim(&config.state_dir)?;
        let log = state.log();
        let journal =
            Journal::open(&log).map_err(|source| StateDirError::File { path: log, source })?;
        let chain =
            Chain::issue(config.now, &pck_facts_of(config.machine, config.lie), config.lie)?;
        let quoter = Quoter::new(&chain, config.quote_version, config.lie)?;
        state.write_collateral(&Collateral::issue(&chain, config.now, config.lie)?.to_json())?;
        let listener = listen(&config.socket)
            .map_err(|source| ServiceError::Socket { path: config.socket.clone(), source })?;
        Ok(Self { config, state, journal, listener, quoter })
    }

    /// Serves one QEMU until it goes; the socket goes with it. Errors are in the log when this
    /// returns.
    pub fn run(mut self) -> Result<(), ServiceError> {
        if let Some(lie) = self.config.lie {
            self.journal.note(&format!("told to lie: {lie:?}"));
        }
        let served = self.accept().and_then(|(stream, session)| self.serve(stream, session));
        let _ = std::fs::remove_file(&self.config.socket);
        match &served {
            Ok(()) => self.journal.note("QEMU has gone"),
            Err(error) => self.journal.problem(error, error.hint()),
        }
        served
    }

    /// Waits for QEMU and measures what it was started with, at once: the files are then as it read
    /// them.
    fn accept(&mut self) -> Result<(UnixStream, Session), ServiceError> {
        let stream = self.wait_for_peer()?;
        let pid = peer_pid(&stream).map_err(ServiceError::Connection)?;
        let arguments = LaunchArguments::of_process(pid)?;
        let LaunchArguments { vcpus, memory_bytes, firmware, .. } = &arguments;
        let (memory_mib, firmware) = (memory_bytes >> 20, firmware.display());
        self.journal.note(&format!(
            "QEMU is process {pid}: {vcpus} vCPUs, {memory_mib} MiB, firmware {firmware}"
        ));
        let launch = LaunchMeasurement::of(&arguments.read_files()?)?;
        Ok((stream, Session::new(launch, self.config.mrconfigid, self.quoter.clone())))
    }

    fn wait_for_peer(&self) -> Result<UnixStream, ServiceError> {
        let socket = |source| ServiceError::Socket { path: self.config.socket.clone(), source };
        self.listener.set_nonblocking(true).map_err(socket)?;
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(ServiceError::Connection)?;
                    return Ok(stream);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    std::thread::sleep(CONNECT_POLL);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(ServiceError::NobodyCame);
                }
                Err(error) => return Err(socket(error)),
            }
        }
    }

    fn serve(&mut self, mut stream: UnixStream, mut session: Session) -> Result<(), ServiceError> {
        stream.set_read_timeout(Some(FRAME_GAP)).map_err(ServiceError::Connection)?;
        let mut decoder = Decoder::default();
        let mut bytes = vec![0; READ_BYTES];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => decoder.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if decoder.abandon_partial() {
                        self.journal.note("a frame was cut off");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(ServiceError::Connection(error)),
            }
            while let Some(frame) = decoder.next_frame() {
                let outcome = session.answer(&frame);
                self.tell(outcome.news, decoder.skipped())?;
                match stream.write_all(&outcome.reply.encode()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(error) => return Err(ServiceError::Connection(error)),
                }
            }
        }
    }

    fn tell(&mut self, news: News, skipped: u64) -> Result<(), ServiceError> {
        match news {
            News::None => {}
            News::Started(events) => {
                self.state.write_firmware_log(&firmware_log::to_json(&events))?;
                self.journal.note(&format!(
                    "the guest has started ({skipped} bytes of noise on the line so far)"
                ));
            }
            News::Extended { index, digest } => {
                self.journal.note(&format!("RTMR{index} extended by {}", hex::encode(digest)));
            }
            News::Quoted => self.journal.note("a quote was made"),
            News::Refused(error) => self.journal.problem(&error, error.hint()),
        }
        Ok(())
    }
}

/// Binds the socket for this user only. A socket left behind is replaced; the state directory's
/// lock says that its service is dead. Anything else at the path stays.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn peer_pid(stream: &UnixStream) -> io::Result<i32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.pid.as_raw_nonzero().get())
}
