//! What a log of certificates, or anybody on the way to it, sends: heads without the log's
//! signature do not count, entries are whole, and no tile proves what the head does not have.
#![no_main]

use gateway_domain::certificate::Certificate;
use gateway_domain::ct::fixtures::{Leaves, checkpoint, spki};
use gateway_domain::ct::{LogKey, MerkleError, TileId, Tiles, parse_tile};
use libfuzzer_sys::fuzz_target;
use p256::ecdsa::SigningKey;

const ORIGIN: &str = "log.example/2027";

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_slice(&[1; 32]).expect("a key");
    let log = LogKey::new(&spki(&key), ORIGIN).expect("a key");
    assert!(log.head(bytes).is_err(), "a head without a signature");
    let leaves = Leaves(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    let head = leaves.head();
    assert!(log.head(checkpoint(&key, ORIGIN, &head).as_bytes()).is_ok());
    let _ = Certificate::parse(bytes);
    if let Ok(entries) = parse_tile(bytes, 1) {
        let leaf = &entries[0].leaf;
        assert!(leaf.len() <= bytes.len() && leaf.starts_with(&[0, 0]), "without its chain");
    }
    // Whatever a tile has, an entry that is not there is not proved.
    let mut tiles = Tiles::default();
    let Err(MerkleError::Missing(id)) = tiles.check_inclusion(&head, 1, b"x") else { panic!() };
    if bytes.len() >= 96 && tiles.put(id, &bytes[..96]).is_ok() {
        assert!(tiles.check_inclusion(&head, 1, b"x").is_err());
    }
    assert_eq!(TileId::data(1, head.size).width(), 3);
});
