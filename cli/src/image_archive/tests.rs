//! Archives in each form, and what is refused of them.

use serde_json::json;

use super::*;

/// Entries in order.
type Entries = Vec<(String, Vec<u8>)>;

fn tar_of(entries: &Entries) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        match bytes.strip_prefix(b"-> ") {
            Some(target) => {
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                let target = std::str::from_utf8(target).unwrap();
                builder.append_link(&mut header, path, target).unwrap();
            }
            None => builder.append_data(&mut header, path, bytes.as_slice()).unwrap(),
        }
    }
    builder.into_inner().unwrap()
}

fn imported(bytes: &[u8]) -> (tempfile::TempDir, Result<ContentDigest, ArchiveError>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image.tar");
    fs::write(&file, bytes).unwrap();
    let layout = directory.path().join(DIRECTORY);
    let digest = import(&file, &layout);
    assert!(!layout.join("unpacking").exists(), "something is left behind");
    assert_eq!(layout.exists(), digest.is_ok(), "a layout without an image");
    (directory, digest)
}

const LAYERS: [&[u8]; 2] = [b"one layer", b"another layer"];

fn config(architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = LAYERS.iter().map(|layer| digest_of(layer).to_string()).collect();
    let config = json!({ "os": "linux", "architecture": architecture, "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    serde_json::to_vec(&config).unwrap()
}

/// As Docker before 25 and Podman write by default; the second layer is linked.
fn docker(architecture: &str) -> Entries {
    let list = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": ["a/layer.tar", "b/layer.tar"] }]);
    vec![
        ("c.json".into(), config(architecture)),
        ("x/layer.tar".into(), LAYERS[1].to_vec()),
        ("a/layer.tar".into(), LAYERS[0].to_vec()),
        ("b/layer.tar".into(), b"-> ../x/layer.tar".to_vec()),
        ("manifest.json".into(), serde_json::to_vec(&list).unwrap()),
    ]
}

/// An OCI layout, as `podman save --format oci-archive` and newer Dockers write.
fn oci(architecture: &str) -> (Entries, ContentDigest) {
    let describe = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": digest_of(bytes).to_string(), "size": bytes.len() });
    let config = config(architecture);
    let manifest =
        serde_json::to_vec(&json!({ "schemaVersion": 2, "config": describe(CONFIG, &config),
        "layers": LAYERS.map(|layer| describe(LAYER, layer)) }))
        .unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": [describe(MANIFEST, &manifest)] });
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", digest_of(bytes).hex()), bytes.to_vec());
    let digest = digest_of(&manifest);
    let entries = vec![
        blob(LAYERS[0]),
        blob(LAYERS[1]),
        blob(&config),
        blob(&manifest),
        ("index.json".into(), serde_json::to_vec(&index).unwrap()),
        ("oci-layout".into(), LAYOUT.to_vec()),
    ];
    (entries, digest)
}

#[test]
fn both_forms_become_a_layout_whose_blobs_have_their_digests() {
    let (oci, digest) = oci("amd64");
    for (entries, expected) in [(docker("amd64"), None), (oci, Some(digest))] {
        let (directory, digest) = imported(&tar_of(&entries));
        let digest = digest.unwrap();
        assert!(expected.is_none_or(|expected| expected == digest));
        let layout = directory.path().join(DIRECTORY);
        let blobs: Vec<_> = fs::read_dir(layout.join("blobs/sha256")).unwrap().collect();
        assert_eq!(blobs.len(), 4);
        for blob in blobs {
            let blob = blob.unwrap();
            let found = digest_of(&fs::read(blob.path()).unwrap()).hex();
            assert_eq!(found, blob.file_name().to_str().unwrap());
        }
        let manifest = fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
        assert!(matches!(parse_document(&manifest), Ok(Document::Manifest { .. })));
        let index = fs::read_to_string(layout.join("index.json")).unwrap();
        assert!(index.contains(&digest.to_string()), "{index}");
        // A second time, and a second image, are added.
        let again = directory.path().join("image.tar");
        assert_eq!(import(&again, &layout).unwrap(), digest);
        assert_eq!(fs::read_to_string(layout.join("index.json")).unwrap(), index);
    }
}

#[test]
fn what_is_no_image_for_a_guest_is_refused_with_its_reason() {
    let changed = |at: usize, bytes: &[u8]| {
        let mut entries = docker("amd64");
        entries[at].1 = bytes.to_vec();
        tar_of(&entries)
    };
    let mut twice = docker("amd64");
    twice.push(("./c.json".into(), b"{}".to_vec()));
    let (mut lost, _) = oci("amd64");
    lost[0].1[0] ^= 1;
    let mut two = docker("amd64");
    two[4].1 = [b"[", &two[4].1[1..two[4].1.len() - 1], b",", &two[4].1[1..]].concat();
    let mut trailing = tar_of(&docker("amd64"));
    trailing.push(1);
    let mut short = tar_of(&docker("amd64"));
    short.truncate(700);
    for (bytes, expected) in [
        (tar_of(&docker("arm64")), "no image that a guest runs"),
        (changed(2, b"other layer"), "a layer is sha256:"),
        (changed(3, b"-> ../../x"), "leads out"),
        (changed(3, b"-> gone"), "no \"b/layer.tar\""),
        (changed(4, b"[]"), "holds 0 images"),
        (changed(4, b"{"), "manifest.json is not the JSON"),
        (tar_of(&two), "holds 2 images"),
        (tar_of(&twice), "\"c.json\" stands twice"),
        (tar_of(&lost), "no file whose digest is"),
        (tar_of(&vec![("a".into(), b"b".to_vec())]), "neither index.json nor manifest.json"),
        (trailing, "bytes follow"),
        (short, "ends inside an entry"),
        (Vec::new(), "holds no file"),
        (b"no archive at all".repeat(100), "cannot be read"),
    ] {
        let error = imported(&bytes).1.expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn an_extended_header_moves_nothing() {
    let mut builder = tar::Builder::new(Vec::new());
    let body = b"20 path=/etc/passwd\n";
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(body.len() as u64);
    builder.append_data(&mut header, "h", body.as_slice()).unwrap();
    let error = imported(&builder.into_inner().unwrap()).1.unwrap_err();
    assert!(matches!(error, ArchiveError::Path), "{error}");
}
