//! Programs that `pad_programs` built, and what runs them: `pad-runner` beside this program.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pad_runner::component;
use pad_runner::consumer::Compiler;
use pad_runner::consumer::middleware::ConsumerLimits;
use pad_runner::{Artefact, CompileLimits, EngineLimits, Engines, PolicyEngine, Runner, Setting};

/// A file that `pad_programs` left.
pub fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/pads").join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask bench pads`", path.display());
    path
}

/// A component by its name.
pub fn component(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("{name}.wasm"))).expect("a file that is there")
}

/// The rows of the Wisconsin table.
pub fn table() -> String {
    let table = std::fs::read_to_string(path("table.csv")).expect("a table");
    table.split_once('\n').expect("a first line").1.to_owned()
}

/// Starts processes of `pad-runner`, which is built beside this program.
pub fn runner() -> Arc<Runner> {
    static RUNNER: OnceLock<Arc<Runner>> = OnceLock::new();
    let open = || {
        let program = std::env::current_exe().expect("this program").with_file_name("pad-runner");
        Arc::new(Runner::open(&program, Setting::Local).expect("the program"))
    };
    Arc::clone(RUNNER.get_or_init(open))
}

/// A compiler of consumers.
pub fn compiler() -> Compiler {
    Compiler::new(CompileLimits::CONSUMER, runner()).expect("wasmtime")
}

/// A compiled consumer.
pub fn compiled(component: &[u8]) -> Artefact {
    compiler().compile(component, None).expect("a program").0
}

/// An engine with the limits that it has in a guest, and its SHA-256.
pub fn engine(name: &str) -> (PolicyEngine, [u8; 32]) {
    let engines = Engines::new(EngineLimits::default(), runner()).expect("wasmtime");
    let component = component(name);
    let digest = component::digest(&component);
    (engines.load(digest, &component, None).expect("an engine").0, digest)
}

/// Room for what is measured.
pub fn limits() -> ConsumerLimits {
    ConsumerLimits {
        memory_bytes: 96 << 20,
        helper_bytes: 0,
        table_elements: 1000,
        data_bytes: 8 << 20,
        wall: Duration::from_secs(60),
        proposals: 1,
    }
}
