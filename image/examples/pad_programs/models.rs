//! Models in the ONNX format, out of packages of Python's registry: by its ordinary client, with
//! the host's configuration of it, as `tests/vectors/models/requirements.txt` pins them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use protocol::digest::Sha256Digest;
use reproducible_build::builder::Builder;
use reproducible_build::cache::Kind;
use reproducible_build::program;

/// The pins.
const PINS: &str = "tests/vectors/models/requirements.txt";
/// Each model's name here, and its place among the installed packages.
const MODELS: [(&str, &str); 3] = [
    ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
    ("magika", "magika/models/standard_v3_3/model.onnx"),
    ("rapidocr-rec", "rapidocr_onnxruntime/models/ch_PP-OCRv3_rec_infer.onnx"),
];
/// The Python that the client runs by, and its version, which packages must be for.
const PYTHON: (&str, &str) = ("image-python", "3.13");
/// What its C library can load, and packages that are for no platform.
const PLATFORMS: [&str; 3] = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "any"];

/// Leaves `NAME.onnx` of each model in the directory. Packages are fetched once a machine.
pub fn write(tests: &Builder, checkout: &Path, directory: &Path) -> Result<(), Box<dyn Error>> {
    let pins = checkout.join(PINS);
    let key = Sha256Digest::of(&fs::read(&pins)?).to_string();
    let kept =
        tests.cache().made_once(Kind::Builds, &key, |scratch| fetch(tests, &pins, scratch))?;
    for (name, _) in MODELS {
        let file = format!("{name}.onnx");
        fs::copy(kept.join(&file), directory.join(&file))?;
    }
    Ok(())
}

/// A directory below `scratch` with the models.
fn fetch(tests: &Builder, pins: &Path, scratch: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let (installed, models) = (scratch.join("installed"), scratch.join("models"));
    let (group, version) = PYTHON;
    let python = tests.root(group)?.path;
    let argv = program::argv(&python, &format!("usr/bin/python{version}"));
    let mut pip = Command::new(&argv[0]);
    pip.args(&argv[1..]).env("PYTHONHOME", python.join("usr"));
    pip.env("PYTHONPATH", tests.root("pip")?.path.join("usr/lib/python3/dist-packages"));
    pip.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--no-compile"]);
    pip.args(["--only-binary=:all:", "--implementation=cp", "--python-version", version]);
    pip.args(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]));
    pip.arg("--target").arg(&installed).arg("--requirement").arg(pins);
    let output = pip.output()?;
    if !output.status.success() {
        return Err(format!("pip: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    fs::create_dir(&models)?;
    for (name, place) in MODELS {
        fs::copy(installed.join(place), models.join(name).with_extension("onnx"))?;
    }
    Ok(models)
}
