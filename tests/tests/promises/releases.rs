//! Promise: a release is believed if k of n named people signed exactly it, and anybody can build
//! it again.
//!
//! With the real program, in a clone: two signers who build apart from each other sign one
//! statement; everything else is refused by its cause. The images are those that every run builds,
//! so nothing is compiled here.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object::{Object as _, ObjectSection as _};
use protocol::image::Flavour;
use serde_json::Value;
use tempfile::TempDir;
use tests::dstyx::{Answer, User};
use tests::{lab, stranger};

/// A real guest's, of another project.
const EVIDENCE: &str = "protocol/dstack-getquote.json";
const ENVELOPE: &str = "provenance.dsse.json";
/// Everything of an Ed25519 key in DER but its 32 bytes (RFC 8410).
const PRIVATE_PREFIX: &str = "302e020100300506032b657004220420";
const PUBLIC_PREFIX: &str = "302a300506032b6570032100";
/// Keys that everybody knows (RFC 8032, section 7.1): three signers and a stranger.
const KEYS: [(&str, &str); 4] = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    ),
    (
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
    ),
];
const STRANGER: usize = 3;

/// A clone of the checkout, keys, and releases.
struct Lab {
    directory: TempDir,
    user: User,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap(), user: User::default() };
        let mut git = Command::new("git");
        git.args([
            "-c",
            "advice.detachedHead=false",
            "-c",
            "init.defaultBranch=main",
            "clone",
            "--quiet",
        ]);
        git.arg(lab::checkout()).arg(lab.path("clone"));
        assert!(git.status().unwrap().success());
        for (index, (private, public)) in KEYS.into_iter().enumerate() {
            write_pem(&lab.private(index), "PRIVATE", PRIVATE_PREFIX, private);
            write_pem(&lab.public(index), "PUBLIC", PUBLIC_PREFIX, public);
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn private(&self, index: usize) -> PathBuf {
        self.path(&format!("{index}.pem"))
    }

    fn public(&self, index: usize) -> PathBuf {
        self.path(&format!("{index}.pub"))
    }

    /// Runs `dstyx release` in the clone with the keys of some signers.
    fn release(&self, directory: &str, signers: &[usize]) -> Answer {
        self.release_of("release", directory, signers)
    }

    fn release_of(&self, flavour: &str, directory: &str, signers: &[usize]) -> Answer {
        let mut arguments = vec!["release".into(), "--flavour".into(), flavour.into()];
        arguments.extend(["--out".into(), self.path(directory).into_os_string()]);
        for signer in signers {
            arguments.extend(["--key".into(), self.private(*signer).into_os_string()]);
        }
        self.user.dstyx_in(&self.path("clone"), arguments)
    }

    /// Runs `dstyx release check` for two of the three signers.
    fn check(&self, directory: &str) -> Answer {
        self.trusting(vec!["release".into(), "check".into(), self.path(directory).into_os_string()])
    }

    /// Judges somebody's evidence by a release that two of the three signers must have signed.
    fn verify(&self, directory: &str, options: &[&str]) -> Answer {
        let evidence = stranger::vector(EVIDENCE).into_os_string();
        let image = self.path(directory).into_os_string();
        let mut arguments =
            vec!["verify".into(), "--evidence".into(), evidence, "--image".into(), image];
        arguments.extend(options.iter().map(OsString::from));
        self.trusting(arguments)
    }

    fn trusting(&self, mut arguments: Vec<OsString>) -> Answer {
        for signer in 0..STRANGER {
            arguments.extend(["--signer".into(), self.public(signer).into_os_string()]);
        }
        arguments.extend(["--threshold".into(), "2".into()]);
        self.user.dstyx_in(self.directory.path(), arguments)
    }

    fn refuses(&self, directory: &str, message: &str) {
        let answer = self.check(directory);
        assert_ne!(answer.code, 0, "{answer:#?}");
        assert!(answer.stderr.contains(message), "{message:?} is not in {}", answer.stderr);
    }

    /// A copy of a release, to be changed.
    fn copy(&self, from: &str, to: &str) -> PathBuf {
        let to = self.path(to);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(self.path(from)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    }
}

#[test]
fn two_of_three_signers_are_believed_and_nobody_else() {
    let lab = Lab::new();
    // Two people who build the same commit get the same statement and sign it one after the other.
    assert_eq!(lab.release("two", &[0]).code, 0);
    let second = lab.release("two", &[2]);
    assert_eq!(second.json["signatures"].as_array().map(Vec::len), Some(2), "{second:#?}");
    let checked = lab.check("two");
    assert_eq!(
        (checked.code, checked.json["signers"].as_array().map(Vec::len)),
        (0, Some(2)),
        "{checked:#?}"
    );
    assert_eq!(checked.text("/os_image_hash"), second.text("/os_image_hash"));
    assert_eq!(checked.text("/flavour"), "release");

    lab.release("one", &[1]);
    lab.refuses("one", "only 1 of the named signers signed");
    lab.release("one", &[STRANGER]);
    lab.refuses("one", "only 1 of the named signers signed");
    lab.release("foreign", &[STRANGER]);
    lab.refuses("foreign", "none of the 1 signatures is by a named signer");
    verify_believes_a_signed_image_only(&lab);
    verify_judges_the_image_that_was_signed(&lab);
    a_changed_statement_is_refused(&lab);
    a_changed_file_is_refused(&lab);
    the_commit_is_what_was_built(&lab);
}

/// Evidence of another image: judged where the release is believed, and then refused for its
/// registers.
fn verify_believes_a_signed_image_only(lab: &Lab) {
    let judged = lab.verify("two", &[]);
    let rows = judged.json["checks"].as_array().expect("a verdict");
    let failed =
        |name: &str| rows.iter().any(|row| row["name"] == name && row["verdict"] == "fail");
    assert_eq!(judged.code, 1, "{judged:#?}");
    assert!(failed("mrtd") && failed("rtmr2"), "{judged:#?}");
    let refused = lab.verify("foreign", &[]);
    assert_eq!(refused.code, 3, "{refused:#?}");
    assert!(
        refused.stderr.contains("none of the 1 signatures is by a named signer"),
        "{}",
        refused.stderr
    );
}

/// What is judged is the image.json that was read, whatever lay there when the signatures were
/// counted.
fn verify_judges_the_image_that_was_signed(lab: &Lab) {
    let path = lab.copy("two", "swapped").join("image.json");
    fs::copy(lab::image(Flavour::Dev).join("image.json"), path).unwrap();
    let refused = lab.verify("swapped", &["--danger-accept-emulated"]);
    assert_eq!(refused.code, 3, "{refused:#?}");
    assert!(refused.stderr.contains("image.json has the SHA-256"), "{}", refused.stderr);
}

/// The emulator's root is public: whoever signs a dev image vouches for no hardware.
#[test]
fn a_signed_dev_image_is_judged_only_where_its_root_is_accepted_by_name() {
    let lab = Lab::new();
    assert_eq!(lab.release_of("dev", "dev", &[0, 1]).code, 0);
    let checked = lab.check("dev");
    assert_eq!((checked.code, checked.text("/flavour")), (0, "dev"), "{checked:#?}");
    let refused = lab.verify("dev", &[]);
    assert_eq!(refused.code, 3, "{refused:#?}");
    assert!(refused.stderr.contains("the signers vouch for a dev image"), "{}", refused.stderr);
    let judged = lab.verify("dev", &["--danger-accept-emulated"]);
    assert_eq!((judged.code, judged.text("/trust_anchor")), (1, "emulated"), "{judged:#?}");
}

fn a_changed_statement_is_refused(lab: &Lab) {
    let path = lab.copy("two", "statement").join(ENVELOPE);
    let mut envelope: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let digit = payload.windows(10).position(|window| window == br#""sha256": "#).unwrap() + 11;
    payload[digit] = if payload[digit] == b'0' { b'1' } else { b'0' };
    envelope["payload"] = STANDARD.encode(payload).into();
    fs::write(&path, envelope.to_string()).unwrap();
    lab.refuses("statement", "one of them was changed");
}

fn a_changed_file_is_refused(lab: &Lab) {
    let path = lab.copy("two", "file").join("initrd");
    let mut initrd = fs::read(&path).unwrap();
    initrd[0x1000] ^= 1;
    fs::write(path, initrd).unwrap();
    lab.refuses("file", "initrd has the SHA-256");
}

fn the_commit_is_what_was_built(lab: &Lab) {
    fs::write(lab.path("clone").join("README.md"), "changed").unwrap();
    let answer = lab.release("unclean", &[0]);
    assert_ne!(answer.code, 0);
    assert!(answer.stderr.contains("README.md"), "{}", answer.stderr);
}

#[test]
fn a_rebuild_is_equal_or_says_where_it_is_not() {
    let (lab, image) = (TempDir::new().unwrap(), lab::image(Flavour::Release));
    let against = |file: &Path| {
        User::default().dstyx(["rebuild".as_ref(), "--against".as_ref(), file.as_os_str()])
    };
    let equal = against(&image.join("image.json"));
    assert_eq!((equal.code, equal.json["equal"].as_bool()), (0, Some(true)), "{equal:#?}");

    // Somebody published another kernel beside the right image.json.
    for name in ["image.json", "kernel"] {
        fs::copy(image.join(name), lab.path().join(name)).unwrap();
    }
    let mut kernel = fs::read(lab.path().join("kernel")).unwrap();
    let text = object::File::parse(&*kernel)
        .unwrap()
        .section_by_name(".text")
        .unwrap()
        .file_range()
        .unwrap();
    let planted = text.0 + text.1 / 2;
    kernel[planted as usize] ^= 0x40;
    fs::write(lab.path().join("kernel"), kernel).unwrap();
    let different = against(&lab.path().join("image.json"));
    assert_eq!((different.code, different.json["equal"].as_bool()), (1, Some(false)));
    let differing: Vec<&Value> = different.json["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["equal"] == false)
        .collect();
    assert_eq!((differing.len(), &differing[0]["file"]), (1, &Value::from("kernel")));
    let place = differing[0]["difference"].as_str().unwrap();
    assert!(
        place.contains(&format!("offset {planted:#x}")) && place.contains("PE section .text"),
        "{place}"
    );
}

fn write_pem(path: &Path, kind: &str, prefix: &str, key: &str) {
    let der = hex::decode(format!("{prefix}{key}")).unwrap();
    let text =
        format!("-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----\n", STANDARD.encode(der));
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
