//! `links`: names more for other services, from the time when containers had no common network.
//!
//! A link is an alias of the other service on every network that both are on, and a dependency. The
//! alias is the network's, so other services find it too.

use std::collections::HashSet;

use super::attachments::Link;
use super::field::{Field, Findings};
use super::model::{Condition, Dependency, NetworkMode};
use super::program::{Programs, no_service};
use super::refusal::Cause;
use super::service::Written;

/// Gives each service that is linked its names, and each that links what it waits for.
pub(crate) fn resolve(
    written: &mut [Written<'_>],
    programs: &Programs<'_>,
    findings: &mut Findings<'_>,
) {
    for from in 0..written.len() {
        let links = std::mem::take(&mut written[from].links);
        let Some(field) = written[from].section.get("links") else { continue };
        for link in links {
            one(written, (from, link), programs, &field, findings);
        }
    }
}

fn one(
    written: &mut [Written<'_>],
    (from, link): (usize, Link),
    programs: &Programs<'_>,
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<()> {
    let Some(to) = written.iter().position(|other| other.name == link.service) else {
        return findings.refuse(field, no_service(link.service, programs));
    };
    let taken = |other: &&Written<'_>| other.name == link.alias && other.name != link.service;
    if let Some(other) = written.iter().find(taken) {
        let other = other.section.field.path.to_string();
        return findings.refuse(field, Cause::Taken { what: "the name", name: link.alias, other });
    }
    if !add_alias(written, (from, to), &link.alias) {
        let why = "it is on no network with the other service";
        return findings.refuse(field, Cause::Conflict { with: "the service's networks", why });
    }
    let service = written[from].service.as_mut()?;
    let known = service.depends_on.iter().any(|known| known.service == link.service);
    if from != to && !known {
        let condition = Condition::Started;
        let needed =
            Dependency { service: link.service, condition, restart: false, required: true };
        service.depends_on.push(needed);
    }
    Some(())
}

/// Lets the service `to` be found as `alias` where `from` is; whether both are on some network. A
/// service that was refused already is on every one.
fn add_alias(written: &mut [Written<'_>], (from, to): (usize, usize), alias: &str) -> bool {
    let networks: HashSet<String> = match written[from].service.as_ref().map(|it| &it.network) {
        None => return true,
        Some(NetworkMode::Networks(attached)) => {
            attached.iter().map(|it| it.network.clone()).collect()
        }
        Some(_) => return false,
    };
    let name = written[to].name;
    let Some(other) = written[to].service.as_mut() else { return true };
    let NetworkMode::Networks(attached) = &mut other.network else { return false };
    let mut joined = false;
    for attachment in attached.iter_mut().filter(|it| networks.contains(&it.network)) {
        joined = true;
        if alias != name && !attachment.aliases.iter().any(|known| known == alias) {
            attachment.aliases.push(alias.to_owned());
        }
    }
    joined
}
