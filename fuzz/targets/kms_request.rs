//! What a KMS reads of its clients, and they of it: arguments of every method mean the same in both
//! encodings; a statement survives its own JSON and proves nothing; a document counts only with the
//! owner's signature, under its own type.
#![no_main]

use std::sync::LazyLock;

use attestation::kms::Owners;
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use kms_rules::state;
use libfuzzer_sys::fuzz_target;
use pad_format::Custodian;
use pad_format::grant::{Conditions, Grant, Revocation, Signed};
use protocol::kms::{
    Cluster, KeepRequest, KmsService, PushKeyRequest, Request, Resumption, RevokeRequest,
    Statement, payload_type,
};
use protocol::prpc::{Arguments, Encoding, Message, encode, encode_error};

/// What signs, and whose signatures count.
static OWNER: LazyLock<(SigningKey, Owners)> = LazyLock::new(|| {
    let key = SigningKey::from_seed(&[1; 32]);
    let owners = vec![key.signer().key()];
    let cluster = Cluster { name: "fuzz".into(), owners, threshold: 1 };
    let owners = Owners::of(&cluster, cluster.id()).expect("it is this cluster");
    (key, owners)
});

// What it is, the method, then the bytes of a body, a path, a statement or a document.
fuzz_target!(|bytes: &[u8]| {
    let [what, method, rest @ ..] = bytes else { return };
    let service = match (what % 3, method / 64) {
        (0, 0 | 1) => KmsService::Guest,
        (0, _) => KmsService::Middleware,
        (1, 0 | 1) => KmsService::Public,
        (1, _) => KmsService::Custodian,
        (_, 0 | 1) => KmsService::Owner,
        _ => KmsService::Member,
    };
    match (what / 3) % 5 {
        0 => request(service, *method, Encoding::Protobuf, rest),
        1 => request(service, *method, Encoding::Json, rest),
        2 => path(service, rest),
        3 => statement(rest),
        _ => document(rest),
    }
});

fn request(service: KmsService, method: u8, encoding: Encoding, body: &[u8]) {
    let method = service.methods()[usize::from(method) % service.methods().len()];
    match service.read(method, Arguments::Body(encoding, body)) {
        Ok(request) => {
            of_pads(&request);
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let bytes = written(&request, encoding);
                let again = service.read(method, Arguments::Body(encoding, &bytes));
                assert_eq!(again.as_ref(), Ok(&request));
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 1024, "a refusal repeats at most a part of what was sent");
            assert!(encode_error(&text, Encoding::Json).is_ascii());
        }
    }
}

/// Names and documents about keys of Pads have one spelling, and no grant is a revocation.
fn of_pads(request: &Request) {
    match request {
        Request::PushKey(PushKeyRequest { grant, .. }) => {
            let Ok(name) = state::pushed_key_name(grant) else { return };
            let signed = Signed::<Grant>::parse(grant).expect("it has a name");
            assert_eq!((&signed.to_bytes(), &signed.claimed().name), (grant, &name));
            assert!(Signed::<Revocation>::parse(grant).is_err());
            let conditions = &signed.claimed().conditions;
            let both = conditions.and(conditions);
            assert_eq!(both, Conditions { releases: None, ..conditions.clone() });
            assert_eq!(Conditions::parse(&both.to_bytes()), Ok(both));
            assert!(signed.verify(&Custodian::single(OWNER.0.signer().key())).is_err());
        }
        Request::Revoke(RevokeRequest { revocation }) => {
            let Ok(signed) = Signed::<Revocation>::parse(revocation) else { return };
            assert_eq!(&signed.to_bytes(), revocation);
            assert!(signed.verify(&Custodian::single(OWNER.0.signer().key())).is_err());
        }
        Request::Keep(KeepRequest { pad, .. }) => {
            let Ok(name) = state::key_name(pad.as_ref()) else { return };
            let pad = pad.as_ref().expect("it has a name");
            assert_eq!(name.custodian.0.as_bytes(), pad.custodian);
            assert_eq!(
                (name.key_id.as_bytes(), &name.pad_id.uuid().as_bytes()[..]),
                (&pad.key_id[..], &pad.pad_id[..])
            );
        }
        _ => {}
    }
}

fn path(service: KmsService, bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Ok(method) = service.method(path) else { return };
    assert!(service.methods().contains(&method));
    assert!(path.starts_with("/prpc/") && path.ends_with(method));
}

fn statement(bytes: &[u8]) {
    let Ok(statement) = Statement::parse(bytes) else { return };
    assert_eq!(Statement::parse(&statement.to_json()).as_ref(), Ok(&statement));
    let found = statement.cluster.id();
    let Ok(owners) = Owners::of(&statement.cluster, found) else { return };
    let (_, pinned) = &*OWNER;
    // Whoever states another cluster is not the pinned one, and its documents count for itself.
    for envelope in [&statement.root, &statement.list].into_iter().flatten() {
        let theirs = (owners.root(envelope).is_ok(), owners.list(envelope).is_ok());
        assert!(theirs != (true, true), "one document of two types");
        assert!(pinned.root(envelope).is_err() && pinned.list(envelope).is_err());
    }
}

fn document(payload: &[u8]) {
    const TYPES: [&str; 4] =
        [payload_type::ROOT, payload_type::LIST, payload_type::RESUMPTION, payload_type::POLICY];
    let (key, owners) = &*OWNER;
    for own in TYPES {
        let mut envelope = Envelope::new(PayloadType(own), payload.to_vec());
        let read = |envelope: &Envelope| {
            let text = envelope.to_json();
            let resumption: Result<Resumption, _> =
                owners.document(&text, payload_type::RESUMPTION, "resumption");
            [owners.root(&text).is_ok(), owners.list(&text).is_ok(), resumption.is_ok()]
        };
        assert_eq!(read(&envelope), [false; 3], "nobody signed");
        envelope.sign(key);
        for (read, wanted) in read(&envelope).into_iter().zip(TYPES) {
            assert!(!read || wanted == own, "a document counts under its type");
        }
    }
    let Ok(text) = std::str::from_utf8(payload) else { return };
    assert!(owners.root(text).is_err() && owners.list(text).is_err(), "the owner signed nothing");
}

fn written(request: &Request, encoding: Encoding) -> Vec<u8> {
    fn bytes(message: &impl Message, encoding: Encoding) -> Vec<u8> {
        let bytes = encode(message, encoding);
        assert!(encoding != Encoding::Json || bytes.is_ascii());
        bytes
    }

    match request {
        Request::GetTime(args) => bytes(args, encoding),
        Request::GetAppKey(args) => bytes(args, encoding),
        Request::OpenDisk(args) => bytes(args, encoding),
        Request::Anchor(args) => bytes(args, encoding),
        Request::AcceptEnvVersion(args) => bytes(args, encoding),
        Request::SignCert(args) => bytes(args, encoding),
        Request::GetAppEnvEncryptPubKey(args) => bytes(args, encoding),
        Request::GiveShare(args) => bytes(args, encoding),
        Request::CertifyRoot(args)
        | Request::SetList(args)
        | Request::Resume(args)
        | Request::SetPolicy(args) => bytes(args, encoding),
        Request::PutImage(args) => bytes(args, encoding),
        Request::Ledger(args) => bytes(args, encoding),
        Request::Pending(args) => bytes(args, encoding),
        Request::NewEpoch(args) => bytes(args, encoding),
        Request::GetKmsKey(args) => bytes(args, encoding),
        Request::Admit(args) => bytes(args, encoding),
        Request::Append(args) => bytes(args, encoding),
        Request::Vote(args) => bytes(args, encoding),
        Request::Propose(args) => bytes(args, encoding),
        Request::FetchKeys(args) => bytes(args, encoding),
        Request::Spend(args) => bytes(args, encoding),
        Request::Keep(args) => bytes(args, encoding),
        Request::Update(args) => bytes(args, encoding),
        Request::AuditHead(args) => bytes(args, encoding),
        Request::Enrol(args) => bytes(args, encoding),
        Request::PushKey(args) => bytes(args, encoding),
        Request::Revoke(args) => bytes(args, encoding),
        Request::Audit(args) => bytes(args, encoding),
        Request::Head
        | Request::Images
        | Request::GetTempCaCert
        | Request::GetMeta
        | Request::Status
        | Request::Bootstrap
        | Request::TakeShare
        | Request::GetPolicy
        | Request::ClearImageCache => Vec::new(),
    }
}
