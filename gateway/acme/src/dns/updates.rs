//! A name server that takes updates and questions signed with a shared key (RFC 2136, RFC 8945),
//! over TCP: its answers are signed too, so that nobody on the way can change what is read back.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gateway_domain::caa::Caa;
use gateway_domain::dns::{MAX_MESSAGE_BYTES, Question};
use gateway_domain::name::DomainName;
use hickory_proto::op::{Message, ResponseCode, update_message};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{CAA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordSet, TSigner};
use zeroize::Zeroizing;

use super::{Provider, ProviderError, TTL_SECS};

/// How long a question may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest difference of both clocks, in seconds (RFC 8945, 10, recommends it).
const FUDGE_SECS: u16 = 300;

/// A key that is shared with a name server (HMAC-SHA-256).
pub struct UpdateKey {
    name: DomainName,
    secret: Zeroizing<Vec<u8>>,
}

/// A zone at a name server.
pub struct SignedUpdates {
    server: SocketAddr,
    zone: DomainName,
    signer: TSigner,
}

impl UpdateKey {
    /// A key by its name and its bytes.
    pub fn new(name: DomainName, secret: Zeroizing<Vec<u8>>) -> Self {
        Self { name, secret }
    }
}

impl SignedUpdates {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn new(
        server: SocketAddr,
        zone: DomainName,
        key: &UpdateKey,
    ) -> Result<Self, ProviderError> {
        let secret = key.secret.to_vec();
        let signer = TSigner::new(secret, TsigAlgorithm::HmacSha256, fqdn(&key.name), FUDGE_SECS);
        let signer = signer.map_err(|error| ProviderError::Form(error.to_string()))?;
        Ok(Self { server, zone, signer })
    }

    fn add(&self, name: &DomainName, data: RData) -> Result<(), ProviderError> {
        let set = self.set(name, data)?;
        self.update(update_message::append(set, fqdn(&self.zone), false, false))
    }

    fn remove(&self, name: &DomainName, data: RData) -> Result<(), ProviderError> {
        let set = self.set(name, data)?;
        self.update(update_message::delete_by_rdata(set, fqdn(&self.zone), false))
    }

    fn set(&self, name: &DomainName, data: RData) -> Result<RecordSet, ProviderError> {
        match name.is_within(&self.zone) {
            true => Ok(Record::from_rdata(fqdn(name), TTL_SECS, data).into()),
            false => Err(ProviderError::OtherZone { name: name.clone(), zone: self.zone.clone() }),
        }
    }

    fn update(&self, update: Message) -> Result<(), ProviderError> {
        let (answer, _) = self.ask(update)?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            status => Err(ProviderError::Refused(status.to_string())),
        }
    }

    /// Sends a message with a signature; the answer, whose signature was judged, and its bytes.
    fn ask(&self, mut message: Message) -> Result<(Message, Vec<u8>), ProviderError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let form = |error: hickory_proto::ProtoError| ProviderError::Form(error.to_string());
        let verifier = message.finalize(&self.signer, now).map_err(form)?;
        let mut verifier = verifier.ok_or_else(|| ProviderError::Unsigned("no key".to_owned()))?;
        let bytes = message.to_vec().map_err(form)?;
        let answer = self.exchange(&bytes)?;
        let verified = verifier.verify(&answer);
        let verified = verified.map_err(|error| ProviderError::Unsigned(error.to_string()))?;
        Ok((verified.into_message(), answer))
    }

    /// One message there and one back, each behind its length.
    fn exchange(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let deadline = Instant::now() + TIMEOUT;
        let mut stream = TcpStream::connect_timeout(&self.server, TIMEOUT)?;
        let length = u16::try_from(bytes.len()).map_err(|_| invalid("a message too long"))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
        let mut head = [0; 2];
        read(&mut stream, &mut head, deadline)?;
        let length = usize::from(u16::from_be_bytes(head));
        if length > MAX_MESSAGE_BYTES {
            return Err(invalid("an answer beyond its budget"));
        }
        let mut answer = vec![0; length];
        read(&mut stream, &mut answer, deadline)?;
        Ok(answer)
    }
}

impl Provider for SignedUpdates {
    fn caa(&self, name: &DomainName) -> Result<Vec<Caa>, ProviderError> {
        let question = Question::caa(name);
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|error| ProviderError::Form(error.to_string()))?;
        let (_, answer) = self.ask(question.message(u16::from_be_bytes(id)))?;
        Ok(question.caa_records(&answer)?)
    }

    fn add_caa(&self, name: &DomainName, record: &Caa) -> Result<(), ProviderError> {
        self.add(name, data(record))
    }

    fn remove_caa(&self, name: &DomainName, record: &Caa) -> Result<(), ProviderError> {
        self.remove(name, data(record))
    }

    fn add_text(&self, name: &DomainName, text: &str) -> Result<(), ProviderError> {
        self.add(name, RData::TXT(TXT::new(vec![text.to_owned()])))
    }

    fn remove_text(&self, name: &DomainName, text: &str) -> Result<(), ProviderError> {
        self.remove(name, RData::TXT(TXT::new(vec![text.to_owned()])))
    }
}

fn data(record: &Caa) -> RData {
    let mut caa = CAA::new_issue(record.critical(), None, Vec::new());
    caa.reserved_flags = record.flags & 0x7f;
    caa.tag.clone_from(&record.tag);
    caa.value.clone_from(&record.value);
    RData::CAA(caa)
}

fn fqdn(name: &DomainName) -> Name {
    Name::from_ascii(format!("{name}.")).expect("a checked name")
}

/// Fills `bytes`, however slowly they come, until the deadline.
fn read(stream: &mut TcpStream, bytes: &mut [u8], deadline: Instant) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes[filled..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

fn invalid(what: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
