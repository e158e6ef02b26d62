//! `dstyx pin --image SERVICE=FILE`: an image that was built here, from what `docker save` wrote,
//! or a program for the sandbox of Pads from the file of its component.

use std::path::{Path, PathBuf};

use compose::digest::ContentDigest;
use compose::pinning;
use compose::{ImageName, MAX_BYTES};

use super::{failure, replace};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::image_archive;
use crate::output::Output;

/// The registry of images that exist only where they were built; no such host exists.
const REGISTRY: &str = "dstyx.local";

/// Keeps the image beside the app, and writes its digest where `paths` name the service's image.
pub fn pin(option: &str, paths: &[PathBuf], output: &Output) -> Outcome<()> {
    let (service, archive) = option.split_once('=').ok_or_else(|| {
        let hint = "write SERVICE=FILE, a service of the compose file and an archive or component";
        Failure::new(format!("--image {option}: no SERVICE=FILE"), hint)
    })?;
    let texts = texts(service, paths)?;
    let app = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("."));
    let layout = app.join(image_archive::DIRECTORY);
    let file = Path::new(archive);
    let is_program = texts.iter().any(|(_, text)| pinning::is_program(text, service));
    let digest = match (image_archive::program::is_one(file), is_program) {
        (true, true) => image_archive::program::import(file, &layout),
        (false, false) => image_archive::import(file, &layout),
        (true, false) => {
            return Err(Failure::new(
                format!("{archive} is WebAssembly, and the service {service} is a container"),
                "a program for the sandbox of Pads has `platform: wasi/wasm` in the compose file",
            ));
        }
        (false, true) => {
            return Err(Failure::new(
                format!("{archive} is no WebAssembly, and the service {service} is a program"),
                "name the component, which `dstyx pad component` makes",
            ));
        }
    };
    let digest = digest.map_err(|error| Failure::new(chain(archive, &error), error.hint()))?;
    for (path, text) in texts {
        let image = format!("{}@{digest}", name(&text, service));
        let changed =
            pinning::set_image(&text, service, &image).map_err(|error| failure(path, &error))?;
        if let Some(changed) = changed {
            replace(path, &changed)?;
            output.step(&format!("{}: {service} runs {image}", path.display()));
        }
    }
    output.step(&format!("{} has the image, and `up` serves it to the guest", layout.display()));
    Ok(())
}

fn chain(archive: &str, error: &image_archive::ArchiveError) -> String {
    format!("{archive}: {}", protocol::error::chain(error))
}

/// The files that name an image of the service, or build one. They are looked at before anything is
/// written.
fn texts<'p>(service: &str, paths: &'p [PathBuf]) -> Outcome<Vec<(&'p PathBuf, String)>> {
    let placeholder = format!("{REGISTRY}/app@{}", ContentDigest::from_bytes([0; 32]));
    let mut texts = Vec::new();
    for path in paths {
        let text = files::read_text(path, MAX_BYTES as u64)?;
        let changed = pinning::set_image(&text, service, &placeholder);
        if changed.map_err(|error| failure(path, &error))?.is_some() {
            texts.push((path, text));
        }
    }
    if texts.is_empty() {
        return Err(Failure::new(
            format!("no service {service} has an image or a build"),
            "is the name of the service right?",
        ));
    }
    Ok(texts)
}

/// What the image is called where the compose file names it; a name of nowhere if it does not.
fn name(text: &str, service: &str) -> String {
    let written = pinning::image_of(text, service).unwrap_or_default();
    let name = written.split('@').next().unwrap_or_default();
    if ImageName::parse(name).is_ok() {
        return name.to_owned();
    }
    let own = format!("{REGISTRY}/{}", service.to_ascii_lowercase());
    if ImageName::parse(&own).is_ok() { own } else { format!("{REGISTRY}/app") }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What `docker save` writes of an image with one layer.
    fn archive(path: &Path) {
        use sha2::Digest as _;
        let layer = b"a layer".to_vec();
        let diff_id = hex::encode(sha2::Sha256::digest(&layer));
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#
        );
        let list = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#;
        let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
        for (name, bytes) in
            [("c.json", config.as_bytes()), ("l.tar", &layer), ("manifest.json", list.as_bytes())]
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes).unwrap();
        }
        builder.finish().unwrap();
    }

    #[test]
    fn a_program_is_pinned_from_its_component_where_the_service_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let component = directory.path().join("mean.wasm");
        let text = r#"(component (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#;
        fs::write(&component, wat::parse_str(text).unwrap()).unwrap();
        let saved = directory.path().join("web.tar");
        archive(&saved);
        let file = directory.path().join("compose.yaml");
        let text = "services:\n  web:\n    image: web:1\n  mean:\n    image: a.org/mean:1\n    platform: wasi/wasm\n";
        fs::write(&file, text).unwrap();
        let pinned = |service: &str, from: &Path| {
            let option = format!("{service}={}", from.display());
            pin(&option, std::slice::from_ref(&file), &Output::new(true))
        };
        for (service, from, expected) in [
            ("web", &component, "is WebAssembly, and the service web is a container"),
            ("mean", &saved, "is no WebAssembly, and the service mean is a program"),
        ] {
            let error = pinned(service, from).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        pinned("mean", &component).unwrap();
        let after = fs::read_to_string(&file).unwrap();
        let (_, rest) = after.split_once("image: a.org/mean:1@sha256:").unwrap();
        let blobs = directory.path().join(image_archive::DIRECTORY).join("blobs/sha256");
        let manifest = fs::read(blobs.join(&rest[..64])).unwrap();
        container_images::parse_artifact(&manifest).unwrap();
        assert!(rest[64..].starts_with("\n    platform: wasi/wasm"), "{rest}");
    }

    #[test]
    fn a_service_that_was_built_runs_what_was_saved() {
        let directory = tempfile::tempdir().unwrap();
        let saved = directory.path().join("web.tar");
        archive(&saved);
        let file = directory.path().join("compose.yaml");
        fs::write(&file, "services:\n  web:\n    build: ./web\n    read_only: true\n").unwrap();
        let option = format!("web={}", saved.display());
        let pinned = |option: &str| pin(option, std::slice::from_ref(&file), &Output::new(true));
        pinned(&option).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let digest = text
            .strip_prefix("services:\n  web:\n    image: dstyx.local/web@sha256:")
            .and_then(|rest| rest.strip_suffix("\n    read_only: true\n"))
            .unwrap_or_else(|| panic!("{text}"));
        let blob =
            directory.path().join(image_archive::DIRECTORY).join("blobs/sha256").join(digest);
        assert!(blob.is_file());
        pinned(&option).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "a second time changes nothing");
        for (wrong, expected) in [
            ("web", "no SERVICE=FILE"),
            ("db=web.tar", "no service db has an image or a build"),
            ("web=/nonexistent.tar", "/nonexistent.tar: the archive cannot be read"),
        ] {
            let error = pinned(wrong).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}
