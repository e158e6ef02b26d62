//! Compose files that other people published, run with images that the tests have.
//!
//! The files are no part of the project: `DSTYX_CORPUS` names their directories, or the files
//! where they have another name than Docker's, separated by colons. Only image lines are replaced.
//! Variables without a value get one, and those of `.env` that name a path of the host name one of
//! the app's directory. What stands in the place of an application stops redis and PostgreSQL once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use protocol::handover::AGENT_PORT;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use serde_json::{Value, json};
use tempfile::TempDir;
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

/// The programs whose own data are counted, as the stand-in names them.
const SERVERS: [(Image, &str); 2] = [(Image::Postgres, "PostgreSQL"), (Image::Redis, "redis")];
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
    let directory = copied(published);
    let compose = replaced(directory.path());
    app::pin(&compose, &registry);
    let app_compose = measured_file(directory.path());
    let compose = fs::read_to_string(&compose).unwrap();
    let servers = SERVERS.iter().filter(|(image, _)| compose.contains(image.name()));
    let host = Host {
        memory_mib: 3072,
        app_compose: Some(app_compose),
        mirrors: vec![registry.mirror()],
        timeout: TIMEOUT,
        compose: compose.clone(),
        ..Host::default()
    };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    // The app is never all well: its stand-in has no answers for a health check.
    let ready = guest.reached(Phase::SystemReady).unwrap();
    assert_eq!((ready.phase, ready.refusal), (Phase::SystemReady, Refusal::None));
    let servers: Vec<&str> = servers.map(|(_, name)| *name).collect();
    let kept = || {
        let containers = containers(&guest);
        let told: BTreeSet<String> =
            containers.iter().flat_map(|container| told(&guest, &container.id)).collect();
        let kept = files_are_kept(&told) && servers.iter().all(|name| rows_are_kept(&told, name));
        let well = containers.iter().all(Container::is_well);
        (kept && well && !told.is_empty()).then_some(told)
    };
    let what = format!("files, or rows of {servers:?}, were not kept over a restart");
    for line in guest.until(&what, kept) {
        println!("{line}");
    }
    println!("{:.0} s", guest.age().as_secs_f64());
}

/// Each directory in which a first start was counted has counted a second one.
fn files_are_kept(told: &BTreeSet<String>) -> bool {
    let counted = |number: u32| {
        let prefix = format!("start {number} in ");
        told.iter().filter(|line| line.contains(&prefix)).count()
    };
    counted(1) == counted(2)
}

/// The server was started twice, and every visit was counted on those before it.
fn rows_are_kept(told: &BTreeSet<String>, server: &str) -> bool {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in told.iter().filter(|line| line.ends_with(&format!(" of {server}"))) {
        let (_, visit) = line.split_once("visit ").unwrap();
        let mut numbers = visit.split(' ').filter_map(|word| word.parse().ok());
        let (visit, run): (u64, u64) = (numbers.next().unwrap(), numbers.next().unwrap());
        assert!(seen.insert(visit), "{server} has counted visit {visit} twice: {told:?}");
        last.entry(run).and_modify(|last| *last = visit.max(*last)).or_insert(visit);
    }
    let runs: Vec<u64> = last.values().copied().collect();
    assert!(runs.is_sorted(), "{server} has lost visits: {told:?}");
    runs.len() > 1
}

/// A copy of the directory; a file that was named is its compose file.
fn copied(published: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let directory = if published.is_dir() { published } else { published.parent().unwrap() };
    let mut cp = Command::new("cp");
    cp.args(["-r", "--no-preserve=mode"]).arg(directory.join(".")).arg(copy.path());
    assert!(cp.status().unwrap().success());
    if published.is_file() {
        let named = copy.path().join(published.file_name().unwrap());
        fs::rename(named, copy.path().join(COMPOSE_FILES[0])).unwrap();
    }
    copy
}

/// Replaces the image lines and gives each variable without a value one; the compose file.
fn replaced(directory: &Path) -> PathBuf {
    let mut names = COMPOSE_FILES.iter().map(|name| directory.join(name));
    let compose = names.find(|path| path.exists()).expect("a compose file");
    let text = fs::read_to_string(&compose).unwrap();
    fs::write(&compose, text.lines().map(line_with_our_image).collect::<String>()).unwrap();
    let dotenv = directory.join(".env");
    // Data of the host becomes data of the guest.
    let mut environment = fs::read_to_string(&dotenv).unwrap_or_default().replace("=/", "=./");
    for name in variables(&text) {
        if !environment.lines().any(|line| line.starts_with(&format!("{name}="))) {
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

/// What the guest publishes of a container.
#[derive(Debug)]
struct Container {
    id: String,
    image: String,
    health: Option<String>,
}

impl Container {
    /// Whether it is a stand-in, or healthy as far as that is checked.
    fn is_well(&self) -> bool {
        let stand_in = self.image.contains(Image::Diary.name());
        stand_in || self.health.as_deref().is_none_or(|health| health == "healthy")
    }
}

/// The app's containers.
fn containers(guest: &Guest) -> Vec<Container> {
    let status = guest.until("no status", || real_app::json_of(guest, AGENT_PORT, "/ps"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let containers = status["containers"].as_array().unwrap().iter();
    containers
        .map(|container| Container {
            id: text(&container["id"]).unwrap(),
            image: text(&container["image"]).unwrap(),
            health: text(&container["health"]),
        })
        .collect()
}

/// The lines in which a container tells of its starts and visits.
fn told(guest: &Guest, id: &str) -> Vec<String> {
    let log = guest.get(AGENT_PORT, &format!("/logs/{id}?text&bare")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    let told = log.lines().filter(|line| line.starts_with("start ") || line.starts_with("visit "));
    told.map(|line| format!("{id}: {line}")).collect()
}
