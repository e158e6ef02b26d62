//! A relative path that is no file of the app directory is a directory on the data disk; what is
//! there is measured, or the file says what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use compose::model::{DirectoryFile, Mount, MountSource};
use compose::{ComposeFile, Inputs, Wanted};

use super::PIN;

/// Reads services of these volumes, with a file and a directory in the app directory, and a
/// directory `local` that does not travel.
fn read(services: &[&[&str]], rest: &str) -> Result<ComposeFile, String> {
    let files: BTreeMap<String, Vec<u8>> =
        [("app.conf", "x"), ("conf/run.sh", "#!/bin/sh\n"), ("conf/d/a", "a")]
            .map(|(path, content)| (path.to_owned(), content.into()))
            .into();
    let directories = BTreeSet::from(["local".to_owned()]);
    let inputs = Inputs { files: &files, directories: &directories, ..Inputs::default() };
    let file = ComposeFile::read(text(services, rest).as_bytes(), &inputs);
    file.map_err(|error| error.to_string())
}

fn text(services: &[&[&str]], rest: &str) -> String {
    let mut text = "services:\n".to_owned();
    for (index, volumes) in services.iter().enumerate() {
        text.push_str(&format!("  s{index}:\n    image: x{PIN}\n    volumes: {volumes:?}\n"));
    }
    text + rest
}

fn mounts(volume: &str, rest: &str) -> Vec<Mount> {
    let file = read(&[&[volume]], rest).unwrap_or_else(|error| panic!("{volume}: {error}"));
    file.services[0].mounts.clone()
}

fn data(path: &str) -> MountSource {
    MountSource::Data { path: path.to_owned(), seed: Vec::new() }
}

#[test]
fn what_is_not_there_is_a_data_directory() {
    for (volume, path, target) in [
        ("./data:/var/lib/data", "data", "/var/lib/data"),
        ("./a/../data//db/:/db", "data/db", "/db"),
        ("./.hidden:/h", ".hidden", "/h"),
        ("./conf.d:/etc/conf.d", "conf.d", "/etc/conf.d"),
        ("./v1.2:/v", "v1.2", "/v"),
        ("./certs.pem/:/certs", "certs.pem", "/certs"),
        ("./data:/srv/example.com/", "data", "/srv/example.com"),
    ] {
        let expected = Mount { target: target.into(), read_only: false, source: data(path) };
        assert_eq!(mounts(volume, ""), [expected], "{volume}");
    }
    let file = read(&[&["./b:/b", "./a/c:/c"], &["./a:/a:ro"]], "").expect("read");
    assert_eq!(file.data, ["a", "a/c", "b"]);
    assert!(file.services[1].mounts[0].read_only, "another service writes it");
}

#[test]
fn what_is_there_is_measured_or_said() {
    let file =
        |read_only| read(&[&[if read_only { "./app.conf:/c:ro" } else { "./app.conf:/c" }]], "");
    let content = b"x".to_vec();
    let source = MountSource::File { content, uid: 0, gid: 0, mode: 0o444 };
    for read_only in [true, false] {
        let file = file(read_only).expect("a file");
        let expected = Mount { target: "/c".into(), read_only: true, source: source.clone() };
        assert_eq!(file.services[0].mounts, [expected]);
        assert_eq!(file.notes.len(), usize::from(!read_only), "{:?}", file.notes);
    }
    let inside = |path: &str, content: &str, mode| DirectoryFile {
        path: path.into(),
        content: content.into(),
        mode,
    };
    let files = vec![inside("d/a", "a", 0o444), inside("run.sh", "#!/bin/sh\n", 0o555)];
    let measured = MountSource::Directory { files: files.clone() };
    assert_eq!(mounts("./conf:/c:ro", "")[0].source, measured);
    let seed = "x-dstyx: {seed: [./conf]}\n";
    let seeded = MountSource::Data { path: "conf".into(), seed: files };
    assert_eq!(mounts("./conf:/c", seed)[0].source, seeded);
    let below = MountSource::Data { path: "conf/d".into(), seed: vec![inside("a", "a", 0o444)] };
    assert_eq!(mounts("./conf/d:/c", seed)[0].source, below);
    for declared in ["x-dstyx: {data: [./conf, local/]}\n", "x-dstyx: {data: [conf, local]}\n"] {
        assert_eq!(mounts("./conf:/c", declared)[0].source, data("conf"));
        assert_eq!(mounts("./conf/d:/c", declared)[0].source, data("conf/d"));
        assert_eq!(mounts("./local:/c", declared)[0].source, data("local"));
    }
}

#[test]
fn a_directory_that_is_there_is_never_guessed_about() {
    for volume in ["./local:/c", "./conf:/c", "./conf/d:/c:rw"] {
        let said = read(&[&[volume]], "").expect_err(volume);
        assert!(said.contains("x-dstyx: {seed: [./") && said.contains("line 4"), "{said}");
    }
}

#[test]
fn data_directories_are_not_asked_for() {
    let text = text(
        &[&["./data:/d", "./local:/l", "./conf:/c:ro", "./kept:/k", "./start:/s"]],
        "x-dstyx: {data: kept, seed: start}\n",
    );
    let wanted = ComposeFile::wanted(text.as_bytes(), &Inputs::default()).expect("wanted");
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(
        wanted,
        Wanted { paths: paths(&["conf", "start"]), files: paths(&["data", "local"]) }
    );
}
