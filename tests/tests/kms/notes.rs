//! The example `notes` as its user runs it: what was written stays.

use std::fs;
use std::net::ToSocketAddrs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::digest::AppId;
use protocol::identity::SEED_BYTES;
use serde_json::Value;
use tempfile::TempDir;
use tests::dstyx::{Answer, User};
use tests::guest::Host;
use tests::{http, lab};

use crate::{envelopes, pad_kills, pads, sdk, step};

/// The app's machine.
pub const NAME: &str = "promise-notes";
/// Its directory in the checkout.
const EXAMPLE: &str = "examples/notes";
/// What is in it after [`survive`].
pub const NOTES: [&str; 3] = ["first", "before the power cut", "after down"];
/// Where the app has them.
pub const PATH: &str = "/notes";
/// The machine of the user's own KMS.
pub const KMS: &str = "kms";

/// A user whose machines end with the test.
#[derive(Debug)]
pub struct Owner(pub User);

impl Default for Owner {
    /// One for whom the images of the checkout's own apps are made.
    fn default() -> Self {
        static MADE: Once = Once::new();
        MADE.call_once(|| {
            for app in image::apps::OwnApp::all().filter(|app| ["kms", "notes"].contains(&app.name))
            {
                app.build(lab::builder(), lab::checkout()).unwrap();
            }
        });
        Self(User::default())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        for name in [NAME, sdk::NAME, envelopes::NAME, pads::NAME, pad_kills::NAME, KMS] {
            self.0.dstyx(["down", name]);
        }
    }
}

/// Boots the KMS and the app, writes, cuts the power of both, stops, and puts an older disk in
/// place. The newest is in its place again and nothing but the KMS runs at the end.
pub fn survive() -> Owner {
    let owner = Owner::default();
    let user = &owner.0;
    let up = step("notes: first boot, with a KMS", || start(user));
    add(&up, "first");
    keys_came_from_the_kms(user);

    // The host pulls the plug: what was answered is on the disk. The KMS comes back too, though its
    // root lives in the owner's share only.
    add(&up, "before the power cut");
    cut_power(user, NAME);
    cut_power(user, KMS);
    let up = step("notes: both boot after a power cut", || start(user));
    assert!(up.stderr.contains("this user's key"), "{}", up.stderr);
    assert_eq!(notes(&up), ["first", "before the power cut"]);

    let down = step("notes: down", || user.dstyx(["down", NAME]));
    assert_eq!((down.code, &down.json["disk_kept"]), (0, &Value::from(true)), "{down:#?}");
    let older = copied(&disk(user), "older");
    let up = step("notes: boot after down", || start(user));
    add(&up, "after down");
    user.dstyx(["down", NAME]);

    // An older disk, whole and decryptable, is refused; the newest opens again.
    let newest = copied(&disk(user), "newest");
    fs::rename(older, disk(user)).unwrap();
    let refused = step("notes: an older disk", || up_in(user, Path::new(EXAMPLE), &[]));
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert!(refused.stderr.contains("older"), "{refused:#?}");
    user.dstyx(["down", NAME]);
    fs::rename(newest, disk(user)).unwrap();
    owner
}

/// A copy of the example's directory with its image: the measured file there is its user's.
pub fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = "docker-compose.yml";
    fs::copy(lab::checkout().join(EXAMPLE).join(file), directory.path().join(file)).unwrap();
    let image = lab::checkout().join("target/apps/notes");
    symlink(image, directory.path().join("dstyx-images")).unwrap();
    directory
}

fn start(user: &User) -> Answer {
    start_in(user, Path::new(EXAMPLE), &[])
}

/// Starts the version in `directory`; the guest must be verified.
pub fn start_in(user: &User, directory: &Path, more: &[&str]) -> Answer {
    let up = up_in(user, directory, more);
    assert_eq!((up.code, up.text("/verdict")), (0, "pass"), "{up:#?}");
    up
}

/// Starts the version in `directory`.
pub fn up_in(user: &User, directory: &Path, more: &[&str]) -> Answer {
    let mut arguments = vec!["up", directory.to_str().unwrap(), "--emulate", "--name", NAME];
    arguments.extend(["--vcpus", "1", "--memory", "1024", "--disk-gib", "1"]);
    arguments.extend(more);
    user.dstyx(arguments)
}

fn keys_came_from_the_kms(user: &User) {
    let verdict = user.dstyx(["verify", "--vm", NAME, "--vcpus", "1", "--memory", "1024"]);
    verdict.passes();
    assert!(verdict.text("/facts/key_provider").contains("\"name\":\"kms\""), "{verdict:#?}");
    let image = lab::image(protocol::image::Flavour::Dev).join("image.json");
    let hash = protocol::digest::OsImageHash::of(&fs::read(image).unwrap());
    assert_eq!(verdict.text("/facts/os_image_hash"), hash.to_string());
}

fn address(up: &Answer) -> &str {
    up.addresses().next().unwrap_or_else(|| panic!("no link: {up:#?}"))
}

/// Writes a note.
pub fn add(up: &Answer, text: &str) {
    assert!(try_to_add(address(up), text), "{text} was not answered");
}

/// Writes a note; false if the guest is gone. An app that answers must have it.
pub fn try_to_add(at: impl ToSocketAddrs, text: &str) -> bool {
    let body = format!("text={}", text.replace(' ', "+"));
    let Ok((status, answer)) = http::post_form(at, PATH, &body) else { return false };
    assert_eq!(status, 303, "{}", String::from_utf8_lossy(&answer));
    true
}

/// Texts of all notes, the oldest first.
pub fn notes(up: &Answer) -> Vec<String> {
    notes_of(&http::get(address(up), PATH).unwrap())
}

/// The same from an answer of the app.
pub fn notes_of(answer: &[u8]) -> Vec<String> {
    listed(answer).into_iter().map(|(_, text)| text).collect()
}

/// The number and text of each note in an answer of the app, the oldest first.
pub fn listed(answer: &[u8]) -> Vec<(u64, String)> {
    let json: Value = serde_json::from_slice(answer).unwrap();
    let list = json.as_array().or_else(|| json["notes"].as_array()).unwrap();
    let mut notes: Vec<(u64, String)> = list
        .iter()
        .map(|note| (note["id"].as_u64().unwrap(), note["text"].as_str().unwrap().to_owned()))
        .collect();
    notes.sort();
    notes
}

/// A host that launches the app with this measured file as `up` does, beside the owner's machines.
pub fn host(owner: &Owner, app_compose: Vec<u8>) -> Host {
    let [app, kms] = [NAME, KMS].map(|name| owner.0.record(name));
    let port = &kms["ports"][protocol::kms::CHANNEL_PORT.to_string()];
    let mut instance_seed = [0; SEED_BYTES];
    hex::decode_to_slice(app["instance_id_seed"].as_str().unwrap(), &mut instance_seed).unwrap();
    Host {
        vcpus: 1,
        memory_mib: 1024,
        app_compose: Some(app_compose),
        app_id: Some(AppId::from_hex(app["app_id"].as_str().unwrap()).unwrap()),
        instance_seed,
        kms_urls: vec![format!("https://10.0.2.2:{port}")],
        ..Host::default()
    }
}

/// Kills QEMU at once: nothing is flushed, nothing is said.
pub fn cut_power(user: &User, name: &str) {
    let pid = user.qemu(name);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    while runs(pid) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Whether a process has not ended.
pub fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The file of the app's data disk.
pub fn disk(user: &User) -> PathBuf {
    user.kept(NAME).join("data.img")
}

/// A copy beside a disk, with its holes.
fn copied(disk: &Path, name: &str) -> PathBuf {
    let copy = disk.with_extension(name);
    let copied = Command::new("cp").arg("--sparse=always").args([disk, &copy]).status().unwrap();
    assert!(copied.success());
    copy
}
