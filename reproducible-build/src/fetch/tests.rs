//! The promises of fetching, against a small server on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::progress::Silent;

const CONTENT: &[u8] = b"the bytes of a package, long enough to be cut in the middle";

fn pin(content: &[u8]) -> Pin {
    Pin {
        name: "p".into(),
        version: "1".into(),
        path: "pool/p_1.deb".into(),
        size: content.len() as u64,
        sha256: Digest::of(content),
    }
}

/// Serves `content`; answers ranges, and breaks off its first answer after `cut` bytes.
fn serve(content: &'static [u8], cut: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut from = 0;
            for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let line = line.to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap();
                }
            }
            let body = &content[from..];
            let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            let end = if first { cut.min(body.len()) } else { body.len() };
            stream.write_all(&body[..end]).unwrap();
        }
    });
    (address, requests)
}

fn fetch(locations: Locations, pin: Pin) -> (Result<Vec<u8>, FetchError>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path()).unwrap();
    let fetcher = Fetcher::new(cache, locations, Arc::new(Silent));
    let result = fetcher.fetch(&[pin], "20260101T000000Z");
    let kept = |kind: &str| fs::read_dir(dir.path().join(kind)).unwrap().count();
    let count = kept("files") + kept("tmp");
    (result.map(|paths| fs::read(&paths[0]).unwrap()), count)
}

fn mirror(address: &str) -> Locations {
    Locations { mirrors: vec![address.into()], ..Locations::default() }
}

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let (address, requests) = serve(CONTENT, 20);
    let (result, _) = fetch(mirror(&address), pin(CONTENT));
    assert_eq!(result.unwrap(), CONTENT);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[test]
fn another_digest_is_named_and_not_kept() {
    let (address, _) = serve(CONTENT, usize::MAX);
    let mut wrong = pin(CONTENT);
    wrong.sha256 = Digest::of(b"other");
    let (result, kept) = fetch(mirror(&address), wrong.clone());
    match result.unwrap_err() {
        FetchError::Mismatch { file, expected, found } => {
            assert!(file.ends_with("pool/p_1.deb"));
            assert_eq!((expected, found), (wrong.sha256, Digest::of(CONTENT)));
        }
        other => panic!("{other}"),
    }
    assert_eq!(kept, 0);
}

#[test]
fn a_longer_file_is_refused() {
    let (address, _) = serve(CONTENT, usize::MAX);
    let mut short = pin(CONTENT);
    short.size = 5;
    let (result, kept) = fetch(mirror(&address), short);
    assert!(matches!(result, Err(FetchError::Nowhere { .. })));
    assert_eq!(kept, 0);
}

#[test]
fn the_directory_of_inputs_comes_first_and_is_judged_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p_1.deb"), CONTENT).unwrap();
    let locations = Locations { inputs: Some(dir.path().into()), ..Locations::default() };
    let (result, _) = fetch(locations.clone(), pin(CONTENT));
    assert_eq!(result.unwrap(), CONTENT);
    let (result, kept) = fetch(locations, pin(b"other"));
    assert!(matches!(result, Err(FetchError::Mismatch { .. })));
    assert_eq!(kept, 0);
}

#[test]
fn without_a_mirror_the_error_asks_for_one() {
    let (result, _) = fetch(Locations::default(), pin(CONTENT));
    let error = result.unwrap_err();
    assert!(matches!(error, FetchError::NoMirror));
    assert!(error.hint().unwrap().contains("DSTYX_DEBIAN_MIRROR"));
}

#[test]
fn a_download_that_was_complete_is_not_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path()).unwrap();
    let pin = pin(CONTENT);
    fs::write(cache.partial(&pin.sha256.to_string()), CONTENT).unwrap();
    let fetcher = Fetcher::new(cache, mirror("http://127.0.0.1:1"), Arc::new(Silent));
    let paths = fetcher.fetch(&[pin], "20260101T000000Z").unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), CONTENT);
}
