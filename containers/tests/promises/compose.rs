//! Promise: a compose file runs as written or is refused, each key by its path and line.

use containers::compose::{ComposeError, ComposeFile, Inputs};

/// A digest, so that an image reference is whole.
const PIN: &str = "@sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// A file with one service, `body` being its keys from line 4 on.
fn service(body: &str) -> String {
    format!("services:\n  web:\n    image: nginx{PIN}\n{body}")
}

/// The lines of what `text` is refused for.
fn refusals(text: &str) -> Vec<String> {
    match ComposeFile::read(text.as_bytes(), &Inputs::default()) {
        Err(ComposeError::Refused(list)) => list.iter().map(ToString::to_string).collect(),
        Err(ComposeError::Document(error)) => vec![error.to_string()],
        Ok(file) => panic!("accepted: {file:?}\nfrom: {text}"),
    }
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
fn unknown_and_unsupported_keys_are_told_apart() {
    for (body, expected) in [
        ("    biuld: .\n", "services.web.biuld (line 4): unknown key"),
        ("    build: .\n", "services.web.build (line 4): not supported: nothing is built in the guest"),
        ("    # a comment\n    volumes: [data:/data]\n", "services.web.volumes (line 5): not supported yet"),
        ("    privileged: true\n", "services.web.privileged (line 4): not supported yet"),
        (
            "    ports:\n      - target: 80\n        published: 80\n        mode: host\n",
            "services.web.ports[0].mode (line 7): not supported yet",
        ),
        (
            "    ports:\n      - target: 80\n        published: 80\n        colour: red\n",
            "services.web.ports[0].colour (line 7): unknown key",
        ),
        ("    \"a b\": 1\n", "services.web.\"a b\" (line 4): unknown key"),
        ("volumes: {}\n", "volumes (line 4): not supported yet"),
        ("networks: {}\n", "networks (line 4): not supported yet"),
        ("version: '3'\n", "version (line 4): not supported yet"),
        ("servics: {}\n", "servics (line 4): unknown key"),
    ] {
        assert_eq!(refusals(&service(body)), [expected], "{body}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    for (body, expected) in [
        ("    command: {a: b}\n", "services.web.command (line 4): expected text or a list, found a mapping"),
        ("    command: [a, [b]]\n", "services.web.command[1] (line 4): expected text, found a list"),
        (
            "    command: 'a \"b'\n",
            "services.web.command (line 4): the command ends inside quotes or after a backslash",
        ),
        ("    command: \"a\\0b\"\n", "services.web.command (line 4): a NUL character"),
        ("    command: echo $HOME\n", "services.web.command (line 4): \"echo $HOME\": variables are not supported yet"),
        (
            "    environment: text\n",
            "services.web.environment (line 4): expected a mapping or a list, found a single value",
        ),
        ("    environment:\n      KEY:\n", "services.web.environment.KEY (line 5): the variable \"KEY\" has no value"),
        ("    environment: [KEY]\n", "services.web.environment[0] (line 4): the variable \"KEY\" has no value"),
        ("    environment: [K=1, K=2]\n", "services.web.environment[1] (line 4): the variable \"K\" is set twice"),
        (
            "    environment: [=1]\n",
            "services.web.environment[0] (line 4): \"\" is no valid variable name: at least one character, no = and no NUL",
        ),
        ("    environment: {K: [1]}\n", "services.web.environment.K (line 4): expected text, found a list"),
        ("    ports: 80:80\n", "services.web.ports (line 4): expected a list, found a single value"),
    ] {
        assert_eq!(refusals(&service(body)), [expected], "{body}");
    }
}

#[test]
fn ports_are_read_strictly() {
    let rule = "a port is a number from 1 to 65535";
    for (port, expected) in [
        ("80", "\"80\" is no port: name both ports: published:target".to_owned()),
        ("0:80", format!("\"0:80\" is no port: {rule}")),
        ("80:65536", format!("\"80:65536\" is no port: {rule}")),
        ("+80:80", format!("\"+80:80\" is no port: {rule}")),
        ("a:80", format!("\"a:80\" is no port: {rule}")),
        ("80:80/icmp", "\"80:80/icmp\" is no port: the protocol is tcp".to_owned()),
        ("53:53/udp", "not supported yet".to_owned()),
        ("80-90:80-90", "not supported yet".to_owned()),
        ("host:80:80", "\"host:80:80\" is no port: the address before the ports is an IP address".to_owned()),
        ("8090:80", "port 8090 belongs to the guest's agent".to_owned()),
    ] {
        let text = service(&format!("    ports:\n      - \"{port}\"\n"));
        let line = format!("services.web.ports[0] (line 5): {expected}");
        assert_eq!(refusals(&text), [line], "{port}");
    }
    let text = service("    ports:\n      - 80:80\n      - 127.0.0.1:80:81\n");
    assert_eq!(
        refusals(&text),
        ["services.web.ports[1] (line 6): port 80 is published by services.web.ports[0] already"]
    );
    let text = service("    ports:\n      - published: 80\n");
    assert_eq!(refusals(&text), ["services.web.ports[0] (line 5): the key \"target\" is missing"]);
}

#[test]
fn images_are_named_by_digest() {
    for (image, expected) in [
        ("nginx", "image \"nginx\" is not pinned by digest".to_owned()),
        ("nginx:1.27", "image \"nginx:1.27\" is not pinned by digest".to_owned()),
        (
            "nginx@sha256:0",
            "image \"nginx@sha256:0\": digest is not 64 lower-case hexadecimal digits: \
             expected 64 hexadecimal digits, found 1 characters"
                .to_owned(),
        ),
        ("nginx@md5:0", "image \"nginx@md5:0\": digest does not start with \"sha256:\"".to_owned()),
    ] {
        let text = format!("services:\n  web:\n    image: {image}\n");
        assert_eq!(refusals(&text), [format!("services.web.image (line 3): {expected}")]);
    }
    assert_eq!(
        refusals("services:\n  web:\n    command: x\n"),
        ["services.web (line 2): the key \"image\" is missing"]
    );
}

#[test]
fn the_file_has_services_with_host_names() {
    for (text, expected) in [
        ("name: x\n", "the file (line 1): the key \"services\" is missing"),
        ("services: {}\n", "services (line 1): expected at least one service, found none"),
        ("services: [a]\n", "services (line 1): expected a mapping, found a list"),
        ("- a\n", "the file (line 1): expected a mapping, found a list"),
        ("just text\n", "the file (line 1): expected a mapping, found a single value"),
    ] {
        assert_eq!(refusals(text), [expected]);
    }
    let text = format!("services:\n  a/b:\n    image: x{PIN}\n");
    assert!(refusals(&text)[0].starts_with("services.\"a/b\" (line 2): \"a/b\" is no valid service name"));
    let text = format!("name: Shop\nservices:\n  a:\n    image: x{PIN}\n");
    assert!(refusals(&text)[0].starts_with("name (line 1): \"Shop\" is no valid project name"));
}

#[test]
fn all_refusals_are_told_at_once_with_hints() {
    let text = "version: '3'\nservices:\n  web:\n    image: nginx\n    build: .\n    foo: 1\n";
    let error = ComposeFile::read(text.as_bytes(), &Inputs::default()).expect_err("refused");
    let shown = error.to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(lines[1].contains("(build the image elsewhere"), "{shown}");
    assert!(lines[3].contains("(append @sha256:"), "{shown}");
}

#[test]
fn a_flood_of_mistakes_is_cut_off() {
    let mut text = service("");
    for index in 0..500 {
        text.push_str(&format!("    k{index}: 1\n"));
    }
    assert_eq!(refusals(&text).len(), 32);
}
