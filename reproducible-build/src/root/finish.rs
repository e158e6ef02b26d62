//! What Debian's maintainer scripts would have done, as far as a builder needs it.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

/// Directories that Debian merged into `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Mount points of the sandbox. `build` and `elsewhere` carry a recipe's
/// directories: two names, so that a second build can run in another directory.
const MOUNT_POINTS: [&str; 6] = ["build", "dev", "elsewhere", "proc", "sys", "tmp"];

/// Names that Debian's alternatives system would have made, if their target is there.
const ALTERNATIVES: [(&str, &str); 5] = [
    ("usr/bin/awk", "mawk"),
    ("usr/bin/c++", "g++"),
    ("usr/bin/cc", "gcc"),
    ("usr/bin/which", "which.debianutils"),
    ("usr/bin/yacc", "bison.yacc"),
];

const PASSWD: &str = "root:x:0:0:root:/build/work:/bin/sh\n\
                      builder:x:1000:1000:builder:/elsewhere/work:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// Makes the empty root into which packages are unpacked.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    for name in MERGED {
        fs::create_dir_all(dir.join("usr").join(name))?;
        symlink(format!("usr/{name}"), dir.join(name))?;
    }
    for name in MOUNT_POINTS.into_iter().chain(["etc"]) {
        fs::create_dir_all(dir.join(name))?;
    }
    Ok(())
}

/// A package's path with the merged directories resolved and without a leading dot.
pub(super) fn merged(path: &Path) -> PathBuf {
    let mut parts = path.components().filter(|c| *c != Component::CurDir).peekable();
    let first = parts.peek().map(|c| c.as_os_str().to_owned()).unwrap_or_default();
    let prefix = if MERGED.iter().any(|name| first == *name) { "usr" } else { "" };
    Path::new(prefix).join(parts.collect::<PathBuf>())
}

/// Adds what packages do not carry.
pub(super) fn finish(dir: &Path) -> io::Result<()> {
    for (link, target) in ALTERNATIVES {
        let link = dir.join(link);
        let target_exists = link.parent().is_some_and(|dir| dir.join(target).exists());
        if target_exists && link.symlink_metadata().is_err() {
            symlink(target, link)?;
        }
    }
    for (name, text) in [("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS)] {
        fs::write(dir.join("etc").join(name), text)?;
    }
    certificates(dir)
}

/// One file of all CA certificates, in the order of their file names.
fn certificates(dir: &Path) -> io::Result<()> {
    let from = dir.join("usr/share/ca-certificates/mozilla");
    if !from.is_dir() {
        return Ok(());
    }
    let mut paths: Vec<PathBuf> =
        fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let mut all = String::new();
    for path in paths {
        all.push_str(fs::read_to_string(path)?.trim_end());
        all.push('\n');
    }
    let to = dir.join("etc/ssl/certs");
    fs::create_dir_all(&to)?;
    fs::write(to.join("ca-certificates.crt"), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_paths_are_claimed_once() {
        for (path, same) in [
            ("./lib/x", "usr/lib/x"),
            ("./usr/lib/x", "usr/lib/x"),
            ("./etc/lib/x", "etc/lib/x"),
            ("lib64/ld.so", "usr/lib64/ld.so"),
        ] {
            assert_eq!(merged(Path::new(path)), Path::new(same));
        }
    }
}
