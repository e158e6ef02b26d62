//! Servers that send too much, too late or elsewhere.

use std::io::Write as _;
use std::thread;

use ::tests::https::{Local, read};

use super::*;
use crate::fixtures::trust;

fn get(local: &Local, address: std::net::SocketAddr) -> Result<Answer, HttpError> {
    let client = Client::with_timeout(&trust(local), Duration::from_secs(2));
    client.send(Request::get(format!("https://{address}/")).body(Vec::new()).unwrap())
}

#[test]
fn an_answer_is_taken_up_to_its_budget_and_leads_nowhere() {
    let local = Local::new();
    let full = local.serve(|_| (200, String::new(), vec![b'a'; MAX_BODY_BYTES]));
    assert_eq!(get(&local, full).unwrap().body.len(), MAX_BODY_BYTES);
    let long = local.serve(|_| (200, String::new(), vec![b'a'; MAX_BODY_BYTES + 1]));
    assert!(matches!(get(&local, long), Err(HttpError::TooLong)));
    let elsewhere = local.serve(|_| (302, "Location: https://127.0.0.1:1/\r\n".to_owned(), vec![]));
    assert_eq!(get(&local, elsewhere).unwrap().status, StatusCode::FOUND);
}

#[test]
fn a_packed_answer_is_not_unpacked() {
    let local = Local::new();
    let bomb = local.serve(|_| (200, "Content-Encoding: gzip\r\n".to_owned(), vec![0x1f, 0x8b]));
    assert!(matches!(get(&local, bomb), Err(HttpError::Encoded(name)) if name == "gzip"));
}

#[test]
fn a_server_that_hangs_or_never_ends_is_left() {
    let local = Local::new();
    let silent = local.serve_raw(|stream| {
        read(stream)?;
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    assert!(matches!(get(&local, silent), Err(HttpError::Request(_))));
    let dripping = local.serve_raw(|stream| {
        read(stream)?;
        write!(stream, "HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\n")?;
        loop {
            stream.write_all(b"a")?;
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(matches!(get(&local, dripping), Err(HttpError::Body(_))));
}

#[test]
fn another_authority_s_certificate_and_plain_http_are_refused() {
    let (local, other) = (Local::new(), Local::new());
    let address = other.serve(|_| (200, String::new(), Vec::new()));
    assert!(matches!(get(&local, address), Err(HttpError::Request(_))));
    let client = Client::new(&trust(&local));
    let plain = Request::get(format!("http://{address}/")).body(Vec::new()).unwrap();
    assert!(matches!(client.send(plain), Err(HttpError::Request(_))));
}
