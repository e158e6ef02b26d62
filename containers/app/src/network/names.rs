//! Who is called what, for whom: the answers of the app's resolver as a pure function.
//!
//! A container is told the addresses of those that run, on networks that it is on itself; names
//! that the app uses, names without a dot and addresses of the app's subnets are never asked for
//! outside, where the untrusted host could answer for a service that has not started yet. Queries
//! are hostile.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use ipnet::IpNet;

use super::plan::{Endpoint, Link, Plan};

/// Longest query that is read: a question is below 300 bytes, options of EDNS some more.
pub(super) const MAX_QUERY_BYTES: usize = 4096;
/// Smallest size that every client takes over UDP (RFC 1035), and what we say that we take (DNS
/// flag day 2020).
const PLAIN_UDP_BYTES: u16 = 512;
const EDNS_UDP_BYTES: u16 = 1232;
/// Length of a message's header.
const HEADER_BYTES: usize = 12;
/// Containers come and go; an answer is cheap.
const TTL_SECS: u32 = 1;

/// What is to be done with a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing: it is no query, or nobody's.
    Ignore,
    /// This is the answer.
    Answer(Vec<u8>),
    /// Others know.
    Forward {
        /// The query, understood.
        query: Box<Message>,
        /// The servers that the asker's service names; the guest's if empty.
        servers: Vec<IpAddr>,
    },
}

/// Reacts to the bytes of a query; `turn` rotates the addresses of several containers.
pub(super) fn react(bytes: &[u8], asker: IpAddr, view: &View<'_>, turn: usize) -> Reaction {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Reaction::Ignore };
    // The bit that makes it a response: answering one could go on for ever.
    let Some(endpoint) = view.asker(asker).filter(|_| header[2] & 0x80 == 0) else {
        return Reaction::Ignore;
    };
    let id = u16::from_be_bytes([header[0], header[1]]);
    let Some(query) = parse(bytes).filter(|query| query.queries.len() == 1) else {
        return refusal(id, OpCode::Query, ResponseCode::FormErr);
    };
    if query.metadata.op_code != OpCode::Query {
        return refusal(id, query.metadata.op_code, ResponseCode::NotImp);
    }
    match view.look_up(endpoint, &query.queries[0], turn) {
        Found::Records(records) => answer(&query, ResponseCode::NoError, records),
        Found::NoName => answer(&query, ResponseCode::NXDomain, Vec::new()),
        Found::Refused => answer(&query, ResponseCode::Refused, Vec::new()),
        Found::Elsewhere => {
            Reaction::Forward { query: Box::new(query), servers: endpoint.names.dns.clone() }
        }
    }
}

/// A message without a byte left over.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut decoder = BinDecoder::new(bytes);
    let message = Message::read(&mut decoder).ok()?;
    decoder.is_empty().then_some(message)
}

/// An answer to `query` without records.
pub(super) fn without_records(query: &Message, code: ResponseCode) -> Vec<u8> {
    encode(&response(query, code)).unwrap_or_default()
}

/// The answer to `query`, or what says that it is too long for UDP.
pub(super) fn for_udp(query: &Message, answer: Vec<u8>) -> Vec<u8> {
    if answer.len() <= usize::from(query.max_payload().clamp(PLAIN_UDP_BYTES, EDNS_UDP_BYTES)) {
        return answer;
    }
    let mut message = response(query, ResponseCode::NoError);
    message.metadata.truncation = true;
    encode(&message).unwrap_or_default()
}

fn answer(query: &Message, code: ResponseCode, records: Vec<Record>) -> Reaction {
    let mut message = response(query, code);
    message.metadata.authoritative = true;
    message.answers = records;
    encode(&message).map_or(Reaction::Ignore, Reaction::Answer)
}

fn response(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::error_msg(query.metadata.id, query.metadata.op_code, code);
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.queries = query.queries.clone();
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_UDP_BYTES);
        message.edns = Some(edns);
    }
    message
}

fn refusal(id: u16, op_code: OpCode, code: ResponseCode) -> Reaction {
    encode(&Message::error_msg(id, op_code, code)).map_or(Reaction::Ignore, Reaction::Answer)
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

/// The app as it is now.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// Who could be there.
    pub(super) plan: &'a Plan,
    /// Ids of those that are.
    pub(super) joined: &'a BTreeSet<String>,
}

#[derive(Debug)]
enum Found {
    Records(Vec<Record>),
    NoName,
    Refused,
    Elsewhere,
}

impl View<'_> {
    fn asker(&self, address: IpAddr) -> Option<&Endpoint> {
        let has = |endpoint: &&Endpoint| {
            endpoint.links().iter().flat_map(Link::addresses).any(|own| own == address)
        };
        self.plan.containers.iter().find(has)
    }

    fn look_up(&self, asker: &Endpoint, query: &Query, turn: usize) -> Found {
        if query.query_class() != DNSClass::IN {
            return Found::Refused;
        }
        let name = query.name();
        if let Some(address) = address_of(name)
            && self.plan.bridges.iter().any(|bridge| bridge.subnet_of(address).is_some())
        {
            return self.look_up_address(asker, query, address);
        }
        let text = name.to_ascii().to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        let mut addresses = self.addresses(asker, text);
        if !addresses.is_empty() {
            let turn = turn % addresses.len();
            addresses.rotate_left(turn);
            return Found::Records(
                addresses.iter().filter_map(|address| record(query, *address)).collect(),
            );
        }
        if !text.contains('.')
            || self.plan.containers.iter().any(|endpoint| is_called(endpoint, None, text))
        {
            return Found::NoName;
        }
        // Whoever is on internal networks only has no way out, by names either.
        if self.plan.way_out(asker).is_none() { Found::Refused } else { Found::Elsewhere }
    }

    /// The addresses of who is called `name`, on the first of the asker's networks where anybody
    /// is.
    fn addresses(&self, asker: &Endpoint, name: &str) -> Vec<IpAddr> {
        let on = |own: &Link| -> Vec<IpAddr> {
            let there =
                self.running().filter(|endpoint| is_called(endpoint, Some(own.bridge), name));
            let links = there.flat_map(|endpoint| {
                endpoint.links().iter().filter(|link| link.bridge == own.bridge)
            });
            links.flat_map(Link::addresses).collect()
        };
        asker.links().iter().map(on).find(|found| !found.is_empty()).unwrap_or_default()
    }

    fn look_up_address(&self, asker: &Endpoint, query: &Query, address: IpAddr) -> Found {
        let shared = |link: &Link| asker.links().iter().any(|own| own.bridge == link.bridge);
        let has = |endpoint: &&Endpoint| {
            endpoint
                .links()
                .iter()
                .filter(|link| shared(link))
                .flat_map(Link::addresses)
                .any(|own| own == address)
        };
        // The last of its names is its own; the first is that of all its replicas.
        let name = self
            .running()
            .find(has)
            .and_then(|endpoint| Name::from_ascii(endpoint.found_as.last()?).ok());
        let Some(mut name) = name else { return Found::NoName };
        name.set_fqdn(true);
        if query.query_type() != RecordType::PTR {
            return Found::Records(Vec::new());
        }
        Found::Records(vec![Record::from_rdata(
            query.name().clone(),
            TTL_SECS,
            RData::PTR(PTR(name)),
        )])
    }

    fn running(&self) -> impl Iterator<Item = &Endpoint> {
        self.plan.containers.iter().filter(|endpoint| self.joined.contains(&endpoint.id))
    }
}

/// Whether a container is called `name` on a network, or on any.
fn is_called(endpoint: &Endpoint, bridge: Option<usize>, name: &str) -> bool {
    let links =
        endpoint.links().iter().filter(|link| bridge.is_none_or(|bridge| link.bridge == bridge));
    endpoint.found_as.iter().chain(links.flat_map(|link| &link.aliases)).any(|known| known == name)
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
fn address_of(name: &Name) -> Option<IpAddr> {
    let network: IpNet = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

/// The record of the wanted type; an address of the other family is there, but no answer.
fn record(query: &Query, address: IpAddr) -> Option<Record> {
    let data = match (query.query_type(), address) {
        (RecordType::A, IpAddr::V4(address)) => RData::A(A(address)),
        (RecordType::AAAA, IpAddr::V6(address)) => RData::AAAA(AAAA(address)),
        _ => return None,
    };
    Some(Record::from_rdata(query.name().clone(), TTL_SECS, data))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;
    use crate::network::testing::{compose, network, on, service};

    const ASKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 31, 0, 2));

    fn plan() -> Plan {
        let mut many = service("many", on(&["a"]));
        many.replicas = 400;
        let services = vec![service("web", on(&["a"])), many, service("other", on(&["b"]))];
        Plan::new(&compose(vec![network("a"), network("b")], services), &[]).expect("a plan")
    }

    fn everybody(plan: &Plan) -> BTreeSet<String> {
        plan.containers.iter().map(|endpoint| endpoint.id.clone()).collect()
    }

    fn question(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).expect("name"), RecordType::A));
        message.to_vec().expect("bytes")
    }

    fn react_to(bytes: &[u8], asker: IpAddr) -> Reaction {
        let plan = plan();
        react(bytes, asker, &View { plan: &plan, joined: &everybody(&plan) }, 0)
    }

    #[test]
    fn strangers_and_responses_are_ignored() {
        assert!(matches!(react_to(&question("web"), ASKER), Reaction::Answer(_)));
        assert_eq!(react_to(&question("web"), [192, 0, 2, 9].into()), Reaction::Ignore);
        let mut response = question("web");
        response[2] |= 0x80;
        assert_eq!(react_to(&response, ASKER), Reaction::Ignore);
        assert_eq!(react_to(&question("web")[..11], ASKER), Reaction::Ignore);
    }

    #[test]
    fn an_answer_that_is_too_long_says_so() {
        let query = question("many");
        let Reaction::Answer(answer) = react_to(&query, ASKER) else { panic!("no answer") };
        assert_eq!(parse(&answer).expect("well formed").answers.len(), 400);
        let query = parse(&query).expect("well formed");
        let short = parse(&for_udp(&query, answer)).expect("well formed");
        assert!(
            short.metadata.truncation && short.answers.is_empty() && short.queries == query.queries
        );
    }

    #[test]
    fn only_dotted_names_that_the_app_does_not_use_are_asked_for_outside() {
        for (name, outside) in
            [("example.org", true), ("other", false), ("example", false), (".", false)]
        {
            let forwarded = matches!(react_to(&question(name), ASKER), Reaction::Forward { .. });
            assert_eq!(forwarded, outside, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_answered_in_form_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Reaction::Answer(answer) = react_to(&bytes, ASKER) {
                let answer = parse(&answer).expect("well formed");
                prop_assert_eq!(answer.metadata.message_type, MessageType::Response);
                prop_assert_eq!(answer.metadata.id.to_be_bytes(), [bytes[0], bytes[1]]);
            }
        }

        #[test]
        fn a_query_with_bytes_changed_is_no_worse(at in prop::collection::vec((0usize..30, any::<u8>()), 1..6)) {
            let mut bytes = question("web.example.org");
            for (place, byte) in at {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            match react_to(&bytes, ASKER) {
                Reaction::Answer(answer) => prop_assert!(parse(&answer).is_some()),
                Reaction::Forward { query, .. } => prop_assert_eq!(query.queries.len(), 1),
                Reaction::Ignore => prop_assert!(bytes[2] & 0x80 != 0),
            }
        }
    }
}
