//! A resolver that answers, and one that answers something else.

use ::tests::https::Local;
use ::tests::knot::Knot;

use super::*;
use crate::fixtures::{name, resolver, trust};

fn caa(value: &str) -> Caa {
    Caa::new(0, "issue", value.as_bytes()).unwrap()
}

#[test]
fn records_are_those_of_the_zone() {
    let (local, knot) = (
        Local::new(),
        Knot::start(&[(
            "example.org",
            "@ 60 CAA 0 issue \"one.example\"\nb 60 CNAME example.org.",
        )]),
    );
    let resolver =
        Resolver::new(&format!("https://{}/dns-query", resolver(&local, &knot)), &trust(&local));
    assert_eq!(resolver.caa(&name("example.org")).unwrap(), [caa("one.example")]);
    assert_eq!(resolver.caa(&name("b.example.org")).unwrap(), [caa("one.example")], "an alias");
    assert_eq!(resolver.caa(&name("none.example.org")).unwrap(), []);
    assert!(resolver.caa(&name("example.net")).is_err(), "a zone that it has not");
}

#[test]
fn an_answer_of_another_type_status_or_form_is_none() {
    let local = Local::new();
    let of = |status: u16, kind: &'static str, body: &'static [u8]| {
        let head = format!("Content-Type: {kind}\r\n");
        let address = local.serve(move |_| (status, head.clone(), body.to_vec()));
        let resolver = Resolver::new(&format!("https://{address}/"), &trust(&local));
        resolver.caa(&name("example.org")).unwrap_err().to_string()
    };
    assert!(of(200, "text/html", b"<html>").contains("text/html"));
    assert!(of(500, DNS_MESSAGE, b"").contains("500"));
    assert!(of(200, DNS_MESSAGE, b"no message").contains("no message"));
}
