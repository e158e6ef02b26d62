//! Promise: the image holds what its list says: no shell, no interpreter, no secret, nothing of the
//! machine that built it.

use std::collections::BTreeMap;
use std::fs;

use image::manifest::{self, What};
use image::newc::{Node, Tree};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};
use protocol::image::Flavour;
use reproducible_build::cache::Kind;
use tests::lab;

/// Everything in a release image; the sizes are the builder's business, the ceilings are below.
const LISTING: &str = "\
directory 0755 bin
file 0755 bin/container-helper
file 0755 bin/guest-agent
directory 0755 dev
device 0600 dev/console 5:1
device 0666 dev/null 1:3
directory 0755 etc
directory 0755 etc/dstyx
file 0644 etc/dstyx/build-date
link etc/resolv.conf -> /run/dstyx/resolv.conf
directory 0755 etc/ssl
directory 0755 etc/ssl/certs
file 0644 etc/ssl/certs/ca-certificates.crt
file 0755 init
directory 0555 proc
directory 0700 root
directory 0755 run
directory 0555 sys
directory 1777 tmp
directory 0755 usr
directory 0755 usr/share
directory 0755 usr/share/dstyx
file 0644 usr/share/dstyx/btrfs.template
file 0644 usr/share/dstyx/ext4.template
file 0644 usr/share/dstyx/pad-runner.zst
directory 0755 usr/share/licenses
file 0644 usr/share/licenses/NOTICES.txt
file 0644 usr/share/licenses/crates.txt
directory 0755 usr/share/licenses/dstyx
file 0644 usr/share/licenses/dstyx/Apache-2.0.txt
directory 0755 var
";

/// What a dev image has besides.
const ONLY_DEV: &str = "file 0644 etc/dstyx/danger-emulated-root.der\n";
/// The programs; nothing else may be executed.
const PROGRAMS: [&str; 3] = ["bin/container-helper", "bin/guest-agent", "init"];
/// What a file with a private key has behind its label.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----\n";

const FLAVOURS: [Flavour; 2] = [Flavour::Release, Flavour::Dev];

#[test]
fn the_list_is_exactly_this() {
    let release = listing(&tree(Flavour::Release));
    print!("{release}");
    assert_eq!(release, LISTING);
    let dev = listing(&tree(Flavour::Dev));
    assert!(dev.contains(ONLY_DEV), "{dev}");
    assert_eq!(dev.replace(ONLY_DEV, ""), LISTING);
}

#[test]
fn programs_are_static_and_nothing_else_is_executable() {
    for flavour in FLAVOURS {
        for (path, (mode, data)) in files(&tree(flavour)) {
            let executable = mode & 0o111 != 0;
            assert_eq!(executable, PROGRAMS.contains(&path.as_str()), "{path}");
            assert_eq!(
                data.starts_with(&elf::ELFMAG),
                executable,
                "{path} is a program or a script"
            );
            if executable {
                assert_eq!(
                    interpreter_and_libraries(&data),
                    (false, false),
                    "{path} needs files that are not here"
                );
            }
        }
    }
}

#[test]
fn both_flavours_have_the_same_programs() {
    let [mut release, mut dev] = FLAVOURS.map(|flavour| files(&tree(flavour)));
    dev.remove(manifest::EMULATED_ROOT);
    for program in PROGRAMS {
        assert!(
            release.remove(program).unwrap() == dev.remove(program).unwrap(),
            "{program} differs"
        );
    }
    assert_eq!(release, dev);
}

#[test]
fn no_file_holds_a_private_key_or_names_the_builders_machine() {
    let checkout = lab::checkout().display().to_string();
    let cache = lab::builder().cache().path(Kind::Builds, "").display().to_string();
    let traces =
        [checkout.as_bytes(), cache.as_bytes(), b"/.cargo/registry", b"/home/", PRIVATE_KEY];
    for flavour in FLAVOURS {
        for (path, (_, data)) in files(&tree(flavour)) {
            for trace in traces {
                assert!(!contains(&data, trace), "{path} holds {}", String::from_utf8_lossy(trace));
            }
        }
    }
}

#[test]
fn files_stay_below_their_ceilings_and_all_together_below_thirty_megabytes() {
    for flavour in FLAVOURS {
        let directory = lab::image(flavour);
        let size = |name: &str| fs::metadata(directory.join(name)).unwrap().len();
        assert!(size("kernel") + size("initrd") <= manifest::TOTAL_CEILING_BYTES);
        let files = files(&tree(flavour));
        for rule in manifest::rules(flavour) {
            if let What::File(ceiling) = rule.what {
                assert!(files[rule.path].1.len() as u64 <= ceiling, "{}", rule.path);
            }
        }
    }
}

#[test]
fn a_release_knows_nothing_of_the_emulator() {
    let root =
        fs::read(lab::checkout().join("tdx-emulator/root/danger-emulated-root.der")).unwrap();
    let key_info = &root[root.len() / 2..root.len() / 2 + 64];
    for (path, (_, data)) in files(&tree(Flavour::Release)) {
        assert!(!contains(&data, key_info) && !contains(&data, b"EMULATED root"), "{path}");
    }
}

fn tree(flavour: Flavour) -> Tree {
    image::initrd::list(&fs::read(lab::image(flavour).join("initrd")).unwrap()).unwrap()
}

fn files(tree: &Tree) -> BTreeMap<String, (u32, Vec<u8>)> {
    let file = |(path, node): (&String, &Node)| match node {
        Node::File { mode, data } => Some((path.clone(), (*mode, data.clone()))),
        _ => None,
    };
    tree.iter().filter_map(file).collect()
}

fn listing(tree: &Tree) -> String {
    let line = |(path, node): (&String, &Node)| match node {
        Node::Directory { mode } => format!("directory {mode:04o} {path}\n"),
        Node::File { mode, .. } => format!("file {mode:04o} {path}\n"),
        Node::Link { target } => format!("link {path} -> {target}\n"),
        Node::Device { mode, major, minor } => {
            format!("device {mode:04o} {path} {major}:{minor}\n")
        }
    };
    tree.iter().map(line).collect()
}

/// Whether a program asks for a loader, and whether for shared libraries.
fn interpreter_and_libraries(program: &[u8]) -> (bool, bool) {
    let header = elf::FileHeader64::<Endianness>::parse(program).unwrap();
    let endian = header.endian().unwrap();
    let segments = header.program_headers(endian, program).unwrap();
    let interpreter = segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    let dynamic =
        segments.iter().filter_map(|segment| segment.dynamic(endian, program).unwrap()).flatten();
    let libraries = dynamic.clone().any(|entry| entry.d_tag.get(endian) == elf::DT_NEEDED);
    (interpreter, libraries)
}

fn contains(data: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let starts = data.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts.map(|(at, _)| &data[at..]).any(|rest| rest.starts_with(needle))
}
