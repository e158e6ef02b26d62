//! TXT records, asked of the guest's resolver, which is the host's: they route and prove nothing.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use gateway_rules::custom::Answer;
use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::DecodeError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Largest answer over UDP that is asked for: what passes networks in one piece.
const MAX_UDP_BYTES: u16 = 1232;
/// How long one packet is waited for; it is sent again then.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// How often it is sent.
const ATTEMPTS: u32 = 3;
/// Records that are read of one answer; two are refused already.
const MAX_RECORDS: usize = 16;
/// How long an answer without records is remembered: it states its time in a form that is not read.
const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// Where a container names its resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of resolvers.
const PORT: u16 = 53;

/// Answers questions for TXT records.
pub trait Txt: Send + Sync + 'static {
    /// The records at a place, and how long they hold.
    fn ask(&self, place: &str) -> impl Future<Output = (Answer, Duration)> + Send;
}

/// A resolver at an address.
#[derive(Debug, Clone, Copy)]
pub struct Resolver(pub SocketAddr);

/// why the container names no resolver
#[derive(Debug, thiserror::Error)]
#[error("{RESOLV_CONF} names no resolver by its address")]
pub struct NoResolver;

/// The resolver that the container names.
///
/// # Errors
/// If it names none.
pub fn of_container() -> Result<Resolver, NoResolver> {
    let text = std::fs::read_to_string(RESOLV_CONF).map_err(|_| NoResolver)?;
    first(&text).map(Resolver).ok_or(NoResolver)
}

/// The first resolver in the text of a resolv.conf (resolv.conf(5)).
fn first(text: &str) -> Option<SocketAddr> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut fields| {
        let address = (fields.next() == Some("nameserver")).then(|| fields.next()).flatten()?;
        Some(SocketAddr::new(address.parse().ok()?, PORT))
    })
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum DnsError {
    #[error("the resolver cannot be reached")]
    Io(#[from] io::Error),
    #[error("the question cannot be written")]
    Question(#[from] ProtoError),
    #[error("the resolver's answer cannot be read")]
    Answer(#[from] DecodeError),
    #[error("the resolver says {0}")]
    Code(ResponseCode),
    #[error("the resolver does not answer")]
    Late,
    #[error("no randomness")]
    Random(#[from] getrandom::Error),
}

impl Txt for Resolver {
    async fn ask(&self, place: &str) -> (Answer, Duration) {
        match self.query(place).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!("TXT: {}", protocol::error::chain(&error));
                (Answer::Failed, Duration::ZERO)
            }
        }
    }
}

impl Resolver {
    async fn query(&self, place: &str) -> Result<(Answer, Duration), DnsError> {
        let mut id = [0; 2];
        getrandom::fill(&mut id)?;
        let mut question = Message::new(u16::from_le_bytes(id), MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(format!("{place}."))?;
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name, RecordType::TXT));
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        question.set_edns(edns);
        let bytes = question.to_vec()?;
        let mut answer = self.by_udp(&question, &bytes).await?;
        if answer.metadata.truncation {
            let received = timeout(ATTEMPT, self.by_tcp(&bytes)).await;
            answer = Message::from_vec(&received.map_err(|_| DnsError::Late)??)?;
        }
        if !answers(&question, &answer) {
            return Err(DnsError::Late);
        }
        read(&answer)
    }

    async fn by_udp(&self, question: &Message, bytes: &[u8]) -> Result<Message, DnsError> {
        let own: SocketAddr = match self.0 {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // A port of its own for each question, as answers can be forged.
        let socket = UdpSocket::bind(own).await?;
        socket.connect(self.0).await?;
        for _ in 0..ATTEMPTS {
            socket.send(bytes).await?;
            let received = timeout(ATTEMPT, async {
                let mut space = [0; MAX_UDP_BYTES as usize];
                loop {
                    let count = socket.recv(&mut space).await?;
                    // What does not belong to the question is somebody else's.
                    if let Ok(answer) = Message::from_vec(&space[..count])
                        && answers(question, &answer)
                    {
                        return Ok::<_, io::Error>(answer);
                    }
                }
            });
            if let Ok(answer) = received.await {
                return Ok(answer?);
            }
        }
        Err(DnsError::Late)
    }

    async fn by_tcp(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.0).await?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

/// Whether an answer is that of the question.
fn answers(question: &Message, answer: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries
}

fn read(answer: &Message) -> Result<(Answer, Duration), DnsError> {
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        other => return Err(DnsError::Code(other)),
    }
    let mut ttl = None;
    let mut records = Vec::new();
    // A resolver follows CNAMEs: what is behind them belongs to the question.
    for record in &answer.answers {
        ttl = Some(ttl.map_or(record.ttl, |least: u32| least.min(record.ttl)));
        if let RData::TXT(txt) = &record.data
            && records.len() < MAX_RECORDS
        {
            records.push(txt.txt_data.iter().map(|text| text.to_vec()).collect());
        }
    }
    let ttl = match (records.is_empty(), ttl) {
        (false, Some(secs)) => Duration::from_secs(secs.into()),
        _ => NEGATIVE_TTL,
    };
    Ok((Answer::Records(records), ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_s_resolver_is_the_first_that_is_an_address() {
        let text = "# nameserver 1.1.1.1\nsearch a\nnameserver\nnameserver x\nnameserver fd00::3\n";
        assert_eq!(first(text), Some("[fd00::3]:53".parse().unwrap()));
        assert_eq!(first("options edns0\n"), None);
    }
}
