//! A real browser: Debian's Chromium without a display, in a root of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::lab;

/// The group of tests.lock.
const GROUP: &str = "browser";
/// Enters the root in namespaces for mounts and processes, with the network of the host; the home
/// is the one directory of the test.
const ENTER: &str = r#"
root=$1 home=$2; shift 2
for place in dev proc sys; do mount --rbind /$place "$root/$place"; done
mount -t tmpfs tmpfs "$root/tmp"
mkdir "$root/tmp/home"
mount --bind "$home" "$root/tmp/home"
exec env -i HOME=/tmp/home "$(command -v chroot)" "$root" "$@"
"#;
/// The browser's own sandbox needs rights that a test has not; the rest keeps it from asking the
/// network for anything else than the page.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--user-data-dir=/tmp/home/profile",
    "--virtual-time-budget=10000",
];

/// What the page at `url` is after its scripts ran, for a person who told the browser to believe
/// the authority in this PEM file.
pub fn page(url: &str, authority: &Path) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let pki = home.path().join(".pki/nssdb");
    fs::create_dir_all(&pki).unwrap();
    fs::copy(authority, home.path().join("authority.pem")).unwrap();
    let database = "sql:/tmp/home/.pki/nssdb";
    for arguments in [
        &["-N", "--empty-password"][..],
        &["-A", "-t", "C,,", "-n", "dstyx-trials", "-i", "/tmp/home/authority.pem"],
    ] {
        let told = run(home.path(), &[&["/usr/bin/certutil", "-d", database], arguments].concat());
        assert!(told.status.success(), "certutil: {}", String::from_utf8_lossy(&told.stderr));
    }
    let program: &[&str] = &["/usr/lib/chromium/chromium"];
    let shown = run(home.path(), &[program, &FLAGS, &["--dump-dom", url]].concat());
    let [page, error] =
        [shown.stdout, shown.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if shown.status.success() && !page.is_empty() { Ok(page) } else { Err(error) }
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-euc", ENTER, "enter"]).arg(lab::tools(GROUP)).arg(home).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}
