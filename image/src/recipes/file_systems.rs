//! Empty file systems for the data disk, made by the locked tools: whoever opens a disk for the
//! first time writes one and grows it.
//!
//! They are made on a file full of [`UNTOUCHED`], and checked there: what the tools did not write
//! is known to be needed by nobody. Ids, seeds and times are fixed, so that they come out alike in
//! every build.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use protocol::disk_template;
use reproducible_build::recipe::{Command, Input, Recipe};

use super::{ROOT, Recipes, bash};
use crate::BuildImageError;

/// The lock group with the tools.
const TOOLS: &str = "file-systems";
/// What a file is full of before a file system is made on it: nothing that a tool writes a block
/// of.
const UNTOUCHED: u8 = 0xA5;
/// Size of both file systems: little more than what btrfs wants at least; they grow in the guest.
const BYTES: u64 = 128 << 20;
/// Named in both; one id for all is enough below a key of one's own.
const ID: &str = "8d5a2f6e-6c1b-4f0c-9a57-6f6473747978";
const DEVICE_ID: &str = "1f6b53c2-2a7e-4e0d-8f39-6f6473747978";

/// `sha256`: what the host stores is read back exactly or not at all. One copy of metadata: a
/// second one on the same disk falls to the same attacker, and costs each write twice.
const MKFS_BTRFS: &str = "mkfs.btrfs --quiet --nodiscard --checksum sha256 --data single --metadata single \
                          --label dstyx-data";
/// Inode tables are written now, so that nothing has to zero them later; the journal's old content
/// never counts. No blocks are kept for root: whoever fills the disk is the app.
const MKFS_EXT4: &str = "mkfs.ext4 -q -F -T default -b 4096 -i 32768 -m 0 -J size=32 -L dstyx-data \
                         -E nodiscard,lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0";

impl Recipes<'_> {
    /// Leaves `btrfs.img` and `ext4.img`, both checked by their own tools.
    ///
    /// # Errors
    /// If a source file cannot be read.
    pub fn file_systems(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let preload = "LD_PRELOAD={src}/same/same.so${LD_PRELOAD:+:$LD_PRELOAD}";
        let fill = |name: &str| {
            format!("head -c {BYTES} /dev/zero | tr '\\0' '\\{UNTOUCHED:o}' >{{out}}/{name}.img")
        };
        let script = [
            fill("btrfs"),
            format!(
                "{preload} {MKFS_BTRFS} --uuid {ID} --device-uuid {DEVICE_ID} {{out}}/btrfs.img"
            ),
            "btrfs check --readonly {out}/btrfs.img".into(),
            fill("ext4"),
            format!("{MKFS_EXT4},hash_seed={ID} -U {ID} {{out}}/ext4.img"),
            "e2fsck -fn {out}/ext4.img".into(),
        ];
        Ok(Arc::new(Recipe {
            name: "file-systems".into(),
            root: TOOLS.into(),
            sources: BTreeMap::from([("same".into(), Input::Built(self.preloaded()?))]),
            base: None,
            steps: vec![bash(&script.join("\n"))],
            // The library's locale must not decide what a byte is.
            env: BTreeMap::from([("LC_ALL".into(), "C".into())]),
            keep_work: false,
            outputs: vec!["btrfs.img".into(), "ext4.img".into()],
        }))
    }

    /// The templates in the form that a guest reads, by the images' names without their ending.
    pub(super) fn template(&self, images: &Path, name: &str) -> Result<Vec<u8>, BuildImageError> {
        let image = fs::read(images.join(format!("{name}.img")))?;
        Ok(disk_template::encode(&image, UNTOUCHED)?)
    }

    /// Leaves `same.so`, which makes mkfs.btrfs draw the same ids every time.
    fn preloaded(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let gcc = [
            "gcc",
            "-shared",
            "-fPIC",
            "-O2",
            "-Wall",
            "-Werror",
            "-o",
            "{out}/same.so",
            "{src}/own/same.c",
        ];
        Ok(Arc::new(Recipe {
            name: "file-systems-same".into(),
            root: ROOT.into(),
            sources: BTreeMap::from([(
                "own".into(),
                Input::Tree(self.tree("image/file-systems", &["same.c"])?),
            )]),
            base: None,
            steps: vec![Command::new(gcc)],
            env: BTreeMap::new(),
            keep_work: false,
            outputs: vec!["same.so".into()],
        }))
    }
}
