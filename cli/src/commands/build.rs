//! `dstyx build`: the image of one flavour, compared with what was last accepted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use image::BuiltImage;
use protocol::image::Flavour;
use reproducible_build::accepted::{Accepted, Artefact};
use serde_json::json;

use crate::args::{Build, FlavourArg};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::{build, paths};

/// Files of an image that are compared.
const FILES: [&str; 4] = ["firmware.fd", "kernel", "initrd", "image.json"];

/// Prints the image's directory; says whether it is the accepted build.
pub fn run(options: &Build, output: &Output) -> Outcome<ExitCode> {
    let flavour = match options.flavour {
        FlavourArg::Release => Flavour::Release,
        FlavourArg::Dev => Flavour::Dev,
    };
    let image = build::image(&build::open()?, flavour)?;
    let accepted_file = paths::checkout()?.join("reproducible-build/accepted.json");
    let built = digests(&image)?;
    if options.accept {
        built
            .write_over(&accepted_file)
            .hint(accepted_file.display(), "is the checkout writable?")?;
    }
    let deviations = deviations(&accepted_file, &built)?;
    let document = json!({
        "image": image.directory,
        "os_image_hash": image.os_image_hash,
        "accepted": deviations.is_empty(),
        "deviations": deviations,
    });
    output.result(&document, || {
        let notes: String = deviations
            .iter()
            .map(|deviation| format!("not the accepted build: {deviation}\n"))
            .collect();
        format!("{}\nos-image-hash {}\n{notes}", image.directory.display(), image.os_image_hash)
    });
    if options.check && !deviations.is_empty() {
        let hint = "`dstyx rebuild` says whether this machine's builds agree; if the sources were meant to change, \
                    review and run `dstyx build --accept` for both flavours";
        return Err(Failure::new(
            format!("{} files are not the accepted ones", deviations.len()),
            hint,
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn digests(image: &BuiltImage) -> Outcome<Accepted> {
    let prefix = image.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let artefact = |name: &str| {
        let path = image.directory.join(name);
        let artefact = Artefact::of_file(&path).hint(path.display(), "build again")?;
        Ok((format!("{prefix}/{name}"), artefact))
    };
    Ok(Accepted::new(FILES.into_iter().map(artefact).collect::<Outcome<BTreeMap<_, _>>>()?))
}

fn deviations(file: &Path, built: &Accepted) -> Outcome<Vec<String>> {
    if !file.exists() {
        return Ok(vec!["nothing was accepted yet".to_owned()]);
    }
    let accepted = Accepted::read(file).hint(file.display(), "restore it from version control")?;
    Ok(accepted.deviations(built).iter().map(ToString::to_string).collect())
}
