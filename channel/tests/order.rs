//! The order of a channel, the roles and the nonces: each rule of the machine is broken alone.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use channel::machine::{Machine, Output, Session, Settings, Side, Violation};
use protocol::channel::{Frame, Hello, Kind, NONCE_BYTES, OwnerProof, Refusal, RefusalCode, Role};

const OWN_NONCE: [u8; NONCE_BYTES] = [1; NONCE_BYTES];
const PEER_NONCE: [u8; NONCE_BYTES] = [2; NONCE_BYTES];

fn start(own: Role, side: Side) -> Machine {
    let session = Session {
        alpn: b"dstyx-test/1".to_vec(),
        own_spki: vec![3; 44],
        peer_spki: vec![4; 44],
        exporter: [5; 32],
    };
    Machine::start(Settings { own, side }, session, OWN_NONCE).0
}

fn client() -> Machine {
    start(Role::Agent, Side::Client { server: Role::App })
}

fn server() -> Machine {
    start(Role::App, Side::Server { clients: vec![Role::Agent, Role::Owner] })
}

fn hello(own: Role, expected: Role) -> Frame {
    Hello { own, expected, nonce: PEER_NONCE }.frame()
}

fn proof() -> Frame {
    Frame { kind: Kind::Proof, payload: b"evidence".to_vec() }
}

/// What a server says to the client.
fn to_client() -> Frame {
    hello(Role::App, Role::Agent)
}

/// What a client says to the server.
fn to_server() -> Frame {
    hello(Role::Agent, Role::App)
}

fn accepted() -> Frame {
    Frame::empty(Kind::Accepted)
}

fn owner() -> Frame {
    OwnerProof { key: [6; 32], signature: [7; 64] }.frame()
}

/// One of each kind that may come in a wrong place.
fn every_kind() -> [Frame; 5] {
    [to_client(), proof(), Frame::empty(Kind::Unattested), owner(), accepted()]
}

/// A client in each of its states, by what it waits for, and what may come there.
fn client_states() -> Vec<(&'static str, Machine, Option<Kind>)> {
    let mut machine = client();
    let mut states = vec![("the peer's greeting", machine.clone(), Some(Kind::Hello))];
    machine.frame(&to_client()).unwrap();
    states.push(("nothing", machine.clone(), None));
    machine.proved(proof()).unwrap();
    states.push(("the peer's verdict", machine.clone(), Some(Kind::Accepted)));
    machine.frame(&accepted()).unwrap();
    states.push(("the peer's proof", machine.clone(), Some(Kind::Proof)));
    machine.frame(&proof()).unwrap();
    states.push(("nothing", machine.clone(), None));
    machine.judged(Ok(())).unwrap();
    assert!(machine.is_open());
    states.push(("nothing: the channel is open", machine, None));
    states
}

#[track_caller]
fn refused_role(outcome: Result<Vec<Output>, Violation>) {
    let violation = outcome.unwrap_err();
    assert!(matches!(violation, Violation::Role { .. }), "{violation:?}");
    assert_eq!(violation.refusal().unwrap().code, RefusalCode::Role);
}

#[test]
fn a_frame_that_a_state_does_not_await_ends_the_channel() {
    for (wanted, machine, takes) in client_states() {
        for frame in every_kind().into_iter().filter(|frame| Some(frame.kind) != takes) {
            let mut machine = machine.clone();
            let expected = Violation::Unexpected { found: frame.kind, wanted };
            assert_eq!(machine.frame(&frame), Err(expected));
            assert!(!machine.is_open());
            // Nothing revives it, the right frame and the peer's refusal included.
            for frame in every_kind() {
                assert_eq!(machine.frame(&frame), Err(Violation::Ended));
            }
            let refusal = Refusal::new(RefusalCode::Evidence, "late");
            assert_eq!(machine.frame(&refusal.frame()), Err(Violation::Ended));
        }
    }
}

#[test]
fn a_server_opens_only_behind_both_proofs() {
    let mut machine = server();
    for frame in [proof(), accepted(), owner(), Frame::empty(Kind::Unattested)] {
        let mut early = machine.clone();
        assert!(matches!(early.frame(&frame), Err(Violation::Unexpected { .. })));
    }
    machine.frame(&to_server()).unwrap();
    for frame in [to_server(), accepted(), owner(), Frame::empty(Kind::Unattested)] {
        let mut other = machine.clone();
        let wanted = "the peer's proof";
        let expected = Violation::Unexpected { found: frame.kind, wanted };
        assert_eq!(other.frame(&frame), Err(expected));
    }
    machine.frame(&proof()).unwrap();
    machine.judged(Ok(())).unwrap();
    assert!(!machine.is_open());
    machine.proved(proof()).unwrap();
    assert!(!machine.is_open());
    assert_eq!(machine.frame(&accepted()), Ok(vec![Output::Open]));
}

#[test]
fn each_side_takes_only_the_roles_that_it_is_for() {
    for own in [Role::Agent, Role::Pads, Role::Owner, Role::Unattested] {
        refused_role(client().frame(&hello(own, Role::Agent)));
    }
    for own in [Role::App, Role::Pads, Role::Unattested] {
        refused_role(server().frame(&hello(own, Role::App)));
    }
    for expected in [Role::App, Role::Pads, Role::Owner, Role::Unattested] {
        refused_role(client().frame(&hello(Role::App, expected)));
    }
    for expected in [Role::Agent, Role::Pads, Role::Owner, Role::Unattested] {
        refused_role(server().frame(&hello(Role::Agent, expected)));
    }
}

#[test]
fn a_greeting_that_is_reflected_is_refused() {
    for (mut machine, own, expected) in
        [(client(), Role::App, Role::Agent), (server(), Role::Agent, Role::App)]
    {
        let reflected = Hello { own, expected, nonce: OWN_NONCE }.frame();
        assert_eq!(machine.frame(&reflected), Err(Violation::Nonce));
        assert_eq!(Violation::Nonce.refusal().unwrap().code, RefusalCode::Nonce);
    }
}

#[test]
fn proofs_and_verdicts_are_taken_when_they_were_asked_for() {
    for (_, machine, _) in client_states() {
        let asks_for_proof = machine.clone().proved(proof()).is_ok();
        let asks_for_verdict = machine.clone().judged(Ok(())).is_ok();
        assert!(!(asks_for_proof && asks_for_verdict));
    }
    let count = |asked: fn(&mut Machine) -> bool| {
        client_states().into_iter().filter(|(_, machine, _)| asked(&mut machine.clone())).count()
    };
    assert_eq!(count(|machine| machine.proved(proof()).is_ok()), 1);
    assert_eq!(count(|machine| machine.judged(Ok(())).is_ok()), 1);
    let mut early = client();
    assert_eq!(early.judged(Ok(())), Err(Violation::Caller("a verdict")));
    assert_eq!(early.frame(&to_client()), Err(Violation::Ended));
    let mut early = client();
    assert_eq!(early.proved(proof()), Err(Violation::Caller("a proof")));
    assert_eq!(early.frame(&to_client()), Err(Violation::Ended));
}

#[test]
fn a_side_proves_as_its_role_proves() {
    for frame in [owner(), Frame::empty(Kind::Unattested), accepted(), to_server()] {
        let mut machine = client();
        machine.frame(&to_client()).unwrap();
        let expected = Violation::Caller("a proof of another role");
        assert_eq!(machine.proved(frame), Err(expected));
        assert_eq!(machine.frame(&accepted()), Err(Violation::Ended));
    }
}

#[test]
fn a_verdict_against_the_peer_ends_the_channel() {
    let (_, mut machine, _) = client_states().swap_remove(4);
    let refusal = Refusal::new(RefusalCode::Evidence, "another program");
    let told = machine.judged(Err(refusal.clone())).unwrap();
    assert_eq!(told, [Output::Send(refusal.frame())]);
    assert_eq!((machine.is_open(), machine.frame(&accepted())), (false, Err(Violation::Ended)));
}
