//! A second source on loopback that the KMS asks over real HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use protocol::digest::{ComposeHash, PlatformId};
use protocol::kms::{GetKmsKeyRequest, KmsImage, KmsKeyResponse, WebhookAddress, payload_type};

use super::*;
use crate::judge::Process;
use crate::member::fixtures::{APP, FILE, IMAGE};

/// A webhook that answers each request with the next of these, and the requests that it got.
fn webhook(answers: Vec<String>) -> (WebhookAddress, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            sender.send(request(&stream)).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (WebhookAddress::parse(&address).unwrap(), requests)
}

/// The first line of a request, and its body.
fn request(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (lines.swap_remove(0), String::from_utf8(body).unwrap())
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn yes() -> String {
    answer("200 OK", r#"{"isAllowed":true,"gatewayAppId":"","reason":""}"#)
}

/// A KMS that serves and asks this webhook.
fn asking(data: &std::path::Path, webhook: WebhookAddress) -> Member {
    let mut place = Place::new(data, 1, 1);
    place.config.boot_auth = Some(webhook);
    place.serving().0
}

#[test]
fn a_guest_that_the_policy_allows_needs_the_webhooks_yes_for_keys_and_for_its_disk() {
    let data = tempfile::tempdir().unwrap();
    let no = answer("200 OK", r#"{"isAllowed":false,"gatewayAppId":"","reason":"not today"}"#);
    let (address, requests) = webhook(vec![no, yes(), yes()]);
    let member = asking(data.path(), address);
    let refused = keys(&member, 1).unwrap_err();
    assert!(refused.to_string().contains("the webhook beside it refuses: not today"), "{refused}");
    assert_eq!(refused.status(), 403);
    keys(&member, 1).unwrap();
    let opened = open(&member, 1).unwrap();
    // An anchor gives nothing to anybody: the webhook, which is away now, is not asked.
    anchor(&member, 1, opened.open_counter).unwrap();
    for (line, body) in requests.iter().take(3) {
        assert_eq!(line, "post /hook/bootauth/app http/1.1");
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(told["appId"], APP.to_string());
        assert_eq!(
            (&told["teeVariant"], &told["tcbStatus"]),
            (&"dstack-tdx".into(), &"UpToDate".into())
        );
    }
    let place = Place::new(data.path(), 1, 1);
    let asked = Request::Ledger(LedgerRequest { from: 0 });
    let ledger: LedgerResponse = call(&member, &place.owner(0), asked).unwrap();
    let recorded = |what: &str| ledger.entries.iter().filter(|line| line.contains(what)).count();
    assert_eq!((recorded("not today"), recorded("\"released\"")), (1, 1));
}

#[test]
fn another_process_gets_the_root_only_with_the_webhooks_yes() {
    let data = tempfile::tempdir().unwrap();
    let no = answer("200 OK", r#"{"isAllowed":false,"gatewayAppId":"","reason":"no replica"}"#);
    let (address, requests) = webhook(vec![no, yes()]);
    let mut place = Place::new(data.path(), 1, 1);
    place.config.boot_auth = Some(address);
    let (member, _) = place.serving();
    let pair = KmsImage { os_image_hash: IMAGE, compose_hash: FILE };
    let mut policy = place.policy_file(2, APP, pair);
    policy.replicas = Some(2);
    let policy = place.signed(payload_type::POLICY, &policy);
    let _: StatusResponse = call(&member, &place.owner(0), Request::SetPolicy(policy)).unwrap();
    let facts = Guest { platform_ids: vec![PlatformId([8; 16])], ready: true, ..guest(1) };
    let process = Process { key: Ed25519Key([9; 32]), facts, root: None };
    let process = Caller::Process(Box::new(process));
    let ask = || {
        let asked = Request::GetKmsKey(GetKmsKeyRequest::default());
        call::<KmsKeyResponse>(&member, &process, asked)
    };
    let refused = ask().unwrap_err();
    assert!(refused.to_string().contains("refuses: no replica"), "{refused}");
    assert_eq!(ask().unwrap().roots.len(), 1);
    for (line, _) in requests.iter().take(2) {
        assert_eq!(line, "post /hook/bootauth/kms http/1.1");
    }
}

#[test]
fn its_yes_adds_nothing_to_the_policy_and_it_is_not_told_of_others() {
    let data = tempfile::tempdir().unwrap();
    let (address, requests) = webhook(vec![yes()]);
    let member = asking(data.path(), address);
    let other = Guest { compose_hash: ComposeHash([9; 32]), ..guest(1) };
    let other = Caller::Guest(Box::new(other));
    let asked = Request::GetAppKey(GetAppKeyRequest::default());
    let refused = call::<AppKeyResponse>(&member, &other, asked).unwrap_err();
    assert!(refused.to_string().contains("does not list the measured file"), "{refused}");
    assert!(requests.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn no_answer_and_no_answer_that_can_be_understood_release_nothing_and_the_guest_asks_again() {
    let data = tempfile::tempdir().unwrap();
    let large = format!(r#"{{"isAllowed":true,"reason":"{}"}}"#, "x".repeat(20_000));
    let answers = [
        answer("500 Internal Server Error", r#"{"isAllowed":true}"#),
        answer("302 Found", r#"{"isAllowed":true}"#),
        answer("200 OK", r#"{"isAllowed":"true"}"#),
        answer("200 OK", r#"{"isAllowed":true,"expires":1}"#),
        answer("200 OK", &large),
        String::new(),
    ];
    let count = answers.len();
    let (address, _requests) = webhook(answers.into());
    let member = asking(data.path(), address);
    // The last one finds nobody who listens.
    for _ in 0..=count {
        let refused = keys(&member, 1).unwrap_err();
        assert!(refused.to_string().contains("gives no answer"), "{refused}");
        assert_eq!(refused.status(), UNAVAILABLE_STATUS);
    }
}

#[test]
fn a_webhook_that_never_answers_holds_up_no_other_call() {
    let data = tempfile::tempdir().unwrap();
    // Connections come about, and nobody reads from them.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", held.local_addr().unwrap());
    let member = asking(data.path(), WebhookAddress::parse(&silent).unwrap());
    let member = &member;
    thread::scope(|scope| {
        let waits = scope.spawn(move || keys(member, 1).unwrap_err().to_string());
        let asked = Instant::now();
        let status: StatusResponse =
            call(member, &Place::new(data.path(), 1, 1).owner(0), Request::Status).unwrap();
        assert_eq!(status.state, "serving");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(waits.join().unwrap().contains("gives no answer"));
    });
}
