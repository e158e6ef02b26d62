//! Another runtime, called as an engine calls it, with the specification that ours had.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The first of the 65,536 ids of its containers, beyond all that are given out here.
pub const FIRST_ID: u32 = 1000 << 16;
/// What a container may use and make, as ours: null, zero, full, random, urandom, tty, console,
/// ptmx, pts.
const DEVICES: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// `crun` or `runc`, and the bundle of its only container.
#[derive(Debug)]
pub struct Peer {
    program: PathBuf,
    bundle: PathBuf,
    /// Directories of the overlay, highest first, separated by colons.
    lower: String,
}

impl Peer {
    /// Makes the bundle in `directory`; what is in `layers` is copied for the container's ids.
    pub fn new(name: &str, directory: &Path, layers: &[PathBuf], specification: &Value) -> Self {
        let bundle = directory.join(name);
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        fs::set_permissions(&bundle, PermissionsExt::from_mode(0o711)).unwrap();
        let lower: Vec<PathBuf> =
            (0..layers.len()).rev().map(|number| bundle.join(format!("layer-{number}"))).collect();
        layers.iter().rev().zip(&lower).for_each(|(layer, copied)| copy(layer, copied));
        // In the place of the files that our helper mounts: /etc/hosts and the like.
        let file = bundle.join("names");
        fs::write(&file, "127.0.0.1 localhost\n").unwrap();
        let adapted = adapted(specification.clone(), name, &file);
        fs::write(bundle.join("config.json"), adapted.to_string()).unwrap();
        let lower = lower
            .iter()
            .map(|directory| directory.display().to_string())
            .collect::<Vec<_>>()
            .join(":");
        Self { program: Path::new("/usr/bin").join(name), bundle, lower }
    }

    /// From nothing to running, and to nothing again; `look` sees the process meanwhile.
    pub fn once(&self, look: impl FnOnce(i32)) {
        const ID: &str = "busybox";
        let [root, upper, work, pid] =
            ["rootfs", "upper", "work", "pid"].map(|name| self.bundle.join(name));
        for made in [&upper, &work] {
            fs::create_dir(made).unwrap();
        }
        chown(&upper, Some(FIRST_ID), Some(FIRST_ID)).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.lower,
            upper.display(),
            work.display()
        );
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))
            .unwrap();
        let text = |path: &Path| path.display().to_string();
        self.call(&["create", "--bundle", &text(&self.bundle), "--pid-file", &text(&pid), ID]);
        self.call(&["start", ID]);
        let pid = fs::read_to_string(&pid).unwrap().parse().unwrap();
        look(pid);
        self.call(&["kill", ID, "KILL"]);
        assert!(matches!(waitpid(Pid::from_raw(pid), None), Ok(WaitStatus::Signaled(..))));
        self.call(&["delete", ID]);
        umount(&root).unwrap();
        for made in [&upper, &work] {
            fs::remove_dir_all(made).unwrap();
        }
    }

    fn call(&self, arguments: &[&str]) {
        let errors = self.bundle.join("errors");
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.bundle.join("state")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors).unwrap());
        let status = command.status().unwrap();
        assert!(status.success(), "{command:?}: {}", fs::read_to_string(&errors).unwrap());
    }
}

/// A copy of directories, links and files that all belong to root of the container.
fn copy(from: &Path, to: &Path) {
    let kind = fs::symlink_metadata(from).unwrap();
    if kind.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if kind.is_dir() {
        fs::create_dir(to).unwrap();
        fs::set_permissions(to, kind.permissions()).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
    lchown(to, Some(FIRST_ID), Some(FIRST_ID)).unwrap();
}

/// Our specification, but for what our helper does outside of it: ids, network, cgroup, devices,
/// sources of mounts.
fn adapted(mut specification: Value, name: &str, file: &Path) -> Value {
    let linux = &mut specification["linux"];
    linux["cgroupsPath"] = json!(format!("/dstyx-bench-{name}"));
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "user");
    namespaces.extend([json!({ "type": "user" }), json!({ "type": "network" })]);
    for ids in ["uidMappings", "gidMappings"] {
        linux[ids] = json!([{ "containerID": 0, "hostID": FIRST_ID, "size": 1 << 16 }]);
    }
    let mut devices = vec![json!({ "allow": false, "access": "rwm" })];
    devices.extend(["b", "c"].map(|kind| json!({ "allow": true, "type": kind, "access": "m" })));
    for (major, minor) in DEVICES {
        let mut device = json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
        if let Some(minor) = minor {
            device["minor"] = json!(minor);
        }
        devices.push(device);
    }
    linux["resources"] = json!({ "devices": devices });
    for mount in specification["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            });
        } else if mount["source"].as_str().is_some_and(|source| source.contains("/mounts/")) {
            mount["source"] = json!(file);
        }
    }
    specification
}
