//! Promise: a layer makes files below its own root or is refused; nothing outside is touched.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compose::ImageReference;
use container_images::{Limits, Progress, Registries, Store, pull};
use tar::EntryType;
use tempfile::TempDir;

use crate::image::{Archive, Blobs};
use crate::registry::{Behaviour, mirrored, serve};
use crate::root;

/// A file capability that names the root of a user namespace (revision 3).
const ROOTED: &str = "\0\0\0\u{3}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// CAP_NET_RAW, permitted (revision 2).
const PLAIN: &str = "\0\0\0\u{2}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Unpacks one plain layer below a directory that also holds a file which must stay as it is.
async fn unpack(archive: Archive) -> Result<(TempDir, PathBuf), String> {
    let directory = tempfile::tempdir().expect("directory");
    fs::write(directory.path().join("outside"), b"untouched").expect("file");
    let archive = archive.finish();
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[("tar", archive.clone(), archive)], "{}");
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let image = ImageReference::parse(&format!("example.org/app@{digest}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(vec![mirror])).expect("mirror"));
    let store = Arc::new(Store::open(directory.path()).expect("store"));
    let pulled = pull(&image, registries, store, Limits::default(), &Progress::default()).await;
    let names: Vec<_> =
        directory.path().read_dir().expect("directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names.len(), 5, "only layers, documents, partial, lock and outside: {names:?}");
    assert_eq!(fs::read(directory.path().join("outside")).expect("file"), b"untouched");
    assert!(!Path::new("/escaped").exists());
    let pulled = pulled.map_err(|error| error.to_string())?;
    Ok((directory, pulled.layers[0].clone()))
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
        (new().entry(EntryType::Char, "null", "", b""), "device nodes are refused"),
        (new().entry(EntryType::Block, "sda", "", b""), "device nodes are refused"),
        (new().entry(EntryType::GNUSparse, "s", "", b""), "sparse files are not supported"),
        (new().entry(EntryType::new(b'Z'), "z", "", b""), "entry type 0x5a is not supported"),
        (new().symlink("a", ""), "a link has no target"),
        (new().file("f", b"").file("f/below", b""), "open parent"),
        (new().directory("d/").file("d", b""), "was a directory before in the same layer"),
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
        (new().pax("mtime", "never").file("f", b""), "no number in range"),
        (new().pax("size", "5").file("f", b"1234"), "sizes in header and extended header differ"),
        (new().pax("uid", "4294967295").file("f", b""), "no number in range"),
        (new().pax("GNU.sparse.major", "1").file("f", b""), "sparse files are not supported"),
        (new().pax("path", "x"), "extended header without an entry"),
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
    if !root("owners_modes_times_and_links_arrive") {
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
    if !root("whiteouts_become_those_of_overlayfs") {
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
