//! The test vectors of `docs/attested-channel.md`, made by another implementation of its text.

use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/vectors/channel/vectors.json");

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn role(value: &Value) -> Role {
    match value.as_str().unwrap() {
        "agent" => Role::Agent,
        "pads" => Role::Pads,
        "app" => Role::App,
        "unattested" => Role::Unattested,
        "owner" => Role::Owner,
        other => panic!("{other}"),
    }
}

#[test]
fn bindings() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    for case in document["bindings"].as_array().unwrap() {
        let (direction, keys) = match case["direction"].as_str().unwrap() {
            "client to server" => (Direction::ClientToServer, ["client_spki", "server_spki"]),
            "server to client" => (Direction::ServerToClient, ["server_spki", "client_spki"]),
            other => panic!("{other}"),
        };
        let [own_spki, peer_spki] = keys.map(|key| bytes(&document[key]));
        let binding = Binding {
            alpn: document["alpn"].as_str().unwrap().into(),
            own: role(&case["own"]),
            expected: role(&case["expected"]),
            direction,
            own_spki,
            peer_spki,
            exporter: array(&document["exporter"]),
            client_nonce: array(&document["client_nonce"]),
            server_nonce: array(&document["server_nonce"]),
        };
        assert_eq!(
            binding.report_data().unwrap().0.to_vec(),
            bytes(&case["report_data"]),
            "{case}"
        );
    }
}

#[test]
fn what_an_owner_signs() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let claim = OwnerClaim {
        alpn: document["alpn"].as_str().unwrap().as_bytes(),
        exporter: &array(&document["exporter"]),
        client_nonce: &array(&document["client_nonce"]),
        server_nonce: &array(&document["server_nonce"]),
    };
    assert_eq!(claim.signed_bytes(), bytes(&document["owner_signed"]));
}

#[test]
fn frames() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let nonce = array(&document["client_nonce"]);
    let hello = Hello { own: Role::Agent, expected: Role::App, nonce };
    assert_eq!(hello.frame().encode(), bytes(&document["client_hello"]));
    assert_eq!(Frame::empty(Kind::Accepted).encode(), bytes(&document["accepted"]));
    assert_eq!(Frame::empty(Kind::Unattested).encode(), bytes(&document["unattested"]));
    let refused = &document["refused"];
    let refusal = Refusal::new(RefusalCode::Evidence, refused["text"].as_str().unwrap());
    assert_eq!(refusal.frame().encode(), bytes(&refused["frame"]));
}
