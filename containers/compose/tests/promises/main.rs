//! Promise: a compose file runs as written or is refused, each key by its path and line.

use std::collections::{BTreeMap, BTreeSet};

use compose::model::NetworkMode;
use compose::{ComposeFile, Inputs};

mod conformance;
mod data;
mod variables;
mod whole;

/// Compose files and what is said of them.
const REFUSED: &str = include_str!("../../../../tests/vectors/compose/refused.txt");
/// A digest, so that an image reference is whole.
const PIN: &str = "@sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// A file with one service, `body` being its keys from line 4 on.
fn service(body: &str) -> String {
    format!("services:\n  web:\n    image: nginx{PIN}\n{body}")
}

/// The app directory that the refused files lie in.
fn directory() -> BTreeMap<String, Vec<u8>> {
    [("good.env", "A=1\n"), ("bad.env", "A=1\nB: 2\n"), ("directory/file", "x")]
        .map(|(path, content)| (path.to_owned(), content.into()))
        .into()
}

/// What `text` is refused for, hints included.
fn refusal(text: &str) -> String {
    let files = directory();
    match ComposeFile::read(text.as_bytes(), &Inputs { files: &files, ..Inputs::default() }) {
        Err(error) => error.to_string(),
        Ok(file) => panic!("accepted: {file:?}\nfrom: {text}"),
    }
}

#[test]
fn every_mistake_has_its_own_words() {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in REFUSED.split("\n## ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a name");
        let (text, expected) = rest.split_once("->\n").expect("->");
        let found = refusal(&text.replace("@PIN", PIN)).replace(PIN, "@PIN");
        if found != expected.trim_end() {
            wrong.push(format!("## {name}\n{text}->\n{found}\n"));
        }
        seen.insert(found);
    }
    assert!(wrong.is_empty(), "{} differ:\n\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen.len() >= 150, "{} different refusals", seen.len());
}

/// Every key of the specification is either read or refused by name, never unknown.
#[test]
fn no_key_of_the_specification_is_unknown() {
    let list = include_str!("../../../../tests/vectors/compose/keys.txt");
    let keys = |kind: &str| -> Vec<&str> {
        let (_, rest) = list.split_once(&format!("\n{kind}:")).expect(kind);
        rest.split_whitespace().take_while(|word| !word.ends_with(':')).collect()
    };
    for key in keys("service") {
        // A list of a number is the wrong value for all of them, so that each is looked at.
        let text = if key == "image" { continue } else { service(&format!("    {key}: [[1]]\n")) };
        if let Ok(file) = ComposeFile::read(text.as_bytes(), &Inputs::default()) {
            assert_eq!(file.notes[0].path, format!("services.web.{key}"), "{key} is passed over");
            continue;
        }
        let said = refusal(&text);
        assert!(
            said.contains(&format!("services.web.{key}")) && !said.contains("unknown key"),
            "{key}: {said}"
        );
    }
    for key in keys("top") {
        let text = format!("{key}: [[1]]\nx-services: 1\n");
        assert!(!refusal(&text).contains("unknown key"), "{key}");
    }
}

#[test]
fn what_changes_nothing_is_noted() {
    let text = format!(
        "version: '3.8'\n{}    volumes: [./good.env:/a]\n    expose: [80]\n  off:\n    image: x{PIN}\n    profiles: [full]\n    expose: [81]\nnetworks:\n  a: {{name: mine}}\n",
        service("")
    );
    let files = directory();
    let file = ComposeFile::read(text.as_bytes(), &Inputs { files: &files, ..Inputs::default() })
        .expect("read");
    let notes: Vec<String> =
        file.notes.iter().map(|note| format!("{}:{}", note.line, note.path)).collect();
    let expected = [
        "1:version",
        "5:services.web.volumes[0]",
        "6:services.web.expose",
        "7:services.off",
        "12:networks.a.name",
    ];
    assert_eq!(notes, expected);
}

/// Keys with which real files are full, and which mean nothing where one app is alone.
#[test]
fn what_means_nothing_in_a_guest_of_one_app_is_noted() {
    let text = service(
        "    mem_limit: 1g\n    memswap_limit: 1024m\n    mem_swappiness: 0\n    runtime: runc\n    \
         logging: {driver: json-file, options: {max-size: 10m, labels: app, tag: x}}\n    \
         deploy: {mode: global, endpoint_mode: dnsrr, placement: {constraints: [x]}, update_config: {order: x}, \
         rollback_config: {}, resources: {reservations: {cpus: '1'}}}\n    annotations: {a: b}\n    attach: false\n    \
         develop: {watch: []}\n    platform: linux/amd64/v3\n    pull_policy: every_12h\n    networks: [proxy, old]\n  \
         two:\n    image: x@PIN\n    network_mode: bridge\n    logging: {driver: syslog, options: {syslog-address: x}}\n\
         networks:\n  proxy: {external: true, driver: overlay}\n  old: {external: {name: elsewhere}}\n",
    )
    .replace("@PIN", PIN);
    let file = ComposeFile::read(text.as_bytes(), &Inputs::default()).expect("read");
    let mut notes: Vec<&str> = file.notes.iter().map(|note| note.path.as_str()).collect();
    notes.sort_unstable();
    let expected = [
        "networks.old.external",
        "networks.proxy.driver",
        "networks.proxy.external",
        "services.two.logging.driver",
        "services.two.network_mode",
        "services.web.annotations",
        "services.web.attach",
        "services.web.deploy.endpoint_mode",
        "services.web.deploy.mode",
        "services.web.deploy.placement",
        "services.web.deploy.resources.reservations.cpus",
        "services.web.deploy.rollback_config",
        "services.web.deploy.update_config",
        "services.web.develop",
        "services.web.logging.options.labels",
        "services.web.logging.options.tag",
        "services.web.mem_swappiness",
        "services.web.memswap_limit",
        "services.web.runtime",
    ];
    assert_eq!(notes, expected);
    assert!(
        file.services.iter().all(|service| matches!(service.network, NetworkMode::Networks(_)))
    );
}

#[test]
fn links_are_aliases_and_dependencies() {
    let text = service(
        "    links: [db, 'db:base', 'web:me']\n    networks: [a, b]\n  db:\n    image: x@PIN\n    networks: [b, c]\n\
         networks: {a: {}, b: {}, c: {}}\n",
    )
    .replace("@PIN", PIN);
    let file = ComposeFile::read(text.as_bytes(), &Inputs::default()).expect("read");
    let aliases = |service: usize| match &file.services[service].network {
        NetworkMode::Networks(attached) => {
            attached.iter().map(|it| it.aliases.join(" ")).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(aliases(0), ["me", "me"]);
    assert_eq!(aliases(1), ["base", ""]);
    let needed = &file.services[0].depends_on;
    assert_eq!((needed.len(), needed[0].service.as_str()), (1, "db"));
}

#[test]
fn dangers_are_listed_where_they_are_allowed() {
    let text = service(
        "    privileged: true\n    pid: host\n    network_mode: host\n    cap_add: [NET_ADMIN, CHOWN]\n    \
         security_opt: [seccomp=unconfined]\n    devices: [/dev/fuse]\n    oom_score_adj: -1\n",
    );
    assert_eq!(
        refusal(&text).lines().filter(|line| line.contains("only with danger_privileged")).count(),
        7
    );
    let inputs = Inputs { danger_privileged: true, ..Inputs::default() };
    let file = ComposeFile::read(text.as_bytes(), &inputs).expect("allowed");
    assert_eq!(file.dangers.len(), 7, "{:?}", file.dangers);
    let privileges = &file.services[0].privileges;
    assert!(privileges.privileged && privileges.seccomp_unconfined);
    assert_eq!(privileges.cap_add, ["NET_ADMIN", "CHOWN"]);
    assert_eq!(
        privileges.devices,
        [("/dev/fuse".to_owned(), "/dev/fuse".to_owned(), "rwm".to_owned())]
    );
}

#[test]
fn a_flood_of_mistakes_is_cut_off() {
    let mut text = service("");
    for index in 0..500 {
        text.push_str(&format!("    k{index}: 1\n"));
    }
    assert_eq!(refusal(&text).lines().count(), 32);
}
