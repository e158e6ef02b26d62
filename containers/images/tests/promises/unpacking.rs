//! Promise: a layer makes files below its own root or is refused; nothing outside is touched.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compose::ImageReference;
use container_images::{Limits, Progress, PulledImage, Registries, Store, pull};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use tar::EntryType;
use tempfile::TempDir;

use crate::image::{Archive, Blobs};
use crate::registry::{Behaviour, mirrored, serve};
use crate::{root, root_of_the_machine};

/// A file capability that names the root of a user namespace (revision 3).
const ROOTED: &str = "\0\0\0\u{3}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// CAP_NET_RAW, permitted (revision 2).
const PLAIN: &str = "\0\0\0\u{2}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Unpacks one plain layer below a directory that also holds a file which must stay as it is.
async fn unpack(archive: Archive) -> Result<(TempDir, PathBuf), String> {
    let (directory, pulled) = unpack_all(vec![archive]).await?;
    Ok((directory, pulled.layers[0].clone()))
}

/// The same for several layers, the lowest first.
async fn unpack_all(archives: Vec<Archive>) -> Result<(TempDir, PulledImage), String> {
    let directory = tempfile::tempdir().expect("directory");
    fs::write(directory.path().join("outside"), b"untouched").expect("file");
    let archives = archives.into_iter().map(Archive::finish);
    let layers: Vec<_> = archives.map(|archive| ("tar", archive.clone(), archive)).collect();
    let mut blobs = Blobs::default();
    let digest = blobs.image(&layers, "{}");
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let image = ImageReference::parse(&format!("example.org/app@{digest}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(vec![mirror])).expect("mirror"));
    let store = Arc::new(Store::open(directory.path()).expect("store"));
    let pulled = pull(&image, registries, store, Limits::default(), &Progress::default()).await;
    let mut names: Vec<_> =
        directory.path().read_dir().expect("directory").flatten().map(|e| e.file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["documents", "layers", "lock", "outside", "partial", "programs"]);
    assert_eq!(fs::read(directory.path().join("outside")).expect("file"), b"untouched");
    assert!(!Path::new("/escaped").exists());
    let pulled = pulled.map_err(|error| error.to_string())?;
    Ok((directory, pulled))
}

// Long: a table, one row a case.
#[tokio::test]
async fn escapes_end_inside_the_root_or_are_refused() {
    if !root("escapes_end_inside_the_root_or_are_refused") {
        return;
    }
    let new = Archive::default;
    let refused = [
        (new().file("../escaped", b"x"), "has a .. component"),
        (new().file("a/../../escaped", b"x"), "has a .. component"),
        (new().hard_link("a", "../../outside"), "has a .. component"),
        (new().hard_link("a", "/etc/passwd"), "which is no file of this layer"),
        (
            new().symlink("up", "../..").hard_link("a", "up/outside"),
            "which is no file of this layer",
        ),
        (new().directory("d/").hard_link("a", "d"), "which is no file of this layer"),
        (new().file(".wh..", b""), "hides no name"),
        (new().file(".wh...", b""), "hides no name"),
        (new().file("d/.wh.", b""), "hides no name"),
        (new().file(".wh.a/b", b""), "lies in a hidden name"),
        (new().entry(EntryType::GNUSparse, "s", "", b""), "\"s\": sparse files are not supported"),
        (
            new().entry(EntryType::new(b'Z'), "z", "", b""),
            "\"z\": entry type 0x5a is not supported",
        ),
        (new().symlink("a", ""), "\"a\": a link has no target"),
        (new().file("f", b"").file("f/below", b""), "open parent"),
        (new().symlink("loop", "loop").file("loop/x", b""), "open parent"),
        (new().pax("SCHILY.xattr.trusted.overlay.opaque", "y").directory("d/"), "is refused"),
        (new().pax("SCHILY.xattr.trusted.overlay.redirect", "/etc").directory("d/"), "is refused"),
        (new().pax("SCHILY.xattr.user.overlay.opaque", "y").directory("d/"), "is refused"),
        (new().pax("SCHILY.xattr.system.posix_acl_access", "x").file("f", b""), "is refused"),
        (new().pax("SCHILY.xattr.trusted.x", "y").symlink("l", "x"), "is refused"),
        (
            new().pax("SCHILY.xattr.security.capability", "x").file("f", b""),
            "is not 20 bytes of revision 2",
        ),
        (
            new().pax("SCHILY.xattr.security.capability", ROOTED).file("f", b""),
            "is not 20 bytes of revision 2",
        ),
        (new().symlink("d", "/").file("d/../../escaped", b"x"), "has a .. component"),
        (new().pax("linkpath", "a/../b").hard_link("l", "a"), "has a .. component"),
        (new().pax("path", "a\0b").file("f", b""), "has a NUL"),
        (
            new().pax("mtime", "never").file("f", b""),
            "\"f\": an owner, size or time is no number in range",
        ),
        (new().pax("size", "5").file("f", b"1234"), "sizes in header and extended header differ"),
        (new().pax("uid", "4294967295").file("f", b""), "no number in range"),
        (new().pax("GNU.sparse.major", "1").file("f", b""), "sparse files are not supported"),
        (new().pax("path", "x"), "at the start: an extended header without an entry"),
        (
            new().file("d/f", b"").pax("path", "x"),
            "after \"d/f\": an extended header without an entry",
        ),
        (
            new().pax("path", &format!("{}x", "a/".repeat(3000))).file("f", b""),
            "longer than 4096 bytes",
        ),
        (new().pax("path", &"a".repeat(300)).file("f", b""), "name longer than 255 bytes"),
        (new().pax("path", &"a".repeat(70_000)).file("f", b""), "an extended header has"),
        (new().file("", b"x"), "the root is no directory"),
    ];
    for (archive, expected) in refused {
        let error = unpack(archive).await.map(|(_, layer)| layer).expect_err(expected);
        assert!(error.contains(expected), "expected {expected:?}, found {error}");
        // The path of the entry, or where in the archive no entry is.
        let place = error.contains("at the start") || error.matches('"').count() >= 2;
        assert!(place, "{error} does not say where");
    }
}

#[tokio::test]
async fn links_out_of_the_root_are_followed_inside_it() {
    if !root("links_out_of_the_root_are_followed_inside_it") {
        return;
    }
    let archive = Archive::default()
        .symlink("absolute", "/target")
        .symlink("climbing", "../../../../target")
        .directory("target/")
        .file("absolute/one", b"1")
        .file("climbing/two", b"2")
        .file("/escaped", b"3");
    let (_directory, layer) = unpack(archive).await.expect("unpacked");
    assert_eq!(fs::read(layer.join("target/one")).expect("inside"), b"1");
    assert_eq!(fs::read(layer.join("target/two")).expect("inside"), b"2");
    assert_eq!(fs::read(layer.join("escaped")).expect("inside"), b"3");
}

#[tokio::test]
async fn a_link_in_the_way_of_a_file_is_replaced_not_followed() {
    if !root("a_link_in_the_way_of_a_file_is_replaced_not_followed") {
        return;
    }
    let archive =
        Archive::default().file("victim", b"old").symlink("f", "victim").file("f", b"new");
    let (_directory, layer) = unpack(archive).await.expect("unpacked");
    assert_eq!(fs::read(layer.join("victim")).expect("file"), b"old");
    assert!(fs::symlink_metadata(layer.join("f")).expect("file").is_file());
}

#[tokio::test]
async fn owners_modes_times_and_links_arrive() {
    if !root_of_the_machine("owners_modes_times_and_links_arrive") {
        return;
    }
    let archive = Archive::default()
        .directory("d/")
        .pax("SCHILY.xattr.user.note", "hello")
        .file("d/f", b"x")
        .pax("SCHILY.xattr.security.capability", PLAIN)
        .file("d/ping", b"x")
        .hard_link("d/g", "d/f")
        .pax("uid", "100000")
        .file("implied/h", b"y")
        .entry(EntryType::Fifo, "pipe", "", b"");
    let (_directory, layer) = unpack(archive).await.expect("unpacked");
    let meta = fs::metadata(layer.join("d/f")).expect("file");
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777, meta.mtime()),
        (7, 8, 0o755, 1_000_000_000)
    );
    assert_eq!(meta.nlink(), 2);
    assert_eq!(fs::metadata(layer.join("d")).expect("directory").mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(layer.join("implied/h")).expect("file").uid(), 100_000);
    assert_eq!(fs::metadata(layer.join("implied")).expect("directory").uid(), 0);
    assert!(fs::metadata(layer.join("pipe")).expect("fifo").file_type().is_fifo());
    let mut note = [0; 16];
    let length =
        rustix::fs::getxattr(layer.join("d/f"), "user.note", &mut note).expect("attribute");
    assert_eq!(&note[..length], b"hello");
    let mut capability = [0; 32];
    let length = rustix::fs::getxattr(layer.join("d/ping"), "security.capability", &mut capability)
        .expect("attribute");
    assert_eq!(&capability[..length], PLAIN.as_bytes());
}

#[tokio::test]
async fn whiteouts_become_those_of_overlayfs() {
    if !root_of_the_machine("whiteouts_become_those_of_overlayfs") {
        return;
    }
    let archive = Archive::default()
        .file("etc/.wh.gone", b"")
        .directory("var/")
        .file("var/.wh..wh..opq", b"")
        .file(".wh.again", b"")
        .directory("again/")
        .directory("before/")
        .file(".wh.before", b"")
        .file(".wh..wh.plnk", b"");
    let (_directory, layer) = unpack(archive).await.expect("unpacked");
    let gone = fs::symlink_metadata(layer.join("etc/gone")).expect("whiteout");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for hidden in ["var", "again", "before"] {
        let mut value = [0; 4];
        let length = rustix::fs::getxattr(layer.join(hidden), "trusted.overlay.opaque", &mut value)
            .expect(hidden);
        assert_eq!(&value[..length], b"y", "{hidden}");
    }
    assert_eq!(layer.read_dir().expect("layer").count(), 4);
}

#[tokio::test]
async fn what_is_below_a_whiteout_of_the_same_layer_is_there() {
    if !root_of_the_machine("what_is_below_a_whiteout_of_the_same_layer_is_there") {
        return;
    }
    let archive = Archive::default()
        .file(".wh.a", b"")
        .file("a/b/c", b"1")
        .file("a/.wh.old", b"")
        .file("x/y", b"2")
        .file("x/.wh.y", b"")
        .file("f", b"3")
        .file("f/.wh.g", b"")
        .file(".wh..wh.plnk/17.2", b"");
    let (_directory, layer) = unpack(archive).await.expect("unpacked");
    assert_eq!(fs::read(layer.join("a/b/c")).expect("file"), b"1");
    assert_eq!(fs::read(layer.join("x/y")).expect("its own file is not hidden"), b"2");
    let mut value = [0; 4];
    let length = rustix::fs::getxattr(layer.join("a"), "trusted.overlay.opaque", &mut value)
        .expect("opaque");
    assert_eq!(&value[..length], b"y");
    assert_eq!(layer.read_dir().expect("layer").count(), 3);
}

#[tokio::test]
async fn a_later_entry_of_another_kind_counts() {
    if !root_of_the_machine("a_later_entry_of_another_kind_counts") {
        return;
    }
    let new = || Archive::default().directory("kept/").file("kept/file", b"kept").directory("x/");
    let full =
        || new().file("x/f", b"").directory("x/d/").file("x/d/.wh.gone", b"").file("x/.wh.h", b"");
    let (_directory, layer) = unpack(full().symlink("x", "kept")).await.expect("a link");
    assert_eq!(fs::read_link(layer.join("x")).expect("link"), Path::new("kept"));
    // Neither the whiteouts nor the times of the directory that was go to where the link leads.
    assert_eq!(layer.join("kept").read_dir().expect("directory").count(), 1);
    let (_directory, layer) = unpack(full().file("x", b"now")).await.expect("a file");
    assert_eq!(fs::read(layer.join("x")).expect("file"), b"now");
    let (_directory, layer) =
        unpack(full().hard_link("x", "kept/file")).await.expect("a hard link");
    assert_eq!(fs::read(layer.join("x")).expect("file"), b"kept");
    let (_directory, layer) =
        unpack(full().symlink("x", "kept").directory("x/").file("x/new", b"")).await.expect("both");
    assert_eq!(layer.join("x").read_dir().expect("directory").count(), 1);
    assert_eq!(fs::read(layer.join("kept/file")).expect("file"), b"kept");
    let (_directory, layer) = unpack(full().directory("x/")).await.expect("a directory again");
    assert!(layer.join("x/f").exists() && layer.join("x/d").exists());
}

#[tokio::test]
async fn devices_and_attributes_without_a_meaning_are_left_out_with_a_note() {
    if !root("devices_and_attributes_without_a_meaning_are_left_out_with_a_note") {
        return;
    }
    let archive = Archive::default()
        .entry(EntryType::Char, "dev/null", "", b"")
        .entry(EntryType::Block, "dev/sda", "", b"")
        .pax("SCHILY.xattr.security.ima", "signature")
        .file("bin", b"x")
        .pax("SCHILY.xattr.security.evm", "mac")
        .file("sbin", b"x");
    let (_directory, pulled) = unpack_all(vec![archive]).await.expect("unpacked");
    let layer = &pulled.layers[0];
    assert!(layer.join("bin").exists() && !layer.join("dev").exists());
    assert!(rustix::fs::getxattr(layer.join("bin"), "security.ima", &mut [0; 16]).is_err());
    for expected in [
        "device node \"dev/null\" is left out",
        "device node \"dev/sda\" is left out",
        "attribute security.ima of \"bin\" is left out",
        "attribute security.evm of \"sbin\" is left out",
    ] {
        assert!(pulled.notes.iter().any(|note| note.ends_with(expected)), "{:?}", pulled.notes);
    }
}

/// Names that no lower layer has are not listed either: the kernel shows whiteouts in a directory
/// that it does not merge.
#[tokio::test]
async fn no_whiteout_is_listed() {
    if !root_of_the_machine("no_whiteout_is_listed") {
        return;
    }
    let lower = Archive::default().file("opaque/below", b"").file("merged/gone", b"");
    let upper = Archive::default()
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/kept", b"")
        .file("opaque/.wh.ghost", b"")
        .file("alone/.wh.never", b"")
        .file("merged/.wh.gone", b"");
    let (directory, pulled) = unpack_all(vec![lower, upper]).await.expect("unpacked");
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .expect("private");
    let at = directory.path().join("outside-mount");
    fs::create_dir(&at).expect("mount point");
    let layers: Vec<_> =
        pulled.layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let options = CString::new(format!("lowerdir={}", layers.join(":"))).expect("no NUL");
    mount("overlay", &at, "overlay", MountFlags::RDONLY, Some(options.as_c_str()))
        .expect("overlay");
    let listed = |name: &str| -> Vec<_> {
        let names = at.join(name).read_dir().expect("directory").flatten();
        names.map(|entry| entry.file_name().into_string().expect("name")).collect()
    };
    assert_eq!(listed("opaque"), ["kept"]);
    assert_eq!(listed("alone"), Vec::<String>::new());
    assert_eq!(listed("merged"), Vec::<String>::new());
    unmount(&at, UnmountFlags::empty()).expect("unmounted");
}
