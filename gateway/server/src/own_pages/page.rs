//! The page for people at `gateway.<base domain>`: what is served, by which certificate, since
//! when, and how to check it.

use gateway_domain::issuance::Servable;
use gateway_rules::names::DomainName;
use maud::{Markup, html};
use service::Answer;
use service::page::document;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{EVIDENCE, LOCAL_CA};
use crate::domains::{CertifiedBy, Domain};

/// The page.
pub fn html(base: &DomainName, domain: &Domain, now_secs: u64) -> Answer {
    let content = html! {
        h1 { "Gateway of " (base) }
        @if let CertifiedBy::DangerLocal { .. } = domain.certified_by {
            p { strong { "Danger: the certificates here are of a local authority, for trials on one \
                machine. They prove nothing about the name." } }
            p { "Its certificate: " a href=(LOCAL_CA) { (LOCAL_CA) } }
        }
        p { "Apps are at https://" em { "app id" } "." (base) ". TLS to them ends in this gateway, \
            unless their name ends in -s." }
        h2 { "What is served" }
        (served(domain, now_secs))
        @if let Some(failed) = domain.standing.failure() {
            h2 { "What failed" }
            p { "A newer certificate is not there. At " (time(failed.at_secs)) ", "
                (failed.to_string()) }
        }
        @if !domain.others.is_empty() {
            h2 { "Who else may issue" }
            p { "By the CAA records of " (base) ", which are its owner's:" }
            ul {
                @for other in &domain.others {
                    li { (other.property.tag()) " " (other.issuer) " "
                        (other.account_uri.as_deref().unwrap_or("any account")) }
                }
            }
        }
        h2 { "How to check it" }
        p { "This page is the gateway's own word. Check from your own machine that every certificate \
            ever logged for the name is for a key that was born in such a gateway:" }
        pre { "dstyx domain verify gateway." (base) }
        p { "It reads the evidence at " a href=(EVIDENCE) { (EVIDENCE) } ", which this gateway only \
            adds to. For clients of dstack: " a href="/.dstack/app-info" { "/.dstack/app-info" }
            ", " a href="/.dstack/acme-info" { "/.dstack/acme-info" } "." }
    };
    document(&format!("Gateway of {base}"), &content)
}

fn served(domain: &Domain, now_secs: u64) -> Markup {
    let Some(servable) = domain.standing.served(now_secs) else {
        return html! { p { "No certificate: connections that would end here are refused." } };
    };
    html! {
        table {
            @for (name, value) in described(domain, servable) {
                tr { th { (name) } td { code { (value) } } }
            }
        }
    }
}

/// What a person and an owner are told of a certificate.
pub fn described(domain: &Domain, servable: &Servable) -> Vec<(&'static str, String)> {
    let certificate = servable.certificate();
    let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
    let validity = certificate.validity();
    let by = match &domain.certified_by {
        CertifiedBy::Authority(directory) => directory.clone(),
        CertifiedBy::DangerLocal { .. } => "danger: a local authority".to_owned(),
    };
    let mut rows = vec![
        ("names", names.join(", ")),
        ("key (SHA-256)", hex::encode(Sha256::digest(certificate.spki()))),
        ("serial", hex::encode(certificate.serial())),
        ("issuer", certificate.issuer().to_owned()),
        ("authority", by),
        ("served since", time(domain.since_secs)),
        ("valid from", time(validity.not_before_secs)),
        ("valid until", time(validity.not_after_secs)),
    ];
    let account = domain.account.as_ref();
    rows.extend(account.map(|account| ("account", account.uri().to_owned())));
    rows
}

fn time(secs: u64) -> String {
    let at =
        i64::try_from(secs).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{secs} s since 1970"))
}
