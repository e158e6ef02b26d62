//! Where the programs of the scenario run: in a guest, whose KMS has the keys of Pads, or on this
//! machine, where files stand for delegators and the time is stated.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bench::Dstyx;
use crate::command;

/// The delegator of all custodians where files stand for one.
const FILES: &str = "5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d";
/// The first second of a scenario whose time is stated.
const NOW: u64 = 1_800_000_000;
/// The period of the quotas.
const PERIOD: Duration = Duration::from_secs(60);
/// The machines: the app's, and that of the user's KMS.
const MACHINES: [&str; 2] = ["hospitals", "kms"];
/// The trainer as a service of the app.
const TRAINER: &str = "  train:\n    platform: wasi/wasm\n    image: dstyx.local/train\n";
/// How long the app's service may take to listen after the boot.
const LISTENS_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks whether it does.
const POLL: Duration = Duration::from_millis(200);

/// The place.
pub enum Place {
    /// This machine, by this program at this time.
    Local {
        /// The program pad-runner.
        runner: PathBuf,
        /// Seconds since 1970.
        now: u64,
    },
    /// A guest.
    Guest(Guest),
}

/// A guest that was verified.
pub struct Guest {
    /// Where its service answers.
    url: String,
    /// What stands for it in what owners sign.
    exporter: String,
    /// Directory of its image.
    image: String,
}

/// Ends the machines of a user when the scenario does.
pub struct Machines<'a>(pub &'a Dstyx);

impl Drop for Machines<'_> {
    fn drop(&mut self) {
        for name in MACHINES {
            // One that was never started is none to end.
            let _ = self.0.does(&format!("down {name}"));
        }
    }
}

impl Place {
    /// This machine.
    pub fn local(runner: PathBuf) -> Self {
        Self::Local { runner, now: NOW }
    }

    /// A new guest of the example with the trainer as a program of the app, which is verified.
    pub fn guest(dstyx: &Dstyx, programs: &Path) -> Result<Self, String> {
        app_with_trainer(dstyx, programs)?;
        let machine = format!("--name {} --vcpus 2 --memory 2048 --disk-gib 1", MACHINES[0]);
        let app = dstyx.file("app");
        let up = format!("up {} --emulate {machine}", app.display());
        println!("booting a KMS and the guest (an image that is not there yet is built before)");
        let begun = Instant::now();
        let up = dstyx.does_in_checkout(&up)?;
        let url = up["urls"][0].as_str().ok_or("the guest has no link")?.to_owned();
        wait_until_it_listens(&url)?;
        println!("the guest was verified and listens, after {} s", begun.elapsed().as_secs());
        let verified = dstyx.does(&format!("pad exporter --vm {}", MACHINES[0]))?;
        let exporter = verified["exporter"].as_str().ok_or("no exporter")?.to_owned();
        let machines = dstyx.does("ps")?;
        let ours = machines.as_array().into_iter().flatten();
        let ours = ours.into_iter().find(|machine| machine["name"] == MACHINES[0]);
        let image = ours.and_then(|machine| machine["image"].as_str()).ok_or("no image")?;
        Ok(Self::Guest(Guest { url, exporter, image: image.to_owned() }))
    }

    /// What `run` takes to name the trainer: in a guest, the measured file names it.
    pub fn trainer(&self) -> &'static str {
        match self {
            Self::Local { .. } => "train.wasm",
            Self::Guest(_) => "train.wasm --service train",
        }
    }

    /// What `enrol-file` and `pack` take beyond what a user's own KMS needs.
    pub fn delegator(&self) -> String {
        match self {
            Self::Local { .. } => format!("--delegator {FILES}"),
            Self::Guest(_) => String::new(),
        }
    }

    /// What `run` takes for this place.
    pub fn options(&self) -> Vec<String> {
        let options = match self {
            Self::Local { runner, now } => {
                [("--runner", runner.display().to_string()), ("--at", now.to_string())]
            }
            Self::Guest(Guest { url, exporter, .. }) => {
                [("--guest", url.clone()), ("--exporter", exporter.clone())]
            }
        };
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// What `update` takes for this place.
    pub fn update_options(&self, pad: &str) -> String {
        match self {
            Self::Local { runner, .. } => format!("--key {pad}.key --runner {}", runner.display()),
            Self::Guest(Guest { url, .. }) => format!("--guest {url}"),
        }
    }

    /// Goes on when no use of a quota counts any more.
    pub fn next_period(&mut self) {
        match self {
            Self::Local { now, .. } => *now += PERIOD.as_secs(),
            Self::Guest(_) => std::thread::sleep(PERIOD),
        }
    }

    /// Has the delegator take custodians (by the key of a member who speaks for each) and the keys
    /// of Pads (by the key of their custodian).
    pub fn delegate(
        &self,
        dstyx: &Dstyx,
        custodians: &[(&str, &str)],
        pads: &[(String, &str)],
    ) -> Result<(), String> {
        let Self::Guest(Guest { image, .. }) = self else { return Ok(()) };
        list_members(dstyx, custodians)?;
        for (custodian, member) in custodians {
            dstyx.pad(&format!("enrol {custodian}.enrolment --key {member}.key"))?;
        }
        for (pad, custodian) in pads {
            let conditions = format!("--image {image} --app app");
            dstyx.pad(&format!("push {pad}.pad.key --key {custodian}.key {conditions}"))?;
        }
        Ok(())
    }
}

/// The example's directory with its image, and with one service more.
fn app_with_trainer(dstyx: &Dstyx, programs: &Path) -> Result<(), String> {
    let app = dstyx.file("app");
    let failed = |error: std::io::Error| format!("{}: {error}", app.display());
    fs::create_dir(&app).map_err(failed)?;
    let mut copy = Command::new("cp");
    let image = command::root().join("target/apps/relay");
    copy.arg("-r").arg(image).arg(app.join("dstyx-images"));
    command::capture(&mut copy)?;
    let compose = command::root().join("examples/hospitals/docker-compose.yml");
    let compose = fs::read_to_string(compose).map_err(failed)? + TRAINER;
    fs::write(app.join("docker-compose.yml"), compose).map_err(failed)?;
    let trainer = programs.join("train.wasm");
    dstyx.does(&format!("pin app/docker-compose.yml --image train={}", trainer.display())).map(drop)
}

/// The owner of the KMS says whose keys it may keep.
fn list_members(dstyx: &Dstyx, custodians: &[(&str, &str)]) -> Result<(), String> {
    let file = |name: &str| {
        let path = dstyx.file(name);
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice::<Value>(&bytes).map_err(|error| format!("{name}: {error}"))
    };
    dstyx.does("kms policy init policy.json")?;
    let mut policy = file("policy.json")?;
    let mut members = Vec::new();
    for (custodian, member) in custodians {
        if custodian == member {
            members.extend(file(&format!("{member}.custodian"))?["members"].as_array().cloned());
        }
    }
    policy["pad_custodians"] = members.concat().into();
    let path = dstyx.file("policy.json");
    fs::write(&path, policy.to_string()).map_err(|error| format!("{path:?}: {error}"))?;
    dstyx.does("kms policy sign policy.json --out policy.envelope")?;
    dstyx.does("kms policy push policy.envelope").map(drop)
}

fn wait_until_it_listens(url: &str) -> Result<(), String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let begun = Instant::now();
    while !listens(address).unwrap_or(false) {
        if begun.elapsed() > LISTENS_WITHIN {
            return Err(format!("{url} does not answer"));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn listens(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LISTENS_WITHIN))?;
    stream.write_all(b"GET /files HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}
