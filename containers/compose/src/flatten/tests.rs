//! Each rule by which files become one, and the places that the lines of the result come from.

use proptest::prelude::*;

use super::*;

fn made(files: &[(&str, &str)], listed: &[&str]) -> Result<Flattened, FlattenError> {
    let listed: Vec<String> = listed.iter().map(|file| (*file).to_owned()).collect();
    let find = |path: &str| files.iter().find(|(name, _)| *name == path);
    flatten(&listed, &mut |path| Some(find(path)?.1.to_owned()))
}

/// The text of two files without its comment.
fn merged(base: &str, over: &str) -> String {
    let flattened = made(&[("a", base), ("b", over)], &["a", "b"]).expect("merged");
    assert_eq!(made_of(&flattened.text), ["a", "b"]);
    flattened.text.lines().filter(|line| !line.starts_with('#')).map(|l| format!("{l}\n")).collect()
}

/// What becomes of `key` of a service, in YAML of one line.
#[track_caller]
fn key(key: &str, base: &str, over: &str, expected: &str) {
    let service = |value: &str| format!("services:\n  s:\n    {key}: {value}\n");
    let result = merged(&service(base), &service(over));
    let parse = |text: &str| Tree::of(document::parse(text.as_bytes()).expect("YAML"), 0);
    let (found, wanted) = (parse(&result), parse(&service(expected)));
    assert!(found.says(&wanted), "{key}: {base} and {over} give\n{result}");
}

#[test]
fn single_values_are_replaced_and_mappings_merged() {
    key("image", "a", "b", "b");
    key("image", "a", "", "a");
    key(
        "deploy",
        "{replicas: 1, resources: {limits: {cpus: 1}}}",
        "{resources: {limits: {memory: 1g}}}",
        "{replicas: 1, resources: {limits: {cpus: 1, memory: 1g}}}",
    );
    key("healthcheck", "{test: [CMD, a], retries: 1}", "{test: b}", "{test: b, retries: 1}");
}

#[test]
fn commands_are_replaced_whole() {
    key("command", "[a, b]", "[c]", "[c]");
    key("command", "[a, b]", "c d", "c d");
    key("entrypoint", "a", "[]", "[]");
}

#[test]
fn lists_are_appended() {
    key("security_opt", "[a]", "[b]", "[a, b]");
    key("dns", "1.1.1.1", "[1.1.1.1, 9.9.9.9]", "[1.1.1.1, 9.9.9.9]");
    key("tmpfs", "/a", "/b", "[/a, /b]");
    key("cap_add", "[A, B]", "[B, C]", "[A, B, C]");
    key(
        "env_file",
        "a.env",
        "[{path: a.env, required: false}, b.env]",
        "[{path: a.env, required: false}, b.env]",
    );
}

#[test]
fn variables_of_services_are_merged_by_name_in_both_forms() {
    key("environment", "{A: 1, B: 2}", "{B: 3, C: }", "{A: 1, B: 3, C: }");
    key("environment", "[A=1, B=2]", "[B=3, C]", "[A=1, B=3, C]");
    key("environment", "{A: 1, $X: , B: true}", "[B=3]", r#"["A=1", "$$X", "B=3"]"#);
    key("environment", "[A=1, B=2]", "{B: 3, A: !reset }", r#"["B=3"]"#);
    key("labels", "[a=1]", "{a: 2}", r#"["a=2"]"#);
}

#[test]
fn ports_are_known_by_address_port_target_and_protocol() {
    key(
        "ports",
        r#"["80:80", "81:81/udp"]"#,
        r#"["80:80/tcp", "0.0.0.0:81:81/udp", "82:80"]"#,
        r#"["80:80/tcp", "0.0.0.0:81:81/udp", "82:80"]"#,
    );
    key(
        "ports",
        r#"["${P:-80}:80"]"#,
        "[{target: 80, published: '${P:-80}'}]",
        "[{target: 80, published: '${P:-80}'}]",
    );
    key(
        "ports",
        r#"["127.0.0.1:80:80"]"#,
        r#"["[::1]:80:80"]"#,
        r#"["127.0.0.1:80:80", "[::1]:80:80"]"#,
    );
}

#[test]
fn mounts_are_known_by_target() {
    key("volumes", "[a:/x, b:/y]", "[./c:/x/:ro, d:/z]", "[./c:/x/:ro, b:/y, d:/z]");
    key("volumes", "[a:/x]", "[{type: tmpfs, target: /x}]", "[{type: tmpfs, target: /x}]");
    key("volumes", "['${D:-./d}:/x']", "[a:/x]", "[a:/x]");
    key("configs", "[a]", "[{source: b, target: /a}, c]", "[{source: b, target: /a}, c]");
    key("secrets", "[a]", "[{source: b, target: a}]", "[{source: b, target: a}]");
}

#[test]
fn names_become_mappings_where_one_file_has_a_mapping() {
    key("depends_on", "[a]", "[a, b]", "[a, b]");
    key(
        "depends_on",
        "[a]",
        "{b: {condition: service_healthy}}",
        "{a: {condition: service_started}, b: {condition: service_healthy}}",
    );
    key("networks", "[a]", "{a: {aliases: [x]}, b: }", "{a: {aliases: [x]}, b: }");
    key("networks", "{a: {aliases: [x]}}", "[a, b]", "{a: {aliases: [x]}, b: }");
}

#[test]
fn options_of_another_driver_do_not_stay() {
    key(
        "logging",
        "{driver: local, options: {max-size: 1m}}",
        "{options: {max-file: 2}}",
        "{driver: local, options: {max-size: 1m, max-file: 2}}",
    );
    key("logging", "{driver: local, options: {max-size: 1m}}", "{driver: none}", "{driver: none}");
    key(
        "ulimits",
        "{nofile: 1}",
        "{nofile: {soft: 1, hard: 2}, nproc: 3}",
        "{nofile: {soft: 1, hard: 2}, nproc: 3}",
    );
}

#[test]
fn tags_take_away_and_replace() {
    key("ports", "['80:80']", "!override ['81:81']", "['81:81']");
    key("environment", "{A: 1, B: 2}", "{A: !reset null}", "{B: 2}");
    let base = "services:\n  s:\n    image: a\n    ports: ['80:80']\n  t:\n    image: t\n";
    let over = "services:\n  s:\n    ports: !reset []\n  t: !reset null\n";
    assert_eq!(merged(base, over), "services:\n  s:\n    image: a\n");
    // What a service takes away from the one that it extends stays away from earlier files too.
    let over =
        "services:\n  s:\n    extends: base\n    ports: !reset []\n  base:\n    ports: ['1:1']\n";
    assert!(!merged(base, over).contains("80:80"));
}

#[test]
fn kinds_that_do_not_fit_are_told_with_their_place() {
    let error = made(
        &[("a", "services:\n  s: {deploy: {}}\n"), ("b", "\nservices:\n  s:\n    deploy: [x]\n")],
        &["a", "b"],
    );
    let told =
        "b, line 4: services.s.deploy: a list cannot be merged into a mapping of a file before";
    assert_eq!(error.unwrap_err().to_string(), told);
}

#[test]
fn a_service_extends_another_of_its_file_or_of_a_file_elsewhere() {
    let main = "services:\n  web:\n    extends: {file: ./base/common.yml, service: app}\n    image: b\n    volumes: [./x:/x]\n";
    let common = "services:\n  app:\n    extends: root\n    env_file: [a.env]\n    volumes: [../up:/u:ro, ./d:/d, named:/n]\n  root:\n    image: a\n    user: u\n";
    let flattened =
        made(&[("compose.yaml", main), ("base/common.yml", common)], &["compose.yaml"]).unwrap();
    let expected = "services:\n  web:\n    image: b\n    user: u\n    env_file:\n      - ./base/a.env\n    volumes:\n      - ./up:/u:ro\n      - ./base/d:/d\n      - named:/n\n      - ./x:/x\n";
    assert!(flattened.text.ends_with(expected), "{}", flattened.text);
    assert_eq!(flattened.files, ["compose.yaml", "base/common.yml"]);
    let line = |of: &str| 1 + flattened.text.lines().position(|line| line.contains(of)).unwrap();
    assert_eq!(flattened.origin(line("image: b")), ("compose.yaml", 4));
    assert_eq!(flattened.origin(line("user: u")), ("base/common.yml", 8));
    assert_eq!(flattened.origin(line("base/d")), ("base/common.yml", 5));
}

#[test]
fn included_files_bring_what_they_define() {
    let main = "include:\n  - db/compose.yml\n  - path: [x.yml]\nservices:\n  web: {image: w}\n";
    let db = "name: ignored\nservices:\n  db:\n    image: d\n    volumes: [./init:/i:ro, data:/v]\nvolumes: {data: }\nconfigs: {c: {file: c.conf}}\n";
    let files = [("c", main), ("db/compose.yml", db), ("x.yml", "services: {web: {image: w}}\n")];
    let text = made(&files, &["c"]).unwrap().text;
    let expected = "services:\n  web:\n    image: w\n  db:\n    image: d\n    volumes:\n      - ./db/init:/i:ro\n      - data:/v\nvolumes:\n  data:\nconfigs:\n  c:\n    file: \"./db/c.conf\"\n";
    let plain = expected.replace('"', "");
    assert!(text.ends_with(expected) || text.ends_with(&plain), "{text}");

    let other = [("c", main), ("db/compose.yml", db), ("x.yml", "services: {web: {image: y}}\n")];
    let error = made(&other, &["c"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "c, line 3: the included file defines \"web\" under services too, differently"
    );
    let with_env = [files[0], files[1], files[2], ("db/.env", "A=1\n")];
    assert!(made(&with_env, &["c"]).unwrap_err().to_string().contains("db/.env would give"));
}

#[test]
fn what_leads_out_or_round_is_refused() {
    let service =
        |extends: &str| format!("services:\n  a: {{extends: {extends}}}\n  b: {{extends: a}}\n");
    for (text, expected) in [
        (service("b"), "needs itself"),
        (service("c"), "has no service \"c\""),
        (service("{service: x, file: ../x.yml}"), "no file of the app directory"),
        (service("{service: x, file: $F}"), "has a variable"),
        (service("{service: x, file: gone.yml}"), "there is no file \"gone.yml\""),
        (service("{service: x, other: 1}"), "the key \"other\""),
        ("include: [c]\n".to_owned(), "needs itself"),
        ("include: [https://example.org/c.yml]\n".to_owned(), "no file of the app directory"),
        ("include: c\n".to_owned(), "expected a list of files"),
        ("include: [{path: c, env_file: e}]\n".to_owned(), "env_file would give"),
    ] {
        let error = made(&[("c", &text)], &["c"]).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let twice = "include: [b, b]\n";
    let deep: Vec<(String, String)> =
        (0..12).map(|i| (format!("f{i}"), twice.replace('b', &format!("f{}", i + 1)))).collect();
    let mut files: Vec<(&str, &str)> = deep.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    files.push(("f12", "services: {}\n"));
    assert_eq!(made(&files, &["f0"]), Err(FlattenError::TooManyFiles));
}

#[test]
fn a_file_that_asks_for_nothing_stays_as_it_is() {
    let text = "# mine\nservices: {web: {image: a,   command: [x]}}\n";
    let flattened = made(&[("c", text)], &["c"]).unwrap();
    assert_eq!((flattened.text.as_str(), flattened.origin(2)), (text, ("c", 2)));
    assert!(!flattened.is_made() && made_of(text).is_empty());
    let broken = "services: [\n";
    assert_eq!(made(&[("c", broken)], &["c"]).unwrap().text, broken);
    assert_eq!(made(&[], &["c"]), Err(FlattenError::NoFile("c".to_owned())));
}

proptest! {
    /// Whatever a file says, it says the same with an empty one over it.
    #[test]
    fn a_file_that_merges_with_nothing_means_the_same(
        values in prop::collection::vec("[ -~\\n]{0,16}", 1..6),
        kinds in prop::collection::vec(0usize..4, 1..6),
    ) {
        let mut text = String::from("services:\n  s:\n");
        for (index, (value, kind)) in values.iter().zip(&kinds).enumerate() {
            let quoted = format!("{value:?}").replace("\\'", "'");
            text += &match kind {
                0 => format!("    k{index}: {quoted}\n"),
                1 => format!("    k{index}: [{quoted}, {{a: {quoted}}}]\n"),
                2 => format!("    k{index}:\n      - - {quoted}\n        - x: {quoted}\n          y:\n"),
                _ => format!("    k{index}: {{{quoted}: ~, z: [], w: {{}}}}\n"),
            };
        }
        let before = document::parse(text.as_bytes());
        prop_assume!(before.is_ok());
        let after = document::parse(merged(&text, "services: {}\n").as_bytes()).unwrap();
        prop_assert!(Tree::of(before.unwrap(), 0).says(&Tree::of(after, 0)));
    }
}
