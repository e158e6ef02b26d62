//! Programs of a locked root, started on the host.
//!
//! A program runs by the dynamic loader and with the libraries of its own root; the host's
//! libraries are never loaded. Decision 0001 says why this and not a container.

use std::ffi::OsString;
use std::path::Path;

/// Where Debian's libraries lie.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// Program and first arguments that start `program`, a path below `root`. Libraries are also
/// taken from a directory that bears the program's name, where Debian puts private ones.
#[must_use]
pub fn argv(root: &Path, program: &str) -> Vec<OsString> {
    let libraries = root.join(LIBRARIES);
    let name = Path::new(program).file_name().unwrap_or_default();
    let mut path = libraries.clone().into_os_string();
    path.push(":");
    path.push(libraries.join(name));
    vec![root.join(LOADER).into(), "--library-path".into(), path, root.join(program).into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_from_the_host() {
        let argv = argv(Path::new("/roots/a"), "usr/bin/swtpm");
        assert!(argv.iter().all(|argument| argument == "--library-path"
            || argument.to_string_lossy().starts_with("/roots/a/")));
        assert!(argv[2].to_string_lossy().ends_with(":/roots/a/usr/lib/x86_64-linux-gnu/swtpm"));
    }
}
