//! The builder by hand: `root GROUP`, `source NAME`, `enter GROUP COMMAND…`; groups of both locks.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use reproducible_build::cache::Cache;
use reproducible_build::fetch::{Fetcher, Locations};
use reproducible_build::lock::{INPUTS, Lock, LockError, TESTS};
use reproducible_build::progress;
use reproducible_build::root::Root;
use reproducible_build::sandbox::{self, Spec, Step};
use reproducible_build::source::Tree;

fn main() -> ExitCode {
    if let Some(code) = sandbox::run_if_child() {
        return code;
    }
    run().unwrap_or_else(|error| {
        eprintln!("error: {}", protocol::error::chain(&*error));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let progress = progress::for_stderr();
    let cache = Cache::open()?;
    let fetcher = Fetcher::new(cache.clone(), Locations::from_environment()?, progress.clone());
    let lock_of = |group: &str| -> Result<Lock, LockError> {
        let inputs = Lock::read(&here.join(INPUTS.lock))?;
        if inputs.group(group).is_ok() { Ok(inputs) } else { Lock::read(&here.join(TESTS.lock)) }
    };
    match &args[..] {
        ["root", group] => {
            let root = Root::open(&cache, &fetcher, &lock_of(group)?, group, &*progress)?;
            println!("{}", root.path.display());
        }
        ["source", name] => {
            let lock = Lock::read(&here.join(INPUTS.lock))?;
            let tree = Tree::of_lock(&cache, &fetcher, &lock, name, &*progress)?;
            println!("{}", tree.path.display());
        }
        ["enter", group, command @ ..] => {
            let root = Root::open(&cache, &fetcher, &lock_of(group)?, group, &*progress)?;
            return enter(&cache, root, command);
        }
        _ => return Err("usage: builder root GROUP | source NAME | enter GROUP COMMAND…".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn enter(cache: &Cache, root: Root, command: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let path = ("PATH".to_owned(), "/usr/bin:/usr/sbin".to_owned());
    let spec = Spec {
        root: root.path,
        binds: Vec::new(),
        base: "/build".into(),
        env: BTreeMap::from([path]),
        steps: vec![Step {
            argv: command.iter().map(|&word| word.into()).collect(),
            dir: "/build".into(),
        }],
        uid: 0,
        umask: 0o022,
        hostname: "builder".into(),
    };
    let scratch = cache.scratch()?;
    let status = spec.command(scratch.path())?.status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1))?))
}
