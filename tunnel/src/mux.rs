//! The state of one side of a tunnel: streams, what was received for them, and frames to send.
//!
//! Pure. What the peer sends is bounded before it is kept: data by the window of its stream,
//! streams in number, answers by what waits already. A peer that breaks a rule ends its tunnel
//! and no other.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use crate::frame::{FrameError, HEAD_BYTES, Head, Kind, MAX_DATA_BYTES, MAX_STATEMENT_BYTES};
use crate::{MAX_STREAMS, MAX_WAITING_BYTES, WINDOW_BYTES};

/// Bytes of the largest payload that is neither data nor a statement.
const SMALL_BYTES: usize = 4;

/// Streams of the guest's side with those that have ended and not been left yet.
const MAX_KNOWN: usize = 4 * MAX_STREAMS;

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It opens streams.
    Gateway,
    /// It connects them to its ports.
    Guest,
}

/// A rule that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// no frame
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// a frame that only the other side sends
    #[error("a frame of kind {0:?} comes from the wrong side")]
    Side(Kind),
    /// a stream that was never opened
    #[error("stream {0} was never opened")]
    Unknown(u32),
    /// a stream that is opened out of turn
    #[error("stream {found} is opened, the next one is {next}")]
    Order {
        /// The stream stated.
        found: u32,
        /// The next one.
        next: u32,
    },
    /// too many streams
    #[error("more than {MAX_STREAMS} streams at a time")]
    Streams,
    /// port 0
    #[error("a stream to port 0")]
    Port,
    /// data beyond the window
    #[error("stream {0} has more data than its window takes")]
    Window(u32),
    /// a window that is too large
    #[error("stream {0} is given a window beyond {WINDOW_BYTES} bytes")]
    Credit(u32),
    /// a frame that comes too late or twice
    #[error("a frame of kind {kind:?} does not fit what stream {stream} has seen")]
    State {
        /// The kind.
        kind: Kind,
        /// The stream.
        stream: u32,
    },
    /// questions without reading the answers
    #[error("the peer asks, and does not read the answers")]
    Unread,
}

/// What a received frame means to its side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something of a stream changed that its holder may wait for.
    Stream(u32),
    /// The gateway opens a stream to a port; it is to be connected or reset.
    Opened(u32, NonZeroU16),
    /// The guest says whether its app is ready.
    Ready(bool),
    /// The peer shows what its KMS says of it now.
    Statement(Vec<u8>),
}

/// What a reader of a stream gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The peer sends nothing more.
    End,
    /// The stream broke off.
    Reset,
    /// Nothing yet.
    Wait,
}

/// What a writer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// So many bytes are taken.
    Taken(usize),
    /// The stream broke off, or was ended by this side.
    Closed,
    /// None can be taken yet.
    Wait,
}

#[derive(Debug)]
struct Stream {
    /// Whether the guest has connected the port.
    connected: bool,
    received: VecDeque<u8>,
    /// Bytes that the peer may still send.
    window: u32,
    /// Bytes that were read since the peer was last given credit.
    read: u32,
    /// Bytes that this side may still send.
    credit: u32,
    /// Whether the peer sends more.
    peer_open: bool,
    /// Whether this side does.
    own_open: bool,
    reset: bool,
}

impl Stream {
    fn new(connected: bool) -> Self {
        Self {
            connected,
            received: VecDeque::new(),
            window: WINDOW_BYTES,
            read: 0,
            credit: WINDOW_BYTES,
            peer_open: true,
            own_open: true,
            reset: false,
        }
    }

    fn is_active(&self) -> bool {
        !self.reset && (self.peer_open || self.own_open)
    }
}

/// One side's state.
#[derive(Debug)]
pub struct Mux {
    side: Side,
    streams: BTreeMap<u32, Stream>,
    /// The number of the next stream; none is used twice.
    next: u32,
    /// Frames to send.
    waiting: Vec<u8>,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    payload: [u8; SMALL_BYTES],
    /// As much of a statement as came.
    statement: Vec<u8>,
    /// The frame whose payload is being received, and how much of that came.
    current: Option<(Head, usize)>,
}

impl Mux {
    /// Without streams.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            streams: BTreeMap::new(),
            next: 1,
            waiting: Vec::new(),
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            payload: [0; SMALL_BYTES],
            statement: Vec::new(),
            current: None,
        }
    }

    /// Takes bytes of the peer, however they are cut.
    ///
    /// # Errors
    /// If the peer breaks a rule; the tunnel is to be ended.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        mut event: impl FnMut(Event),
    ) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let Some((head, came)) = self.current else {
                let count = bytes.len().min(HEAD_BYTES - self.head_bytes);
                self.head[self.head_bytes..self.head_bytes + count]
                    .copy_from_slice(&bytes[..count]);
                self.head_bytes += count;
                bytes = &bytes[count..];
                if self.head_bytes == HEAD_BYTES {
                    self.head_bytes = 0;
                    self.begin(Head::decode(self.head)?, &mut event)?;
                }
                continue;
            };
            let (part, rest) = bytes.split_at(bytes.len().min(head.bytes - came));
            match head.kind {
                Kind::Data => self.data(head.stream, part, &mut event),
                Kind::Statement => self.statement.extend(part),
                _ => self.payload[came..came + part.len()].copy_from_slice(part),
            }
            bytes = rest;
            let came = came + part.len();
            self.current = (came < head.bytes).then_some((head, came));
            if came == head.bytes && head.kind != Kind::Data {
                self.control(head, &mut event)?;
            }
        }
        Ok(())
    }

    /// Judges a head, before its payload is taken.
    fn begin(&mut self, head: Head, event: &mut impl FnMut(Event)) -> Result<(), Violation> {
        let from = match head.kind {
            Kind::Open => Some(Side::Gateway),
            Kind::Connected | Kind::Ready => Some(Side::Guest),
            _ => None,
        };
        if from == Some(self.side) {
            return Err(Violation::Side(head.kind));
        }
        if head.kind == Kind::Data {
            self.announce(head)?;
        }
        if head.bytes == 0 {
            return self.control(head, event);
        }
        self.current = Some((head, 0));
        Ok(())
    }

    /// Counts data against the window of its stream.
    fn announce(&mut self, head: Head) -> Result<(), Violation> {
        let Some(stream) = self.known(head.stream)? else { return Ok(()) };
        let length = u32::try_from(head.bytes).unwrap_or(u32::MAX);
        if !stream.peer_open || !stream.connected {
            return Err(Violation::State { kind: Kind::Data, stream: head.stream });
        }
        stream.window = stream.window.checked_sub(length).ok_or(Violation::Window(head.stream))?;
        Ok(())
    }

    fn data(&mut self, id: u32, part: &[u8], event: &mut impl FnMut(Event)) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.reset) {
            stream.received.extend(part);
            event(Event::Stream(id));
        }
    }

    /// A stream, or nothing where this side has left it and the peer does not know yet.
    fn known(&mut self, id: u32) -> Result<Option<&mut Stream>, Violation> {
        if id >= self.next {
            return Err(Violation::Unknown(id));
        }
        Ok(self.streams.get_mut(&id).filter(|stream| !stream.reset))
    }

    /// Does what a whole frame says.
    fn control(&mut self, head: Head, event: &mut impl FnMut(Event)) -> Result<(), Violation> {
        let id = head.stream;
        let wrong = Violation::State { kind: head.kind, stream: id };
        match head.kind {
            Kind::Open => return self.opened(id, event),
            Kind::Ready => event(Event::Ready(self.payload[0] == 1)),
            Kind::Statement => event(Event::Statement(std::mem::take(&mut self.statement))),
            Kind::Ping if self.waiting.len() > MAX_WAITING_BYTES => return Err(Violation::Unread),
            Kind::Ping => self.send(Kind::Pong, 0, &[]),
            Kind::Pong | Kind::Data => {}
            Kind::Connected | Kind::Credit | Kind::End | Kind::Reset => {
                let credit = u32::from_be_bytes(self.payload);
                let Some(stream) = self.known(id)? else { return Ok(()) };
                match head.kind {
                    Kind::Connected if stream.connected => return Err(wrong),
                    Kind::Connected => stream.connected = true,
                    Kind::Credit => {
                        let more = stream.credit.checked_add(credit);
                        let fits = more.filter(|more| *more <= WINDOW_BYTES);
                        stream.credit = fits.ok_or(Violation::Credit(id))?;
                    }
                    Kind::End if !stream.peer_open || !stream.connected => return Err(wrong),
                    Kind::End => stream.peer_open = false,
                    // It has sent all and reads no more: what it sent still counts.
                    _ if !stream.peer_open => stream.own_open = false,
                    _ => stream.reset = true,
                }
                event(Event::Stream(id));
            }
        }
        Ok(())
    }

    fn opened(&mut self, id: u32, event: &mut impl FnMut(Event)) -> Result<(), Violation> {
        if id != self.next {
            return Err(Violation::Order { found: id, next: self.next });
        }
        // Streams that have ended may still have a holder here, of which the gateway knows nothing.
        let active = self.streams.values().filter(|stream| stream.is_active()).count();
        if active >= MAX_STREAMS || self.streams.len() >= MAX_KNOWN {
            return Err(Violation::Streams);
        }
        let port = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        let port = NonZeroU16::new(port).ok_or(Violation::Port)?;
        // At the last number the gateway opens no further one.
        self.next = self.next.saturating_add(1);
        self.streams.insert(id, Stream::new(true));
        event(Event::Opened(id, port));
        Ok(())
    }

    fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        self.waiting.extend(Head { kind, stream, bytes: payload.len() }.encode());
        self.waiting.extend(payload);
    }

    /// Opens a stream to a port; nothing if the tunnel takes no further one now.
    pub fn open(&mut self, port: NonZeroU16) -> Option<u32> {
        // Data stop at half of that, so a busy tunnel still opens streams.
        let stuck = self.waiting.len() >= 2 * MAX_WAITING_BYTES;
        let full = self.streams.len() >= MAX_STREAMS || stuck;
        if full || self.next == u32::MAX || self.side == Side::Guest {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.streams.insert(id, Stream::new(false));
        self.send(Kind::Open, id, &port.get().to_be_bytes());
        Some(id)
    }

    /// Whether the guest has connected a stream; nothing as long as it has not answered.
    pub fn is_connected(&self, id: u32) -> Option<bool> {
        match self.streams.get(&id) {
            Some(stream) if !stream.reset => stream.connected.then_some(true),
            _ => Some(false),
        }
    }

    /// The guest's answer: the port is connected.
    pub fn connect(&mut self, id: u32) {
        self.send(Kind::Connected, id, &[]);
    }

    /// The guest says whether its app is ready.
    pub fn say_ready(&mut self, ready: bool) {
        self.send(Kind::Ready, 0, &[u8::from(ready)]);
    }

    /// Shows what this side's KMS says of it now; gives whether it was taken: a peer that reads
    /// nothing is shown nothing, and so is one for which it is too long.
    pub fn say_statement(&mut self, statement: &[u8]) -> bool {
        let fits = (1..=MAX_STATEMENT_BYTES).contains(&statement.len());
        let taken = fits && self.waiting.len() < MAX_WAITING_BYTES;
        if taken {
            self.send(Kind::Statement, 0, statement);
        }
        taken
    }

    /// Asks whether the peer is there.
    pub fn ping(&mut self) {
        if self.waiting.len() < MAX_WAITING_BYTES {
            self.send(Kind::Ping, 0, &[]);
        }
    }

    /// Reads what a stream has received. What came before a reset is not delivered: its reader
    /// learns at once that the rest is missing.
    pub fn read(&mut self, id: u32, space: &mut [u8]) -> Read {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.reset) else {
            return Read::Reset;
        };
        if stream.received.is_empty() {
            return if stream.peer_open { Read::Wait } else { Read::End };
        }
        let mut count = 0;
        let (first, second) = stream.received.as_slices();
        for part in [first, second] {
            let taken = part.len().min(space.len() - count);
            space[count..count + taken].copy_from_slice(&part[..taken]);
            count += taken;
        }
        stream.received.drain(..count);
        if stream.received.is_empty() {
            // A stream may be quiet for hours.
            stream.received = VecDeque::new();
        }
        stream.read += count as u32;
        if stream.read >= WINDOW_BYTES / 2 && stream.peer_open {
            let credit = std::mem::take(&mut stream.read);
            stream.window += credit;
            self.send(Kind::Credit, id, &credit.to_be_bytes());
        }
        Read::Bytes(count)
    }

    /// Takes bytes to send, as many as the peer and what waits already allow.
    pub fn write(&mut self, id: u32, bytes: &[u8]) -> Write {
        let room = MAX_WAITING_BYTES.saturating_sub(self.waiting.len());
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.reset) else {
            return Write::Closed;
        };
        if !stream.own_open {
            return Write::Closed;
        }
        let count = bytes.len().min(MAX_DATA_BYTES).min(stream.credit as usize).min(room);
        if count == 0 {
            return if bytes.is_empty() { Write::Taken(0) } else { Write::Wait };
        }
        stream.credit -= count as u32;
        self.send(Kind::Data, id, &bytes[..count]);
        Write::Taken(count)
    }

    /// This side sends nothing more.
    pub fn end(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.reset)
            && std::mem::replace(&mut stream.own_open, false)
        {
            self.send(Kind::End, id, &[]);
        }
    }

    /// This side leaves a stream; the peer learns of it unless both had ended.
    pub fn leave(&mut self, id: u32) {
        if self.streams.remove(&id).is_some_and(|stream| stream.is_active()) {
            self.send(Kind::Reset, id, &[]);
        }
    }

    /// All streams break off.
    pub fn break_off(&mut self) {
        for stream in self.streams.values_mut() {
            stream.reset = true;
        }
    }

    /// Frames to send, which are taken.
    pub fn take_waiting(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether there are frames to send.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Streams that somebody holds.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests;
