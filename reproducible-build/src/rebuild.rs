//! The proof that a recipe's output follows from its inputs: built twice, compared.
//!
//! Both builds run in the same hermetic root, so this does not show that another
//! toolchain would give the same bytes, only that nothing but the locked inputs does.

use std::io;
use std::path::PathBuf;

use crate::builder::{BuildError, Builder, Built};
use crate::compare::{self, Difference};
use crate::recipe::Recipe;
use crate::variation::Variation;

/// What two builds of one recipe have shown.
#[derive(Debug)]
pub struct Proof {
    /// The first difference; nothing if every byte is equal.
    pub difference: Option<Difference>,
    /// What the commands of the first build printed.
    pub first_log: PathBuf,
    /// What the commands of the second build printed.
    pub second_log: PathBuf,
}

/// A builder for second builds: other directory, user, clock, umask, locale, time zone,
/// machine name and `-j`, and no cache. It remembers what it built, so recipes that
/// share a base build it a second time once.
///
/// # Errors
/// If the cache's disk cannot be used.
pub fn second_builder(builder: &Builder) -> Result<Builder, BuildError> {
    builder.again(Variation::second())
}

/// Builds the recipe in both builders and compares the outputs.
///
/// # Errors
/// If a build fails, which is no difference but a failure of its own.
pub fn prove(first: &Builder, second: &Builder, recipe: &Recipe) -> Result<Proof, RebuildError> {
    let one = first.build(recipe)?;
    let two = second.build(recipe)?;
    Ok(Proof { difference: compare_built(&one, &two)?, first_log: one.log, second_log: two.log })
}

fn compare_built(one: &Built, two: &Built) -> Result<Option<Difference>, RebuildError> {
    Ok(compare::directories(&one.path, &two.path)?)
}

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// one of the two builds failed
    #[error(transparent)]
    Build(#[from] BuildError),
    /// the outputs cannot be read
    #[error("the outputs cannot be read")]
    Io(#[from] io::Error),
}

impl RebuildError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Build(error) => error.hint(),
            Self::Io(_) => None,
        }
    }
}
