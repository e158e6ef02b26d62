//! Compose files that other people published, run with images that the tests have.
//!
//! The files are no part of the project: `DSTYX_CORPUS` names their directories, separated by
//! colons. Only image lines are replaced, and variables without a value get one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use protocol::handover::AGENT_PORT;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use serde_json::{Value, json};
use tests::app;
use tests::dstyx::User;
use tests::guest::{Guest, Host};
use tests::images::Image;
use tests::lab;
use tests::registry::Registry;

use crate::{real_app, trial};

/// The environment variable that names the directories.
const CORPUS: &str = "DSTYX_CORPUS";
/// Names of a compose file, in the order of Docker Compose.
const COMPOSE_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// How long a guest may live: databases are made under emulation.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A word of an image's name, and the image that takes its place.
const REPLACEMENTS: [(&str, Image); 5] = [
    ("postgres", Image::Postgres),
    ("redis", Image::Redis),
    ("valkey", Image::Redis),
    ("nginx", Image::Nginx),
    ("busybox", Image::Busybox),
];

/// One boot a directory.
pub fn trials() -> Vec<Trial> {
    let named = std::env::var(CORPUS).unwrap_or_default();
    let directories = named.split(':').filter(|name| !name.is_empty()).map(PathBuf::from);
    directories
        .map(|directory| {
            let name = format!("a published app keeps its data: {}", directory.display());
            trial(name, move || keeps_its_data(&directory))
        })
        .collect()
}

fn keeps_its_data(published: &Path) {
    let images = [Image::Diary, Image::Postgres, Image::Redis, Image::Nginx, Image::Busybox];
    let registry = Registry::of(&images);
    let directory = tempfile::tempdir().unwrap();
    let source = published.join(".");
    assert!(
        Command::new("cp")
            .args(["-r", "--no-preserve=mode"])
            .arg(source)
            .arg(directory.path())
            .status()
            .unwrap()
            .success()
    );
    let compose = replaced(directory.path());
    app::pin(&compose, &registry);
    let app_compose = measured_file(directory.path());
    let host = Host {
        memory_mib: 3072,
        compose: fs::read_to_string(&compose).unwrap(),
        app_compose: Some(app_compose),
        mirrors: vec![registry.mirror()],
        timeout: TIMEOUT,
        ..Host::default()
    };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let running = guest.reached(Phase::AppRunning).unwrap();
    let containers = containers(&guest);
    let ids: Vec<&str> = containers.iter().map(String::as_str).collect();
    assert_eq!(
        (running.phase, running.refusal),
        (Phase::AppRunning, Refusal::None),
        "{}",
        guest.all_logs(&ids)
    );
    let kept = || {
        let starts: BTreeSet<String> = ids.iter().flat_map(|id| starts(&guest, id)).collect();
        let counted = |number: u32| -> Vec<_> {
            let prefix = format!("start {number} in ");
            starts.iter().filter(|line| line.contains(&prefix)).collect()
        };
        (!counted(1).is_empty() && counted(1).len() == counted(2).len()).then(|| starts.clone())
    };
    for line in guest.until("no container started twice with its data", kept) {
        println!("{line}");
    }
}

/// Replaces the image lines and gives each variable without a value one; the compose file.
fn replaced(directory: &Path) -> PathBuf {
    let mut names = COMPOSE_FILES.iter().map(|name| directory.join(name));
    let compose = names.find(|path| path.exists()).expect("a compose file");
    let text = fs::read_to_string(&compose).unwrap();
    fs::write(&compose, text.lines().map(line_with_our_image).collect::<String>()).unwrap();
    let dotenv = directory.join(".env");
    let mut environment = fs::read_to_string(&dotenv).unwrap_or_default();
    for name in variables(&text) {
        if !environment.lines().any(|line| line.starts_with(&format!("{name}="))) {
            // Data of the host becomes data of the guest.
            let value = if name == "DOCKER_VOLUME_STORAGE" { "." } else { "value" };
            environment.push_str(&format!("\n{name}={value}"));
        }
    }
    fs::write(dotenv, environment).unwrap();
    compose
}

fn line_with_our_image(line: &str) -> String {
    let Some((before, name)) =
        line.split_once("image:").filter(|(before, _)| before.trim().is_empty())
    else {
        return format!("{line}\n");
    };
    let found = REPLACEMENTS.iter().find(|(word, _)| name.contains(word));
    let image = found.map_or(Image::Diary, |(_, image)| *image);
    format!("{before}image: {}:latest\n", image.name())
}

/// Names in `${NAME…}`, and items of a list of variables that say no value.
fn variables(text: &str) -> BTreeSet<String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|letter| {
                letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
            })
    };
    let braced = text.split("${").skip(1).filter_map(|rest| {
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next()
    });
    let items = text.lines().filter_map(|line| line.trim().strip_prefix("- "));
    braced.chain(items).filter(|name| is_name(name)).map(str::to_owned).collect()
}

/// What `dstyx` makes of the directory, with logs and states published.
fn measured_file(directory: &Path) -> Vec<u8> {
    let image = lab::image(Flavour::Dev).display().to_string();
    let app = directory.display().to_string();
    let fixed = ["measure", "--image", &image, "--vcpus", "2", "--memory", "3072", "--app", &app];
    let measured = User::default().dstyx(fixed);
    assert_eq!(measured.code, 0, "{measured:#?}");
    let made = fs::read(directory.join("app-compose.json")).unwrap();
    let mut document: Value = serde_json::from_slice(&made).unwrap();
    document["public_logs"] = json!(true);
    document["public_sysinfo"] = json!(true);
    document.to_string().into_bytes()
}

/// Ids of the app's containers.
fn containers(guest: &Guest) -> Vec<String> {
    let status = guest.until("no status", || real_app::json_of(guest, AGENT_PORT, "/ps"));
    let containers = status["containers"].as_array().unwrap();
    containers.iter().map(|container| container["id"].as_str().unwrap().to_owned()).collect()
}

/// The lines in which a container tells of its starts.
fn starts(guest: &Guest, id: &str) -> Vec<String> {
    let log = guest.get(AGENT_PORT, &format!("/logs/{id}?text&bare")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    log.lines().filter(|line| line.contains("start ")).map(|line| format!("{id}: {line}")).collect()
}
