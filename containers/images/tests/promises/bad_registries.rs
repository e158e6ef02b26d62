//! Promise: whatever a registry or mirror does, it gets one clear refusal, nobody's password, and
//! leaves nothing behind.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use compose::ImageReference;
use compose::digest::ContentDigest;
use container_images::{
    Credentials, Limits, Progress, PullReason, PulledImage, Registries, RegistrySettings, Store,
    Timeouts, pull,
};

use crate::image::{Archive, Blobs};
use crate::registry::{
    Behaviour, Certificate, Request, Server, blob, body, listen, roots_pem, status,
};
use crate::root;

/// So short that a test ends soon, so long that a busy machine keeps it.
const TIMEOUT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(2),
    base: Duration::from_secs(5),
    min_bytes_per_sec: 1 << 20,
    retries: 1,
    pause: Duration::from_millis(1),
};
const USER: &str = "someone";
const SECRET: &str = "hunter2";
/// `someone:hunter2` in base64.
const BASIC: &str = "Basic c29tZW9uZTpodW50ZXIy";

/// An image of one layer of 4 KiB.
fn sample() -> (Blobs, ContentDigest) {
    let mut blobs = Blobs::default();
    let archive = Archive::default().file("one", &[b'1'; 2048]).finish();
    let digest = blobs.image(&[("tar", archive.clone(), archive)], "{}");
    (blobs, digest)
}

/// Pulls `name@digest` into a new store; what is refused must leave nothing there.
async fn attempt(
    name: &str,
    digest: ContentDigest,
    settings: RegistrySettings,
) -> Result<PulledImage, String> {
    let directory = tempfile::tempdir().expect("directory");
    let image = ImageReference::parse(&format!("{name}@{digest}")).expect("reference");
    let registries = Arc::new(Registries::new(settings).expect("settings"));
    let store = Arc::new(Store::open(directory.path()).expect("store"));
    let progress = Progress::default();
    let pulled = pull(&image, registries, store, Limits::default(), &progress).await;
    let count = |name: &str| directory.path().join(name).read_dir().expect(name).count();
    assert_eq!(count("partial"), 0, "nothing unfinished is left");
    if pulled.is_err() {
        assert_eq!(
            (count("layers"), count("documents")),
            (0, 0),
            "nothing of a refused image is left"
        );
        assert_eq!(progress.subscribe().borrow().bytes_done, 0, "what came of it does not count");
    }
    pulled.map_err(|error| error.to_string())
}

fn assert_refused(case: &str, pulled: Result<PulledImage, String>, expected: &str) {
    let error = pulled.map(|_| ()).expect_err(case);
    assert!(error.contains(expected), "{case}: expected {expected:?}, found {error}");
    assert!(!error.contains(SECRET), "{case}: {error}");
}

// Long: a table, one row a case.
#[tokio::test]
async fn every_lie_is_refused_by_name_for_documents_and_for_blobs() {
    use Behaviour as B;
    // What is said of a document, whose size only the second of them tells, and what of a blob.
    let cases = [
        (B::OtherBytes, "wrong bytes: expected sha256:", "wrong bytes: expected sha256:"),
        (B::Shorter, "wrong bytes: expected sha256:", "bytes are announced, expected"),
        (B::Longer, "wrong bytes: expected sha256:", "bytes are announced, expected"),
        (
            B::Dropped,
            "end of file before message length reached",
            "end of file before message length reached",
        ),
        (B::Halved, "wrong bytes: expected sha256:", "were sent"),
        (B::Endless, "more than 4194304 bytes were sent", "bytes were sent"),
        (B::Dripping, "not done after", "not done after"),
        (B::Stalled, "timed out", "timed out"),
        (B::Silent, "timed out", "timed out"),
        (
            B::Closed,
            "connection closed before message completed",
            "connection closed before message completed",
        ),
        (B::Garbage, "invalid HTTP", "invalid HTTP"),
        (B::LongHeader, "message head is too large", "message head is too large"),
        (B::ManyHeaders, "message head is too large", "message head is too large"),
        (
            B::Encoded,
            "content encoding \"gzip\" was not asked for",
            "content encoding \"gzip\" was not asked for",
        ),
        (B::Partial, "HTTP status 206", "HTTP status 206"),
        (B::WrongRest, "wrong bytes: expected sha256:", "wrong bytes: expected sha256:"),
        (B::OtherRest, "asked for the bytes from", "asked for the bytes from"),
        (B::BadChunks, "Invalid chunk size line", "Invalid chunk size line"),
        (B::Status(204), "HTTP status 204", "HTTP status 204"),
        (B::Status(302), "HTTP status 302", "HTTP status 302"),
        (B::Status(401), "HTTP status 401", "HTTP status 401"),
        (B::Status(403), "HTTP status 403", "HTTP status 403"),
        (B::Status(404), "HTTP status 404", "HTTP status 404"),
        (B::Status(416), "HTTP status 416", "HTTP status 416"),
        (B::Status(429), "HTTP status 429", "HTTP status 429"),
        (B::Status(500), "HTTP status 500", "HTTP status 500"),
        (B::Status(503), "HTTP status 503", "HTTP status 503"),
    ];
    let (blobs, digest) = sample();
    let mut pulls = tokio::task::JoinSet::new();
    for (behaviour, of_document, of_blob) in cases {
        let honest = Behaviour::Honest;
        for (manifests, other, expected) in
            [(behaviour, honest, of_document), (honest, behaviour, of_blob)]
        {
            let blobs = blobs.clone();
            let server = listen(Certificate::None, move |request, out| {
                blob(&blobs, manifests, other, request, out)
            });
            let settings = RegistrySettings {
                timeout: TIMEOUT,
                mirrors: vec![server.mirror()],
                ..Default::default()
            };
            pulls.spawn(async move {
                let case = format!("{manifests:?} {other:?}");
                assert_refused(&case, attempt("example.org/app", digest, settings).await, expected);
            });
        }
    }
    while let Some(done) = pulls.join_next().await {
        done.expect("refused as expected");
    }
}

#[tokio::test]
async fn nobody_there_is_a_refusal_too() {
    let (_, digest) = sample();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound").port()
    };
    let mirror =
        container_images::Mirror::parse(&format!("http://127.0.0.1:{gone}")).expect("address");
    let settings =
        RegistrySettings { timeout: TIMEOUT, mirrors: vec![mirror], ..Default::default() };
    assert_refused(
        "gone",
        attempt("example.org/app", digest, settings).await,
        "Connection refused",
    );
    let name = format!("localhost:{gone}/app");
    let settings = || RegistrySettings {
        timeout: TIMEOUT,
        roots_pem: Some(roots_pem()),
        ..Default::default()
    };
    assert_refused("gone", attempt(&name, digest, settings()).await, "Connection refused");
    let unknown = attempt("registry.invalid/app", digest, settings()).await;
    assert_refused("no such name", unknown, "dns error");
}

/// What passes is asked for again, with the time that the registry asks for; the rest is final,
/// with a reason and the blob that a host may know.
#[tokio::test]
async fn what_passes_is_told_apart_from_what_is_final() {
    let (blobs, digest) = sample();
    let error = async |name: &str, mirrors: Vec<container_images::Mirror>| {
        let directory = tempfile::tempdir().expect("directory");
        let image = ImageReference::parse(&format!("{name}@{digest}")).expect("reference");
        let settings = RegistrySettings {
            timeout: Timeouts { retries: 0, ..TIMEOUT },
            roots_pem: mirrors.is_empty().then(roots_pem),
            mirrors,
            ..Default::default()
        };
        let registries = Arc::new(Registries::new(settings).expect("settings"));
        let store = Arc::new(Store::open(directory.path()).expect("store"));
        let pulled = pull(&image, registries, store, Limits::default(), &Progress::default()).await;
        pulled.expect_err(name)
    };
    let unresolved = error("registry.invalid/app", vec![]).await;
    assert!(unresolved.is_passing() && unresolved.reason() == PullReason::Unreachable);
    assert_eq!(unresolved.blob(), Some(digest));
    // Its name is not even looked up.
    let local = error("dstyx.local/app", vec![]).await;
    assert!(!local.is_passing() && local.reason() == PullReason::NotFound, "{local}");
    for (code, headers, passing, reason) in [
        (429, "retry-after: 7\n", Some(7), PullReason::Unreachable),
        (503, "", Some(0), PullReason::Unreachable),
        (404, "retry-after: 7\n", None, PullReason::NotFound),
        (403, "", None, PullReason::Access),
    ] {
        let server = listen(Certificate::None, move |_, out| status(out, code, headers));
        let error = error("example.org/app", vec![server.mirror()]).await;
        assert_eq!(error.reason(), reason, "{code}");
        let after = error.is_passing().then(|| error.retry_after().unwrap_or_default().as_secs());
        assert_eq!(after, passing, "{code}");
    }
    let (honest, other) = (Behaviour::Honest, Behaviour::OtherBytes);
    let server =
        listen(Certificate::None, move |request, out| blob(&blobs, honest, other, request, out));
    let wrong = error("example.org/app", vec![server.mirror()]).await;
    assert!(!wrong.is_passing() && wrong.reason() == PullReason::Bytes);
    assert!(wrong.blob().is_some_and(|blob| blob != digest), "the blob, not the image");
}

/// Settings with a password for the registry at `server`.
fn known(server: &Server) -> RegistrySettings {
    let variables = [
        ("DSTACK_DOCKER_REGISTRY", format!("localhost:{}", server.port)),
        ("DSTACK_DOCKER_USERNAME", USER.to_owned()),
        ("DSTACK_DOCKER_PASSWORD", SECRET.to_owned()),
    ];
    let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let credentials = Credentials::from_environment(&environment).expect("credentials");
    RegistrySettings {
        credentials,
        timeout: TIMEOUT,
        roots_pem: Some(roots_pem()),
        ..Default::default()
    }
}

/// The same without a password.
fn unknown() -> RegistrySettings {
    RegistrySettings { timeout: TIMEOUT, roots_pem: Some(roots_pem()), ..Default::default() }
}

/// Asks for a token of the service at `realm`.
fn challenge(out: &mut dyn Write, realm: &str) -> Option<()> {
    status(out, 401, &format!("www-authenticate: Bearer realm=\"{realm}\",service=\"x\"\n"))
}

type Answer = fn(&Request, &mut dyn Write) -> Option<()>;

/// A registry whose token service, `/token` of its own, answers so, and which takes no token.
fn with_token_service(token: Answer) -> Server {
    listen(Certificate::Trusted, move |request, out| match request.path.starts_with("/token") {
        true => token(request, out),
        false => challenge(out, &format!("https://{}/token", request.header("host")?)),
    })
}

/// A registry that answers everything so.
fn always(answer: Answer) -> Server {
    listen(Certificate::Trusted, answer)
}

// Long: one table, a row a lie.
#[tokio::test]
async fn registries_that_refuse_or_lead_astray_are_told_apart() {
    let (_, digest) = sample();
    let long: Answer =
        |_, out| body(out, "", format!(r#"{{"token":"{}"}}"#, "x".repeat(20_000)).as_bytes());
    let endless: Answer = |_, out| {
        write!(out, "HTTP/1.1 200 OK\r\n\r\n").ok()?;
        loop {
            out.write_all(&[b' '; 4096]).ok()?;
        }
    };
    let loops: Answer = |request, out| {
        let next =
            format!("location: https://{}/{}\n", request.header("host")?, request.path.len());
        status(out, 307, &next)
    };
    // What the registry does, whether it is known, what is said.
    let cases: Vec<(&str, Server, bool, &str)> = vec![
        ("no challenge", always(|_, out| status(out, 401, "")), true, "names no token service"),
        (
            "Negotiate",
            always(|_, out| status(out, 401, "www-authenticate: Negotiate\n")),
            true,
            "wants neither",
        ),
        (
            "Basic",
            always(|_, out| status(out, 401, "www-authenticate: Basic realm=\"x\"\n")),
            false,
            "has no credentials",
        ),
        (
            "Basic, wrong",
            always(|_, out| status(out, 401, "www-authenticate: Basic realm=\"x\"\n")),
            true,
            "401 to what it asked",
        ),
        (
            "plain realm",
            always(|_, out| challenge(out, "http://localhost/token")),
            true,
            "is no https address",
        ),
        ("no realm", always(|_, out| challenge(out, "")), true, "is no https address"),
        (
            "foreign realm",
            always(|_, out| challenge(out, "https://127.0.0.1:1/token")),
            true,
            "gets no password",
        ),
        (
            "token refused",
            with_token_service(|_, out| status(out, 403, "")),
            false,
            "403: the image may be private",
        ),
        (
            "wrong password",
            with_token_service(|_, out| status(out, 401, "")),
            true,
            "401: the credentials are wrong",
        ),
        (
            "token moved",
            with_token_service(|_, out| status(out, 307, "location: https://127.0.0.1:1/\n")),
            true,
            "is not followed",
        ),
        ("no token", with_token_service(|_, out| body(out, "", b"{}")), true, "sends no token"),
        ("no JSON", with_token_service(|_, out| body(out, "", b"token")), true, "sends no token"),
        (
            "broken token",
            with_token_service(|_, out| body(out, "", br#"{"token":"a\r\nx: y"}"#)),
            true,
            "sends no token",
        ),
        ("long token", with_token_service(long), true, "sends no token"),
        ("endless token", with_token_service(endless), true, "sends more than 65536 bytes"),
        (
            "useless token",
            with_token_service(|_, out| body(out, "", br#"{"token":"t"}"#)),
            true,
            "401 to what it asked",
        ),
        (
            "realm asks too",
            with_token_service(|_, out| challenge(out, "https://localhost/token")),
            true,
            "401: the credentials",
        ),
        ("redirects", always(loops), true, "more than 5 redirects"),
        (
            "to itself",
            always(|request, out| status(out, 302, &format!("location: {}\n", request.path))),
            true,
            "more than 5 redirects",
        ),
        (
            "to plain HTTP",
            always(|_, out| status(out, 307, "location: http://127.0.0.1:1/x\n")),
            true,
            "redirect to \"http://127.0.0.1:1\"",
        ),
        (
            "to a file",
            always(|_, out| status(out, 307, "location: file:///etc/passwd\n")),
            true,
            "which is no https address",
        ),
        (
            "to a user",
            always(|_, out| status(out, 307, "location: https://a:b@127.0.0.1/\n")),
            true,
            "which is no https address",
        ),
        ("to nowhere", always(|_, out| status(out, 307, "")), true, "redirect to \"\""),
        ("forbidden", always(|_, out| status(out, 403, "")), true, "HTTP status 403"),
        (
            "stranger",
            listen(Certificate::Stranger, |_, out| status(out, 200, "")),
            true,
            "invalid peer certificate",
        ),
        (
            "no TLS",
            listen(Certificate::None, |_, out| status(out, 200, "")),
            true,
            "error sending request",
        ),
    ];
    for (case, server, is_known, expected) in cases {
        let settings = if is_known { known(&server) } else { unknown() };
        let pulled = attempt(&format!("localhost:{}/app", server.port), digest, settings).await;
        assert_refused(case, pulled, expected);
    }
}

#[tokio::test]
async fn a_password_is_shown_to_its_registry_and_a_token_used() {
    if !root("a_password_is_shown_to_its_registry_and_a_token_used") {
        return;
    }
    let (blobs, digest) = sample();
    let server = listen(Certificate::Trusted, move |request, out| {
        if request.path.starts_with("/token") {
            let right = request.header("authorization") == Some(BASIC)
                && request.path.contains("scope=repository%3Aapp%3Apull");
            return if right {
                body(out, "", br#"{"access_token":"t0ken"}"#)
            } else {
                status(out, 401, "")
            };
        }
        match request.header("authorization") {
            Some("Bearer t0ken") => {
                blob(&blobs, Behaviour::Honest, Behaviour::Honest, request, out)
            }
            _ => challenge(out, &format!("https://{}/token", request.header("host")?)),
        }
    });
    attempt(&format!("localhost:{}/app", server.port), digest, known(&server))
        .await
        .expect("pulled");
    let asked: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.path.starts_with("/token"))
        .collect();
    assert_eq!(asked.len(), 1, "a token is used for all of an image");
}

#[tokio::test]
async fn redirects_to_another_host_get_neither_password_nor_token() {
    if !root("redirects_to_another_host_get_neither_password_nor_token") {
        return;
    }
    for scheme in ["Basic", "Bearer"] {
        let (blobs, digest) = sample();
        let bytes = blobs.clone();
        let elsewhere = listen(Certificate::Trusted, move |request, out| {
            blob(&bytes, Behaviour::Honest, Behaviour::Honest, request, out)
        });
        let port = elsewhere.port;
        let server = listen(Certificate::Trusted, move |request, out| {
            let shown = request.header("authorization");
            if request.path.starts_with("/token") {
                return body(out, "", br#"{"token":"t0ken"}"#);
            }
            match (scheme, shown) {
                ("Basic", Some(BASIC)) | ("Bearer", Some("Bearer t0ken")) => status(
                    out,
                    307,
                    &format!("location: https://127.0.0.1:{port}{}\n", request.path),
                ),
                ("Basic", _) => status(out, 401, "www-authenticate: Basic realm=\"x\"\n"),
                _ => challenge(out, &format!("https://{}/token", request.header("host")?)),
            }
        });
        attempt(&format!("localhost:{}/app", server.port), digest, known(&server))
            .await
            .expect("pulled");
        let asked = elsewhere.requests();
        assert!(asked.len() >= 3, "manifest, configuration and layer");
        assert!(asked.iter().all(|request| request.header("authorization").is_none()), "{asked:?}");
        assert!(server.requests().iter().any(|request| request.header("authorization").is_some()));
    }
}

#[tokio::test]
async fn who_is_redirected_to_may_not_ask_for_a_password() {
    let (_, digest) = sample();
    let elsewhere = always(|_, out| challenge(out, "https://127.0.0.1:1/token"));
    let port = elsewhere.port;
    let server = listen(Certificate::Trusted, move |_, out| {
        status(out, 307, &format!("location: https://127.0.0.1:{port}/\n"))
    });
    let pulled = attempt(&format!("localhost:{}/app", server.port), digest, known(&server)).await;
    assert_refused("redirected", pulled, "HTTP status 401");
    assert_eq!(elsewhere.requests().len(), 1);
}

#[tokio::test]
async fn mirrors_and_insecure_registries_see_no_password() {
    let (blobs, digest) = sample();
    let asks = |certificate| {
        listen(certificate, |_, out| status(out, 401, "www-authenticate: Basic realm=\"x\"\n"))
    };
    let (mirror, server) = (asks(Certificate::None), asks(Certificate::None));
    let settings = RegistrySettings {
        mirrors: vec![mirror.mirror()],
        insecure: vec![format!("localhost:{}", server.port)],
        ..known(&server)
    };
    let pulled = attempt(&format!("localhost:{}/app", server.port), digest, settings).await;
    assert_refused("insecure", pulled, "never sent over plain HTTP");
    for request in mirror.requests().iter().chain(&server.requests()) {
        assert_eq!(request.header("authorization"), None);
    }
    assert_eq!((mirror.requests().len(), server.requests().len()), (1, 1));
    if root("mirrors_and_insecure_registries_see_no_password") {
        let server = listen(Certificate::None, move |request, out| {
            blob(&blobs, Behaviour::Honest, Behaviour::Honest, request, out)
        });
        let name = format!("localhost:{}", server.port);
        let settings = RegistrySettings { insecure: vec![name.clone()], ..unknown() };
        attempt(&format!("{name}/app"), digest, settings).await.expect("pulled over plain HTTP");
        assert_refused(
            "not named",
            attempt(&format!("{name}/app"), digest, unknown()).await,
            "error sending request",
        );
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_a_registry_token_used() {
    if !root("an_identity_token_is_exchanged_and_a_registry_token_used") {
        return;
    }
    for (entry, direct) in
        [(r#""identitytoken":"id&ent=ity""#, false), (r#""registrytoken":"t0ken""#, true)]
    {
        let (blobs, digest) = sample();
        let server = listen(Certificate::Trusted, move |request, out| {
            if request.path.starts_with("/token") {
                let right = request.body.contains("refresh_token=id%26ent%3Dity")
                    && request.body.contains("grant_type=refresh_token");
                return if right {
                    body(out, "", br#"{"access_token":"t0ken"}"#)
                } else {
                    status(out, 401, "")
                };
            }
            match request.header("authorization") {
                Some("Bearer t0ken") => {
                    blob(&blobs, Behaviour::Honest, Behaviour::Honest, request, out)
                }
                _ => challenge(out, &format!("https://{}/token", request.header("host")?)),
            }
        });
        let auths = format!(r#"{{"auths":{{"localhost:{}":{{{entry}}}}}}}"#, server.port);
        let environment = [("DOCKER_AUTH_CONFIG".to_owned(), auths)].into_iter().collect();
        let credentials = Credentials::from_environment(&environment).expect("credentials");
        let settings = RegistrySettings { credentials, ..unknown() };
        attempt(&format!("localhost:{}/app", server.port), digest, settings).await.expect("pulled");
        assert_eq!(
            server.requests().iter().any(|request| request.path.starts_with("/token")),
            !direct
        );
    }
}
