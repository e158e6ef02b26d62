//! Tunnels between a guest and a gateway: many streams over one connection that both have verified.
//!
//! [`frame`] and [`mux`] are pure: bytes in, bytes and facts out. [`Tunnel`] puts them on a
//! connection. Each side takes the other for an attacker: the peer can end its own tunnel, and make
//! the other side hold at most a window for each stream. Nothing inside a tunnel says who the guest
//! is; that was proved for the connection.
//!
//! A stream that breaks off, with its tunnel or alone, is an error to its reader and never an end:
//! whoever can cut a connection must not make half an answer look like a whole one.

#![forbid(unsafe_code)]

pub mod frame;
pub mod mux;
mod stream;

pub use mux::{Side, Violation};
pub use stream::{Ended, Tunnel, TunnelStream};

/// The application protocol of the channel that carries a tunnel; it names the version.
pub const ALPN: &[u8] = b"dstyx-gateway/1";
/// Streams of one tunnel at a time. A guest has several tunnels.
pub const MAX_STREAMS: usize = 512;
/// Bytes of a stream that its receiver holds at most.
pub const WINDOW_BYTES: u32 = 64 << 10;
/// Frames that wait to be written, beyond which no stream adds data.
pub const MAX_WAITING_BYTES: usize = 128 << 10;
