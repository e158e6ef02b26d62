//! The attested channel: its roles, the frames that the two sides exchange behind the TLS
//! handshake, and the report data that binds a quote to one connection.
//!
//! `docs/attested-channel.md` is the specification; this module is its byte formats. Everything
//! that is decoded here comes from a peer that has proved nothing yet.

mod binding;
mod budgets;
mod frame;
mod message;
#[cfg(test)]
mod vectors;

pub use binding::{Binding, Direction, EXPORTER_BYTES, OwnerClaim};
pub use budgets::MAX_STATEMENT_BYTES;
pub use frame::{Frame, FrameError, HEADER_BYTES, Kind};
pub use message::{Hello, MessageError, OwnerProof, Proof, Refusal, RefusalCode};

use crate::report_data;

/// Version of the protocol; another one is another ALPN.
pub const VERSION: u8 = 1;
/// Bytes of each side's nonce.
pub const NONCE_BYTES: usize = 32;
/// Label of the TLS exporter (RFC 8446, section 7.5), whose context is empty.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-dstyx-channel-1";
/// Application protocol of the KMS.
pub const ALPN_KMS: &[u8] = b"dstyx-kms/1";
/// Application protocol of the owner's view of a guest.
pub const ALPN_OWNER: &[u8] = b"dstyx-owner/1";

/// The part that a side plays; it decides which report data its quote may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// The agent of a guest.
    Agent = 1,
    /// The process of a guest that runs Pads.
    Pads = 2,
    /// A container of a guest, such as a KMS or a gateway; which one, its compose hash says.
    App = 3,
    /// A client without evidence; it reaches public calls only.
    Unattested = 4,
    /// A client that signs with a key which the server's measured file names.
    Owner = 5,
}

impl Role {
    /// The role of a byte, if it is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Agent, Self::Pads, Self::App, Self::Unattested, Self::Owner]
            .into_iter()
            .find(|role| *role as u8 == byte)
    }

    /// The role in whose name this side's quotes are made; none for a client that has no quote.
    pub fn quoting(self) -> Option<report_data::Role> {
        match self {
            Self::Agent => Some(report_data::Role::Agent),
            Self::Pads => Some(report_data::Role::Pads),
            Self::App => Some(report_data::Role::App),
            Self::Unattested | Self::Owner => None,
        }
    }
}
