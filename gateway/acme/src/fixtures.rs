//! What tests of several modules ask: a zone of a real name server, a resolver that gives its
//! answers, and an entry to publish.

use std::net::SocketAddr;

use ::tests::https::Local;
use ::tests::knot::{KEY_NAME, Knot, SECRET};
use gateway_domain::name::DomainName;
use gateway_domain::published::{Entry, Subject};
use protocol::evidence::Evidence;
use zeroize::Zeroizing;

use crate::dns::{SignedUpdates, UpdateKey};
use crate::http::Trust;

/// Whose certificates a client must believe.
pub fn trust(local: &Local) -> Trust {
    Trust::Only(vec![local.root.clone()])
}

/// A zone at a name server, as its owner changes it.
pub fn zone(knot: &Knot, zone: &str) -> SignedUpdates {
    let secret = Zeroizing::new(SECRET.to_vec());
    let key = UpdateKey::new(name(KEY_NAME), secret);
    SignedUpdates::new(knot.address(), name(zone), &key).unwrap()
}

/// A resolver that answers what a name server does.
pub fn resolver(local: &Local, knot: &Knot) -> SocketAddr {
    // The address alone: the server ends with its test, the thread that asks it does not.
    let server = knot.address();
    local.serve(move |asked| {
        let answer = tests::knot::ask(server, &asked.body);
        (200, "Content-Type: application/dns-message\r\n".to_owned(), answer)
    })
}

pub fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// An entry about this, with evidence that is none.
pub fn entry(subject: Subject) -> Entry {
    let evidence = Evidence {
        quote: vec![1],
        event_log: Vec::new(),
        nonce: [0; 32],
        claims: protocol::fixtures::claims(),
        app_compose: None,
    };
    Entry { made_secs: 0, subject, evidence, collateral: String::new() }
}
