//! A registry on loopback as `dstyx up` starts one, honest or lying.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab;

/// How long it may take to listen.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(10);

/// A running registry; it ends when this is dropped.
#[derive(Debug)]
pub struct Mirror {
    server: Child,
    /// As a guest reaches it.
    pub address: String,
    _directory: TempDir,
}

impl Mirror {
    /// Serves the example's image as it was built.
    pub fn honest() -> Self {
        let hello = image::apps::EXAMPLES[0].build(lab::builder(), lab::checkout()).unwrap();
        Self::start(&hello.layout, tempfile::tempdir().unwrap())
    }

    /// Serves the example's image with one byte changed in each blob but the manifest.
    pub fn lying() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let hello = image::apps::EXAMPLES[0].build(lab::builder(), lab::checkout()).unwrap();
        let layout = directory.path().join("layout");
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for entry in fs::read_dir(hello.layout.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let mut bytes = fs::read(entry.path()).unwrap();
            if entry.file_name().to_str() != Some(&hello.digest.to_string()) {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            fs::write(blobs.join(entry.file_name()), bytes).unwrap();
        }
        Self::start(&layout, directory)
    }

    fn start(layout: &Path, directory: TempDir) -> Self {
        let port_file = directory.path().join("port");
        let mut command = Command::new(lab::program("dstyx"));
        command.arg("serve-images").arg("--port-file").arg(&port_file).arg("--layout").arg(layout);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while !port_file.exists() {
            assert!(started.elapsed() < TIMEOUT, "the registry does not start");
            std::thread::sleep(POLL);
        }
        let address = format!("http://10.0.2.2:{}", fs::read_to_string(&port_file).unwrap());
        Self { server, address, _directory: directory }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
