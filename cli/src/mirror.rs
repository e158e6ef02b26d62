//! A read-only registry on loopback for the app's local images, such as an example's.
//!
//! The guest asks it first because the launch block names it, and believes nothing that it says:
//! every manifest and blob is addressed and checked by its digest.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use protocol::digest::Sha256Digest;
use tokio::io::AsyncReadExt as _;

use crate::failure::{Hint as _, Outcome};

/// Media type of an OCI image manifest (image-spec 1.1).
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index (image-spec 1.1).
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is read of a layer and sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// Serves the images of OCI layouts until it is ended; `port_file` gets the port once it listens.
pub fn run(layouts: Vec<PathBuf>, port_file: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .hint("starting the image server", "see the message")?;
    runtime.block_on(serve(layouts, port_file))
}

async fn serve(layouts: Vec<PathBuf>, port_file: &Path) -> Outcome<()> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .hint("listening on loopback", "see the message")?;
    let port = listener.local_addr().hint("reading the port", "see the message")?.port();
    let written = port_file.with_extension("new");
    std::fs::write(&written, port.to_string())
        .and_then(|()| std::fs::rename(&written, port_file))
        .hint(port_file.display(), "is the directory writable?")?;
    axum::serve(listener, routes(layouts)).await.hint("serving images", "see the message")
}

fn routes(layouts: Vec<PathBuf>) -> Router {
    Router::new()
        .route("/v2/", get(|| async { StatusCode::OK }))
        .route("/v2/{*path}", get(blob))
        .with_state(Arc::new(layouts))
}

/// `NAME/manifests/DIGEST` and `NAME/blobs/DIGEST`; names do not matter, digests do.
async fn blob(
    State(layouts): State<Arc<Vec<PathBuf>>>,
    UrlPath(path): UrlPath<String>,
) -> Response {
    let Some((kind, digest)) = digest_of(&path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    for layout in layouts.iter() {
        let file = blob_file(layout, &digest);
        let answer = match kind {
            "manifests" => manifest(&file).await,
            _ => streamed(&file).await,
        };
        if let Ok(answer) = answer {
            return answer;
        }
    }
    StatusCode::NOT_FOUND.into_response()
}

async fn manifest(file: &Path) -> io::Result<Response> {
    let bytes = tokio::fs::read(file).await?;
    Ok(([(header::CONTENT_TYPE, manifest_type(&bytes))], Body::from(bytes)).into_response())
}

/// Layers have gigabytes: they are sent in pieces.
async fn streamed(file: &Path) -> io::Result<Response> {
    let file = tokio::fs::File::open(file).await?;
    let length = file.metadata().await?.len();
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, io::Error>((read > 0).then_some((piece, file)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn digest_of(path: &str) -> Option<(&str, Sha256Digest)> {
    let (rest, reference) = path.rsplit_once('/')?;
    let (_, kind) = rest.rsplit_once('/')?;
    let digest = Sha256Digest::from_hex(reference.strip_prefix("sha256:")?).ok()?;
    matches!(kind, "manifests" | "blobs").then_some((kind, digest))
}

fn blob_file(layout: &Path, digest: &Sha256Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.to_string())
}

/// What the document calls itself; an index has a list of manifests.
fn manifest_type(bytes: &[u8]) -> &'static str {
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    if document.get("manifests").is_some() { INDEX } else { MANIFEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_served() {
        let digest = Sha256Digest([0xab; 32]);
        let path = format!("dstyx.local/hello/blobs/sha256:{digest}");
        assert_eq!(digest_of(&path), Some(("blobs", digest)));
        assert_eq!(digest_of("hello/manifests/latest"), None);
        assert_eq!(digest_of(&format!("hello/tags/sha256:{digest}")), None);
        assert_eq!(digest_of("hello/blobs/sha256:../../x"), None);
    }

    #[test]
    fn a_layer_is_sent_whole_in_pieces() {
        let layer = vec![7; PIECE_BYTES + 1];
        let digest = Sha256Digest::of(&layer);
        let layout = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
        std::fs::write(blob_file(layout.path(), &digest), &layer).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let layouts = State(Arc::new(vec![layout.path().to_owned()]));
            let path = UrlPath(format!("any/blobs/sha256:{digest}"));
            let answer = blob(layouts, path).await;
            assert_eq!(answer.headers()[header::CONTENT_LENGTH], layer.len().to_string());
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body, layer);
        });
    }
}
