//! Answers of a server that has the keys, and of others.

use super::*;

const QUERY_KEY: [u8; KEY_BYTES] = [1; KEY_BYTES];
const ANSWER_KEY: [u8; KEY_BYTES] = [2; KEY_BYTES];

fn random(byte: u8) -> Random {
    Random { transmit: [byte; 8], id: [byte; ID_BYTES], nonce: [byte; NONCE_BYTES] }
}

fn query(byte: u8) -> (Query, Vec<u8>) {
    Query::new(&QUERY_KEY, Zeroizing::new(ANSWER_KEY), b"a cookie", random(byte))
}

/// A server's header that answers the query of this byte.
fn header(byte: u8) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[0] = ANSWER;
    header[1] = 2;
    header[4..8].copy_from_slice(&[0, 0, 1, 0]);
    header[8..12].copy_from_slice(&[0, 0, 2, 0]);
    header[24..32].fill(byte);
    header[32..40].copy_from_slice(&[3; 8]);
    header[40..48].copy_from_slice(&[4; 8]);
    header
}

/// The same with the query's id and a seal by this key.
fn sealed(mut bytes: Vec<u8>, id: u8, key: &[u8; KEY_BYTES]) -> Vec<u8> {
    push(&mut bytes, UNIQUE_IDENTIFIER, &[id; ID_BYTES]);
    let nonce = [9; 13];
    let cookies =
        Aes128Siv::new(key.into()).encrypt([&bytes[..], &nonce], b"fresh cookie").unwrap();
    let body = authenticator(&nonce, &cookies);
    push(&mut bytes, AUTHENTICATOR, &body);
    bytes
}

#[test]
fn a_query_says_nothing_of_its_clock_and_is_authenticated_by_its_key() {
    let (_, bytes) = query(7);
    assert_eq!((bytes[0], &bytes[1..40], &bytes[40..48]), (QUERY, &[0; 39][..], &[7; 8][..]));
    let mut reader = Reader::new(&bytes[HEADER_BYTES..]);
    assert_eq!(field(&mut reader), Ok((UNIQUE_IDENTIFIER, &[7; ID_BYTES][..])));
    assert_eq!(field(&mut reader), Ok((COOKIE, &b"a cookie"[..])));
    let covered = HEADER_BYTES + reader.offset();
    let (kind, body) = field(&mut reader).unwrap();
    assert_eq!((kind, reader.left()), (AUTHENTICATOR, 0));
    assert_eq!(opens(&QUERY_KEY, &bytes[..covered], body), Ok(true));
    assert_eq!(opens(&ANSWER_KEY, &bytes[..covered], body), Ok(false));
    assert_eq!(opens(&QUERY_KEY, &bytes[..covered - 4], body), Ok(false));
}

#[test]
fn an_authenticated_answer_to_the_query_is_read() {
    let (asked, _) = query(7);
    let answer = asked.read(&sealed(header(7), 7, &ANSWER_KEY)).unwrap();
    let (received, sent) = (0x0303_0303_0303_0303, 0x0404_0404_0404_0404);
    assert_eq!(answer, Answer { received, sent, root_delay: 256, root_dispersion: 512 });
}

#[test]
fn nothing_else_is_an_answer() {
    let (asked, _) = query(7);
    let good = sealed(header(7), 7, &ANSWER_KEY);
    let refused = |bytes: &[u8]| asked.read(bytes).unwrap_err();
    // An older answer of the same server under the same keys, and one whose header was exchanged.
    assert_eq!(refused(&sealed(header(6), 6, &ANSWER_KEY)), AnswerError::Other);
    assert_eq!(refused(&sealed(header(7), 6, &ANSWER_KEY)), AnswerError::Other);
    // Another exchange's key, and one's own query sent back.
    assert_eq!(refused(&sealed(header(7), 7, &QUERY_KEY)), AnswerError::Forged);
    let (_, own) = query(7);
    assert_eq!(refused(&own), AnswerError::Mode(QUERY));
    assert_eq!(refused(&header(7)), AnswerError::Unauthenticated);
    let mut without_id = header(7);
    let tag = seal(&ANSWER_KEY, &without_id, &[1; 16]);
    push(&mut without_id, AUTHENTICATOR, &authenticator(&[1; 16], &tag));
    assert_eq!(refused(&without_id), AnswerError::Other);
    let mut behind = good.clone();
    push(&mut behind, 0x0304, &[0; 4]);
    assert!(matches!(refused(&behind), AnswerError::Read(_)));
    assert_eq!(refused(&[0; MAX_ANSWER_BYTES + 1]), AnswerError::Size(MAX_ANSWER_BYTES + 1));
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(asked.read(&changed).is_err(), "{at}");
        assert!(asked.read(&good[..at]).is_err(), "{at}");
    }
}

#[test]
fn a_server_that_says_no_time_is_told_apart() {
    let (asked, _) = query(7);
    // The keys of the cookie are gone: the server answers without any.
    let mut nak = header(7);
    nak[1] = 0;
    nak[12..16].copy_from_slice(b"NTSN");
    assert_eq!(asked.read(&nak), Err(AnswerError::Kiss("NTSN".into())));
    for (leap, stratum) in [(3, 2), (0, 16), (0, 255)] {
        let mut lost = header(7);
        lost[0] |= leap << 6;
        lost[1] = stratum;
        let refused = asked.read(&sealed(lost, 7, &ANSWER_KEY));
        assert_eq!(refused, Err(AnswerError::Unsynchronized { leap, stratum }));
    }
}
