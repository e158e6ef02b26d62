//! The public port as anybody meets it.

use ::tests::any_certificate;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

pub async fn get(address: std::net::SocketAddr, path: &str) -> (StatusCode, serde_json::Value) {
    let name = ServerName::try_from("kms.invalid").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(any_certificate::client()).connect(name, stream).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "kms.invalid").body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn anybody_reads_who_the_kms_is_over_plain_tls_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _) = place.serving();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_public(listener, self_signed().unwrap(), Arc::new(member)));
    let (status, meta) = get(address, "/prpc/KMS.GetMeta").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(meta["key_provider_id"], place.config.cluster.id().to_string());
    assert_eq!(meta["state"], "serving");
    let app = "aa".repeat(20);
    let (_, key) = get(address, &format!("/prpc/GetAppEnvEncryptPubKey?app_id={app}")).await;
    assert_eq!(key["public_key"].as_str().unwrap().len(), 64);
    for path in ["/prpc/KMS.GetAppKey", "/prpc/Onboard.Bootstrap", "/prpc/Status", "/"] {
        assert_eq!(get(address, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}
