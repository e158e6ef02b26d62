//! The attested channel: frames of a peer that has proved nothing. The machine opens for nobody,
//! since every proof is refused; what a message decodes to, encoded again, decodes to the same.
#![no_main]

use channel::machine::{Machine, Output, Session, Settings, Side};
use libfuzzer_sys::fuzz_target;
use protocol::channel::{
    Frame, HEADER_BYTES, Hello, Kind, OwnerProof, Proof, Refusal, RefusalCode, Role,
};

fuzz_target!(|bytes: &[u8]| {
    let session = || Session {
        alpn: b"dstyx-kms/1".to_vec(),
        own_spki: vec![1; 44],
        peer_spki: vec![2; 44],
        exporter: [3; 32],
    };
    let sides = [
        Settings { own: Role::Agent, side: Side::Client { server: Role::App } },
        Settings {
            own: Role::App,
            side: Side::Server { clients: vec![Role::Agent, Role::Owner, Role::App] },
        },
    ];
    for settings in sides {
        let (mut machine, _) = Machine::start(settings, session(), [4; 32]);
        let mut rest = bytes;
        while let Some((frame, behind)) = frame(rest) {
            rest = behind;
            decoded(&frame);
            if !step(&mut machine, &frame) {
                break;
            }
        }
    }
});

/// The next frame of the bytes.
fn frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (kind, length) = Frame::header(*header).ok()?;
    assert!(length <= kind.max_bytes());
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((Frame { kind, payload: payload.to_vec() }, rest))
}

fn step(machine: &mut Machine, frame: &Frame) -> bool {
    let Ok(outputs) = machine.frame(frame) else { return false };
    for output in outputs {
        let refused = || Err(Refusal::new(RefusalCode::Evidence, "refused"));
        let outcome = match output {
            Output::Send(_) => continue,
            Output::Prove(_) => machine.proved(Frame { kind: Kind::Proof, payload: vec![] }),
            Output::Sign(_) => machine.proved(Frame { kind: Kind::Owner, payload: vec![] }),
            Output::Judge { .. } | Output::JudgeOwner { .. } => machine.judged(refused()),
            Output::Open => panic!("open for a peer that proved nothing"),
        };
        if outcome.is_err() {
            return false;
        }
    }
    assert!(!machine.is_open());
    true
}

fn decoded(frame: &Frame) {
    match frame.kind {
        Kind::Hello => {
            if let Ok(hello) = Hello::decode(&frame.payload) {
                assert_eq!(hello.frame(), *frame);
            }
        }
        Kind::Proof => {
            if let Ok(proof) = Proof::decode(&frame.payload) {
                let again = proof.frame().expect("what was read has its budgets");
                assert_eq!(Proof::decode(&again.payload), Ok(proof));
            }
        }
        Kind::Owner => {
            if let Ok(owner) = OwnerProof::decode(&frame.payload) {
                assert_eq!(owner.frame(), *frame);
            }
        }
        Kind::Refused => {
            if let Ok(refusal) = Refusal::decode(&frame.payload) {
                assert_eq!(refusal.frame(), *frame);
            }
        }
        Kind::Unattested | Kind::Accepted => assert!(frame.payload.is_empty()),
    }
}
