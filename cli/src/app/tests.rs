//! What becomes of an app's directory.

use super::*;

const COMPOSE_FILE: &str = "docker-compose.yml";

fn directory_with(compose: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(COMPOSE_FILE), compose).unwrap();
    directory
}

fn compose() -> String {
    format!("name: a\nservices:\n  web:\n    image: x.local/a@sha256:{}\n", "ab".repeat(32))
}

#[test]
fn a_made_file_is_written_and_found_again_unchanged() {
    let directory = directory_with(&compose());
    let first = App::read(directory.path()).unwrap();
    let second = App::read(directory.path()).unwrap();
    assert_eq!((first.settings.name.as_str(), first.bytes), ("a", second.bytes));
}

#[test]
fn another_compose_file_than_the_measured_one_is_an_error() {
    let directory = directory_with(&compose());
    App::read(directory.path()).unwrap();
    fs::write(directory.path().join(COMPOSE_FILE), compose().replace("name: a", "name: b"))
        .unwrap();
    assert!(App::read(directory.path()).unwrap_err().to_string().contains("another compose file"));
}

#[test]
fn for_a_launch_a_made_file_follows_the_compose_file_and_an_edited_one_does_not() {
    let directory = directory_with(&compose());
    let first = App::read_or_make(directory.path(), Asked::default()).unwrap();
    assert!(first.notes().is_empty());
    let renamed = compose().replace("name: a", "name: b");
    fs::write(directory.path().join(COMPOSE_FILE), &renamed).unwrap();
    let second = App::read_or_make(directory.path(), Asked::default()).unwrap();
    assert_eq!(second.settings.docker_compose_file, renamed);
    assert!(second.notes()[0].contains("made anew"), "{:?}", second.notes());
    let file = directory.path().join(APP_COMPOSE_FILE);
    assert_eq!(fs::read(&file).unwrap(), second.bytes);

    let edited = String::from_utf8(second.bytes)
        .unwrap()
        .replace(r#""public_logs":false"#, r#""public_logs":true"#);
    fs::write(&file, &edited).unwrap();
    fs::write(directory.path().join(COMPOSE_FILE), compose()).unwrap();
    let error = App::read_or_make(directory.path(), Asked::default()).unwrap_err().to_string();
    assert!(error.contains("another compose file"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), edited, "nobody's words are lost");
}

#[test]
fn an_app_that_keeps_data_asks_for_keys_and_one_that_keeps_none_does_not() {
    let id = Sha256Digest([7; 32]);
    let keys = || Ok(Some(id));
    let asked = Asked { keys_for_data: Some(&keys), ..Asked::default() };
    let provider = |directory: &Path, asked| {
        App::read_or_make(directory, asked).unwrap().settings.key_provider
    };
    let without = directory_with(&compose());
    assert_eq!(provider(without.path(), asked), KeyProvider::None);
    let volume = compose() + "    volumes: [\"data:/d\"]\nvolumes: {data: {}}\n";
    let with = directory_with(&volume);
    assert_eq!(provider(with.path(), asked), KeyProvider::Kms { id });
    let pads = compose() + "    volumes: [\"/run/dstyx/pads.sock:/run/dstyx/pads.sock\"]\n";
    assert_eq!(provider(directory_with(&pads).path(), asked), KeyProvider::Kms { id });
    // A file that nobody edited follows what is asked for, an edited one its words.
    let anew = App::read_or_make(with.path(), Asked::default()).unwrap();
    assert_eq!(anew.settings.key_provider, KeyProvider::None);
    assert!(anew.notes().join("\n").contains("another app id"), "{:?}", anew.notes());
    let edited = String::from_utf8(anew.bytes)
        .unwrap()
        .replace(r#""public_logs":false"#, r#""public_logs":true"#);
    fs::write(with.path().join(APP_COMPOSE_FILE), &edited).unwrap();
    assert_eq!(provider(with.path(), asked), KeyProvider::None);
}

#[test]
fn names_of_encrypted_variables_are_measured_and_stay_and_their_values_are_asked_for_nowhere() {
    let keys = || Ok(Some(Sha256Digest([7; 32])));
    let names = ["KEY".to_owned()];
    let asked = Asked { keys_for_data: Some(&keys), ..Asked::default() };
    let with = Asked { allowed_envs: &names, ..asked };
    let text = compose() + "    environment: {KEY: }\n";
    let directory = directory_with(&text);
    assert!(App::read_or_make(directory.path(), asked).is_err());
    let app = App::read_or_make(directory.path(), with).unwrap();
    assert_eq!(app.settings.allowed_envs, names);
    assert!(matches!(app.settings.key_provider, KeyProvider::Kms { .. }));
    let again = App::read_or_make(directory.path(), asked).unwrap();
    assert_eq!(again.bytes, app.bytes);
    // A value in .env would become public; where no other variable counts it stays here.
    fs::write(directory.path().join(".env"), "KEY=hunter2\nTAG=1\n").unwrap();
    let again = App::read_or_make(directory.path(), asked).unwrap();
    assert_eq!(again.bytes, app.bytes);
    let tagged = text.replace("KEY: ", "KEY: , T: $TAG");
    fs::write(directory.path().join(COMPOSE_FILE), tagged).unwrap();
    let refused = App::read_or_make(directory.path(), with).unwrap_err().to_string();
    assert!(refused.contains("allowed_envs") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_made_file_names_the_owners_that_are_asked_for_and_an_edited_one_its_own() {
    let directory = directory_with(&compose());
    let [ours, theirs] = [[1], [2]].map(|[byte]| [Ed25519Key([byte; 32])]);
    let owners = |owners| {
        let asked = Asked { owners, ..Asked::default() };
        App::read_or_make(directory.path(), asked).unwrap().settings.owners
    };
    assert_eq!(owners(&ours), ours);
    assert_eq!(owners(&theirs), theirs, "a copy of a directory is its new user's");
    assert_eq!(owners(&[]), [], "--no-owner");
    assert_eq!(owners(&ours), ours);
    let file = directory.path().join(APP_COMPOSE_FILE);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(r#""public_logs":false"#, r#""public_logs":true"#)).unwrap();
    assert_eq!(owners(&theirs), ours);
}

#[test]
fn a_made_file_of_a_disk_from_another_host_keeps_its_owner() {
    let directory = directory_with(&compose());
    let [theirs, ours] = [[1], [2]].map(|[byte]| [Ed25519Key([byte; 32])]);
    let up = |owners, version| {
        let imported = |settings: &AppCompose| Ok(Some(settings.hash) == version);
        let asked = Asked { owners, imported: Some(&imported), ..Asked::default() };
        App::read_or_make(directory.path(), asked).unwrap()
    };
    let made = up(&theirs, None);
    let version = Some(made.settings.hash);
    assert_eq!(up(&ours, version).bytes, made.bytes);
    fs::write(directory.path().join(COMPOSE_FILE), compose().replace("name: a", "name: b"))
        .unwrap();
    assert_eq!(up(&ours, version).settings.owners, ours, "a later version is this user's");
}

#[test]
fn files_of_the_directory_travel_and_are_told_of() {
    let text = compose() + "    command: [\"$WORD\"]\n    volumes: [\"./conf:/conf\"]\n";
    let directory = directory_with(&text);
    fs::write(directory.path().join("conf"), "1").unwrap();
    fs::write(directory.path().join(".env"), "WORD=hello\n").unwrap();
    let app = App::read(directory.path()).unwrap();
    assert_eq!(app.compose.services[0].process.command, Some(vec!["hello".to_owned()]));
    let notes = app.notes().join("\n");
    assert!(notes.contains("line 6: services.web.volumes[0]: mounted read-only"), "{notes}");
    assert!(notes.contains("carries .env, conf: measured, readable by everybody"), "{notes}");
    fs::write(directory.path().join("conf"), "2").unwrap();
    let error = App::read(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("holds another conf than the directory"), "{error}");
}

#[test]
fn another_file_of_variables_is_measured_in_the_place_of_the_directorys() {
    let directory = directory_with(&(compose() + "    command: [\"$WORD\"]\n"));
    fs::write(directory.path().join(".env"), "WORD=hello\n").unwrap();
    let other = directory.path().join("production.env");
    fs::write(&other, "WORD=production\n").unwrap();
    let made =
        App::read_or_make(directory.path(), Asked { env_file: Some(&other), ..Asked::default() })
            .unwrap();
    assert_eq!(made.settings.files.keys().collect::<Vec<_>>(), [".env"]);
    for app in [&made, &App::read(directory.path()).unwrap()] {
        let command = Some(vec!["production".to_owned()]);
        assert_eq!(app.compose.services[0].process.command, command);
        assert_eq!(app.bytes, made.bytes);
    }
    let again = App::read_or_make(directory.path(), Asked::default()).unwrap();
    assert_eq!(again.compose.services[0].process.command, Some(vec!["hello".to_owned()]));
}

#[test]
fn variables_of_the_shell_are_not_looked_up() {
    assert!(std::env::var_os("PATH").is_some());
    let directory = directory_with(&(compose() + "    command: [\"${PATH}\"]\n"));
    let error = App::read(directory.path()).unwrap_err().to_string();
    assert!(error.contains("    PATH=  # line 5"), "{error}");
    fs::write(directory.path().join(".env"), "PATH=/own\n").unwrap();
    let app = App::read(directory.path()).unwrap();
    assert_eq!(app.compose.services[0].process.command, Some(vec!["/own".to_owned()]));
}

#[test]
fn a_directory_that_docker_left_is_asked_about() {
    let text = compose() + "    volumes: [\"./data:/data\", \"./new:/new\"]\n";
    let directory = directory_with(&text);
    fs::create_dir_all(directory.path().join("data/deep")).unwrap();
    let error = App::read(directory.path()).unwrap_err().to_string();
    assert!(error.contains("x-dstyx: {data: [./data]}") && !error.contains("./new"), "{error}");
    let text = text + "x-dstyx: {data: [./data]}\n";
    fs::write(directory.path().join(COMPOSE_FILE), text).unwrap();
    let app = App::read(directory.path()).unwrap();
    assert_eq!(app.compose.data, ["data", "new"]);
    assert!(app.settings.files.is_empty());
}

#[test]
fn networks_that_a_guest_would_refuse_are_refused_before_a_boot() {
    let network = |subnet: &str| format!("{{ipam: {{config: [{{subnet: {subnet}}}]}}}}");
    let two = |a: &str, b: &str| format!("networks: {{a: {}, b: {}}}\n", network(a), network(b));
    let image = compose().lines().last().unwrap().to_owned();
    let fixed = "    networks: {a: {ipv4_address: 10.5.0.3}}\n";
    let taken =
        format!("{fixed}  two:\n{image}\n{fixed}networks: {{a: {}}}\n", network("10.5.0.0/24"));
    for (rest, expected) in [
        (taken, "another service has it"),
        ("    networks: [a, b]\n".to_owned() + &two("10.5.0.0/16", "10.5.1.0/24"), "overlaps"),
        (
            "    ports: [\"80:80\"]\n    networks: [a]\nnetworks: {a: {internal: true}}\n"
                .to_owned(),
            "internal networks only",
        ),
    ] {
        let error = App::read(directory_with(&(compose() + &rest)).path()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let rest = "    networks: [a, b]\n".to_owned() + &two("10.0.2.0/24", "10.5.1.0/24");
    let app = App::read(directory_with(&(compose() + &rest)).path()).unwrap();
    let error = app.check_networks(Some("10.0.2.0/24")).unwrap_err().to_string();
    assert!(error.contains("overlaps that of the guest's own network"), "{error}");
}

#[test]
fn what_breaks_confinement_must_be_said() {
    let directory = directory_with(&(compose() + "    privileged: true\n"));
    assert!(
        App::read(directory.path())
            .unwrap_err()
            .to_string()
            .contains("only with danger_privileged")
    );
    assert!(!directory.path().join(APP_COMPOSE_FILE).exists());
    let app =
        App::read_or_make(directory.path(), Asked { danger_privileged: true, ..Asked::default() })
            .unwrap();
    assert!(app.settings.danger_privileged && app.notes()[0].starts_with("danger_privileged: "));
    assert!(App::read(directory.path()).is_ok(), "the measured file says it now");
}

#[test]
fn a_directory_of_any_name_gives_an_app_name() {
    let names =
        [("/srv/.hidden", "hidden"), ("/srv/my app!", "myapp"), ("/", "app"), ("/srv/ü", "app")];
    for (directory, name) in names {
        assert_eq!(name_of(Path::new(directory)), name);
    }
}

#[test]
fn an_unknown_key_is_named_with_its_path() {
    let directory = directory_with(&compose().replace("    image", "    colour: red\n    image"));
    let error = App::read(directory.path()).unwrap_err().to_string();
    assert!(error.contains("services.web.colour"), "{error}");
}

#[test]
fn several_files_are_measured_as_one_and_found_again() {
    let directory = directory_with(&compose());
    let over = "services:\n  web:\n    read_only: true\n    stop_signal: BAD\n";
    let file = directory.path().join("prod.yml");
    fs::write(&file, over).unwrap();
    let compose_files = &[PathBuf::from(COMPOSE_FILE), PathBuf::from("prod.yml")];
    let asked = Asked { compose_files, ..Asked::default() };
    let error = App::read_or_make(directory.path(), asked).unwrap_err().to_string();
    assert!(error.contains("\nprod.yml, line 4: services.web.stop_signal: "), "{error}");

    fs::write(&file, over.replace("BAD", "SIGTERM")).unwrap();
    let made = App::read_or_make(directory.path(), asked).unwrap();
    assert!(made.compose.services[0].read_only);
    assert!(made.notes()[0].starts_with("docker-compose.yml, prod.yml are measured as one"));
    assert_eq!(App::read(directory.path()).unwrap().bytes, made.bytes);
    fs::write(&file, "services: {}\n").unwrap();
    assert!(App::read(directory.path()).is_err(), "another text than the measured one");
}

#[test]
fn any_of_dockers_names_is_taken_and_its_bytes_are_measured() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("# mine\n{}", compose());
    fs::write(directory.path().join("compose.yaml"), &text).unwrap();
    let app = App::read(directory.path()).unwrap();
    assert_eq!(app.settings.docker_compose_file, text);
}
