//! `dstyx pin`: from the tags of a compose file to digests, so that what was tried is what runs.
//!
//! A tag is asked for once, here, and the person sees what it stands for; from then on only the
//! digest counts. Docker's own credentials are taken from `DOCKER_AUTH_CONFIG`, if it is set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use compose::digest::ContentDigest;
use compose::pinning::{self, PinError, Unpinned};
use compose::{Environment, MAX_BYTES};
use container_images::{Credentials, Mirror, Registries, RegistrySettings};
use serde_json::json;

use crate::args::Pin;
use crate::compose_files;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::output::Output;

mod saved;

/// Where distributions keep the certificate roots of the web, the first that is there.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A compose file, and its images that are not pinned.
struct File {
    path: PathBuf,
    text: String,
    images: Vec<Unpinned>,
}

/// Resolves every tag and rewrites the files; none is touched before all digests are there.
pub fn run(options: &Pin, output: &Output) -> Outcome<ExitCode> {
    let paths = paths(&options.file)?;
    for image in &options.image {
        saved::pin(image, &paths, output)?;
    }
    let mut files = Vec::new();
    for path in paths {
        let text = files::read_text(&path, MAX_BYTES as u64)?;
        let images = pinning::unpinned(text.as_bytes()).map_err(|error| failure(&path, &error))?;
        files.push(File { path, text, images });
    }
    let digests = resolve(&files, options, output)?;
    for File { path, text, images } in &mut files {
        for image in &*images {
            *text = pinning::pin(text, image, digests[&image.text])
                .map_err(|error| failure(path, &error))?;
        }
    }
    for File { path, text, images } in &files {
        if !images.is_empty() {
            replace(path, text)?;
        }
    }
    let row = |path: &Path, image: &Unpinned| {
        let digest = digests[&image.text].to_string();
        json!({ "file": path, "line": image.line, "image": image.text, "digest": digest })
    };
    let rows = files.iter().flat_map(|file| {
        file.images.iter().map(|image| row(&file.path, image)).collect::<Vec<_>>()
    });
    let pinned: Vec<_> = rows.collect();
    let document = json!({ "file": files.first().map(|file| &file.path), "pinned": pinned });
    output.result(&document, || files.iter().map(summary).collect());
    Ok(ExitCode::SUCCESS)
}

fn summary(File { path, images, .. }: &File) -> String {
    let file = path.display();
    match images.len() {
        0 => format!("{file}: every image is pinned already\n"),
        count => format!("{file}: {count} image{} pinned\n", if count == 1 { "" } else { "s" }),
    }
}

/// The files to pin: those named, or of a named directory Docker's choice, and all files that they
/// extend or include.
fn paths(named: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in named {
        let (directory, files) = match path.is_dir() {
            true => (path.as_path(), Vec::new()),
            false => (
                path.parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                    .unwrap_or(Path::new(".")),
                path.file_name().map(PathBuf::from).into_iter().collect(),
            ),
        };
        let canonical = directory
            .canonicalize()
            .hint(path.display(), "name an app directory or a compose file")?;
        let names = compose_files::chosen(&canonical, &files)?;
        let joined = compose_files::read(&canonical, &names)?;
        for file in joined.distinct_files() {
            let file = if directory == Path::new(".") { file.into() } else { directory.join(file) };
            if !paths.contains(&file) {
                paths.push(file);
            }
        }
    }
    Ok(paths)
}

fn failure(file: &Path, error: &PinError) -> Failure {
    let hint = match error {
        PinError::Document(_) => "a compose file is one YAML document",
        PinError::Variable { .. } => "write the image's name and tag out, then pin it",
        PinError::Name { .. } => "write [registry/]repository[:tag]",
        PinError::Place { .. } => "write the name on one line, without escapes",
    };
    Failure::new(format!("{}: {error}", file.display()), hint)
}

/// The digest behind each name, every name asked for once.
fn resolve(
    files: &[File],
    options: &Pin,
    output: &Output,
) -> Outcome<BTreeMap<String, ContentDigest>> {
    let mut digests = BTreeMap::new();
    if files.iter().all(|file| file.images.is_empty()) {
        return Ok(digests);
    }
    let registries = Registries::new(settings(options)?)
        .hint("registries", "check the options and certificates")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .hint("starting the registry client", "see the message")?;
    let images = files.iter().flat_map(|file| file.images.iter().map(move |image| (file, image)));
    for (file, image) in images {
        if digests.contains_key(&image.text) {
            continue;
        }
        let digest = runtime.block_on(registries.resolve(&image.name)).hint(
            format!("{}, line {}", file.path.display(), image.line),
            "is the tag right, and the registry public? --registry-mirror and --insecure-registry ask elsewhere; \
             nothing was changed",
        )?;
        output.step(&format!("{} is {digest}", image.text));
        digests.insert(image.text.clone(), digest);
    }
    Ok(digests)
}

fn settings(options: &Pin) -> Outcome<RegistrySettings> {
    let mirrors = options
        .registry_mirror
        .iter()
        .map(|address| Mirror::parse(address))
        .collect::<Result<_, _>>();
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect::<Environment>();
    let roots = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    Ok(RegistrySettings {
        mirrors: mirrors.hint("--registry-mirror", "write http://HOST:PORT or https://HOST")?,
        roots_pem: roots.or_else(|| ROOTS.iter().map(PathBuf::from).find(|path| path.exists())),
        insecure: options.insecure_registry.clone(),
        credentials: Credentials::from_environment(&variables)
            .hint("registry credentials", "unset DOCKER_AUTH_CONFIG for public images")?,
        ..RegistrySettings::default()
    })
}

/// Puts the text in the file's place at once, with the permissions that it had.
fn replace(file: &Path, text: &str) -> Outcome<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let written = fs::metadata(file).and_then(|old| {
        fs::write(&new, text)?;
        fs::set_permissions(&new, old.permissions())?;
        fs::rename(&new, file)
    });
    written.hint(file.display(), "is the directory writable?")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// SHA-256 of `{}`.
    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    /// A registry that has `shop/web:1` and says of it what `header` says; its address.
    fn registry(header: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines =
                    BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.find(String::is_empty);
                let answer = match first.as_str() {
                    "GET /v2/shop/web/manifests/1 HTTP/1.1" => {
                        format!(
                            "HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                        )
                    }
                    _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_owned(),
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    fn pin(
        text: &str,
        mirror: Option<&str>,
        insecure: Option<&str>,
    ) -> (Outcome<ExitCode>, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("docker-compose.yml");
        fs::write(&file, text).unwrap();
        let options = Pin {
            file: vec![file.clone()],
            image: Vec::new(),
            registry_mirror: mirror
                .map(|address| format!("http://{address}"))
                .into_iter()
                .collect(),
            insecure_registry: insecure.map(str::to_owned).into_iter().collect(),
        };
        let outcome = run(&options, &Output::new(true));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something is left behind");
        (outcome, fs::read_to_string(&file).unwrap())
    }

    const INDEX: &str = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";

    #[test]
    fn a_tag_becomes_what_the_registry_has() {
        let address = registry(INDEX);
        let text =
            format!("# mine\nservices:\n  web:\n    image: {address}/shop/web:1  # pinned\n");
        let (outcome, pinned) = pin(&text, None, Some(&address));
        outcome.unwrap();
        assert_eq!(pinned, text.replace("web:1 ", &format!("web:1@{DIGEST} ")));
        let (outcome, again) = pin(&pinned, None, None);
        outcome.unwrap();
        assert_eq!(again, pinned);
    }

    #[test]
    fn a_mirror_stands_for_every_registry() {
        let (outcome, pinned) =
            pin("services: {web: {image: shop/web:1}}\n", Some(&registry(INDEX)), None);
        outcome.unwrap();
        assert_eq!(pinned, format!("services: {{web: {{image: shop/web:1@{DIGEST}}}}}\n"));
    }

    #[test]
    fn a_file_stays_as_it_is_when_an_image_cannot_be_had() {
        let other = "Content-Type: application/vnd.oci.image.index.v1+json\r\n\
                     Docker-Content-Digest: sha256:0000000000000000000000000000000000000000000000000000000000000001\r\n";
        for (header, tag, expected) in [
            (INDEX, "2", "HTTP status 404"),
            ("Content-Type: text/html\r\n", "1", "media type \"text/html\""),
            (other, "1", "wrong bytes"),
        ] {
            let address = registry(header);
            let text = format!("services: {{web: {{image: \"{address}/shop/web:{tag}\"}}}}\n");
            let (outcome, after) = pin(&text, None, Some(&address));
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(after, text);
        }
    }

    #[test]
    fn an_image_with_a_variable_is_refused() {
        let (outcome, _) = pin("services: {web: {image: \"a:${TAG}\"}}\n", None, None);
        assert!(outcome.unwrap_err().to_string().contains("has a variable"));
    }

    #[test]
    fn every_file_of_an_app_is_pinned_where_it_stands() {
        let address = registry(INDEX);
        let directory = tempfile::tempdir().unwrap();
        let files = [
            (
                "compose.yaml",
                "services:\n  a: {extends: {file: base/b.yml, service: b}}\n".to_owned(),
            ),
            (
                "compose.override.yaml",
                format!("services:\n  c:\n    image: {address}/shop/web:1\n    ports: !reset []\n"),
            ),
            ("base/b.yml", format!("services: {{b: {{image: {address}/shop/web:1}}}}\n")),
        ];
        fs::create_dir(directory.path().join("base")).unwrap();
        for (name, text) in &files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let options = Pin {
            file: vec![directory.path().to_owned()],
            image: Vec::new(),
            registry_mirror: Vec::new(),
            insecure_registry: vec![address],
        };
        run(&options, &Output::new(true)).unwrap();
        for (name, text) in &files {
            let after = fs::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(after, text.replace("web:1", &format!("web:1@{DIGEST}")), "{name}");
        }
    }
}
