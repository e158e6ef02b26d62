//! One key exchange and one query of one server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kms_rules::nts::{
    AnswerError, Direction, EXPORTER_LABEL, ExchangeError, Exchanged, KEY_BYTES, MAX_ANSWER_BYTES,
    MAX_EXCHANGE_BYTES, Query, Random, exporter_context, is_whole, request,
};
use kms_rules::time::{Exchange, MAX_ROUND_TRIP_MS, Sample, SampleRefused};
use protocol::kms::TimeServer;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::certificates::{Roots, speaks, validity};

/// How long a key exchange may take: names are resolved, and TLS goes there and back twice.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);
/// Port of NTP where the exchange names none.
const NTP_PORT: u16 = 123;

/// Why a server gave no sample.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// the network
    #[error("the connection")]
    Io(#[from] io::Error),
    /// time is up
    #[error("no {0} in time")]
    Late(&'static str),
    /// a name that none can be
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// TLS
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// another protocol
    #[error("the server does not speak the key exchange")]
    Protocol,
    /// too much
    #[error("the key exchange has more than {MAX_EXCHANGE_BYTES} bytes")]
    Large,
    /// records
    #[error("the key exchange")]
    Exchange(#[from] ExchangeError),
    /// the answer
    #[error("the answer")]
    Answer(#[from] AnswerError),
    /// an answer that bounds no time
    #[error(transparent)]
    Sample(#[from] SampleRefused),
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
}

/// A server that is asked.
#[derive(Debug)]
pub struct Asking {
    /// Where it is.
    pub server: TimeServer,
    /// Whose certificate it may have.
    pub roots: Roots,
    /// When milliseconds began to be counted.
    pub started: Instant,
    /// A time that has passed, in seconds since 1970.
    pub not_before_secs: u64,
}

/// What an exchange gave.
pub(super) struct Keys {
    exchanged: Exchanged,
    /// Where the key exchange was: the same address is asked if the exchange names none.
    address: IpAddr,
    query: Zeroizing<[u8; KEY_BYTES]>,
    answer: Zeroizing<[u8; KEY_BYTES]>,
    certificate_secs: std::ops::RangeInclusive<u64>,
}

impl Asking {
    /// Asks once.
    pub async fn sample(&self) -> Result<Sample, QueryError> {
        let keys = self.exchange().await?;
        self.query(&keys).await
    }

    /// A key exchange.
    pub(super) async fn exchange(&self) -> Result<Keys, QueryError> {
        timeout(EXCHANGE_WITHIN, self.exchanged()).await.map_err(late("key exchange"))?
    }

    async fn exchanged(&self) -> Result<Keys, QueryError> {
        let TimeServer { host, port } = &self.server;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| QueryError::Name(host.clone()))?;
        let connector = TlsConnector::from(self.roots.client(self.not_before_secs)?);
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        let address = stream.peer_addr()?.ip();
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(&request()).await?;
        stream.flush().await?;
        let exchanged = Exchanged::parse(&whole(&mut stream).await?)?;
        let (_, connection) = stream.get_ref();
        if !speaks(connection.alpn_protocol()) {
            return Err(QueryError::Protocol);
        }
        let key = |direction| {
            let (key, context) = (Zeroizing::new([0; KEY_BYTES]), exporter_context(direction));
            connection.export_keying_material(key, EXPORTER_LABEL, Some(&context))
        };
        let leaf = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate_secs = leaf.and_then(validity).ok_or(QueryError::Protocol)?;
        let (query, answer) = (key(Direction::Query)?, key(Direction::Answer)?);
        Ok(Keys { exchanged, address, query, answer, certificate_secs })
    }

    /// One query under the keys of an exchange.
    pub(super) async fn query(&self, keys: &Keys) -> Result<Sample, QueryError> {
        let socket = timeout(EXCHANGE_WITHIN, keys.socket()).await.map_err(late("address"))??;
        let cookie = keys.exchanged.cookie();
        let (query, bytes) = Query::new(&keys.query, keys.answer.clone(), cookie, random()?);
        let sent_ms = self.count_ms();
        socket.send(&bytes).await?;
        let within = Duration::from_millis(MAX_ROUND_TRIP_MS);
        // Packets of others that are no answer do not end the wait for the one that is.
        let mut last = QueryError::Late("answer");
        let answered = timeout(within, async {
            let mut packet = [0; MAX_ANSWER_BYTES + 1];
            loop {
                let length = socket.recv(&mut packet).await?;
                let received_ms = self.count_ms();
                match query.read(&packet[..length]) {
                    Ok(answer) => break Ok::<_, QueryError>((answer, received_ms)),
                    Err(error) => last = error.into(),
                }
            }
        });
        let answered = answered.await;
        let (answer, received_ms) = answered.unwrap_or(Err(last))?;
        let certificate_secs = keys.certificate_secs.clone();
        let not_before_secs = self.not_before_secs;
        let exchange = Exchange { answer, sent_ms, received_ms, certificate_secs, not_before_secs };
        Ok(Sample::of(&exchange)?)
    }

    fn count_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Keys {
    /// A socket to where queries under these keys are answered.
    async fn socket(&self) -> Result<UdpSocket, QueryError> {
        let port = self.exchanged.port().unwrap_or(NTP_PORT);
        let address = match self.exchanged.server() {
            None => SocketAddr::new(self.address, port),
            Some(host) => {
                let mut addresses = lookup_host((host, port)).await?;
                addresses.next().ok_or_else(|| QueryError::Name(host.to_owned()))?
            }
        };
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        Ok(socket)
    }
}

/// What the server says, up to its last record.
async fn whole(stream: &mut TlsStream<TcpStream>) -> Result<Vec<u8>, QueryError> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while !is_whole(&bytes) {
        match stream.read(&mut piece).await? {
            0 => break, // the reader of the records says what is missing
            length => bytes.extend(&piece[..length]),
        }
        if bytes.len() > MAX_EXCHANGE_BYTES {
            return Err(QueryError::Large);
        }
    }
    Ok(bytes)
}

fn random() -> Result<Random, getrandom::Error> {
    let mut random = Random { transmit: [0; 8], id: [0; 32], nonce: [0; 16] };
    for part in [&mut random.transmit[..], &mut random.id, &mut random.nonce] {
        getrandom::fill(part)?;
    }
    Ok(random)
}

fn late(what: &'static str) -> impl Fn(Elapsed) -> QueryError {
    move |_| QueryError::Late(what)
}
