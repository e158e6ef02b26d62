//! Runs recipes: from the cache where the key is known, in the sandbox otherwise.
//!
//! An entry of the cache appears whole or not at all. Two builders that want the same
//! entry wait for each other. The second build of a proof runs through the same code
//! ([`Builder::again`]) and reads nothing that an earlier build has made.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fs_err as fs;

use crate::cache::{Cache, CacheError, Kind, Scratch};
use crate::digest::Digest;
use crate::fetch::{FetchError, Fetcher, Locations};
use crate::lock::{Lock, LockError};
use crate::progress::{Amount, Progress};
use crate::recipe::{Input, Recipe};
use crate::root::{Root, RootError};
use crate::sandbox::{Bind, Spec};
use crate::source::{Tree, TreeError};
use crate::variation::Variation;

mod copy;
mod log;

/// Runs recipes with the inputs of one lock.
pub struct Builder {
    cache: Cache,
    lock: Arc<Lock>,
    fetcher: Arc<Fetcher>,
    progress: Arc<dyn Progress>,
    variation: Variation,
    /// A builder that reads no cache keeps what it built here, and only until it is dropped.
    apart: Option<Apart>,
}

struct Apart {
    dir: Scratch,
    done: Mutex<BTreeMap<Digest, Built>>,
}

/// The outputs of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The recipe's key.
    pub key: Digest,
    /// The directory with the outputs.
    pub path: PathBuf,
    /// What the commands printed.
    pub log: PathBuf,
}

impl Built {
    /// The kept work directory lies beside the outputs.
    fn work(&self) -> PathBuf {
        self.path.with_file_name("work")
    }
}

impl Builder {
    /// A builder for the lock at `lock`, with the user's cache and the host's mirrors.
    ///
    /// # Errors
    /// If the lock, the cache or the environment is not usable.
    pub fn open(lock: &Path, progress: Arc<dyn Progress>) -> Result<Self, BuildError> {
        let cache = Cache::open()?;
        let locations = Locations::from_environment()?;
        let fetcher = Fetcher::new(cache.clone(), locations, Arc::clone(&progress));
        Ok(Self {
            cache,
            lock: Arc::new(Lock::read(lock)?),
            fetcher: Arc::new(fetcher),
            progress,
            variation: Variation::first(),
            apart: None,
        })
    }

    /// A builder in other surroundings that reads and leaves nothing in the cache of builds.
    ///
    /// # Errors
    /// If the cache's disk cannot be used.
    pub fn again(&self, variation: Variation) -> Result<Self, BuildError> {
        let dir = self.cache.scratch()?;
        Ok(Self {
            cache: self.cache.clone(),
            lock: Arc::clone(&self.lock),
            fetcher: Arc::clone(&self.fetcher),
            progress: Arc::clone(&self.progress),
            variation,
            apart: Some(Apart { dir, done: Mutex::default() }),
        })
    }

    /// The user's cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The inputs.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// What brings pinned files.
    #[must_use]
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Where long steps report.
    #[must_use]
    pub fn progress(&self) -> &Arc<dyn Progress> {
        &self.progress
    }

    /// The root of a lock group.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn root(&self, group: &str) -> Result<Root, BuildError> {
        Ok(Root::open(&self.cache, &self.fetcher, &self.lock, group, &*self.progress)?)
    }

    /// The unpacked tree of a locked source.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn source(&self, name: &str) -> Result<Tree, BuildError> {
        Ok(Tree::of_lock(&self.cache, &self.fetcher, &self.lock, name, &*self.progress)?)
    }

    /// The outputs of a recipe: cached, or made now.
    ///
    /// # Errors
    /// If an input cannot be had, the sandbox cannot be set up, a command fails, or
    /// the outputs are not those that the recipe names.
    pub fn build(&self, recipe: &Recipe) -> Result<Built, BuildError> {
        let key = recipe.key(&self.lock)?;
        match &self.apart {
            None => self.build_cached(recipe, key),
            Some(apart) => self.build_apart(recipe, key, apart),
        }
    }

    fn build_cached(&self, recipe: &Recipe, key: Digest) -> Result<Built, BuildError> {
        let name = key.to_string();
        let entry = self.cache.path(Kind::Builds, &name);
        let built = Built { key, path: entry.join("out"), log: self.log_path(recipe, key) };
        self.cache.made_once(Kind::Builds, &name, |scratch| {
            self.run(recipe, scratch, &built.log)?;
            keep(recipe, scratch)
        })?;
        Ok(built)
    }

    fn build_apart(
        &self,
        recipe: &Recipe,
        key: Digest,
        apart: &Apart,
    ) -> Result<Built, BuildError> {
        let known = apart.done.lock().ok().and_then(|done| done.get(&key).cloned());
        if let Some(built) = known {
            return Ok(built);
        }
        let scratch = apart.dir.path().join(format!("{key}-scratch"));
        fs::create_dir(&scratch)?;
        let log = self.log_path(recipe, key);
        self.run(recipe, &scratch, &log)?;
        let entry = apart.dir.path().join(key.to_string());
        fs::rename(keep(recipe, &scratch)?, &entry)?;
        fs::remove_dir_all(&scratch)?;
        let built = Built { key, path: entry.join("out"), log };
        if let Ok(mut done) = apart.done.lock() {
            done.insert(key, built.clone());
        }
        Ok(built)
    }

    fn log_path(&self, recipe: &Recipe, key: Digest) -> PathBuf {
        let (name, build) = (&recipe.name, self.variation.name);
        let name = format!("{name}-{}-{build}.log", &key.to_string()[..12]);
        self.cache.path(Kind::Logs, &name)
    }

    /// Leaves `work` and `out` in `scratch`.
    fn run(&self, recipe: &Recipe, scratch: &Path, log: &Path) -> Result<(), BuildError> {
        let spec = self.prepare(recipe, scratch)?;
        let title = match self.variation.name {
            "first" => format!("building {}", recipe.name),
            other => format!("building {} ({other} build)", recipe.name),
        };
        self.progress.say(&format!("{title}: log in {}", log.display()));
        let activity = self.progress.start(&title, Amount::Unknown);
        let status = log::run(spec.command(scratch)?, log, &*activity)?;
        if !status.success() {
            let setup = status.code() == Some(i32::from(crate::sandbox::SETUP_FAILED));
            let (name, tail) = (recipe.name.clone(), log::tail(log)?);
            let log = log.to_owned();
            return Err(if setup {
                BuildError::Sandbox { name, log, tail }
            } else {
                BuildError::Failed { name, log, tail }
            });
        }
        check_outputs(recipe, &scratch.join("out"))?;
        activity.end("done");
        Ok(())
    }

    /// Makes everything that the commands will see.
    fn prepare(&self, recipe: &Recipe, scratch: &Path) -> Result<Spec, BuildError> {
        let mut binds = Vec::new();
        for (name, input) in &recipe.sources {
            let from = self.input(input)?;
            binds.push(Bind { from, to: Path::new("src").join(name), writable: false });
        }
        let (work, out) = (scratch.join("work"), scratch.join("out"));
        match &recipe.base {
            None => fs::create_dir(&work)?,
            Some(base) => self.copy_work(base, &work)?,
        }
        fs::create_dir(&out)?;
        for (from, to) in [(work, "work"), (out, "out")] {
            binds.push(Bind { from, to: to.into(), writable: true });
        }
        Ok(Spec {
            root: self.root(&recipe.root)?.path,
            binds,
            base: self.variation.base.clone(),
            env: recipe.expanded_env(&self.variation, self.lock.epoch_secs()),
            steps: recipe.expanded_steps(&self.variation),
            uid: self.variation.uid,
            umask: self.variation.umask,
            hostname: self.variation.hostname.into(),
        })
    }

    fn input(&self, input: &Input) -> Result<PathBuf, BuildError> {
        Ok(match input {
            Input::Locked(name) => self.source(name)?.path,
            Input::Tree(tree) => tree.path.clone(),
            Input::Built(recipe) => self.build(recipe)?.path,
        })
    }

    fn copy_work(&self, base: &Recipe, to: &Path) -> Result<(), BuildError> {
        if !base.keep_work {
            return Err(BuildError::NoWork(base.name.clone()));
        }
        let built = self.build(base)?;
        let title = format!("copying the work of {}", base.name);
        let activity = self.progress.start(&title, Amount::Unknown);
        copy::tree(&built.work(), to)?;
        activity.end("done");
        Ok(())
    }
}

/// Gathers what is kept of a finished build into one directory.
fn keep(recipe: &Recipe, scratch: &Path) -> Result<PathBuf, BuildError> {
    let entry = scratch.join("entry");
    fs::create_dir(&entry)?;
    fs::rename(scratch.join("out"), entry.join("out"))?;
    if recipe.keep_work {
        fs::rename(scratch.join("work"), entry.join("work"))?;
    }
    Ok(entry)
}

fn check_outputs(recipe: &Recipe, out: &Path) -> Result<(), BuildError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(out)? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let (mut expected, name) = (recipe.outputs.clone(), recipe.name.clone());
    expected.sort();
    found.sort();
    if found == expected { Ok(()) } else { Err(BuildError::Outputs { name, expected, found }) }
}

/// Why a recipe gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// building {name} failed; the log {log} ends with…
    #[error("building {name} failed; the log {} ends with:\n{tail}", .log.display())]
    Failed {
        /// The recipe's name.
        name: String,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// the sandbox for {name} cannot be set up: …
    #[error("the sandbox for {name} cannot be set up:\n{tail}")]
    Sandbox {
        /// The recipe's name.
        name: String,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// building {name} left {found:?}, not {expected:?}
    #[error("building {name} left {found:?}, not {expected:?}")]
    Outputs {
        /// The recipe's name.
        name: String,
        /// What the recipe names.
        expected: Vec<String>,
        /// What is there.
        found: Vec<String>,
    },
    /// the recipe {0} keeps no work directory to start from
    #[error("the recipe {0} keeps no work directory to start from")]
    NoWork(String),
    /// the lock is not usable
    #[error(transparent)]
    Lock(#[from] LockError),
    /// a root cannot be made
    #[error(transparent)]
    Root(#[from] RootError),
    /// a source cannot be made
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// an input cannot be had
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// the cache cannot be used
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// a file of the build cannot be used
    #[error("a file of the build cannot be used")]
    Io(#[from] io::Error),
}

impl BuildError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { log, .. } => Some(format!("read the whole log: {}", log.display())),
            Self::Sandbox { .. } => Some(
                "the kernel must allow user namespaces: see the settings \
                 kernel.unprivileged_userns_clone, user.max_user_namespaces and \
                 kernel.apparmor_restrict_unprivileged_userns; a container needs an unmasked /proc"
                    .into(),
            ),
            Self::Outputs { .. } | Self::NoWork(_) => {
                Some("the recipe is wrong; this is a bug".into())
            }
            Self::Lock(error) => error.hint(),
            Self::Root(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Io(_) => {
                Some("check the room on the cache's disk; a kernel build takes 4 GB".into())
            }
        }
    }
}
