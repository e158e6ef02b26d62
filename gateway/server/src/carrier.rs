//! What carries a stream from the gateway to a guest. The edge knows no more of it, so that another
//! carrier can follow.

use std::future::Future;
use std::io;
use std::num::NonZeroU16;

use gateway_rules::guests::TunnelId;
use tokio::io::{AsyncRead, AsyncWrite};

/// Opens streams to guests.
pub trait Carrier: Send + Sync + 'static {
    /// A stream to a port of a guest.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// File descriptors that one stream takes.
    const DESCRIPTORS: u32;

    /// Opens a stream through one of a guest's tunnels. It is open once the guest has connected it
    /// to the port: a guest that refuses is an error, after which another instance is tried.
    fn open(
        &self,
        tunnel: TunnelId,
        port: NonZeroU16,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}
