//! Signed updates against a name server, which takes what it may.

use std::net::TcpListener;
use std::thread;

use ::tests::knot::{KEY_NAME, Knot};

use super::*;
use crate::fixtures::{name, zone};

fn caa(tag: &str, value: &str) -> Caa {
    Caa::new(0, tag, value.as_bytes()).unwrap()
}

#[test]
fn a_name_server_adds_and_removes_exactly_what_it_is_told() {
    let foreign = "@ 60 CAA 0 issue \"other.example\"\n@ 60 CAA 128 iodef \"mailto:a@example.org\"";
    let knot = Knot::start(&[("example.org", foreign)]);
    let (zone, base) = (zone(&knot, "example.org"), name("example.org"));
    let before = zone.caa(&base).unwrap();
    assert_eq!(before.len(), 2);
    let ours = caa("issue", "authority.example; accounturi=https://a.example/1");
    zone.add_caa(&base, &ours).unwrap();
    let mut after = [before.clone(), vec![ours.clone()]].concat();
    after.sort();
    assert_eq!(zone.caa(&base).unwrap(), after);
    zone.remove_caa(&base, &ours).unwrap();
    assert_eq!(zone.caa(&base).unwrap(), before);
    // What is removed twice, or was never there, is not there.
    zone.remove_caa(&base, &ours).unwrap();
    let challenge = name("_acme-challenge.example.org");
    zone.add_text(&challenge, "one").unwrap();
    zone.add_text(&challenge, "two").unwrap();
    zone.remove_text(&challenge, "one").unwrap();
    zone.remove_text(&challenge, "two").unwrap();
}

#[test]
fn another_key_and_another_zone_are_refused() {
    let knot = Knot::start(&[("example.org", "")]);
    let other = UpdateKey::new(name(KEY_NAME), Zeroizing::new(vec![1; 32]));
    let forger = SignedUpdates::new(knot.address(), name("example.org"), &other).unwrap();
    let refused = forger.add_text(&name("a.example.org"), "x");
    assert!(matches!(refused, Err(ProviderError::Unsigned(_))), "{refused:?}");
    let elsewhere = zone(&knot, "example.org").add_text(&name("example.net"), "x");
    assert!(matches!(elsewhere, Err(ProviderError::OtherZone { .. })));
}

#[test]
fn an_answer_without_the_key_s_signature_is_none() {
    // A server on the way that says yes to everything.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut asked = vec![0; u16::from_be_bytes(head).into()];
            stream.read_exact(&mut asked).unwrap();
            let mut answer = Message::from_vec(&asked).unwrap().into_response();
            answer.take_signature();
            let answer = answer.to_vec().unwrap();
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length, answer.as_slice()].concat()).unwrap();
        }
    });
    let key = UpdateKey::new(name(KEY_NAME), Zeroizing::new(vec![1; 32]));
    let zone = SignedUpdates::new(address, name("example.org"), &key).unwrap();
    let added = zone.add_text(&name("a.example.org"), "x");
    assert!(matches!(added, Err(ProviderError::Unsigned(_))), "{added:?}");
    assert!(matches!(zone.caa(&name("example.org")), Err(ProviderError::Unsigned(_))));
}
