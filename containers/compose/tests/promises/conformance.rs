//! Files that ask for what the compose specification's conformance tests expect, once their images
//! are pinned, mean what they say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use compose::model::{MountSource, NetworkMode};
use compose::pinning;
use compose::{ComposeFile, Inputs, Protocol};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/compose/conformance").join(name)
}

/// The test `name` with its images pinned, as `dstyx pin` does it.
fn read(name: &str) -> ComposeFile {
    let (mut text, mut files) = (String::new(), BTreeMap::new());
    for entry in fs::read_dir(directory(name)).expect(name) {
        let path = entry.expect(name).path();
        match path.file_name().and_then(|name| name.to_str()).expect("UTF-8") {
            "compose.yaml" => text = fs::read_to_string(&path).expect(name),
            other => drop(files.insert(other.to_owned(), fs::read(&path).expect(name))),
        }
    }
    let digest = format!("sha256:{}", "12".repeat(32)).parse().expect("digest");
    for image in pinning::unpinned(text.as_bytes()).expect(name) {
        text = pinning::pin(&text, &image, digest).expect(name);
    }
    ComposeFile::read(text.as_bytes(), &Inputs { files: &files, ..Inputs::default() })
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn networks(file: &ComposeFile) -> Vec<(&str, Vec<&str>)> {
    let attached = |mode: &'_ NetworkMode| match mode {
        NetworkMode::Networks(attached) => attached.iter().map(|it| it.network.clone()).collect(),
        other => panic!("{other:?}"),
    };
    file.services
        .iter()
        .map(|service| {
            let names: Vec<String> = attached(&service.network);
            let known = file.networks.iter().filter(|network| names.contains(&network.name));
            (service.name.as_str(), known.map(|network| network.name.as_str()).collect())
        })
        .collect()
}

fn ports(file: &ComposeFile) -> Vec<(u16, u16, Protocol)> {
    let ports = file.services.iter().flat_map(|service| &service.ports);
    ports.map(|port| (port.published, port.target, port.protocol)).collect()
}

/// Target and content of the one file that the first service mounts.
fn mounted(file: &ComposeFile) -> (&str, &[u8]) {
    let [mount] = &file.services[0].mounts[..] else { panic!("{:?}", file.services[0].mounts) };
    match &mount.source {
        MountSource::File { content, mode: 0o444, uid: 0, gid: 0 } if mount.read_only => {
            (&mount.target, content)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn networks_join_and_separate() {
    let same = read("simple_network");
    assert_eq!(networks(&same), [("front", vec!["common"]), ("target", vec!["common"])]);
    assert_eq!(ports(&same), [(8080, 8080, Protocol::Tcp)]);
    let different = read("different_networks");
    assert_eq!(networks(&different), [("front", vec!["outside"]), ("target", vec!["inside"])]);
}

#[test]
fn files_are_mounted() {
    assert_eq!(mounted(&read("simple_configfile")), ("/volumes/words.txt", &b"as a config"[..]));
    assert_eq!(mounted(&read("simple_secretfile")), ("/volumes/words.txt", &b"as a secret"[..]));
    let volume = read("simple_volume");
    assert_eq!(mounted(&volume), ("/volumes/words.txt", &b"as a bind"[..]));
    assert_eq!(volume.notes.len(), 2, "a version, and a bind without :ro: {:?}", volume.notes);
}

#[test]
fn ports_have_protocols_and_services_replicas() {
    assert_eq!(
        ports(&read("udp_port")),
        [(8080, 8080, Protocol::Tcp), (10001, 10001, Protocol::Udp)]
    );
    let scaling = read("scaling");
    let replicas: Vec<(&str, u16)> =
        scaling.services.iter().map(|it| (it.name.as_str(), it.replicas)).collect();
    assert_eq!(replicas, [("server", 1), ("client", 3)]);
    assert_eq!(networks(&scaling), [("server", vec!["default"]), ("client", vec!["default"])]);
    assert_eq!(read("simple_lifecycle").services.len(), 1);
}

#[test]
fn no_conformance_test_is_left_out() {
    let names = fs::read_dir(directory(""))
        .expect("vectors")
        .map(|it| it.expect("entry").file_name().into_string());
    let mut names: Vec<String> = names.collect::<Result<_, _>>().expect("UTF-8");
    names.sort();
    let read = [
        "different_networks",
        "scaling",
        "simple_configfile",
        "simple_lifecycle",
        "simple_network",
        "simple_secretfile",
        "simple_volume",
        "udp_port",
    ];
    assert_eq!(names, read);
}
