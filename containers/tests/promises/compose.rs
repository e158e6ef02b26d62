//! Promise: a compose file runs as written or is refused, each key by its path and line.

use std::collections::{BTreeMap, BTreeSet};

use containers::compose::{ComposeFile, Inputs};

/// Compose files and what is said of them.
const REFUSED: &str = include_str!("../../../tests/vectors/compose/refused.txt");
/// A digest, so that an image reference is whole.
const PIN: &str = "@sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// A file with one service, `body` being its keys from line 4 on.
fn service(body: &str) -> String {
    format!("services:\n  web:\n    image: nginx{PIN}\n{body}")
}

/// The app folder that the refused files lie in.
fn folder() -> BTreeMap<String, Vec<u8>> {
    [("good.env", "A=1\n"), ("bad.env", "A=1\nB: 2\n"), ("folder/file", "x")]
        .map(|(path, content)| (path.to_owned(), content.into()))
        .into()
}

/// What `text` is refused for, hints included.
fn refusal(text: &str) -> String {
    let files = folder();
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

#[test]
fn a_whole_file_is_read() {
    let text = format!(
        r#"name: shop
x-common: &common
  environment: {{ A: "1", B: two }}
services:
  web:
    <<: *common
    image: ghcr.io/me/web:1.2{PIN}
    command: serve --root '/srv/a b'
    entrypoint: ["/bin/web"]
    ports:
      - "8080:80"
      - 127.0.0.1:9000:90/tcp
      - target: 70
        published: "7000"
        protocol: tcp
  worker:
    image: me/worker{PIN}
    environment:
      - EMPTY=
      - PRICE=5$$
      - URL=a=b
"#
    );
    let file = ComposeFile::read(text.as_bytes(), &Inputs::default()).expect("whole file");
    assert_eq!(file.name.as_deref(), Some("shop"));
    let [web, worker] = &file.services[..] else { panic!("two services: {file:?}") };
    assert_eq!(web.image.to_string(), format!("ghcr.io/me/web:1.2{PIN}"));
    assert_eq!(web.process.command.as_deref().map(<[_]>::len), Some(3));
    assert_eq!(web.process.entrypoint.as_deref(), Some(&["/bin/web".to_owned()][..]));
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    assert_eq!(web.process.environment, pairs(&[("A", "1"), ("B", "two")]));
    let ports: Vec<(u16, u16)> = web.ports.iter().map(|p| (p.published, p.target)).collect();
    assert_eq!(ports, [(8080, 80), (9000, 90), (7000, 70)]);
    assert_eq!(worker.image.registry(), "docker.io");
    assert_eq!(worker.process.environment, pairs(&[("EMPTY", ""), ("PRICE", "5$"), ("URL", "a=b")]));
}

#[test]
fn a_flood_of_mistakes_is_cut_off() {
    let mut text = service("");
    for index in 0..500 {
        text.push_str(&format!("    k{index}: 1\n"));
    }
    assert_eq!(refusal(&text).lines().count(), 32);
}
