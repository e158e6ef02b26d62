//! Calls of containers and of the network: what is accepted in one encoding means the same in the
//! other, and nothing but the table is a call.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::prpc::guest::{Request, Service};
use protocol::prpc::{Arguments, Encoding, Message, encode, encode_error};

// Service and method, then the way in, then a path's or the arguments' bytes.
fuzz_target!(|bytes: &[u8]| {
    let [service, method, way, rest @ ..] = bytes else { return };
    let service = Service::ALL[usize::from(*service) % Service::ALL.len()];
    let method = service.methods()[usize::from(*method) % service.methods().len()];
    let text = std::str::from_utf8(rest).ok();
    let sent = match (way % 4, text) {
        (0, _) => Arguments::Body(Encoding::Json, rest),
        (1, _) => Arguments::Body(Encoding::Protobuf, rest),
        (2, Some(query)) => Arguments::Query(query),
        (3, Some(path)) => return check_path(service, path),
        _ => return,
    };
    match service.read(method, sent) {
        Ok(request) => check(service, method, &request),
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 1024, "a refusal repeats at most a part of what was sent");
            assert!(encode_error(&text, Encoding::Json).is_ascii());
        }
    }
});

fn check_path(service: Service, path: &str) {
    let Ok(method) = service.method(path) else { return };
    assert!(service.methods().contains(&method) && path.ends_with(method));
    assert!(service != Service::Worker || path.starts_with("/prpc/"));
}

/// Written by ourselves in either encoding, a request is the same request.
fn check(service: Service, method: &str, request: &Request) {
    let again = |encoding| {
        let bytes = written(request, encoding);
        service.read(method, Arguments::Body(encoding, &bytes)).expect("what we write is read")
    };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        assert_eq!(&again(encoding), request);
    }
}

fn written(request: &Request, encoding: Encoding) -> Vec<u8> {
    fn bytes(message: &impl Message, encoding: Encoding) -> Vec<u8> {
        let bytes = encode(message, encoding);
        assert!(encoding != Encoding::Json || bytes.is_ascii());
        bytes
    }

    match request {
        Request::GetTlsKey(args) => bytes(args, encoding),
        Request::DeriveKey(args) => bytes(args, encoding),
        Request::GetKey(args) | Request::DeriveK256Key(args) => bytes(args, encoding),
        Request::GetQuote(args) | Request::Attest(args) => bytes(args, encoding),
        Request::TdxQuote(args) => bytes(args, encoding),
        Request::EmitEvent(args) => bytes(args, encoding),
        Request::Sign(args) => bytes(args, encoding),
        Request::Verify(args) => bytes(args, encoding),
        Request::GetAttestationForAppKey(args) => bytes(args, encoding),
        Request::Info
        | Request::GpuInfo
        | Request::Version
        | Request::Anchor
        | Request::Release => Vec::new(),
    }
}
