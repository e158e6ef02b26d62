//! A recipe: which commands make which files from which inputs, and nothing else.
//!
//! Its key is a digest of everything that could influence the output. What is not in
//! the key (the machine, the user, the time, the directory) must not influence it;
//! [`crate::rebuild`] proves that by building twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Digest, FieldHasher};
use crate::lock::{Lock, LockError};
use crate::root::Root;
use crate::sandbox::Step;
use crate::source::Tree;
use crate::variation::Variation;

/// Raised whenever the same recipe would be run in another way.
const FORMAT: &str = "dstyx recipe format 1";

/// How a set of files is made. In arguments, directories and environment values the
/// placeholders `{src}`, `{work}`, `{out}` and `{jobs}` are replaced.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// For logs and progress; letters, digits and `-`.
    pub name: String,
    /// The lock group that is the root.
    pub root: String,
    /// What is bound read-only at `{src}/<name>`.
    pub sources: BTreeMap<String, Input>,
    /// A recipe with [`Recipe::keep_work`], whose work directory is the starting
    /// point: copied to `{work}` with its modification times.
    pub base: Option<Arc<Recipe>>,
    /// Run one after the other in `{work}` unless they say otherwise.
    pub steps: Vec<Command>,
    /// Added to the standard environment.
    pub env: BTreeMap<String, String>,
    /// Whether `{work}` is kept for recipes that are based on this one.
    pub keep_work: bool,
    /// Exactly what the steps leave in `{out}`.
    pub outputs: Vec<String>,
}

/// What a recipe reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// A source of the lock, unpacked.
    Locked(String),
    /// A tree of known content.
    Tree(Tree),
    /// The outputs of another recipe.
    Built(Arc<Recipe>),
}

/// A command of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<String>,
    dir: String,
}

impl Command {
    /// Program and arguments.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, dir: "{work}".into() }
    }

    /// A few lines of shell that end at the first failure.
    pub fn sh(script: impl Into<String>) -> Self {
        Self::new(["sh".to_owned(), "-euc".to_owned(), script.into()])
    }

    /// Runs it in another directory than `{work}`.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.dir = dir.into();
        self
    }

    fn expand(&self, values: &Placeholders) -> Step {
        Step {
            argv: self.argv.iter().map(|word| values.expand(word)).collect(),
            dir: PathBuf::from(values.expand(&self.dir)),
        }
    }
}

impl Recipe {
    /// Identifies everything that could influence the outputs.
    ///
    /// # Errors
    /// If the lock lacks the root or a source.
    pub fn key(&self, lock: &Lock) -> Result<Digest, LockError> {
        let mut hasher = FieldHasher::new(FORMAT)
            .field(&self.name)
            .field(Root::digest_in(lock, &self.root)?.to_string())
            .field(lock.epoch_secs().to_string());
        if let Some(base) = &self.base {
            hasher = hasher.field("base").field(base.key(lock)?.to_string());
        }
        for (name, input) in &self.sources {
            hasher = hasher.field("source").field(name).field(input.digest(lock)?.to_string());
        }
        for step in &self.steps {
            hasher = hasher.field("step").field(&step.dir);
            hasher = step.argv.iter().fold(hasher, |hasher, word| hasher.field("word").field(word));
        }
        for (key, value) in &self.env {
            hasher = hasher.field("env").field(key).field(value);
        }
        let outputs = self.outputs.iter();
        let hasher = outputs.fold(hasher, |hasher, name| hasher.field("output").field(name));
        Ok(hasher.field(if self.keep_work { "work kept" } else { "" }).finish())
    }

    /// The commands as they are run in these surroundings.
    pub(crate) fn expanded_steps(&self, variation: &Variation) -> Vec<Step> {
        let values = Placeholders::new(variation);
        let prologue = Command::sh(variation.prologue());
        [&prologue].into_iter().chain(&self.steps).map(|step| step.expand(&values)).collect()
    }

    /// The whole environment in these surroundings.
    pub(crate) fn expanded_env(
        &self,
        variation: &Variation,
        epoch_secs: u64,
    ) -> BTreeMap<String, String> {
        let values = Placeholders::new(variation);
        let mut env = variation.env();
        env.insert("PATH".into(), "/usr/bin:/usr/sbin".into());
        env.insert("TMPDIR".into(), "/tmp".into());
        env.insert("SOURCE_DATE_EPOCH".into(), epoch_secs.to_string());
        let own = self.env.iter().map(|(key, value)| (key.clone(), values.expand(value)));
        env.extend(own);
        env
    }
}

impl Input {
    fn digest(&self, lock: &Lock) -> Result<Digest, LockError> {
        match self {
            Self::Locked(name) => Tree::digest_in(lock, name),
            Self::Tree(tree) => Ok(tree.digest),
            Self::Built(recipe) => recipe.key(lock),
        }
    }
}

/// The value of each placeholder of a recipe's steps.
struct Placeholders([(&'static str, String); 4]);

impl Placeholders {
    fn new(variation: &Variation) -> Self {
        let below = |name: &str| variation.base.join(name).display().to_string();
        Self([
            ("{src}", below("src")),
            ("{work}", below("work")),
            ("{out}", below("out")),
            ("{jobs}", variation.jobs.to_string()),
        ])
    }

    fn expand(&self, text: &str) -> String {
        let replace = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.0.iter().fold(text.to_owned(), replace)
    }
}
