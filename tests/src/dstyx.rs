//! The program under test, run as a person runs it.

use std::path::Path;
use std::process::Command;

use protocol::app_compose;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab;

/// A user with directories of their own for state and data.
#[derive(Debug)]
pub struct User {
    state: TempDir,
    data: TempDir,
    cache: Option<TempDir>,
}

/// What the program said.
#[derive(Debug)]
pub struct Answer {
    /// Exit status.
    pub code: i32,
    /// Its JSON document; null if it printed none.
    pub json: Value,
    /// Progress, failures and hints.
    pub stderr: String,
}

/// What a person read.
#[derive(Debug)]
pub struct Printed {
    /// Exit status.
    pub code: i32,
    /// Results.
    pub stdout: String,
    /// Progress, failures and hints.
    pub stderr: String,
}

impl Default for User {
    fn default() -> Self {
        let [state, data] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        Self { state, data, cache: None }
    }
}

impl User {
    /// One with a cache of their own too: nothing is built for them, and they have no collateral.
    pub fn with_empty_cache() -> Self {
        Self { cache: Some(tempfile::tempdir().unwrap()), ..Self::default() }
    }

    /// Directory of the collateral in a cache of their own.
    pub fn collateral(&self) -> std::path::PathBuf {
        self.cache.as_ref().unwrap().path().join("dstyx/collateral")
    }

    /// Runs `dstyx --json ARGUMENTS` in the checkout.
    pub fn dstyx<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Answer {
        self.dstyx_in(lab::checkout(), arguments)
    }

    /// Runs `dstyx --json ARGUMENTS` in a directory.
    pub fn dstyx_in<A: AsRef<std::ffi::OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Answer {
        Self::answer(self.command(arguments).current_dir(directory))
    }

    /// The same with one more environment variable.
    pub fn dstyx_with<A: AsRef<std::ffi::OsStr>>(
        &self,
        (name, value): (&str, &str),
        arguments: impl IntoIterator<Item = A>,
    ) -> Answer {
        Self::answer(self.command(arguments).env(name, value))
    }

    /// Runs `dstyx ARGUMENTS` in the checkout, with the words for a person or with `--json` among
    /// them.
    pub fn prints<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Printed {
        let output = self.bare_command(arguments).output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Printed { code: output.status.code().unwrap(), stdout, stderr }
    }

    fn command<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = self.bare_command(arguments);
        command.arg("--json");
        command
    }

    fn bare_command<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(lab::program("dstyx"));
        command
            .args(arguments)
            .current_dir(lab::checkout())
            .env("XDG_STATE_HOME", self.state.path())
            .env("XDG_DATA_HOME", self.data.path());
        command.env_remove("DSTYX_PCCS");
        if let Some(cache) = &self.cache {
            command.env("XDG_CACHE_HOME", cache.path());
        }
        command
    }

    fn answer(command: &mut Command) -> Answer {
        let output = command.output().unwrap();
        Answer {
            code: output.status.code().unwrap(),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A file of this user's data.
    pub fn data(&self, name: &str) -> std::path::PathBuf {
        self.data.path().join("dstyx").join(name)
    }

    /// Directory of what is kept of a machine that has ended.
    pub fn kept(&self, name: &str) -> std::path::PathBuf {
        self.data("disks").join(name)
    }

    /// The record of what is kept of a machine.
    pub fn record(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.kept(name).join("kept.json")).unwrap()).unwrap()
    }

    /// Process id of a machine's QEMU.
    pub fn qemu(&self, name: &str) -> i32 {
        let vm = std::fs::read(self.machine(name).join("vm.json")).unwrap();
        let vm: Value = serde_json::from_slice(&vm).unwrap();
        i32::try_from(vm["qemu"]["pid"].as_i64().unwrap()).unwrap()
    }

    /// What a machine's console shows.
    pub fn console(&self, name: &str) -> String {
        let console = std::fs::read(self.machine(name).join("console.log")).unwrap();
        String::from_utf8_lossy(&console).into_owned()
    }

    /// Directory of a machine's state.
    pub fn machine(&self, name: &str) -> std::path::PathBuf {
        self.state.path().join("dstyx/vms").join(name)
    }
}

impl Answer {
    /// A text at a JSON pointer.
    pub fn text(&self, pointer: &str) -> &str {
        self.json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {pointer}: {self:?}"))
    }

    /// Where the app's ports answer: `HOST:PORT` of every link that `up` printed.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let urls = self.json["urls"].as_array().into_iter().flatten().filter_map(Value::as_str);
        urls.map(|url| url.strip_prefix("http://").unwrap().trim_end_matches('/'))
    }

    /// Names of the verdict's rows that failed, in order.
    pub fn failed(&self) -> Vec<&str> {
        self.rows()
            .filter(|row| row["verdict"] == "fail")
            .filter_map(|row| row["name"].as_str())
            .collect()
    }

    /// The hint of one row.
    pub fn hint(&self, name: &str) -> &str {
        self.rows()
            .find(|row| row["name"] == name)
            .and_then(|row| row["hint"].as_str())
            .unwrap_or_default()
    }

    /// The verdict of one row: `pass`, `fail` or `skipped`; empty if there is no such row.
    pub fn verdict(&self, name: &str) -> &str {
        self.rows()
            .find(|row| row["name"] == name)
            .and_then(|row| row["verdict"].as_str())
            .unwrap_or_default()
    }

    fn rows(&self) -> impl Iterator<Item = &Value> {
        self.json["checks"].as_array().into_iter().flatten()
    }

    /// Requires that every check passed.
    pub fn passes(&self) {
        assert_eq!((self.code, &self.json["verdict"]), (0, &Value::from("pass")), "{self:#?}");
    }

    /// Requires that exactly these rows failed.
    pub fn fails(&self, rows: &[&str]) {
        assert_eq!((self.code, self.failed()), (1, rows.to_vec()), "{self:#?}");
    }
}

/// An app directory: a compose file, the file that is measured, and the files that it carries.
pub fn write_app(directory: &Path, compose: &str, app_compose: &[u8]) {
    std::fs::write(directory.join("docker-compose.yml"), compose).unwrap();
    std::fs::write(directory.join("app-compose.json"), app_compose).unwrap();
    let files = app_compose::parse(app_compose).map(|app| app.files).unwrap_or_default();
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}
