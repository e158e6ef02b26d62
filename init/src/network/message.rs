//! DHCP messages (RFC 2131, RFC 2132), the few that a client of IPv4 leases needs.
//!
//! Written here because the crates for it bring a DNS library into PID 1. Answers come from the
//! attacker: they are read by the bounded reader, options twice or of another length are refused,
//! options that are not asked for are skipped, and options are never continued in the name fields.

use std::net::Ipv4Addr;

use protocol::reader::{ReadError, Reader};

/// Largest message that is read: what an Ethernet frame carries.
pub const MAX_BYTES: usize = 1500;
/// Most name servers that are taken, which is what a resolver uses (`MAXNS`).
const MAX_NAME_SERVERS: usize = 3;
/// Fixed fields before the options: op to chaddr 44, sname 64, file 128.
const FIXED_BYTES: usize = 236;
/// First bytes of the options.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
/// Hardware type and address length of Ethernet.
const ETHERNET: [u8; 2] = [1, 6];
/// Asks servers to answer by broadcast, since the interface has no address yet.
const BROADCAST_FLAG: u16 = 0x8000;

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_SECONDS: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const RENEWAL_SECONDS: u8 = 58;
const REBINDING_SECONDS: u8 = 59;
const PAD: u8 = 0;
const END: u8 = 255;

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Who leases addresses here?
    Discover,
    /// Take an offer.
    Select {
        /// The address that was offered.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// Keep an address that is configured.
    Extend {
        /// The address in use.
        address: Ipv4Addr,
    },
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address that could be had.
    Offer,
    /// An address that is leased.
    Ack,
    /// A request that is refused.
    Nak,
}

/// A server's answer, well formed and addressed to this client; its values are not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub kind: Kind,
    /// `yiaddr`.
    pub address: Ipv4Addr,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 1.
    pub subnet_mask: Option<Ipv4Addr>,
    /// Option 3, its first.
    pub router: Option<Ipv4Addr>,
    /// Option 6, its first [`MAX_NAME_SERVERS`].
    pub name_servers: Vec<Ipv4Addr>,
    /// Option 51.
    pub lease_secs: Option<u32>,
    /// Option 58.
    pub renewal_secs: Option<u32>,
    /// Option 59.
    pub rebinding_secs: Option<u32>,
}

/// Why a packet is no answer for this client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// cut off
    #[error("DHCP: {0}")]
    Read(#[from] ReadError),
    /// a request, another client's, or no DHCP at all
    #[error("DHCP: {0} is not of an answer to this client")]
    NotOurs(&'static str),
    /// an option that its definition does not allow
    #[error("DHCP: option {option} of {found} bytes, or twice")]
    Option {
        /// Its number.
        option: u8,
        /// Its length.
        found: usize,
    },
}

/// The request's bytes.
pub fn encode(request: Request, transaction: u32, hardware_address: [u8; 6]) -> Vec<u8> {
    let mut message = vec![0; FIXED_BYTES];
    message[0] = BOOT_REQUEST;
    message[1..3].copy_from_slice(&ETHERNET);
    message[4..8].copy_from_slice(&transaction.to_be_bytes());
    message[28..34].copy_from_slice(&hardware_address);
    message.extend_from_slice(&COOKIE);
    let (kind, broadcast) = match request {
        Request::Discover => (1, true),
        Request::Select { .. } => (3, true),
        Request::Extend { address } => {
            message[12..16].copy_from_slice(&address.octets());
            (3, false)
        }
    };
    if broadcast {
        message[10..12].copy_from_slice(&BROADCAST_FLAG.to_be_bytes());
    }
    message.extend_from_slice(&[MESSAGE_TYPE, 1, kind]);
    if let Request::Select { address, server } = request {
        for (option, value) in [(REQUESTED_ADDRESS, address), (SERVER, server)] {
            message.extend_from_slice(&[option, 4]);
            message.extend_from_slice(&value.octets());
        }
    }
    let wanted =
        [SUBNET_MASK, ROUTER, NAME_SERVER, LEASE_SECONDS, RENEWAL_SECONDS, REBINDING_SECONDS];
    message.extend_from_slice(&[PARAMETERS, wanted.len() as u8]);
    message.extend_from_slice(&wanted);
    message.push(END);
    message
}

/// Reads an answer to `transaction` of this hardware address.
pub fn decode(
    packet: &[u8],
    transaction: u32,
    hardware_address: [u8; 6],
) -> Result<Reply, MessageError> {
    let mut reader = Reader::new(packet);
    let ours = |holds: bool, what| if holds { Ok(()) } else { Err(MessageError::NotOurs(what)) };
    ours(reader.u8("op")? == BOOT_REPLY, "the op code")?;
    ours(reader.array("hardware type")? == ETHERNET, "the hardware type")?;
    reader.take("hops", 1)?;
    ours(u32::from_be_bytes(reader.array("transaction")?) == transaction, "the transaction")?;
    reader.take("seconds, flags and client address", 8)?;
    let address = Ipv4Addr::from(reader.array::<4>("your address")?);
    reader.take("next server and relay", 8)?;
    ours(reader.array("hardware address")? == hardware_address, "the hardware address")?;
    reader.take("padding, server name and file", 10 + 64 + 128)?;
    ours(reader.array("cookie")? == COOKIE, "the cookie")?;
    decode_options(address, &mut reader)
}

fn decode_options(address: Ipv4Addr, reader: &mut Reader<'_>) -> Result<Reply, MessageError> {
    let options = Options::read(reader)?;
    let kind = match options.number::<1>(MESSAGE_TYPE)? {
        Some([2]) => Kind::Offer,
        Some([5]) => Kind::Ack,
        Some([6]) => Kind::Nak,
        _ => return Err(MessageError::NotOurs("the message type")),
    };
    let seconds = |option| Ok::<_, MessageError>(options.number(option)?.map(u32::from_be_bytes));
    Ok(Reply {
        kind,
        address,
        server: options.number::<4>(SERVER)?.map(Ipv4Addr::from),
        subnet_mask: options.number::<4>(SUBNET_MASK)?.map(Ipv4Addr::from),
        router: options.addresses(ROUTER)?.first().copied(),
        name_servers: options.addresses(NAME_SERVER)?.into_iter().take(MAX_NAME_SERVERS).collect(),
        lease_secs: seconds(LEASE_SECONDS)?,
        renewal_secs: seconds(RENEWAL_SECONDS)?,
        rebinding_secs: seconds(REBINDING_SECONDS)?,
    })
}

/// Options by number; what stands behind the end marker is padding that nobody defines.
struct Options<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Options<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, MessageError> {
        let mut options: Vec<(u8, &[u8])> = Vec::new();
        while reader.left() > 0 {
            match reader.u8("option")? {
                PAD => {}
                END => break,
                option => {
                    let length = usize::from(reader.u8("option length")?);
                    let value = reader.take("option", length)?;
                    if options.iter().any(|(known, _)| *known == option) {
                        return Err(MessageError::Option { option, found: length });
                    }
                    options.push((option, value));
                }
            }
        }
        Ok(Self(options))
    }

    fn find(&self, option: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(known, _)| *known == option).map(|(_, value)| *value)
    }

    fn number<const N: usize>(&self, option: u8) -> Result<Option<[u8; N]>, MessageError> {
        let Some(value) = self.find(option) else { return Ok(None) };
        value.try_into().map(Some).map_err(|_| MessageError::Option { option, found: value.len() })
    }

    fn addresses(&self, option: u8) -> Result<Vec<Ipv4Addr>, MessageError> {
        let value = self.find(option).unwrap_or_default();
        let (addresses, rest) = value.as_chunks::<4>();
        match rest {
            [] => Ok(addresses.iter().copied().map(Ipv4Addr::from).collect()),
            _ => Err(MessageError::Option { option, found: value.len() }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const HARDWARE_ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// A server's packet with these options behind the cookie.
    pub fn packet(transaction: u32, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = encode(Request::Discover, transaction, HARDWARE_ADDRESS);
        packet.truncate(FIXED_BYTES + COOKIE.len());
        packet[0] = BOOT_REPLY;
        packet[16..20].copy_from_slice(&address);
        for (option, value) in options {
            packet.extend_from_slice(&[*option, value.len() as u8]);
            packet.extend_from_slice(value);
        }
        packet.push(END);
        packet
    }

    fn decode_ours(packet: &[u8]) -> Result<Reply, MessageError> {
        decode(packet, 7, HARDWARE_ADDRESS)
    }

    #[test]
    fn requests_are_laid_out_as_rfc_2131_wants() {
        let server = Ipv4Addr::new(10, 0, 2, 2);
        let select = encode(
            Request::Select { address: Ipv4Addr::new(10, 0, 2, 15), server },
            7,
            HARDWARE_ADDRESS,
        );
        assert_eq!(select[..12], [1, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0x80, 0]);
        assert_eq!(select[240..255], [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]);
        let extend =
            encode(Request::Extend { address: Ipv4Addr::new(10, 0, 2, 15) }, 7, HARDWARE_ADDRESS);
        assert_eq!((&extend[10..16], extend[243]), ([0, 0, 10, 0, 2, 15].as_slice(), PARAMETERS));
    }

    #[test]
    fn an_answer_is_read() {
        let options: [(u8, &[u8]); 5] = [
            (53, &[5]),
            (54, &[10, 0, 2, 2]),
            (1, &[255, 255, 255, 0]),
            (6, &[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]),
            (51, &[0, 1, 81, 128]),
        ];
        let mut with_padding = packet(7, [10, 0, 2, 15], &options);
        with_padding.extend_from_slice(&[0; 40]);
        let reply = decode_ours(&with_padding).unwrap();
        assert_eq!(
            (reply.kind, reply.address, reply.lease_secs),
            (Kind::Ack, [10, 0, 2, 15].into(), Some(86_400))
        );
        assert_eq!((reply.name_servers.len(), reply.router), (3, None));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_behind_a_good_head_bring_the_reader_down(
            options in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
            address in proptest::prelude::any::<[u8; 4]>(),
        ) {
            let mut bytes = packet(7, address, &[(53, &[5])]);
            bytes.pop();
            bytes.extend_from_slice(&options);
            if let Ok(reply) = decode_ours(&bytes) {
                let _ = super::super::lease::Lease::from_reply(&reply);
            }
        }
    }

    #[test]
    fn answers_to_others_are_not_ours() {
        let good = packet(7, [10, 0, 2, 15], &[(53, &[2])]);
        for (at, what) in
            [(0, "op"), (1, "type"), (4, "transaction"), (28, "hardware address"), (236, "cookie")]
        {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(matches!(decode_ours(&changed), Err(MessageError::NotOurs(_))), "{what}");
        }
        assert!(matches!(
            decode_ours(&packet(7, [0; 4], &[(53, &[1])])),
            Err(MessageError::NotOurs(_))
        ));
    }

    #[test]
    fn cut_doubled_and_misshapen_options_are_refused() {
        let good = packet(7, [10, 0, 2, 15], &[(53, &[2]), (51, &[0, 0, 0, 60])]);
        for length in 0..good.len() - 1 {
            let cut = decode_ours(&good[..length]);
            let at_a_boundary = length == 243;
            assert_eq!(cut.is_ok(), at_a_boundary, "{length}: {cut:?}");
        }
        for options in [
            [(53, [2].as_slice()), (51, &[0, 0, 60])],
            [(53, &[2]), (53, &[2])],
            [(53, &[2]), (3, &[1; 5])],
        ] {
            let refused = decode_ours(&packet(7, [0; 4], &options));
            assert!(matches!(refused, Err(MessageError::Option { .. })), "{refused:?}");
        }
    }
}
