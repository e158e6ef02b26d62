//! The first bytes of a connection: a header of the PROXY protocol where the operator has a proxy
//! in front, then the hello.

use std::io;

use gateway_rules::hello::{Hello, HelloReader, HelloRefused};
use gateway_rules::proxy_protocol::{self, Ends, ProxyError};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of one read: most hellos come in one.
const READ_BYTES: usize = 4096;

/// Why a connection is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// the connection broke
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// the client ended it
    #[error("the client ended the connection before its hello")]
    Ended,
    /// no header where one is required
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// no hello
    #[error(transparent)]
    Hello(#[from] HelloRefused),
}

/// What a client has said.
#[derive(Debug)]
pub struct Opened {
    /// Its hello.
    pub hello: Hello,
    /// Who it is, as the proxy in front says.
    pub ends: Option<Ends>,
}

/// Reads until the hello is complete. The caller bounds the time.
///
/// # Errors
/// If the connection cannot become one of the gateway's.
pub async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    proxied: bool,
) -> Result<Opened, OpeningError> {
    let mut space = [0; READ_BYTES];
    let (mut ends, mut head) = (None, Vec::new());
    if proxied {
        let header = loop {
            head.extend_from_slice(next(stream, &mut space).await?);
            if let Some(header) = proxy_protocol::read(&head)? {
                break header;
            }
        };
        ends = header.ends;
        head.drain(..header.bytes);
    }
    let mut reader = HelloReader::default();
    let mut hello = if head.is_empty() { None } else { reader.push(&head)? };
    loop {
        if let Some(hello) = hello {
            return Ok(Opened { hello, ends });
        }
        hello = reader.push(next(stream, &mut space).await?)?;
    }
}

async fn next<'a, S: AsyncRead + Unpin>(
    stream: &mut S,
    space: &'a mut [u8],
) -> Result<&'a [u8], OpeningError> {
    match stream.read(space).await? {
        0 => Err(OpeningError::Ended),
        count => Ok(&space[..count]),
    }
}
