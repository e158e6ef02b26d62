//! `dstyx up` outside a checkout, with compose files that are joined and an image that was built
//! here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use protocol::image::Flavour;
use tests::dstyx::User;
use tests::{http, lab};

const NAME: &str = "promise-outside";

/// As a person has it who got the image and the two programs, and wrote an app.
const BASE: &str = "services:\n  web:\n    build: .\n    volumes: [/run/dstack.sock:/run/dstack.sock:ro, /var/run/dstack.sock:/var/run/dstack.sock:ro]\n";
const COMPOSE: &str = "services:\n  web:\n    extends: {file: base/web.yml, service: web}\n";
const OVERRIDE: &str = "services:\n  web:\n    ports: [\"8080:8080\"]\n    volumes: !override [/var/run/dstack.sock:/var/run/dstack.sock:ro]\n";

/// A machine that is stopped even if the test fails.
struct Running<'a>(&'a User);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dstyx(["down", NAME]);
    }
}

pub fn an_image_that_was_built_here_runs() {
    let directory = tempfile::tempdir().unwrap();
    let app = directory.path().join("app");
    fs::create_dir_all(app.join("base")).unwrap();
    for (file, text) in
        [("base/web.yml", BASE), ("compose.yaml", COMPOSE), ("compose.override.yaml", OVERRIDE)]
    {
        fs::write(app.join(file), text).unwrap();
    }
    let saved = format!("web={}", saved(directory.path()).display());
    let user = User::default();
    let pinned = user.dstyx_in(&app, ["pin", "--image", &saved]);
    assert_eq!(pinned.code, 0, "{pinned:#?}");
    assert!(
        fs::read_to_string(app.join("base/web.yml")).unwrap().contains("image: dstyx.local/web@")
    );

    let (image, qemu) = (lab::image(Flavour::Dev), qemu(directory.path()));
    let (image, qemu) = (image.display().to_string(), qemu.display().to_string());
    let _running = Running(&user);
    let machine = ["--name", NAME, "--disk-gib", "1"];
    let arguments = ["up", ".", "--image", &image, "--qemu", &qemu, "--emulate"];
    let up = user.dstyx_in(&app, arguments.into_iter().chain(machine));
    assert_eq!(up.code, 0, "{up:#?}");
    assert_eq!((up.text("/verdict"), up.text("/app")), ("pass", "running"));
    let (host, _) = up.text("/urls/0").strip_prefix("http://").unwrap().split_once('/').unwrap();
    let page = String::from_utf8(http::get(host, "/").unwrap()).unwrap();
    assert!(page.contains("Hello from a dstyx guest"), "{page}");
    user.dstyx_in(&app, ["verify", "--vm", NAME]).passes();
}

/// The example's image as an archive of an OCI layout.
fn saved(directory: &Path) -> PathBuf {
    let hello = image::apps::EXAMPLES[0].build(lab::builder(), lab::checkout()).unwrap();
    let archive = directory.join("web.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive).unwrap());
    builder.append_dir_all(".", &hello.layout).unwrap();
    builder.finish().unwrap();
    archive
}

/// The locked QEMU as one program, as it is on the PATH of others.
fn qemu(directory: &Path) -> PathBuf {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let qemu = lab::qemu();
    let env = qemu
        .env
        .iter()
        .map(|(name, value)| format!("export {}={}\n", name.to_str().unwrap(), quoted(value)));
    let words: Vec<String> = qemu.argv.iter().map(|word| quoted(word)).collect();
    let script = format!("#!/bin/sh\n{}exec {} \"$@\"\n", env.collect::<String>(), words.join(" "));
    let program = directory.join("qemu-system-x86_64");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}
