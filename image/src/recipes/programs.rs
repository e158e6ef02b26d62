//! The guest's programs and the list of crates in them; both flavours carry the same files.

use std::collections::BTreeMap;
use std::sync::Arc;

use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::rust::{self, Programs};

use super::{ROOT, Recipes, bash};
use crate::BuildImageError;

const PACKAGES: [&str; 3] = ["init", "guest-agent", "container-helper"];
const BINARIES: [&str; 3] = ["init", "guest-agent", "container-helper"];

/// The program that runs policy engines and consumers of Pads.
pub const PAD_RUNNER: &str = "pad-runner";
/// The same as it is in the image: for a guest without Pads it is bytes to load and nothing more.
pub(super) const PACKED_PAD_RUNNER: &str = "pad-runner.zst";

/// The output that names the crates, one `name vVERSION (where)|licence` a line.
pub(super) const CRATES: &str = "crates.list";

impl Recipes<'_> {
    /// Leaves `init`, `guest-agent`, `container-helper` and `crates.list`.
    ///
    /// # Errors
    /// If a crate of `Cargo.lock` cannot be had.
    pub fn programs(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let programs = Programs {
            name: "programs",
            workspace: "",
            packages: &PACKAGES,
            binaries: &BINARIES,
            extra: &[],
        };
        let mut recipe = rust::recipe(self.builder, self.checkout, &programs)?;
        recipe.steps.push(crate_list("", &PACKAGES));
        recipe.outputs.push(CRATES.into());
        Ok(Arc::new(recipe))
    }

    /// Leaves `pad-runner`, which is a workspace of its own, also compressed, and `crates.list`.
    ///
    /// # Errors
    /// If a crate of its `Cargo.lock` cannot be had.
    pub fn pad_runner(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let programs = Programs {
            name: PAD_RUNNER,
            workspace: "pads/runner",
            packages: &[PAD_RUNNER],
            binaries: &[PAD_RUNNER],
            extra: &["pads/wit"],
        };
        let mut recipe = rust::recipe(self.builder, self.checkout, &programs)?;
        // One thread: with more, where the blocks are cut depends on their number.
        let zstd = ["zstd", "-19", "--single-thread", "--quiet", "{out}/pad-runner", "-o"];
        recipe.steps.push(Command::new(zstd.into_iter().chain(["{out}/pad-runner.zst"])));
        recipe.steps.push(crate_list(programs.workspace, programs.packages));
        recipe.outputs.extend([PACKED_PAD_RUNNER, CRATES].map(str::to_owned));
        Ok(Arc::new(recipe))
    }

    /// Leaves `ca-certificates.crt`: Debian's bundle, from the locked package.
    pub(super) fn ca_certificates(&self) -> Arc<Recipe> {
        Arc::new(Recipe {
            name: "ca-certificates".into(),
            root: ROOT.into(),
            sources: BTreeMap::<String, Input>::new(),
            base: None,
            steps: vec![Command::new(["cp", "/etc/ssl/certs/ca-certificates.crt", "{out}/"])],
            env: BTreeMap::new(),
            keep_work: false,
            outputs: vec!["ca-certificates.crt".into()],
        })
    }
}

/// Where the sources lay is cut off: it differs from build to build.
fn crate_list(workspace: &str, packages: &[&str]) -> Command {
    let packages = packages.iter().map(|package| format!("--package {package}"));
    let packages = packages.collect::<Vec<_>>().join(" ");
    let script = format!(
        "cargo tree --offline --config 'source.crates-io.replace-with=\"pinned\"' \
         --config 'source.pinned.directory=\"{{src}}/crates\"' --target x86_64-unknown-linux-gnu \
         --edges normal --prefix none --format '{{p}}|{{l}}' {packages} \
         | sed 's/ ([^)]*)|/|/; s/ ([*])$//; /^$/d' | LC_ALL=C sort -u >{{out}}/{CRATES}"
    );
    bash(&script).dir(format!("{{work}}/workspace/{workspace}").trim_end_matches('/'))
}
