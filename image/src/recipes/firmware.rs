//! The firmware: OVMF's IntelTdxX64 from Debian's edk2 source; `image/firmware/README.md` has the
//! reasons.

use std::collections::BTreeMap;
use std::sync::Arc;

use reproducible_build::recipe::{Command, Input, Recipe};

use super::{ROOT, Recipes};
use crate::BuildImageError;

impl Recipes<'_> {
    /// Leaves `firmware.fd`.
    ///
    /// # Errors
    /// If the patches cannot be read.
    pub fn firmware(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let ours = self.tree("image/firmware", &["build.sh", "patches"])?;
        Ok(Arc::new(Recipe {
            name: "firmware".into(),
            root: ROOT.into(),
            sources: BTreeMap::from([
                ("edk2".into(), Input::Locked("edk2".into())),
                ("firmware".into(), Input::Tree(ours)),
            ]),
            base: None,
            steps: vec![Command::new([
                "bash",
                "{src}/firmware/build.sh",
                "{src}",
                "{work}",
                "{out}",
                "{jobs}",
            ])],
            env: BTreeMap::new(),
            keep_work: false,
            outputs: vec!["firmware.fd".into()],
        }))
    }
}
