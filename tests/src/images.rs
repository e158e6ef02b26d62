//! Images of tests: real programs, from Debian's packages and package registries, made here and
//! served by a real registry.
//!
//! An image is a function of what its definition names: lock groups, files, pins. It is made once a
//! definition, into the user's cache directory, as an OCI layout.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::digest::Sha256Digest;
use reproducible_build::cache::Kind;
use serde_json::{Value, json};

use crate::lab;
use layer::{Layer, Packing, ROOT};

mod clients;
pub mod layer;
pub mod layout;
mod postgres;
mod stand_in;

/// Raised whenever the same definition would give another image.
const FORMAT: &str = "dstyx test image format 1";

/// What no program reads, or what only a builder's root has.
const UNNEEDED: [&str; 10] = [
    "build",
    "elsewhere",
    "etc/group",
    "etc/hosts",
    "etc/passwd",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/postgresql/17/man",
];
/// Where Python looks for byte code, by `PYTHONPYCACHEPREFIX`.
const BYTE_CODE: &str = "var/cache/python";
/// Where Debian's Python looks for what did not come from Debian, after its own.
const MODULES: &str = "usr/local/lib/python3.13/dist-packages";

/// Users that the packages' scripts would have made.
const PASSWD: &[u8] = b"root:x:0:0:root:/:/bin/sh\n\
    www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
    postgres:x:101:101:postgres:/var/lib/postgresql:/bin/sh\n\
    redis:x:102:102:redis:/data:/usr/sbin/nologin\n\
    nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n";
const GROUP: &[u8] =
    b"root:x:0:\ntty:x:5:\nwww-data:x:33:\npostgres:x:101:\nredis:x:102:\nnogroup:x:65534:\n";
/// Owner of the counter's files.
const REDIS: layer::Owner = (102, 102);

/// The program of the image that stands in the place of others.
const DIARY: Part = Part::Script("diary", include_str!("images/diary"));
/// The program that answers in the ways that strangers speak to an app.
const SPEAKER: Part = Part::Script("speaker", include_str!("images/speaker.py"));

/// What that program needs.
const SPEAKER_PACKAGES: &str = "image-speaker";
/// The byte code of most images' Python.
const PYTHON_BYTE_CODE: Part = Part::PythonByteCode("image-python");

/// The images of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// One static busybox under all its names; for two platforms; gzip.
    Busybox,
    /// Debian's nginx; zstd.
    Nginx,
    /// Debian's redis, with a shell; gzip.
    Redis,
    /// Debian's PostgreSQL with an empty cluster; zstd.
    Postgres,
    /// Debian's Python with the clients of redis and PostgreSQL; gzip.
    Python,
    /// The same with dstack's SDK, on the same layers.
    PythonSdk,
    /// Debian's Node.js with dstack's SDK; zstd.
    NodeSdk,
    /// Stands in the place of an application that the tests do not have, with the clients of redis
    /// and PostgreSQL.
    Diary,
    /// Answers HTTP, WebSocket and gRPC, in the clear and by TLS; gzip.
    Speaker,
    /// In the place of composespec/conformance-tests-server; for two platforms; not packed.
    ConformanceServer,
    /// In the place of composespec/conformance-tests-client.
    ConformanceClient,
}

impl Image {
    /// Its repository.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "library/busybox",
            Self::Nginx => "library/nginx",
            Self::Redis => "library/redis",
            Self::Postgres => "library/postgres",
            Self::Python => "library/python",
            Self::PythonSdk => "dstyx-tests/python-sdk",
            Self::NodeSdk => "dstyx-tests/node-sdk",
            Self::Diary => "dstyx-tests/diary",
            Self::Speaker => "dstyx-tests/speaker",
            Self::ConformanceServer => "composespec/conformance-tests-server",
            Self::ConformanceClient => "composespec/conformance-tests-client",
        }
    }

    /// Directory of its OCI layout, made if it is not in the cache.
    pub fn layout(self) -> PathBuf {
        let definition = self.definition();
        let cache = lab::builder().cache();
        let key = Sha256Digest::of(definition.facts().to_string().as_bytes()).to_string();
        let directory = cache.path(Kind::Builds, &key);
        if !directory.exists() {
            let _guard = cache.lock(Kind::Builds, &key).unwrap();
            if !directory.exists() {
                let scratch = cache.scratch().unwrap();
                let made = scratch.path().join("layout");
                let work = scratch.path().join("work");
                fs::create_dir(&work).unwrap();
                let layers = definition
                    .parts
                    .iter()
                    .flat_map(|part| part.layers(&work))
                    .map(Layer::packed)
                    .collect();
                layout::write(&made, layers, &definition.process, definition.two_platforms);
                cache.publish(&made, Kind::Builds, &key).unwrap();
            }
        }
        directory
    }

    // Long: a table, one row a case.
    fn definition(self) -> Definition {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let python = json!([
            format!("PATH={path}"),
            format!("PYTHONPYCACHEPREFIX=/{BYTE_CODE}"),
            "PYTHONUNBUFFERED=1"
        ]);
        let packages = |group, packing| vec![Part::Packages(group, packing), Part::Users];
        match self {
            Self::Busybox => Definition {
                parts: vec![
                    Part::Packages("image-busybox", Packing::Gzip),
                    Part::Users,
                    Part::Applets,
                ],
                process: json!({ "Env": [format!("PATH={path}")], "Cmd": ["sh"] }),
                two_platforms: true,
            },
            Self::Nginx => Definition::new(
                packages("image-nginx", Packing::Zstd),
                json!({
                    "Env": [format!("PATH={path}")], "Cmd": ["nginx", "-g", "daemon off;"],
                    "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGQUIT",
                }),
            ),
            Self::Redis => Definition::new(
                [
                    packages("image-redis", Packing::Gzip),
                    vec![Part::Packages("image-busybox", Packing::Gzip), Part::Applets],
                    vec![Part::Data("data", REDIS)],
                ]
                .concat(),
                json!({
                    "User": "redis:redis", "Env": [format!("PATH={path}")], "WorkingDir": "/data",
                    "Cmd": ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data"],
                    "ExposedPorts": { "6379/tcp": {} }, "Volumes": { "/data": {} },
                    "Healthcheck": { "Test": ["CMD", "redis-cli", "ping"], "Interval": 2_000_000_000_u64 },
                }),
            ),
            Self::Postgres => Definition::new(
                [packages("image-postgres", Packing::Zstd), vec![Part::Applets, Part::Postgres]]
                    .concat(),
                json!({
                    "User": "postgres", "WorkingDir": "/var/lib/postgresql",
                    "Env": [format!("PATH=/usr/lib/postgresql/17/bin:{path}"), "PGDATA=/var/lib/postgresql/data"],
                    "Entrypoint": ["postgres-start"], "ExposedPorts": { "5432/tcp": {} }, "StopSignal": "SIGINT",
                }),
            ),
            Self::Python => Definition::new(
                [packages("image-python", Packing::Gzip), vec![PYTHON_BYTE_CODE]].concat(),
                json!({ "Env": python, "Cmd": ["python3"] }),
            ),
            Self::PythonSdk => Definition::new(
                [packages("image-python", Packing::Gzip), vec![PYTHON_BYTE_CODE, Part::PythonSdk]]
                    .concat(),
                json!({ "Env": python, "Cmd": ["python3"] }),
            ),
            Self::NodeSdk => Definition::new(
                [packages("image-nodejs", Packing::Zstd), vec![Part::NodeSdk]].concat(),
                json!({ "Env": [format!("PATH={path}")], "Cmd": ["node"] }),
            ),
            Self::Diary => Definition::new(
                [packages("image-python", Packing::Gzip), vec![PYTHON_BYTE_CODE, DIARY]].concat(),
                json!({ "Env": python, "Entrypoint": ["diary"] }),
            ),
            Self::Speaker => Definition::new(
                [
                    packages(SPEAKER_PACKAGES, Packing::Gzip),
                    vec![Part::PythonByteCode(SPEAKER_PACKAGES), SPEAKER],
                ]
                .concat(),
                json!({ "Env": python, "Entrypoint": ["python3", "/usr/local/bin/speaker"] }),
            ),
            Self::ConformanceServer => Definition {
                parts: vec![Part::StandIn],
                process: json!({
                    "Entrypoint": ["/conformance", "server"],
                    "ExposedPorts": { "8080/tcp": {}, "10001/udp": {} },
                }),
                two_platforms: true,
            },
            Self::ConformanceClient => Definition::new(
                vec![Part::StandIn],
                json!({ "Entrypoint": ["/conformance", "client"] }),
            ),
        }
    }
}

/// All that an image is a function of.
struct Definition {
    parts: Vec<Part>,
    /// The `config` of its configuration.
    process: Value,
    two_platforms: bool,
}

impl Definition {
    fn new(parts: Vec<Part>, process: Value) -> Self {
        Self { parts, process, two_platforms: false }
    }

    fn facts(&self) -> Value {
        let parts: Vec<_> = self.parts.iter().map(|part| part.fact()).collect();
        json!([FORMAT, parts, self.process, self.two_platforms])
    }
}

/// What makes a layer.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A group of tests.lock.
    Packages(&'static str, Packing),
    /// Users and the directories that every program expects.
    Users,
    /// Names of busybox.
    Applets,
    /// A directory of data with its owner.
    Data(&'static str, layer::Owner),
    /// An empty cluster and the start of the database.
    Postgres,
    /// A program by its name, and its text.
    Script(&'static str, &'static str),
    /// That of the Python in a group of tests.lock.
    PythonByteCode(&'static str),
    PythonSdk,
    NodeSdk,
    StandIn,
}

impl Part {
    /// What tells one such layer from another.
    fn fact(self) -> Value {
        let pins = |name| fs::read_to_string(clients::pins(name)).unwrap();
        match self {
            Self::Packages(group, packing) => {
                json!(["packages", lab::group_digest(group), format!("{packing:?}"), UNNEEDED])
            }
            Self::Users => json!(["users", PASSWD, GROUP]),
            Self::Applets => json!(["applets", stand_in::APPLETS]),
            Self::Data(path, owner) => json!(["data", path, owner]),
            Self::Postgres => postgres::fact(),
            Self::Script(name, text) => json!([name, text]),
            Self::PythonByteCode(group) => json!(["byte code", lab::group_digest(group)]),
            Self::PythonSdk => json!(["python modules", pins("requirements.txt")]),
            Self::NodeSdk => json!(["javascript modules", pins("package-lock.json")]),
            Self::StandIn => json!(["stand-in", stand_in::SOURCE]),
        }
    }

    /// The layers, made with the help of an empty directory.
    fn layers(self, work: &Path) -> Vec<Layer> {
        match self {
            Self::Packages(group, packing) => {
                vec![Layer::new(packing).tree(&lab::tools(group), "", &UNNEEDED)]
            }
            Self::Users => vec![users()],
            Self::Applets => {
                let layer = Layer::new(Packing::Plain);
                let link =
                    |layer: Layer, name: &&str| layer.link(&format!("usr/bin/{name}"), "busybox");
                vec![stand_in::APPLETS.iter().fold(layer, link)]
            }
            Self::Data(path, owner) => {
                vec![Layer::new(Packing::Plain).directory(path, 0o755, owner)]
            }
            Self::Postgres => postgres::layers(work),
            Self::Script(name, text) => {
                vec![Layer::new(Packing::Plain).directory("usr/local/bin", 0o755, ROOT).file(
                    &format!("usr/local/bin/{name}"),
                    0o755,
                    text.as_bytes(),
                )]
            }
            Self::PythonByteCode(group) => vec![python_byte_code(group, work)],
            Self::PythonSdk => python_sdk(work),
            Self::NodeSdk => {
                clients::javascript_modules(work);
                vec![Layer::new(Packing::Zstd).tree(
                    &work.join("node_modules"),
                    "srv/node_modules",
                    &[],
                )]
            }
            Self::StandIn => {
                vec![Layer::new(Packing::Plain).file(
                    "conformance",
                    0o755,
                    &fs::read(stand_in::built()).unwrap(),
                )]
            }
        }
    }
}

fn users() -> Layer {
    Layer::new(Packing::Plain)
        .directory("etc", 0o755, ROOT)
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .directory("run", 0o755, ROOT)
        .directory("tmp", 0o1777, ROOT)
        .directory("var", 0o755, ROOT)
        .link("var/run", "/run")
        .directory("var/tmp", 0o1777, ROOT)
}

fn python_byte_code(group: &str, work: &Path) -> Layer {
    let python = lab::tools(group);
    let code = work.join("byte-code");
    for at in ["/usr/lib/python3.13", "/usr/lib/python3/dist-packages"] {
        clients::byte_code(&python, &python.join(&at[1..]), at, &code);
    }
    Layer::new(Packing::Gzip).tree(&code, BYTE_CODE, &[])
}

fn python_sdk(work: &Path) -> Vec<Layer> {
    let python = lab::tools("image-python");
    let (modules, code) = (work.join("modules"), work.join("modules-byte-code"));
    clients::python_modules(&python, &modules);
    clients::byte_code(&python, &modules, &format!("/{MODULES}"), &code);
    vec![
        Layer::new(Packing::Zstd).tree(&modules, MODULES, &[]),
        Layer::new(Packing::Zstd).tree(&code, BYTE_CODE, &[]),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use container_images::{Mirror, Progress, Registries, RegistrySettings, Store, pull_program};

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn a_real_registry_takes_an_image_for_two_platforms_unchanged() {
        let registry = Registry::start();
        let layout = Image::Busybox.layout();
        registry.push(&layout, Image::Busybox.name(), "latest");
        let served = registry.manifest(Image::Busybox.name(), "latest");
        let index: Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(
            index["manifests"][0]["digest"],
            format!("sha256:{}", Sha256Digest::of(&served))
        );
        let platforms: Value = serde_json::from_slice(&served).unwrap();
        assert_eq!(platforms["manifests"][1]["platform"]["architecture"], "amd64");
    }

    #[tokio::test]
    async fn a_real_registry_takes_a_program_unchanged_and_a_guest_gets_it_from_there() {
        let directory = tempfile::tempdir().unwrap();
        let component = [&b"\0asm\x0d\0\x01\0"[..], &[0; 9000]].concat();
        let from = directory.path().join("program");
        layout::write_program(&from, &component);
        let registry = Registry::start();
        registry.push(&from, "hospitals/mean", "1");
        let digest = registry.digest("hospitals/mean", "1");
        assert!(from.join("blobs/sha256").join(digest.to_string()).exists());
        let image = format!("example.org/hospitals/mean:1@sha256:{digest}");
        let image = compose::ImageReference::parse(&image).unwrap();
        let mirrors = vec![Mirror::parse(&registry.url()).unwrap()];
        let settings = RegistrySettings { mirrors, ..RegistrySettings::default() };
        let registries = Arc::new(Registries::new(settings).unwrap());
        let store = Arc::new(Store::open(&directory.path().join("store")).unwrap());
        let pulled = pull_program(&image, registries, store, &Progress::default()).await.unwrap();
        assert_eq!(fs::read(&pulled.path).unwrap(), component);
        assert_eq!(pulled.component.sha256(), Sha256Digest::of(&component));
    }

    #[test]
    fn modules_come_from_package_registries_as_pinned() {
        for image in [Image::PythonSdk, Image::NodeSdk] {
            let layout = image.layout();
            assert!(layout.join("oci-layout").exists(), "{image:?}");
        }
    }
}
