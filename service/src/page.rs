//! The frame of a page: one document without outside assets and without scripts.
//!
//! Texts are escaped by the template. The content policy of the answer forbids a browser to load
//! anything, so that markup that got into a page could still fetch nothing.

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::answer::{Answer, of_type, set};

const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// A whole document of this title and content.
pub fn document(title: &str, content: &Markup) -> Answer {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    };
    let mut answer =
        of_type(StatusCode::OK, "text/html; charset=utf-8", document.into_string().into_bytes());
    set(&mut answer, CONTENT_SECURITY_POLICY, POLICY);
    set(&mut answer, REFERRER_POLICY, "no-referrer");
    answer
}
