//! The helper's socket: one agent at a time, lines in, lines out, never a wait.
//!
//! An agent that connects takes the place of the one before, which is how a restarted agent gets
//! through while the kernel has not told us of the old one's end. An agent that does not read is
//! dropped.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::wire::{Control, MAX_LINE_BYTES, Report, SOCKET};

/// The listening socket and the agent that is connected, if one is.
pub(super) struct Agent {
    listener: UnixListener,
    connected: Option<Connected>,
}

struct Connected {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Agent {
    /// Listens in `directory`, for root only.
    pub(super) fn listen(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connected: None })
    }

    /// What to wait on for something to read.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &dyn AsFd> {
        let connected = self.connected.as_ref().map(|agent| &agent.stream as &dyn AsFd);
        std::iter::once(&self.listener as &dyn AsFd).chain(connected)
    }

    /// Takes a new connection, if there is one, and says `hello` to it.
    pub(super) fn accept(&mut self, hello: &Report) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok() {
            self.connected = Some(Connected { stream, line: Vec::new() });
            self.tell(hello);
        }
    }

    /// What has been asked since; an agent that breaks a rule is dropped.
    pub(super) fn asked(&mut self) -> Vec<Control> {
        let Some(agent) = &mut self.connected else { return Vec::new() };
        let mut controls = Vec::new();
        if agent.read(&mut controls).is_err() {
            self.connected = None;
        }
        controls
    }

    /// One line to the agent, if there is one.
    pub(super) fn tell(&mut self, report: &Report) {
        let Some(agent) = &mut self.connected else { return };
        let mut line = serde_json::to_vec(report).expect("a report is plain data");
        line.push(b'\n');
        if agent.stream.write_all(&line).is_err() {
            self.connected = None;
        }
    }
}

impl Connected {
    /// Reads until there is nothing left; an error is the end of the connection.
    fn read(&mut self, controls: &mut Vec<Control>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.take(&chunk[..count], controls)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], controls: &mut Vec<Control>) -> io::Result<()> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > MAX_LINE_BYTES {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                continue;
            }
            controls.push(serde_json::from_slice(&self.line)?);
            self.line.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn the_newest_agent_counts_and_a_bad_line_drops_it() {
        let directory = tempfile::tempdir().expect("directory");
        let mut agent = Agent::listen(directory.path()).expect("socket");
        let connect = || UnixStream::connect(directory.path().join(SOCKET)).expect("connect");
        let mut first = connect();
        agent.accept(&Report::Running { pid: 7 });
        first.write_all(b"{\"signal\":15}\n{\"sig").expect("write");
        assert_eq!(agent.asked(), [Control::Signal(15)]);
        first.write_all(b"nal\":9}\n").expect("write");
        assert_eq!(agent.asked(), [Control::Signal(9)]);

        let mut second = connect();
        agent.accept(&Report::Running { pid: 7 });
        let mut lines = BufReader::new(second.try_clone().expect("clone")).lines();
        assert_eq!(lines.next().expect("line").expect("text"), r#"{"state":"running","pid":7}"#);
        assert_eq!(BufReader::new(first).lines().count(), 1, "the first was let go");
        second.write_all(b"{\"signal\":15,\"more\":1}\n").expect("write");
        assert_eq!(agent.asked(), []);
        assert!(lines.next().is_none(), "dropped");
        assert_eq!(agent.descriptors().count(), 1);
    }
}
