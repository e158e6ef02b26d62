//! What the kernel says that it holds is what was sent: every attribute of every rule, read back
//! and compared.

use std::io::Write as _;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_core::{NLM_F_DUMP, NLMSG_DONE};

use super::*;
use crate::network::plan::Plan;
use crate::network::rules::rules;
use crate::network::testing::{compose, network, on, port, service};

const GET_RULE: u16 = NFTABLES << 8 | 7;

/// Kind without flags, whether it is nested, value.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, bool, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]);
        found.push((kind & !NESTED, kind & NESTED != 0, &bytes[4..length]));
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    found
}

/// Whether everything that was sent is held: the kernel adds attributes of its own.
fn holds(held: &[u8], sent: &[u8]) -> bool {
    let held = attributes(held);
    let mut seen = std::collections::HashMap::new();
    attributes(sent).into_iter().all(|(kind, nested, value)| {
        let place: &mut usize = seen.entry(kind).or_default();
        let same = held.iter().filter(|(other, ..)| *other == kind).nth(*place);
        *place += 1;
        same.is_some_and(|(.., other)| if nested { holds(other, value) } else { *other == value })
    })
}

/// Chain and expressions of every rule of the table, in the kernel's order.
fn dump() -> Vec<(String, Vec<u8>)> {
    let mut request = Batch { bytes: Vec::new(), messages: 1 };
    request.message(GET_RULE, NLM_F_DUMP, &Attributes::default().text(1, TABLE));
    let mut socket = Socket::new(NETLINK_NETFILTER).expect("socket");
    socket.bind_auto().expect("bound");
    socket.send(&request.bytes, 0).expect("sent");
    let mut rules = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full().expect("an answer");
        let mut rest = &bytes[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes(rest[..4].try_into().expect("four bytes")) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            if kind == NLMSG_DONE {
                return rules;
            }
            assert_eq!(kind, NEW_RULE);
            let attributes = attributes(&rest[20..length]);
            let value = |wanted| {
                attributes.iter().find(|(kind, ..)| *kind == wanted).map(|(.., value)| *value)
            };
            let chain = String::from_utf8(value(2).expect("a chain").to_vec()).expect("text");
            rules.push((
                chain.trim_end_matches('\0').to_owned(),
                value(4).expect("expressions").to_vec(),
            ));
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn every_kind_of_rule() -> Vec<Rule> {
    let (mut a, mut b) = (network("a"), network("b"));
    (a.ipv6, b.internal) = (true, true);
    let mut web = service("web", on(&["a"]));
    web.ports = vec![port(80), port(443)];
    web.ports[1].host_ip = Some(IpAddr::from([192, 0, 2, 1]));
    let plan =
        Plan::new(&compose(vec![a, b], vec![web, service("db", on(&["b"]))]), &[]).expect("a plan");
    rules(&plan, |_| true)
}

#[tokio::test]
async fn the_kernel_holds_the_rules_that_were_sent() {
    if !rustix::process::geteuid().is_root() {
        let test = "the_kernel_holds_the_rules_that_were_sent";
        let _ = writeln!(std::io::stdout(), "NOT RUN {test}: it needs root");
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("root may");
    let rules = every_kind_of_rule();
    for _ in 0..2 {
        replace(rules.clone()).await.expect("taken");
        let expected: Vec<&Rule> = Chain::ALL
            .iter()
            .flat_map(|chain| rules.iter().filter(move |rule| rule.chain == *chain))
            .collect();
        let held = dump();
        assert_eq!(held.len(), expected.len(), "replaced, not added");
        for ((chain, held), rule) in held.iter().zip(expected) {
            assert_eq!(chain, rule.chain.name());
            assert!(holds(held, &expressions(rule).0), "{rule:?}");
        }
    }
    let one_refused =
        Rule { chain: Chain::Input, matches: Vec::new(), verdict: Verdict::Masquerade };
    let mut broken = rules.clone();
    broken.insert(3, one_refused);
    let error =
        replace(broken).await.expect_err("no sources are translated on the way in").to_string();
    assert!(error.contains("Masquerade") && error.contains("Input"), "{error}");
    assert_eq!(dump().len(), rules.len(), "all or nothing");
    remove().await.expect("removed");
    remove().await.expect("twice is fine");
    assert_eq!(dump(), []);
}
