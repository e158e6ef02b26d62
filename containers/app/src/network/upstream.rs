//! Asking the servers outside: theirs is the host's word, and only its form is judged.
//!
//! A query goes out under a random number from a random port, to one server after the other; what
//! comes back must be an answer to the same question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::etc;
use super::names;
use super::rules::DNS;

/// Half of what programs wait (5 s), so that the second server is still asked.
const TIMEOUT: Duration = Duration::from_secs(2);
/// As many as a `resolv.conf` may have (`MAXNS`).
const MAX_SERVERS: usize = 3;
/// Longest answer over UDP that is read; a query says less.
const MAX_UDP_BYTES: usize = 4096;
/// Answers to something else that are passed over before a server is given up.
const MAX_STRAYS: usize = 16;
/// A `resolv.conf` is three lines.
const MAX_FILE_BYTES: u64 = 4096;

/// How a query came, and so goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// The servers that the guest asks now; none before its first lease.
pub(super) async fn servers(resolv_conf: &Path) -> Vec<IpAddr> {
    let read = async || {
        let mut text = String::new();
        tokio::fs::File::open(resolv_conf)
            .await?
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .await?;
        Ok::<_, io::Error>(text)
    };
    etc::name_servers(&read().await.unwrap_or_default())
}

/// Asks each server in turn; the first answer, under the query's own number.
pub(super) async fn ask(
    query: &Message,
    servers: &[IpAddr],
    transport: Transport,
) -> Option<Vec<u8>> {
    for server in servers.iter().take(MAX_SERVERS) {
        let server = SocketAddr::new(*server, DNS);
        match tokio::time::timeout(TIMEOUT, ask_one(query, server, transport)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a name server does not answer"),
            Err(_) => tracing::debug!(%server, "a name server is silent"),
        }
    }
    None
}

async fn ask_one(query: &Message, server: SocketAddr, transport: Transport) -> io::Result<Vec<u8>> {
    let mut outgoing = query.clone();
    outgoing.metadata.id = random_number()?;
    let bytes = outgoing.to_vec().map_err(io::Error::other)?;
    let mut answer = match transport {
        Transport::Udp => over_udp(&bytes, &outgoing, server).await?,
        Transport::Tcp => over_tcp(&bytes, &outgoing, server).await?,
    };
    answer[..2].copy_from_slice(&query.metadata.id.to_be_bytes());
    Ok(answer)
}

async fn over_udp(bytes: &[u8], query: &Message, server: SocketAddr) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; MAX_UDP_BYTES];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], query) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
    Err(io::Error::other("only answers to something else"))
}

async fn over_tcp(bytes: &[u8], query: &Message, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, bytes).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, query) {
        Ok(answer)
    } else {
        Err(io::Error::other("an answer to something else"))
    }
}

/// Writes a message as it goes over TCP, after its length.
pub(super) async fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await
}

/// Whether it is a response, well formed, to the same question under the same number.
pub(super) fn answers(bytes: &[u8], query: &Message) -> bool {
    names::parse(bytes).is_some_and(|answer| {
        answer.metadata.message_type == MessageType::Response
            && answer.metadata.id == query.metadata.id
            && answer.queries == query.queries
    })
}

fn random_number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_ne_bytes(bytes))
}
