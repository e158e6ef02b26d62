//! The packet filter by netlink: rules become nftables expressions, and one batch replaces the
//! whole table.
//!
//! The kernel takes a batch whole or not at all, so there is no moment without rules. Formats are
//! those of `linux/netfilter/nf_tables.h` and `linux/netfilter/nfnetlink.h`: attributes of type and
//! length, integers big-endian, except what is loaded into a register, which is as the packet or
//! the machine has it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use compose::Protocol;
use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::NetworkError;
use super::plan::BRIDGE_PREFIX;
use super::rules::{Chain, Family, Match, Rule, Verdict};

/// The table; nothing else in the guest makes one.
pub(super) const TABLE: &str = "dstyx";
/// What a batch may take: 1,000 published ports with IPv6 are 2 MB.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
const INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of its message types.
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES << 8;
const DELETE_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
/// `NLA_F_NESTED`
const NESTED: u16 = 1 << 15;
/// Registers of 16 bytes each (`NFT_REG_1`, `NFT_REG_2`) and that of the verdict.
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
const VERDICT_REGISTER: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Replaces the table by one with these rules.
pub(super) async fn replace(rules: Vec<Rule>) -> Result<(), NetworkError> {
    let sent = tokio::task::spawn_blocking(move || send(&rules)).await;
    sent.map_err(|error| NetworkError::Io(io::Error::other(error)))?
}

/// Removes the table, if it is there.
pub(super) async fn remove() -> Result<(), NetworkError> {
    let sent = tokio::task::spawn_blocking(|| {
        let mut batch = Batch::begin();
        batch.table(NEW_TABLE, NLM_F_CREATE);
        batch.table(DELETE_TABLE, NLM_F_ACK);
        exchange(batch.end()).map_err(|(error, _)| NetworkError::Io(error))
    });
    sent.await.map_err(|error| NetworkError::Io(io::Error::other(error)))?
}

fn send(rules: &[Rule]) -> Result<(), NetworkError> {
    let mut batch = Batch::begin();
    // Made in case it is not there, so that removing it cannot fail.
    batch.table(NEW_TABLE, NLM_F_CREATE);
    batch.table(DELETE_TABLE, 0);
    batch.table(NEW_TABLE, NLM_F_CREATE);
    for chain in Chain::ALL {
        batch.chain(chain);
    }
    let first = batch.messages;
    for (place, rule) in rules.iter().enumerate() {
        batch.rule(rule, if place + 1 == rules.len() { NLM_F_ACK } else { 0 });
    }
    exchange(batch.end()).map_err(|(error, message)| {
        let rule =
            message.checked_sub(first).and_then(|place| rules.get(usize::try_from(place).ok()?));
        NetworkError::Filter {
            rule: rule.map(|rule| format!("{rule:?}")).unwrap_or_default(),
            error,
        }
    })
}

/// Sends a batch and reads its first answer: an error with the number of its message, or the last
/// one's acknowledgement.
fn exchange(batch: Vec<u8>) -> Result<(), (io::Error, u32)> {
    let talk = || {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // The kernel answers before sending returns.
        socket.set_non_blocking(true)?;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, MAX_BATCH_BYTES)?;
        socket.send(&batch, 0)?;
        Ok(socket.recv_from_full()?.0)
    };
    let answer: Vec<u8> = talk().map_err(|error| (error, 0))?;
    let word = |at: usize| {
        answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
    };
    let kind = answer.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    match (kind, word(8), word(16)) {
        (Some(NLMSG_ERROR), _, Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number), Some(code)) => {
            Err((io::Error::from_raw_os_error(code.cast_signed().saturating_neg()), number))
        }
        _ => Err((io::Error::other("an answer that is none"), 0)),
    }
}

impl Chain {
    /// Every chain.
    pub(super) const ALL: [Self; 7] = [
        Self::Arriving,
        Self::Input,
        Self::Forward,
        Self::Prerouting,
        Self::Output,
        Self::Leaving,
        Self::Postrouting,
    ];

    /// Its name in the kernel.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Prerouting => "prerouting",
            Self::Output => "output",
            Self::Leaving => "leaving",
            Self::Postrouting => "postrouting",
        }
    }

    /// Type, hook, priority, policy: `NF_INET_*` and `NF_IP_PRI_*`.
    fn base(self) -> (&'static str, u32, i32, u32) {
        match self {
            Self::Arriving => ("filter", 0, -300, ACCEPT),
            Self::Input => ("filter", 1, 0, ACCEPT),
            Self::Forward => ("filter", 2, 0, DROP),
            Self::Prerouting => ("nat", 0, -100, ACCEPT),
            Self::Output => ("nat", 3, -100, ACCEPT),
            Self::Leaving => ("filter", 4, 0, ACCEPT),
            Self::Postrouting => ("nat", 4, 100, ACCEPT),
        }
    }
}

/// Messages that the kernel takes together.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    /// The next message's number, by which an answer tells which it is about.
    messages: u32,
}

impl Batch {
    fn begin() -> Self {
        let mut batch = Self { bytes: Vec::new(), messages: 0 };
        batch.message(BATCH_BEGIN, 0, &Attributes::default());
        batch
    }

    fn end(mut self) -> Vec<u8> {
        self.message(BATCH_END, 0, &Attributes::default());
        self.bytes
    }

    /// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
    fn message(&mut self, kind: u16, flags: u16, attributes: &Attributes) {
        let (family, resource) =
            if kind == BATCH_BEGIN || kind == BATCH_END { (0, NFTABLES) } else { (INET, 0) };
        let length = u32::try_from(20 + attributes.0.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(&attributes.0);
        self.messages += 1;
    }

    fn table(&mut self, kind: u16, flags: u16) {
        self.message(kind, flags, &Attributes::default().text(1, TABLE));
    }

    fn chain(&mut self, chain: Chain) {
        let (kind, hook, priority, policy) = chain.base();
        let hook = Attributes::default().number(1, hook).number(2, priority.cast_unsigned());
        let attributes =
            Attributes::default().text(1, TABLE).text(3, chain.name()).nested(4, &hook);
        self.message(NEW_CHAIN, NLM_F_CREATE, &attributes.number(5, policy).text(7, kind));
    }

    fn rule(&mut self, rule: &Rule, flags: u16) {
        let attributes = Attributes::default().text(1, TABLE).text(2, rule.chain.name());
        let attributes = attributes.nested(4, &expressions(rule));
        self.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND | flags, &attributes);
    }
}

/// The expressions of a rule, as a list of `NFTA_LIST_ELEM`.
pub(super) fn expressions(rule: &Rule) -> Attributes {
    let mut list = Expressions::default();
    for test in &rule.matches {
        list.test(test);
    }
    list.verdict(&rule.verdict);
    list.0
}

#[derive(Debug, Default)]
struct Expressions(Attributes);

impl Expressions {
    fn test(&mut self, test: &Match) {
        match test {
            Match::From(link) => self.meta(IN_NAME).compare(EQUAL, &link_name(link)),
            Match::FromBridge(is) => {
                self.meta(IN_NAME).compare(operator(*is), BRIDGE_PREFIX.as_bytes())
            }
            Match::To(link) => self.meta(OUT_NAME).compare(EQUAL, &link_name(link)),
            Match::ToBridge(is) => {
                self.meta(OUT_NAME).compare(operator(*is), BRIDGE_PREFIX.as_bytes())
            }
            Match::Family(Family::V4) => self.meta(NFPROTO).compare(EQUAL, &[NFPROTO_IPV4]),
            Match::Family(Family::V6) => self.meta(NFPROTO).compare(EQUAL, &[NFPROTO_IPV6]),
            Match::Source(subnet, is) => self.subnet(subnet, (12, 8), operator(*is)),
            Match::Destination(subnet) => self.subnet(subnet, (16, 24), EQUAL),
            Match::ToGuest => self.fib().compare(EQUAL, &RTN_LOCAL.to_ne_bytes()),
            Match::Protocol(number) => self.meta(L4PROTO).compare(EQUAL, &[*number]),
            Match::Port(protocol, port) => {
                let number = if *protocol == Protocol::Tcp { 6 } else { 17 };
                self.meta(L4PROTO).compare(EQUAL, &[number]);
                // The destination port is bytes 2 and 3 of either's header.
                self.payload(TRANSPORT, 2, 2).compare(EQUAL, &port.to_be_bytes())
            }
            Match::State(bits) => {
                self.connection(CT_STATE).mask(&bits.to_ne_bytes()).compare(NOT_EQUAL, &[0; 4])
            }
            Match::Translated => self
                .connection(CT_STATUS)
                .mask(&IPS_DST_NAT.to_ne_bytes())
                .compare(NOT_EQUAL, &[0; 4]),
        };
    }

    /// Family, then the masked address at `(IPv4 offset, IPv6 offset)` of the header.
    fn subnet(&mut self, subnet: &IpNet, offsets: (u32, u32), operator: u32) -> &mut Self {
        match subnet {
            IpNet::V4(net) => {
                self.meta(NFPROTO).compare(EQUAL, &[NFPROTO_IPV4]);
                self.payload(NETWORK, offsets.0, 4).mask(&net.netmask().octets());
                self.compare(operator, &net.network().octets())
            }
            IpNet::V6(net) => {
                self.meta(NFPROTO).compare(EQUAL, &[NFPROTO_IPV6]);
                self.payload(NETWORK, offsets.1, 16).mask(&net.netmask().octets());
                self.compare(operator, &net.network().octets())
            }
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Accept => self.decide(ACCEPT),
            Verdict::Drop => self.decide(DROP),
            // Of either family (ICMPX), administratively prohibited.
            Verdict::Reject => {
                self.add("reject", &Attributes::default().number(1, 2).bytes(2, &[3]))
            }
            Verdict::Masquerade => self.add("masq", &Attributes::default()),
            Verdict::Translate(target) => self.translate(*target),
        };
    }

    fn translate(&mut self, target: SocketAddr) -> &mut Self {
        let (family, address) = match target.ip() {
            IpAddr::V4(address) => (NFPROTO_IPV4, address.octets().to_vec()),
            IpAddr::V6(address) => (NFPROTO_IPV6, address.octets().to_vec()),
        };
        self.load(REGISTER, &address).load(SECOND_REGISTER, &target.port().to_be_bytes());
        // NFT_NAT_DNAT
        let nat = Attributes::default().number(1, 1).number(2, u32::from(family));
        self.add("nat", &nat.number(3, REGISTER).number(5, SECOND_REGISTER))
    }

    fn decide(&mut self, code: u32) -> &mut Self {
        let data = Attributes::default().nested(2, &Attributes::default().number(1, code));
        self.add("immediate", &Attributes::default().number(1, VERDICT_REGISTER).nested(2, &data))
    }

    fn load(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.add("immediate", &Attributes::default().number(1, register).nested(2, &data(value)))
    }

    fn meta(&mut self, key: u32) -> &mut Self {
        self.add("meta", &Attributes::default().number(1, REGISTER).number(2, key))
    }

    fn connection(&mut self, key: u32) -> &mut Self {
        self.add("ct", &Attributes::default().number(1, REGISTER).number(2, key))
    }

    /// The kind of address that the destination is (`NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`).
    fn fib(&mut self) -> &mut Self {
        self.add("fib", &Attributes::default().number(1, REGISTER).number(2, 3).number(3, 2))
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32) -> &mut Self {
        let attributes = Attributes::default().number(1, REGISTER).number(2, base);
        self.add("payload", &attributes.number(3, offset).number(4, length))
    }

    fn mask(&mut self, mask: &[u8]) -> &mut Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let attributes =
            Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, length);
        self.add(
            "bitwise",
            &attributes.nested(4, &data(mask)).nested(5, &data(&vec![0; mask.len()])),
        )
    }

    fn compare(&mut self, operator: u32, value: &[u8]) -> &mut Self {
        self.add(
            "cmp",
            &Attributes::default().number(1, REGISTER).number(2, operator).nested(3, &data(value)),
        )
    }

    fn add(&mut self, name: &str, attributes: &Attributes) -> &mut Self {
        let expression = Attributes::default().text(1, name).nested(2, attributes);
        self.0 = std::mem::take(&mut self.0).nested(1, &expression);
        self
    }
}

/// `NFT_META_*`
const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const NFPROTO: u32 = 15;
const L4PROTO: u32 = 16;
/// `NFT_CT_STATE`, `NFT_CT_STATUS`
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const IPS_DST_NAT: u32 = 1 << 5;
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// A route to the guest itself.
const RTN_LOCAL: u32 = 2;

fn operator(is: bool) -> u32 {
    if is { EQUAL } else { NOT_EQUAL }
}

/// A link's name as the register has it: all of `IFNAMSIZ`.
fn link_name(link: &str) -> [u8; 16] {
    let mut name = [0; 16];
    let length = link.len().min(15);
    name[..length].copy_from_slice(&link.as_bytes()[..length]);
    name
}

/// `NFTA_DATA_VALUE`
fn data(value: &[u8]) -> Attributes {
    Attributes::default().bytes(1, value)
}

/// Netlink attributes in a row.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("no list of expressions is that long");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(NESTED | kind, &value.0)
    }
}

#[cfg(test)]
mod readback;
