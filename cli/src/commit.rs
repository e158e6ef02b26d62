//! The commit that a checkout is at: a release states it, so that whoever has the commit has every
//! source.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Hint as _, Outcome};

/// Configuration under which `git status` tells a changed file or a new one: a person's own may
/// hide either.
const SHOW_ALL: [&str; 6] = [
    "-c",
    "status.showUntrackedFiles=all",
    "-c",
    "core.fileMode=true",
    "-c",
    "core.fsmonitor=false",
];

/// What `build` makes of the commit that is checked out, without changes before or after: building
/// takes long, and reads the files when it comes to them.
pub fn built<T>(checkout: &Path, build: impl FnOnce(&str) -> Outcome<T>) -> Outcome<T> {
    let commit = clean(checkout)?;
    let built = build(&commit)?;
    let now = clean(checkout)?;
    if now == commit {
        return Ok(built);
    }
    let what = format!("while the release was built of {commit}, the checkout went to {now}");
    Err(Failure::new(what, "build again, and leave the checkout alone meanwhile"))
}

/// The commit, if every file is its; files that git ignores may be there, the recipes do not read
/// them.
fn clean(checkout: &Path) -> Outcome<String> {
    let status = [
        &SHOW_ALL[..],
        &["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=none"],
    ];
    match git(checkout, &status.concat())?.lines().next() {
        None => git(checkout, &["rev-parse", "HEAD"]),
        Some(first) => Err(Failure::new(
            format!("the checkout is not its commit: {}", first.trim()),
            "commit, stash or remove the changes, so that others can build the same",
        )),
    }
}

fn git(checkout: &Path, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("git").arg("-C").arg(checkout).args(arguments).output();
    let output =
        output.hint("git", "a release names the commit that it was built from: install git")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(
        format!("git {}: {message}", arguments.join(" ")),
        "is the checkout a git repository?",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const COMMIT: [&str; 8] = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "commit",
        "--quiet",
        "--allow-empty",
        "--message=x",
    ];

    fn repository() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| git(directory.path(), arguments).unwrap();
        run(&["-c", "init.defaultBranch=main", "init", "--quiet"]);
        fs::write(directory.path().join("source"), "of the image").unwrap();
        fs::write(directory.path().join(".gitignore"), "/target\n").unwrap();
        run(&["add", "."]);
        run(&COMMIT);
        directory
    }

    #[test]
    fn a_clean_checkout_is_its_commit_and_ignored_files_do_not_matter() {
        let directory = repository();
        fs::write(directory.path().join("target"), "").unwrap();
        let head = git(directory.path(), &["rev-parse", "HEAD"]).unwrap();
        assert_eq!(built(directory.path(), |commit| Ok(commit.to_owned())).unwrap(), head);
    }

    #[test]
    fn configuration_hides_no_file_and_no_mode() {
        let directory = repository();
        let configured =
            |key: &str, value: &str| git(directory.path(), &["config", key, value]).unwrap();
        configured("status.showUntrackedFiles", "no");
        configured("core.fileMode", "false");
        let source = directory.path().join("source");
        fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(clean(directory.path()).unwrap_err().to_string().contains("M source"));
        fs::set_permissions(&source, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(directory.path().join("build.rs"), "").unwrap();
        assert!(clean(directory.path()).unwrap_err().to_string().contains("?? build.rs"));
    }

    #[test]
    fn what_changes_while_building_is_seen() {
        let directory = repository();
        let changed = built(directory.path(), |_| {
            fs::write(directory.path().join("source"), "of another image").unwrap();
            Ok(())
        });
        assert!(changed.unwrap_err().to_string().contains("M source"));
        let directory = repository();
        let moved = built(directory.path(), |_| git(directory.path(), &COMMIT));
        assert!(moved.unwrap_err().to_string().contains("the checkout went to"));
    }
}
