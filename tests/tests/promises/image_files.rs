//! Promise: `--image DIR` judges the files in DIR and not the sentences of its image.json; and what
//! is believed, from whom evidence comes and how old it is, the verdict says.
//!
//! The image is made of nothing and the guest never ran: see `tests::scene`.

use std::fs;
use std::path::Path;

use protocol::app_compose;
use protocol::image::{Flavour, ImageManifest};
use tempfile::TempDir;
use tests::dstyx::{Answer, User, write_app};
use tests::scene::{COMPOSE, NAME, NONCE, NOW, Scene, flip_middle};

/// An image directory with every file, and evidence of a guest that ran it.
struct Lab {
    scene: Scene,
    directory: TempDir,
    flavour: Flavour,
}

impl Lab {
    fn new(flavour: Flavour) -> Self {
        let mut scene = Scene::synthetic();
        if flavour == Flavour::Dev {
            scene.cmdline.push_str(" console=ttyS0");
        }
        // The setup header of a bzImage, which QEMU before 10.2 rewrites.
        scene.kernel[0x202..0x206].copy_from_slice(b"HdrS");
        scene.kernel[0x206..0x208].copy_from_slice(&[0x0c, 0x02]);
        scene.kernel[0x211] = 1;
        scene.kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        let lab = Self { scene, directory: tempfile::tempdir().unwrap(), flavour };
        for (name, bytes) in [
            ("firmware.fd", &lab.scene.firmware),
            ("kernel", &lab.scene.kernel),
            ("initrd", &lab.scene.initrd),
        ] {
            fs::write(lab.path().join(name), bytes).unwrap();
        }
        lab.state(&lab.manifest());
        lab
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn manifest(&self) -> ImageManifest {
        self.scene.manifest(self.flavour)
    }

    fn state(&self, manifest: &ImageManifest) {
        fs::write(self.path().join("image.json"), manifest.to_json()).unwrap();
    }

    fn remove(&self, names: &[&str]) {
        names.iter().for_each(|name| fs::remove_file(self.path().join(name)).unwrap());
    }

    fn measure(&self, qemu_version: &str) -> Answer {
        let image = self.path().display().to_string();
        let machine = ["--vcpus", "2", "--memory", "2048", "--qemu-version", qemu_version];
        User::default().dstyx(["measure", "--image", &image].into_iter().chain(machine))
    }

    /// The evidence of a guest of the true image, judged by the directory as it is.
    fn verify(&self, more: &[&str]) -> Answer {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let hash = self.manifest().os_image_hash();
        fs::write(file("evidence.json"), self.scene.evidence(hash).to_json()).unwrap();
        fs::write(file("collateral.json"), self.scene.collateral_json()).unwrap();
        write_app(directory.path(), COMPOSE, &app_compose::generate(NAME, COMPOSE).unwrap());
        let paths = [
            ("--evidence", file("evidence.json")),
            ("--collateral", file("collateral.json")),
            ("--image", self.path().to_owned()),
            ("--app", directory.path().to_owned()),
        ];
        let paths = paths.map(|(option, path)| [option.to_owned(), path.display().to_string()]);
        let arguments = ["verify".to_owned(), "--at".to_owned(), NOW.to_owned()];
        let more = more.iter().map(ToString::to_string);
        User::default().dstyx(arguments.into_iter().chain(paths.into_iter().flatten()).chain(more))
    }
}

fn nonce() -> String {
    hex::encode(NONCE)
}

/// The notices of a verdict, one a line.
fn notices(answer: &Answer) -> String {
    let notices = answer.json["facts"]["notices"].as_array().unwrap();
    notices.iter().map(|notice| format!("{}\n", notice.as_str().unwrap())).collect()
}

#[test]
fn a_kernel_that_lies_in_the_directory_is_used_for_every_qemu() {
    let lab = Lab::new(Flavour::Release);
    let reference = lab.manifest().reference;
    let new = lab.measure("11.1.3");
    assert_eq!((new.code, new.text("/rtmr1")), (0, reference.rtmr1.to_string().as_str()));
    let old = lab.measure("8.2.2");
    assert_eq!(old.code, 0, "{old:#?}");
    assert_ne!(old.text("/rtmr1"), new.text("/rtmr1"), "this QEMU rewrites the kernel's header");
    assert_eq!(old.text("/mrtd"), reference.mrtd.two_pass.to_string());
}

#[test]
fn a_register_that_cannot_be_predicted_withholds_no_other() {
    let lab = Lab::new(Flavour::Release);
    lab.remove(&["kernel"]);
    let old = lab.measure("8.2.2");
    assert_eq!(old.code, 2, "{old:#?}");
    assert!(old.json["rtmr1"].is_null() && old.stderr.contains("rtmr1 is not predicted"));
    let reference = lab.manifest().reference;
    assert_eq!(old.text("/mrtd"), reference.mrtd.two_pass.to_string());
    assert_eq!(old.text("/rtmr2"), reference.rtmr2.to_string());
    let unknown = lab.measure("7.0.0");
    assert_eq!((unknown.code, unknown.text("/rtmr2")), (2, reference.rtmr2.to_string().as_str()));
}

#[test]
fn a_file_with_other_bytes_is_refused() {
    for name in ["firmware.fd", "kernel", "initrd"] {
        let lab = Lab::new(Flavour::Release);
        let path = lab.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        fs::write(&path, bytes).unwrap();
        let refused = lab.verify(&[]);
        assert_eq!(refused.code, 3, "{refused:#?}");
        let words = format!("{name}: SHA-256 ");
        assert!(refused.stderr.contains(&words), "{}", refused.stderr);
        assert_eq!(lab.measure("11.1.3").code, 3);
    }
}

/// RTMR0 has no reference in image.json that would contradict such a fact.
#[test]
fn a_fact_that_is_not_that_of_the_files_is_refused() {
    let lab = Lab::new(Flavour::Release);
    let mut manifest = lab.manifest();
    manifest.firmware_facts.td_hob_base += 0x1000;
    lab.state(&manifest);
    let refused = lab.verify(&[]);
    assert_eq!(refused.code, 3, "{refused:#?}");
    assert!(refused.stderr.contains("firmware_facts is not what the files"), "{}", refused.stderr);
    lab.remove(&["firmware.fd"]);
    let believed = lab.verify(&["--danger-accept-emulated", "--nonce", &nonce()]);
    assert_eq!((believed.code, believed.failed()), (1, vec!["rtmr0"]));
}

/// Facts and reference registers that agree with each other, but are those of another file.
#[test]
fn facts_of_another_file_than_the_one_that_is_there_are_refused() {
    let others: [(&str, fn(&mut Scene)); 3] = [
        ("reference.mrtd", |scene| {
            // Zeros behind the code: the tables at the end stay what they are.
            let at = scene.firmware.len() - 0x800;
            scene.firmware[at] ^= 1;
        }),
        ("authenticode_sha384", |scene| {
            let at = scene.kernel.len() - 0x114;
            scene.kernel[at] ^= 1;
        }),
        ("initrd_sha384", |scene| flip_middle(&mut scene.initrd)),
    ];
    for (fact, change) in others {
        let (lab, mut other) = (Lab::new(Flavour::Release), Lab::new(Flavour::Release));
        change(&mut other.scene);
        let ImageManifest { firmware, kernel, initrd, .. } = lab.manifest();
        lab.state(&ImageManifest { firmware, kernel, initrd, ..other.manifest() });
        let refused = lab.verify(&[]);
        assert_eq!(refused.code, 3, "{fact}: {refused:#?}");
        let words = format!("image.json: {fact} is not what the files");
        assert!(refused.stderr.contains(&words), "{fact}: {}", refused.stderr);
        assert_eq!(lab.measure("11.1.3").code, 3, "{fact}");
    }
}

#[test]
fn what_is_believed_is_said() {
    let lab = Lab::new(Flavour::Dev);
    let judge = || lab.verify(&["--danger-accept-emulated", "--nonce", &nonce()]);
    let judged = judge();
    assert_eq!(judged.code, 0, "{judged:#?}");
    assert!(!notices(&judged).contains("facts believed"), "{}", notices(&judged));
    lab.remove(&["firmware.fd", "initrd", "kernel"]);
    let believed = judge();
    assert_eq!(believed.code, 0, "{believed:#?}");
    assert!(notices(&believed).contains("facts believed"), "{}", notices(&believed));
    let hint = believed.hint("mrtd");
    assert!(hint.contains("facts believed: no firmware, kernel, initrd at hand"), "{hint}");
}

/// Whoever makes an image writes its flavour.
#[test]
fn no_image_makes_the_emulators_root_accepted() {
    let lab = Lab::new(Flavour::Dev);
    let judged = lab.verify(&["--nonce", &nonce()]);
    assert_eq!((judged.code, judged.text("/trust_anchor")), (1, "intel"), "{judged:#?}");
    assert!(judged.failed().contains(&"trust-anchor"), "{:?}", judged.failed());
    let mut manifest = lab.manifest();
    manifest.flavour = Flavour::Release;
    lab.state(&manifest);
    let refused = lab.verify(&["--danger-accept-emulated"]);
    assert_eq!(refused.code, 3, "{refused:#?}");
    assert!(refused.stderr.contains("flavour: release, but the command line is that of a dev"));
}

#[test]
fn a_nonce_that_came_with_a_file_is_no_fact() {
    let lab = Lab::new(Flavour::Dev);
    let old = lab.verify(&["--danger-accept-emulated"]);
    assert_eq!((old.code, old.verdict("report-data")), (2, "skipped"), "{old:#?}");
    assert!(notices(&old).contains("nothing is known of this evidence's age"));
    assert!(old.hint("report-data").contains("--nonce"), "{}", old.hint("report-data"));
    let fresh = lab.verify(&["--danger-accept-emulated", "--nonce", &nonce()]);
    assert_eq!((fresh.code, fresh.verdict("report-data")), (0, "pass"));
    assert!(!notices(&fresh).contains("age"), "{}", notices(&fresh));
    let other = lab.verify(&["--danger-accept-emulated", "--nonce", &"00".repeat(32)]);
    assert_eq!((other.code, other.failed()), (1, vec!["report-data"]));
    assert_eq!(lab.verify(&["--nonce", "00"]).code, 3);
}
