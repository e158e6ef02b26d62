//! The kernels: one source tree a flavour, one configuration a flavour, the dev kernel built on the
//! release's work.
//!
//! The configuration is a recipe of its own, so that a dropped option is found in seconds and not
//! after the build. The release's sources do not contain the emulated device at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use protocol::image::Flavour;
use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::source::Tree;

use super::{ROOT, Recipes, bash};
use crate::BuildImageError;
use crate::kconfig::{self, Fragment};

/// Of both flavours, in the order in which they are merged; the flavour's own follows.
const FRAGMENTS: [&str; 8] =
    ["base", "tdx", "virtio", "crypto", "storage", "network", "containers", "hardening"];

/// The patch that confines AML, which the test kernel goes without.
const AML_PATCH: &str = "0001-acpi-confine-aml.patch";

/// The emulated device: the patch that hooks it in, and its directory's files.
const DRIVER_PATCH: &str = "0001-virt-tdx-guest-emulated.patch";
const DRIVER_FILES: [&str; 6] =
    ["Kconfig", "Makefile", "fwcfg.c", "link.c", "main.c", "tdx_guest_emulated.h"];

/// Two thirds of the source that no configuration of ours compiles; Kconfig files and Makefiles
/// stay.
const UNUSED_SOURCES: [&str; 8] = [
    "./Documentation/*/*",
    "./drivers/gpu/*.[ch]",
    "./drivers/infiniband/*.[ch]",
    "./drivers/media/*.[ch]",
    "./drivers/net/ethernet/*.[ch]",
    "./drivers/net/wireless/*.[ch]",
    "./sound/*.[ch]",
    "./tools/testing/*",
];

impl Recipes<'_> {
    /// Leaves `kernel` (a bzImage) and `config`, after the configuration has been checked.
    ///
    /// # Errors
    /// If a fragment or patch cannot be read, or the configuration is not what the fragments ask
    /// for.
    pub fn kernel(&self, flavour: Flavour) -> Result<Arc<Recipe>, BuildImageError> {
        let base = match flavour {
            Flavour::Release => None,
            Flavour::Dev => Some(self.kernel(Flavour::Release)?),
        };
        let sources = self.linux(flavour)?;
        self.bzimage(&format!("kernel-{}", name(flavour)), flavour, sources, base)
    }

    /// A dev kernel in which AML may touch all memory: what the confinement is shown against. In no
    /// image.
    ///
    /// # Errors
    /// As [`Recipes::kernel`].
    pub fn danger_unconfined_kernel(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let sources = BTreeMap::from([
            ("linux".into(), Input::Built(self.linux(Flavour::Dev)?)),
            ("patches".into(), Input::Tree(self.tree("image/kernel/patches", &[AML_PATCH])?)),
        ]);
        let undo = format!(
            "patch --batch --reverse --fuzz=0 -d {{out}}/linux -p1 <{{src}}/patches/{AML_PATCH}"
        );
        let steps =
            vec![bash("cp -a --no-preserve=ownership {src}/linux/linux {out}/linux"), bash(&undo)];
        let unconfined = source_tree("linux-danger-unconfined", sources, steps);
        let base = self.kernel(Flavour::Dev)?;
        self.bzimage("kernel-danger-unconfined", Flavour::Dev, unconfined, Some(base))
    }

    fn bzimage(
        &self,
        name: &str,
        flavour: Flavour,
        linux: Arc<Recipe>,
        base: Option<Arc<Recipe>>,
    ) -> Result<Arc<Recipe>, BuildImageError> {
        let make = "make -C {src}/linux/linux O={work}/build -j{jobs}";
        let script = format!(
            "mkdir -p {{work}}/build; cp {{src}}/config/config {{work}}/build/.config; {make} bzImage; \
             cp {{work}}/build/arch/x86/boot/bzImage {{out}}/kernel; cp {{work}}/build/.config {{out}}/config"
        );
        let config = self.checked_config(flavour)?;
        Ok(Arc::new(Recipe {
            name: name.into(),
            root: ROOT.into(),
            sources: BTreeMap::from([
                ("linux".into(), Input::Built(linux)),
                ("config".into(), Input::Built(config)),
            ]),
            base,
            steps: vec![bash(&script)],
            env: environment(),
            keep_work: true,
            outputs: vec!["kernel".into(), "config".into()],
        }))
    }

    /// The configuration's recipe, built and compared with what the fragments ask for.
    fn checked_config(&self, flavour: Flavour) -> Result<Arc<Recipe>, BuildImageError> {
        let texts = fragments(self.checkout, flavour)?;
        let fragments: Vec<_> = texts.iter().map(|(name, text)| Fragment { name, text }).collect();
        let recipe = self.config(flavour, kconfig::merged(&fragments))?;
        let built = self.build(&recipe)?;
        kconfig::check(&fragments, &fs::read_to_string(built.path.join("config"))?)?;
        Ok(recipe)
    }

    fn config(&self, flavour: Flavour, merged: String) -> Result<Arc<Recipe>, BuildImageError> {
        let files = BTreeMap::from([("merged".to_owned(), merged.into_bytes())]);
        let requested = Tree::of_files(self.builder.cache(), &files)?;
        Ok(Arc::new(Recipe {
            name: format!("kernel-config-{}", name(flavour)),
            root: ROOT.into(),
            sources: BTreeMap::from([
                ("linux".into(), Input::Built(self.linux(flavour)?)),
                ("requested".into(), Input::Tree(requested)),
            ]),
            base: None,
            steps: vec![
                Command::new(["mkdir", "{work}/build"]),
                Command::new([
                    "make",
                    "-C",
                    "{src}/linux/linux",
                    "O={work}/build",
                    "KCONFIG_ALLCONFIG={src}/requested/merged",
                    "allnoconfig",
                ]),
                Command::new(["cp", "{work}/build/.config", "{out}/config"]),
            ],
            env: environment(),
            keep_work: false,
            outputs: vec!["config".into()],
        }))
    }

    /// The patched source of a flavour, as the directory `linux`.
    fn linux(&self, flavour: Flavour) -> Result<Arc<Recipe>, BuildImageError> {
        match flavour {
            Flavour::Release => self.linux_release(),
            Flavour::Dev => self.linux_dev(),
        }
    }

    fn linux_release(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let sources = BTreeMap::from([
            ("linux".into(), Input::Locked("linux".into())),
            ("kernel".into(), Input::Tree(self.tree("image/kernel", &["patches"])?)),
        ]);
        let without = UNUSED_SOURCES.map(|pattern| format!("--exclude='{pattern}'")).join(" ");
        let copy = format!(
            "tar -C {{src}}/linux {without} -cf - . | tar -C {{out}}/linux --no-same-owner -xf -"
        );
        let patch = "for patch in {src}/kernel/patches/*.patch; do \
                     patch --batch --fuzz=0 -d {out}/linux -p1 <\"$patch\"; done";
        let steps = vec![Command::new(["mkdir", "{out}/linux"]), bash(&copy), bash(patch)];
        Ok(source_tree("linux-release", sources, steps))
    }

    fn linux_dev(&self) -> Result<Arc<Recipe>, BuildImageError> {
        let driver =
            self.tree("tdx-emulator/kernel", &[&DRIVER_FILES[..], &[DRIVER_PATCH]].concat())?;
        let sources = BTreeMap::from([
            ("linux".into(), Input::Built(self.linux_release()?)),
            ("driver".into(), Input::Tree(driver)),
        ]);
        let directory = "{out}/linux/drivers/virt/coco/tdx-guest-emulated";
        let files = DRIVER_FILES.map(|file| format!("{{src}}/driver/{file}")).join(" ");
        let script = format!(
            "cp -a --no-preserve=ownership {{src}}/linux/linux {{out}}/linux; \
             patch --batch --fuzz=0 -d {{out}}/linux -p1 <{{src}}/driver/{DRIVER_PATCH}; \
             mkdir {directory}; cp {files} {directory}/"
        );
        Ok(source_tree("linux-dev", sources, vec![bash(&script)]))
    }
}

/// The texts of a flavour's fragments with their names, in order.
fn fragments(checkout: &Path, flavour: Flavour) -> std::io::Result<Vec<(String, String)>> {
    let read = |fragment: &str| {
        let file = format!("image/kernel/fragments/{fragment}.config");
        let text = fs::read_to_string(checkout.join(&file))?;
        Ok((file, text))
    };
    FRAGMENTS.into_iter().chain([name(flavour)]).map(read).collect()
}

fn source_tree(name: &str, sources: BTreeMap<String, Input>, steps: Vec<Command>) -> Arc<Recipe> {
    Arc::new(Recipe {
        name: name.into(),
        root: ROOT.into(),
        sources,
        base: None,
        steps,
        env: BTreeMap::new(),
        keep_work: false,
        outputs: vec!["linux".into()],
    })
}

/// What the kernel would otherwise take from the clock, the machine and earlier builds.
fn environment() -> BTreeMap<String, String> {
    let fixed = [
        ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
        ("KBUILD_BUILD_USER", "dstyx"),
        ("KBUILD_BUILD_HOST", "dstyx"),
        ("KBUILD_BUILD_VERSION", "1"),
    ];
    fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn name(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Release => "release",
        Flavour::Dev => "dev",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_our_fragments_is_an_option_asked_for_once() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for flavour in [Flavour::Release, Flavour::Dev] {
            let texts = fragments(checkout, flavour).unwrap();
            let fragments: Vec<_> =
                texts.iter().map(|(name, text)| Fragment { name, text }).collect();
            // A configuration that keeps every request loses none.
            assert_eq!(kconfig::check(&fragments, &kconfig::merged(&fragments)), Ok(()));
        }
    }

    /// Each leads to the host beside network and disks, or is a tunnel whose keys prove nothing;
    /// that such a line holds in the built kernel is checked with every build.
    #[test]
    fn ways_out_beside_network_and_disks_are_asked_to_be_absent() {
        const LEFT_OUT: [&str; 9] = [
            "VSOCKETS",
            "WIREGUARD",
            "VIRTIO_CONSOLE",
            "HW_RANDOM",
            "VIRTIO_BALLOON",
            "VIRTIO_MEM",
            "VIRTIO_INPUT",
            "NET_9P",
            "FUSE_FS",
        ];
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for flavour in [Flavour::Release, Flavour::Dev] {
            let texts = fragments(checkout, flavour).unwrap();
            let lines: Vec<&str> = texts.iter().flat_map(|(_, text)| text.lines()).collect();
            for option in LEFT_OUT {
                let line = format!("# CONFIG_{option} is not set");
                assert!(lines.contains(&line.as_str()), "{option}");
            }
        }
    }

    #[test]
    fn the_named_patches_and_driver_files_exist() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let driver = DRIVER_FILES
            .into_iter()
            .chain([DRIVER_PATCH])
            .map(|file| format!("tdx-emulator/kernel/{file}"));
        for file in driver.chain([format!("image/kernel/patches/{AML_PATCH}")]) {
            assert!(checkout.join(&file).is_file(), "{file}");
        }
    }
}
