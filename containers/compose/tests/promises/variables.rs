//! Properties of variables: what is filled in is text, and text without variables stays as it is.

use std::collections::BTreeMap;

use compose::{Cause, ComposeError, ComposeFile, Encrypted, Environment, Inputs};
use proptest::prelude::*;

use super::service;

/// The command of a service whose one word is `word` in double quotes.
fn command(word: &str, value: &str) -> Result<String, ComposeError> {
    let quoted = word.replace('\\', "\\\\").replace('"', "\\\"");
    let environment: Environment = [("V".to_owned(), value.to_owned())].into_iter().collect();
    let inputs = Inputs { environment: &environment, ..Inputs::default() };
    let file =
        ComposeFile::read(service(&format!("    command: [\"{quoted}\"]\n")).as_bytes(), &inputs)?;
    Ok(file.services[0].process.command.clone().unwrap_or_default().concat())
}

/// The variables of a service whose keys are `body`, with `files` beside the compose file.
fn environment(body: &str, files: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let environment = Environment::of_directory(&files).expect("variables");
    let inputs = Inputs { files: &files, environment: &environment, ..Inputs::default() };
    let file = ComposeFile::read(service(body).as_bytes(), &inputs);
    Ok(file.map_err(|error| error.to_string())?.services[0].process.environment.clone())
}

#[test]
fn a_file_of_variables_sees_what_docker_compose_lets_it_see() {
    let body = "    environment: {HOST: db, ENV: service}\n    env_file: [a.env, b.env]\n";
    let files = [
        (".env", "\u{feff}ENV=project\nOWN=project\n"),
        ("a.env", "URL=postgres://${HOST}/shop\nBASE=value\nOWN=a\nE=$ENV/$OWN\n"),
        ("b.env", "DERIVED=${BASE}/x\nBARE\nBARE2=$URL\n"),
    ];
    let said = environment(body, &files).expect_err("BARE has no value");
    assert!(said.contains("BARE=  # b.env, line 2"), "{said}");
    let files = [files[0], files[1], ("b.env", "DERIVED=${BASE}/x\nBASE\nBARE2=$URL\n")];
    let found = environment(body, &files).expect("variables");
    let expected = [
        ("URL", "postgres://db/shop"),
        ("BASE", "value"),
        ("OWN", "a"),
        ("E", "project/project"),
        ("DERIVED", "value/x"),
        ("BARE2", "postgres://db/shop"),
        ("HOST", "db"),
        ("ENV", "service"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn all_missing_variables_are_told_at_once_as_lines_to_write() {
    let body = "    command: $ONE\n    environment: {TWO: \"${TWO:?a\\n b}\", THREE: }\n    env_file: a.env\n";
    let said = environment(body, &[("a.env", "A=$FOUR\nB=${ONE}${FIVE}\n")]).expect_err("missing");
    let lines = said.lines().filter(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n");
    assert_eq!(
        lines,
        "    ONE=  # line 4\n    TWO=  # line 5: a b\n    THREE=  # line 5\n    \
         FOUR=  # a.env, line 1\n    FIVE=  # a.env, line 1"
    );
    // What is told is a file of variables, which lacks nothing but the values.
    let files = [("a.env", "A=$FOUR\nB=${ONE}${FIVE}\n"), (".env", &lines.replace("=", "=x"))];
    let found = environment(body, &files).expect("variables");
    assert!(found.iter().all(|(_, value)| value.trim_matches('x').is_empty()), "{found:?}");
}

#[test]
fn a_bind_by_default_at_a_path_of_a_host_asks_for_its_variable() {
    let body = "    volumes: ['${STORAGE:-/mnt/disk}/web:/a', '$HOST/b:/b', '${SOCKET:-/run/docker.sock}:/s']\n";
    let said = environment(body, &[]).expect_err("missing");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("    ")).collect();
    let storage = "    STORAGE=./data  # line 4: its default leads to /mnt/disk/web, which is a path of a host";
    assert_eq!(lines, ["    HOST=./data  # line 4", storage], "{said}");
    assert!(said.contains("there is no container daemon in the guest"), "{said}");
    let body = body.replace("/run/docker.sock", "/var/run/dstack.sock");
    let written = lines.join("\n");
    environment(&body, &[(".env", &written)]).expect("what is told is what to write");
}

proptest! {
    #[test]
    fn doubled_dollars_are_dollars(text in "[ -~]{0,64}") {
        let word = text.replace('$', "$$");
        prop_assert_eq!(command(&word, "").ok(), Some(text));
    }

    #[test]
    fn a_value_is_never_read_again(value in "[ -~]{1,64}", before in "[a-z ]{0,8}", after in "[a-z ]{0,8}") {
        let expected = Some(format!("{before}{value}{after}"));
        for form in ["${V}", "${V:-x}", "${V-x}", "${V:?x}", "${V?x}", "${NO:-${V}}", "${V:+${V}}"] {
            prop_assert_eq!(command(&format!("{before}{form}{after}"), &value).ok(), expected.clone(), "{}", form);
        }
    }

    #[test]
    fn a_default_is_text(default in "[a-zA-Z0-9 :?+{-]{0,32}") {
        prop_assert_eq!(command(&format!("${{NO:-{default}}}"), "").ok(), Some(default));
    }

    #[test]
    fn nothing_written_panics(text in "[${}:?+A-Z_a-z -]{0,64}") {
        let _ = command(&text, "value");
    }
}

/// The file whose service has `body`, with the encrypted variables A and B; `brought` is what an
/// environment has, `None` before a boot.
fn with_encrypted(
    text: &str,
    measured: &[(&str, &str)],
    brought: Option<&[(&str, &str)]>,
) -> Result<ComposeFile, ComposeError> {
    let owned = |list: &[(&str, &str)]| -> Environment {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let (measured, brought) = (owned(measured), brought.map(owned));
    let names = ["A".to_owned(), "B".to_owned()];
    let encrypted = Encrypted { names: &names, values: brought.as_ref() };
    let inputs = Inputs { environment: &measured, encrypted, ..Inputs::default() };
    ComposeFile::read(text.as_bytes(), &inputs)
}

fn causes(error: ComposeError) -> Vec<Cause> {
    let ComposeError::Refused(refusals) = error else { panic!("{error}") };
    refusals.iter().map(|refusal| refusal.cause.clone()).collect()
}

#[test]
fn encrypted_variables_fill_in_texts_of_services_and_are_never_looked_up_elsewhere() {
    let body = "    environment: {URL: \"pg://$A@$HOST\", B: }\n    command: [run, \"${A}\"]\n";
    let text = service(body);
    let brought: &[_] = &[("A", "a\\"), ("B", "${HOST}"), ("HOST", "evil")];
    let file = with_encrypted(&text, &[("HOST", "db")], Some(brought)).expect("read");
    let process = &file.services[0].process;
    let expected = [("URL", "pg://a\\@db"), ("B", "${HOST}")];
    assert_eq!(process.environment, expected.map(|(name, text)| (name.into(), text.into())));
    assert_eq!(process.command.as_deref(), Some(&["run".to_owned(), "a\\".to_owned()][..]));
    // Before a boot nobody knows the values, and the file can be read all the same.
    with_encrypted(&text, &[("HOST", "db")], None).expect("read");
    // An environment that lacks one is told from `.env`.
    let missing =
        causes(with_encrypted(&text, &[("HOST", "db")], Some(&[("A", "a")])).unwrap_err());
    assert!(matches!(&missing[..], [Cause::MissingVariables(names)] if names[0].name == "B"));
    let both = causes(with_encrypted(&text, &[("A", "x"), ("HOST", "db")], None).unwrap_err());
    assert_eq!(both, [Cause::EncryptedAndPublic("A".into())]);
}

#[test]
fn what_runs_and_what_it_reaches_is_not_decided_by_encrypted_variables() {
    let image = "services: {a.environment: {image: \"x@sha256:${A}\"}}\n".to_owned();
    for text in [
        image,
        service("    volumes: [\"${A}:/data\"]\n"),
        service("    ports: [\"${A:-80}:80\"]\n"),
        service("    privileged: ${A}\n"),
        service("    env_file: ${A}\n"),
        service("    healthcheck: {test: [CMD, x], interval: \"${A}\"}\n"),
        service("    profiles: [\"${A}\"]\n"),
    ] {
        for brought in [None, Some(&[("A", "80")][..])] {
            let found = causes(with_encrypted(&text, &[], brought).unwrap_err());
            assert!(found.contains(&Cause::EncryptedDecides("A".into())), "{text}: {found:?}");
        }
    }
}

#[test]
fn secrets_of_the_encrypted_environment_are_not_public_and_all_others_are() {
    let of = |source: &str| {
        let top = format!("secrets: {{s: {{environment: {source}}}}}\n");
        service("    secrets: [s]\n") + &top
    };
    with_encrypted(&of("A"), &[], None).expect("before a boot");
    with_encrypted(&of("A"), &[], Some(&[("A", "secret")])).expect("in the guest");
    let public = causes(with_encrypted(&of("C"), &[("C", "c")], None).unwrap_err());
    assert_eq!(public, [Cause::PublicSecrets]);
    let mixed = of("A").replace("}}\n", "}, t: {environment: C}}\n");
    let public = causes(with_encrypted(&mixed, &[("C", "c")], None).unwrap_err());
    assert_eq!(public, [Cause::PublicSecrets]);
}

#[test]
fn a_refusal_in_the_guest_has_no_value_of_the_encrypted_environment() {
    let text = |body: &str| service(body);
    let file = |compose: &str| {
        let files = BTreeMap::new();
        let allowed_envs = ["A".to_owned()];
        let key_provider =
            protocol::app_compose::KeyProvider::Kms { id: protocol::digest::Sha256Digest([1; 32]) };
        let new = protocol::app_compose::NewApp {
            allowed_envs: &allowed_envs,
            key_provider,
            ..protocol::app_compose::NewApp::of("a", compose, &files)
        };
        protocol::app_compose::parse(&new.generate().unwrap()).unwrap()
    };
    let brought: Environment = [("A".to_owned(), "hunter2".to_owned())].into_iter().collect();
    for body in [
        "    environment: [\"$A=1\", \"$A=2\"]\n",
        "    environment: [\"=$A\"]\n",
        "    environment: {X: \"${NO:?not $A}\"}\n",
        "    command: \"'$A\"\n",
    ] {
        let app = file(&text(body));
        let refused = ComposeFile::of_app_in_guest(&app, &brought).unwrap_err();
        let said = format!("{refused} {refused:?}");
        assert!(!said.contains("hunter2"), "{body}: {said}");
    }
    let app = file(&text("    environment: [\"$A=1\"]\n"));
    ComposeFile::of_app_in_guest(&app, &brought).expect("read");
}
