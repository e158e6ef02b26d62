//! Everything that tests run in the sandbox of Pads: `pad_programs DIRECTORY` builds it and leaves
//! components, the table and the models that they compute on, the classifier's program for the
//! host, and `pad-runner` as the image has it. The image of the example whose guest runs them is
//! left in `target/apps`.
//!
//! What is written in C and C++ is compiled as the kit's page says it, around libsvm's own sources
//! from tests.lock.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use fs_err as fs;
use image::apps::OwnApp;
use image::pads::{self, COMPILE, COMPILERS, LINK, STRICT};
use reproducible_build::builder::Builder;
use reproducible_build::lock::{INPUTS, LockFile, TESTS};
use reproducible_build::progress;
use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::sandbox;
use reproducible_build::source::Tree;

/// Directories of `pads/` with what is compiled here.
const SOURCES: [&str; 5] =
    ["bench/programs", "include", "examples/infer", "examples/rows", "examples/svm"];
/// Modules in C, by their source file.
const C: [(&str, &str); 4] = [
    ("infer", "examples/infer/infer.c"),
    ("joint", "bench/programs/joint.c"),
    ("reads", "bench/programs/reads.c"),
    ("rows", "examples/rows/rows.c"),
];
/// Modules in C++ around libsvm.
const SVM: [(&str, &str); 3] =
    [("train", "train.cpp"), ("query", "query.cpp"), ("fine-tune", "fine_tune.cpp")];
/// The classifier for the host.
const NATIVE: &str = "native";
/// What is measured in the sandbox and on the host: ten kernels, and training by libsvm.
const KERNELS: &str = "kernels";
/// The same for the host.
const NATIVE_KERNELS: &str = "native-kernels";
/// What is measured has vectors in the sandbox as it has on the host, and the same roundings.
const MEASURED: &str = "-ffp-contract=off";
const VECTORS: &str = "-msimd128";
/// The group of tests.lock with the table, and its place there.
const TABLE: (&str, &str) =
    ("tables", "usr/lib/python3/dist-packages/sklearn/datasets/data/breast_cancer.csv");
/// The app whose image the guest of the example runs; it is left in `target/apps`.
const RELAY: &str = "relay";

#[path = "pad_programs/models.rs"]
mod models;

fn main() -> ExitCode {
    if let Some(code) = sandbox::run_if_child() {
        return code;
    }
    let done = match std::env::args_os().nth(1) {
        Some(directory) => run(Path::new(&directory)),
        None => Err("usage: pad_programs DIRECTORY".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", protocol::error::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &Path) -> Result<(), Box<dyn Error>> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("a checkout")?;
    let open = |file: LockFile| {
        let lock = checkout.join("reproducible-build").join(file.lock);
        Builder::open(&lock, progress::for_stderr())
    };
    let (builder, tests) = (open(INPUTS)?, open(TESTS)?);
    fs::create_dir_all(directory)?;
    let write = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes);
    let ours = Tree::of_checkout(builder.cache(), &checkout.join("pads"), &SOURCES)?;
    let built = builder.build(&compiled(ours, tests.source("libsvm")?))?.path;
    for name in modules() {
        let file = format!("{name}.wasm");
        write(&file, &pad_component::of_module(&fs::read(built.join(&file))?)?.bytes)?;
    }
    for name in [NATIVE, NATIVE_KERNELS] {
        fs::copy(built.join(name), directory.join(name))?;
    }
    for name in [pads::ENGINE, pads::LISTED, pads::EXAMPLE] {
        write(&format!("{name}.wasm"), &pads::component(&builder, checkout, name)?)?;
    }
    let runner = pads::runner(&builder, checkout)?;
    fs::copy(&runner, directory.join(runner.file_name().ok_or("a program")?))?;
    let (group, table) = TABLE;
    fs::copy(tests.root(group)?.path.join(table), directory.join("table.csv"))?;
    models::write(&tests, checkout, directory)?;
    let relay = OwnApp::named(RELAY).ok_or("the checkout has no such app")?;
    relay.build(&builder, checkout)?;
    Ok(())
}

/// All modules in C and C++.
fn modules() -> impl Iterator<Item = &'static str> {
    C.iter().chain(&SVM).map(|(name, _)| *name).chain([KERNELS])
}

/// All modules in C and C++, and the programs for the host.
fn compiled(ours: Tree, libsvm: Tree) -> Recipe {
    let (c, cpp) = (format!("clang-22 {COMPILE}"), format!("clang++-22 -fno-exceptions {COMPILE}"));
    let svm = "-std=c++17 -I {src}/libsvm {src}/pads/examples/svm";
    let mut script = vec![
        format!("{c} {STRICT} -c {{src}}/pads/include/dstyx_wasi.c -o wasi.o"),
        format!("{cpp} -w -c {{src}}/libsvm/svm.cpp -o svm.o"),
        "clang++-22 -O2 -w -c {src}/libsvm/svm.cpp -o native.o".to_owned(),
        format!("clang++-22 -O2 {STRICT} -static {svm}/native.cpp native.o -o {{out}}/{NATIVE}"),
    ];
    script.extend(C.map(|(name, file)| {
        format!("{c} {STRICT} {LINK} {{src}}/pads/{file} wasi.o -o {{out}}/{name}.wasm")
    }));
    script.extend(SVM.map(|(name, file)| {
        format!("{cpp} {STRICT} {LINK} {svm}/{file} svm.o wasi.o -o {{out}}/{name}.wasm")
    }));
    script.extend(measured(&c, &cpp));
    let modules = modules().map(|name| format!("{name}.wasm"));
    Recipe {
        name: "pad-programs".into(),
        root: COMPILERS.into(),
        sources: BTreeMap::from([
            ("libsvm".into(), Input::Tree(libsvm)),
            ("pads".into(), Input::Tree(ours)),
        ]),
        base: None,
        steps: vec![Command::sh(script.join("\n"))],
        env: BTreeMap::new(),
        keep_work: false,
        outputs: modules.chain([NATIVE, NATIVE_KERNELS].map(str::to_owned)).collect(),
    }
}

/// What compiles the kernels and libsvm for both, with the same options but the target's.
fn measured(c: &str, cpp: &str) -> Vec<String> {
    let bench = "{src}/pads/bench/programs";
    let svm = format!("-std=c++17 -I {{src}}/libsvm {bench}/svm.cpp");
    let c = [format!("{c} {VECTORS}"), "clang-22 -O2".to_owned()];
    let cpp = [format!("{cpp} {VECTORS}"), "clang++-22 -O2".to_owned()];
    let links = [
        format!("{LINK} ../wasi.o -o {{out}}/{KERNELS}.wasm"),
        format!("-static -o {{out}}/{NATIVE_KERNELS}"),
    ];
    let mut script = Vec::new();
    for (side, main) in ["sandboxed", "native"].into_iter().enumerate() {
        let (c, cpp, link) = (&c[side], &cpp[side], &links[side]);
        script.extend([
            format!("mkdir {main} && cd {main}"),
            format!(
                "{c} {STRICT} {MEASURED} -c {bench}/nbench/*.c {bench}/work.c {bench}/{main}.c"
            ),
            format!("{cpp} {STRICT} {MEASURED} -c {svm}"),
            format!("{cpp} -w {MEASURED} -c {{src}}/libsvm/svm.cpp -o libsvm.o"),
            format!("{cpp} *.o {link}"),
            "cd ..".to_owned(),
        ]);
    }
    script
}
