//! What each request is answered with.
//!
//! The page needs no script, so a browser's form is the interface: a request that changes something
//! is a POST of a form from this very page. Pages of other sites can send such forms too; their
//! `Origin` differs and they are refused.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    LOCATION, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};

use crate::form::{self, FormError};
use crate::page;
use crate::store::{Store, StoreError};
use crate::text::{MAX_BYTES, Text, TextError};

/// Largest body: a note of line feeds, each of which a browser sends as `%0D%0A`, and its field's
/// name.
pub const MAX_BODY_BYTES: usize = 6 * MAX_BYTES + 16;

const HTML: &str = "text/html; charset=utf-8";
/// Nothing is loaded from anywhere, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
/// What every answer says.
const ALWAYS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    // With `no-referrer`, browsers would send the page's own forms with the origin `null`.
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// An answer of one piece.
pub type Answer = Response<Full<Bytes>>;

/// Answers a request whose body has at most [`MAX_BODY_BYTES`].
pub fn answer(store: &Store, request: &Request<Bytes>) -> Answer {
    match route(store, request) {
        Ok(answer) => answer,
        Err(refused) => refusal(&refused),
    }
}

/// The page of a refusal.
pub fn refusal(refused: &Refused) -> Answer {
    let mut answer = of_type(HTML, page::refusal(&refused.to_string()));
    *answer.status_mut() = refused.status();
    if let Refused::Method(allowed) = refused {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    answer
}

fn route(store: &Store, request: &Request<Bytes>) -> Result<Answer, Refused> {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let writes = *request.method() == Method::POST;
    match path {
        "/" if reads => Ok(of_type(HTML, page::notes(&store.page(before(request)?)?))),
        "/notes" if reads => {
            let page = store.page(before(request)?)?;
            let json = serde_json::to_string(&page).expect("numbers and strings serialise");
            Ok(of_type("application/json", json))
        }
        "/notes" if writes => add(store, request),
        "/health" if reads => store.page(Some(0)).map_err(Refused::from).map(|_| ok()),
        "/" | "/health" => Err(Refused::Method("GET, HEAD")),
        "/notes" => Err(Refused::Method("GET, HEAD, POST")),
        _ => match deleted(path) {
            Some(id) if writes => remove(store, id, request),
            Some(_) => Err(Refused::Method("POST")),
            None => Err(Refused::NoPage),
        },
    }
}

fn add(store: &Store, request: &Request<Bytes>) -> Result<Answer, Refused> {
    from_this_page(request)?;
    let text = form::only_field(request.body(), "text").map_err(Refused::Form)?;
    store.add(&Text::parse(&text).map_err(Refused::Text)?)?;
    Ok(to_the_page())
}

fn remove(store: &Store, id: u64, request: &Request<Bytes>) -> Result<Answer, Refused> {
    from_this_page(request)?;
    if !request.body().is_empty() {
        return Err(Refused::Form(FormError::Fields));
    }
    store.remove(id)?;
    Ok(to_the_page())
}

/// The id in `/notes/ID/delete`.
fn deleted(path: &str) -> Option<u64> {
    decimal(path.strip_prefix("/notes/")?.strip_suffix("/delete")?)
}

/// The id in `?before=ID`, if there is a query.
fn before(request: &Request<Bytes>) -> Result<Option<u64>, Refused> {
    let Some(query) = request.uri().query() else { return Ok(None) };
    let id = query.strip_prefix("before=").and_then(decimal);
    id.map(Some).ok_or(Refused::Query)
}

/// A number as this program writes them: digits only, no zero in front.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Refuses what a browser sends for another site, and what no form sends.
fn from_this_page(request: &Request<Bytes>) -> Result<(), Refused> {
    if let Some(origin) = request.headers().get(ORIGIN) {
        let host = request.headers().get(HOST).ok_or(Refused::Origin)?;
        let origin = origin.as_bytes();
        let named = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
        if named != Some(host.as_bytes()) {
            return Err(Refused::Origin);
        }
    }
    match request.headers().get(CONTENT_TYPE) {
        Some(found) if found == form::CONTENT_TYPE => Ok(()),
        _ => Err(Refused::ContentType),
    }
}

fn ok() -> Answer {
    of_type("text/plain; charset=utf-8", "ok\n".into())
}

/// Loading the page again does not send the form again.
fn to_the_page() -> Answer {
    let mut answer = of_type(HTML, String::new());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    answer
}

fn of_type(content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    for (name, value) in ALWAYS.into_iter().chain([(CONTENT_TYPE, content_type)]) {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// there is no such page
    #[error("there is no such page")]
    NoPage,
    /// the page takes only {0}
    #[error("the page takes only {0}")]
    Method(&'static str),
    /// the query is not before=ID
    #[error("the query is not before=ID")]
    Query,
    /// the form was sent by the page of another site
    #[error("the form was sent by the page of another site")]
    Origin,
    /// the body is not said to be a form
    #[error("the body is not said to be a form")]
    ContentType,
    /// the body has more than 24592 bytes
    #[error("the body has more than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// the body did not come in time, or not whole
    #[error("the body did not come in time, or not whole")]
    Late,
    /// a body that is no form
    #[error(transparent)]
    Form(FormError),
    /// a text that is no note
    #[error(transparent)]
    Text(TextError),
    /// notes that cannot be read or changed
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoPage | Self::Store(StoreError::NoNote(_)) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Query | Self::Form(_) | Self::Text(_) => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Store(StoreError::Full) => StatusCode::CONFLICT,
            Self::Store(StoreError::Database(_) | StoreError::Io(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn new_store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    fn request(method: &str, target: &str, body: &str) -> Request<Bytes> {
        let request = Request::builder().method(method).uri(target).header(HOST, "notes.test:8080");
        let request = match method {
            "POST" => request.header(CONTENT_TYPE, form::CONTENT_TYPE),
            _ => request,
        };
        request.body(Bytes::from(body.to_owned())).unwrap()
    }

    fn ask(store: &Store, method: &str, target: &str, body: &str) -> (u16, String) {
        read(answer(store, &request(method, target, body)))
    }

    fn read(answer: Answer) -> (u16, String) {
        let status = answer.status().as_u16();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn notes_are_added_shown_and_removed() {
        let (_directory, store) = new_store();
        let added = answer(&store, &request("POST", "/notes", "text=%3Cb%3E+1%0D%0A2"));
        assert_eq!(
            (added.status(), &added.headers()[LOCATION]),
            (StatusCode::SEE_OTHER, &HeaderValue::from_static("/"))
        );
        let (status, page) = ask(&store, "GET", "/", "");
        assert!(status == 200 && page.contains("&lt;b&gt; 1\n2"), "{page}");
        let (_, json) = ask(&store, "GET", "/notes", "");
        assert_eq!(
            json,
            r#"{"starts":1,"count":1,"notes":[{"id":1,"text":"<b> 1\n2"}],"before":null}"#
        );
        assert_eq!(ask(&store, "POST", "/notes/1/delete", "").0, 303);
        assert_eq!(ask(&store, "POST", "/notes/1/delete", "").0, 404);
        assert!(ask(&store, "GET", "/", "").1.contains("There are no notes here."));
        assert_eq!(ask(&store, "GET", "/health", ""), (200, "ok\n".to_owned()));
    }

    #[test]
    fn older_notes_are_behind_a_query() {
        let (_directory, store) = new_store();
        for note in ["text=old", "text=new"] {
            assert_eq!(ask(&store, "POST", "/notes", note).0, 303);
        }
        let (_, json) = ask(&store, "GET", "/notes?before=2", "");
        assert!(json.contains("old") && !json.contains("new"), "{json}");
        assert_eq!(ask(&store, "GET", "/?before=18446744073709551615", "").0, 200);
        for query in ["", "before", "before=", "before=02", "before=-1", "before=2&x", "after=2"] {
            assert_eq!(ask(&store, "GET", &format!("/?{query}"), "").0, 400, "{query}");
        }
    }

    #[test]
    fn hostile_requests_change_nothing() {
        let (_directory, store) = new_store();
        let long = format!("text={}", "x".repeat(MAX_BYTES + 1));
        for (method, target, body, status) in [
            ("POST", "/notes", "", 400),
            ("POST", "/notes", "text=+%0D%0A", 400),
            ("POST", "/notes", "text=%00", 400),
            ("POST", "/notes", "text=%ff", 400),
            ("POST", "/notes", "text=a&text=b", 400),
            ("POST", "/notes", &long, 400),
            ("POST", "/", "text=a", 405),
            ("PUT", "/notes", "text=a", 405),
            ("DELETE", "/notes/1/delete", "", 405),
            ("GET", "/notes/1/delete", "", 405),
            ("POST", "/notes/1/delete", "text=a", 400),
            ("POST", "/notes/01/delete", "", 404),
            ("POST", "/notes/+1/delete", "", 404),
            ("POST", "/notes/18446744073709551616/delete", "", 404),
            ("POST", "/notes//delete", "", 404),
            ("GET", "/../data/notes.redb", "", 404),
            ("GET", "/notes/", "", 404),
        ] {
            assert_eq!(ask(&store, method, target, body).0, status, "{method} {target}");
        }
        assert_eq!(store.page(None).unwrap().count, 0);
    }

    #[test]
    fn only_forms_of_this_page_change_something() {
        let (_directory, store) = new_store();
        for (origin, status) in [
            ("http://notes.test:8080", 303),
            ("https://notes.test:8080", 303),
            ("https://evil.test", 403),
            ("http://notes.test:8080.evil.test", 403),
            ("notes.test:8080", 403),
            ("null", 403),
        ] {
            let mut request = request("POST", "/notes", "text=a");
            request.headers_mut().insert(ORIGIN, HeaderValue::from_static(origin));
            assert_eq!(answer(&store, &request).status().as_u16(), status, "{origin}");
        }
        let mut request = request("POST", "/notes", "text=a");
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(answer(&store, &request).status().as_u16(), 415);
        request.headers_mut().remove(CONTENT_TYPE);
        assert_eq!(answer(&store, &request).status().as_u16(), 415);
        assert_eq!(store.page(None).unwrap().count, 2);
    }

    #[test]
    fn refusals_say_which_methods_there_are_and_no_answer_is_kept() {
        let (_directory, store) = new_store();
        let refused = answer(&store, &request("PATCH", "/notes", ""));
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD, POST");
        for (name, value) in ALWAYS {
            assert_eq!(refused.headers()[&name], value, "{name}");
        }
    }

    #[test]
    fn a_note_of_line_feeds_fits_into_a_body() {
        let body = format!("text=a{}b", "%0D%0A".repeat(MAX_BYTES - 2));
        assert!(body.len() <= MAX_BODY_BYTES);
        let (_directory, store) = new_store();
        assert_eq!(ask(&store, "POST", "/notes", &body).0, 303);
    }
}
