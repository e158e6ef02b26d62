//! Promise: nothing that an image, a process in a container or a shared volume does reaches what is
//! outside.
//!
//! Each test does what an advisory describes, or what runtimes were broken by before: it says what
//! a runtime that has the defect would do, and shows that here the container is refused with a
//! clear error or that nothing outside was touched. What is outside is writable by everybody, so
//! that it is not permissions that protect it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use container_helper::End;
use containers::app::{App, ContainerState};

use crate::image::Archive;
use crate::running::{Stage, ended, service, within};

mod descriptors;
mod links;
mod mount_points;
mod races;

/// A directory of the guest's that everybody may write, and that nobody shall have written.
struct Outside(PathBuf);

impl Outside {
    fn make(stage: &Stage) -> Self {
        let directory = stage.directory.path().join("outside");
        fs::create_dir(&directory).expect("directory");
        fs::write(directory.join("kept"), "as it was").expect("file");
        for (path, mode) in [(directory.clone(), 0o777), (directory.join("kept"), 0o666)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
        }
        Self(directory)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// The path as a link that climbs.
    fn climbing(&self) -> String {
        format!("../../../../../..{}", self.path())
    }

    /// The file in it.
    fn kept(&self) -> String {
        format!("{}/kept", self.path())
    }

    /// The directories of the same path, for an image.
    fn same_inside(&self) -> Archive {
        let directories: Vec<&Path> =
            self.0.ancestors().filter(|directory| directory.parent().is_some()).collect();
        let name = |directory: &Path| {
            format!("{}/", directory.strip_prefix("/").expect("absolute").display())
        };
        directories
            .into_iter()
            .rev()
            .fold(Archive::default(), |archive, directory| archive.directory(&name(directory)))
    }

    fn assert_untouched(&self, what: &str) {
        let names: Vec<_> = fs::read_dir(&self.0)
            .expect("directory")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(names, ["kept"], "{what}");
        assert_eq!(fs::read_to_string(self.kept()).expect("file"), "as it was", "{what}");
    }
}

/// Runs services to their end; the output of each, or why it did not start.
async fn run(
    stage: &Stage,
    danger_privileged: bool,
    services: &str,
) -> Vec<Result<String, String>> {
    run_with(stage, danger_privileged, services, "").await
}

/// The same with more volumes than `data`.
async fn run_with(
    stage: &Stage,
    danger: bool,
    services: &str,
    volumes: &str,
) -> Vec<Result<String, String>> {
    let app =
        stage.begin(danger, &format!("services:\n{services}volumes: {{data: {{}}{volumes}}}\n"));
    within(60, "running", ended(&app)).await;
    let found = app.status().into_iter().map(|status| match status.state {
        ContainerState::Ended(End::Failed { message }) => Err(message),
        _ => Ok(stage.log(status.id.strip_suffix("-1").expect("the first"))),
    });
    let found = found.collect();
    app.stop().await;
    found
}

/// The same of one service.
async fn run_one(stage: &Stage, service: &str) -> Result<String, String> {
    run(stage, false, service).await.remove(0)
}

/// Asserts that a log shows intact guards.
fn assert_guarded(log: &str, what: &str) {
    assert!(log.contains("guarded") && !log.contains("BROKEN"), "{what}:\n{log}");
}

/// The C library, for the runtime's program in an image: the one of tests is not linked statically.
fn library() -> Archive {
    let listed =
        Command::new("ldd").arg(env!("CARGO_BIN_EXE_container-helper")).output().expect("ldd");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let add = |archive: Archive, path: &str| {
        archive
            .file(path.trim_start_matches('/'), &fs::read(path).expect("a file of the C library"))
    };
    paths.fold(Archive::default(), add)
}
