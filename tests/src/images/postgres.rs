//! The database's image beside Debian's packages: an empty cluster, and what makes it an app's when
//! it first starts.
//!
//! The cluster is made here, natively: under emulation that takes as long as a published health
//! check has patience.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

use reproducible_build::sandbox::{Bind, Spec, Step};
use serde_json::{Value, json};

use super::layer::{Layer, Owner, Packing};
use crate::lab;

/// What the image does when it starts.
const START: &str = include_str!("postgres-start");
/// What every database of a cluster has, a statement a line.
const FUNCTIONS: &str = include_str!("postgres-functions.sql");
/// Owner of the database's files.
const OWNER: Owner = (101, 101);
/// Where the programs are.
const PROGRAMS: &str = "/usr/lib/postgresql/17/bin";
/// Names under which PostgreSQL calls busybox.
const SHELL: [&str; 2] = ["sh", "cat"];
/// How the empty cluster is made. Small pieces of its log are little to copy.
const INITDB: [&str; 9] = [
    "--pgdata=/build/cluster/data",
    "--username=postgres",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--wal-segsize=1",
    "--no-sync",
    "--no-instructions",
];

/// What tells these layers from others.
pub fn fact() -> Value {
    json!(["postgres", lab::group_digest("image-postgres"), START, FUNCTIONS, INITDB])
}

/// The layers, made with the help of an empty directory.
pub fn layers(work: &Path) -> Vec<Layer> {
    let cluster = Layer::new(Packing::Zstd).directory("usr/local/share", 0o755, super::ROOT);
    let cluster = cluster.owned_tree(&cluster_in(work), "usr/local/share/cluster", OWNER);
    let start = Layer::new(Packing::Plain)
        .directory("run/postgresql", 0o1777, OWNER)
        .directory("var/lib/postgresql", 0o755, OWNER)
        .directory("var/lib/postgresql/data", 0o700, OWNER)
        .directory("docker-entrypoint-initdb.d", 0o755, super::ROOT)
        .file("usr/local/bin/postgres-start", 0o755, START.as_bytes());
    vec![cluster, start]
}

/// An empty cluster. Its makers refuse to run as root, so they run as the sandbox's other user.
fn cluster_in(work: &Path) -> PathBuf {
    let (root, made) = (work.join("root"), work.join("made"));
    let packages = lab::tools("image-postgres");
    let copied = Command::new("cp").arg("-al").args([&packages, &root]).status().unwrap();
    assert!(copied.success());
    for name in SHELL {
        symlink("busybox", root.join("usr/bin").join(name)).unwrap();
    }
    fs::create_dir(&made).unwrap();
    let program = |name: &str| format!("{PROGRAMS}/{name}");
    let initdb = iter::once(program("initdb")).chain(INITDB.map(str::to_owned));
    let fill = |database: &str| {
        let server = program("postgres");
        let script = format!("exec {server} --single -F -D /build/cluster/data {database} <<'E'");
        ["sh".to_owned(), "-euc".to_owned(), format!("{script}\n{FUNCTIONS}E\n")]
    };
    let step = |argv: Vec<String>| Step { argv, dir: "/build".into() };
    let spec = Spec {
        root,
        binds: vec![Bind { from: made.clone(), to: "cluster".into(), writable: true }],
        base: "/build".into(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]),
        steps: vec![
            step(initdb.collect()),
            step(fill("template1").to_vec()),
            step(fill("postgres").to_vec()),
        ],
        uid: 1000,
        umask: 0o077,
        hostname: "builder".to_owned(),
    };
    let output = spec.command(work).unwrap().output().unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    made.join("data")
}
