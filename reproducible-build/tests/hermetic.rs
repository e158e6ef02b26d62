//! Promises of the hermetic builder, kept with the locked toolchain: a build sees
//! nothing of the host, failures say where their log is, and surroundings that reach
//! the output are caught and named.
//!
//! Takes the packages of the lock's group `build` (`DSTYX_INPUTS`, cache or mirror).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use object::{File, Object as _};
use reproducible_build::builder::{BuildError, Builder};
use reproducible_build::compare::What;
use reproducible_build::progress::Silent;
use reproducible_build::qemu::Qemu;
use reproducible_build::rebuild;
use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::rust::{self, Programs};
use reproducible_build::sandbox;
use reproducible_build::source::Tree;
use reproducible_build::variation::Variation;

fn main() -> ExitCode {
    if let Some(code) = sandbox::run_if_child() {
        return code;
    }
    let tests = vec![
        Trial::test("a_build_sees_nothing_of_the_host", a_build_sees_nothing_of_the_host),
        Trial::test("a_failure_shows_its_log", a_failure_shows_its_log),
        Trial::test("outputs_are_those_of_the_recipe", outputs_are_those_of_the_recipe),
        Trial::test("a_known_key_is_not_built_again", a_known_key_is_not_built_again),
        Trial::test(
            "a_recipe_goes_on_from_the_work_of_another",
            a_recipe_goes_on_from_the_work_of_another,
        ),
        Trial::test("a_planted_stamp_is_caught_and_named", a_planted_stamp_is_caught_and_named),
        Trial::test("a_reproducible_program_is_equal", a_reproducible_program_is_equal),
        Trial::test("a_rust_program_is_static_and_equal", a_rust_program_is_static_and_equal),
        Trial::test("the_locked_qemu_runs_on_the_host", the_locked_qemu_runs_on_the_host),
        Trial::test("surroundings_reach_the_commands", surroundings_reach_the_commands),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn builder() -> Result<Builder, BuildError> {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/inputs.lock");
    Builder::open(lock.as_ref(), Arc::new(Silent))
}

fn recipe(name: &str, script: &str, outputs: &[&str]) -> Recipe {
    Recipe {
        name: format!("test-{name}"),
        root: "build".into(),
        sources: BTreeMap::new(),
        base: None,
        steps: vec![Command::sh(script)],
        env: BTreeMap::new(),
        keep_work: false,
        outputs: outputs.iter().map(|&name| name.into()).collect(),
    }
}

/// Builds without reading or leaving anything in the cache.
fn build_apart(recipe: &Recipe) -> Result<(String, Builder), BuildError> {
    let apart = builder()?.again(Variation::first())?;
    let built = apart.build(recipe)?;
    Ok((built.path.display().to_string(), apart))
}

fn a_build_sees_nothing_of_the_host() -> Result<(), Failed> {
    let script = "
        cat /proc/net/dev | tail -n +3 | cut -d: -f1 > {out}/facts
        hostname >> {out}/facts; id -u >> {out}/facts; env | cut -d= -f1 | sort | tr '\\n' ' ' >> {out}/facts
        for dir in /usr {src} / /home; do if touch $dir/x; then exit 1; fi; done
        if mount -t tmpfs none /mnt; then exit 1; fi
        test ! -e /work
    ";
    let (out, _apart) = build_apart(&recipe("facts", script, &["facts"]))?;
    let facts = std::fs::read_to_string(out + "/facts")?;
    let lines: Vec<&str> = facts.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["lo", "builder", "0"]);
    assert_eq!(
        lines[3],
        "CARGO_BUILD_JOBS HOME LANG LC_ALL OMP_NUM_THREADS PATH PWD SOURCE_DATE_EPOCH TMPDIR TZ USER"
    );
    Ok(())
}

fn a_failure_shows_its_log() -> Result<(), Failed> {
    let error = build_apart(&recipe("failing", "echo before; echo why >&2; exit 3", &[]))
        .err()
        .ok_or("it was built")?;
    let BuildError::Failed { log, tail, .. } = error else {
        return Err(format!("{error}").into());
    };
    assert!(tail.contains("why\nsh ended with exit status: 3"), "{tail}");
    assert!(std::fs::read_to_string(log)?.contains("before"));
    Ok(())
}

fn outputs_are_those_of_the_recipe() -> Result<(), Failed> {
    for script in ["true", "touch {out}/a {out}/b"] {
        let error = build_apart(&recipe("outputs", script, &["a"])).err().ok_or("it was built")?;
        assert!(matches!(error, BuildError::Outputs { .. }), "{error}");
    }
    Ok(())
}

fn a_known_key_is_not_built_again() -> Result<(), Failed> {
    let builder = builder()?;
    let recipe = recipe("cached", "date +%s%N > {out}/time", &["time"]);
    let read = |b: &Builder| Ok::<_, Failed>(std::fs::read(b.build(&recipe)?.path.join("time"))?);
    let first = read(&builder)?;
    assert_eq!(read(&builder)?, first);
    let again = builder.again(Variation::first())?;
    assert_ne!(read(&again)?, first);
    Ok(())
}

fn a_recipe_goes_on_from_the_work_of_another() -> Result<(), Failed> {
    let apart = builder()?.again(Variation::first())?;
    let makefile = "a: s\n\tdate +%N > a\nb: a\n\tcat a > b\n";
    let files = BTreeMap::from([("Makefile".to_owned(), makefile.as_bytes().to_vec())]);
    let make = Input::Tree(Tree::of_files(apart.cache(), &files)?);
    let mut first =
        recipe("base", "echo s > s; make -f {src}/make/Makefile a; cp a {out}/a", &["a"]);
    first.sources.insert("make".into(), make.clone());
    first.keep_work = true;
    let first = Arc::new(first);
    let mut second = recipe("derived", "make -f {src}/make/Makefile b; cp b {out}/b", &["b"]);
    second.sources.insert("make".into(), make);
    second.base = Some(Arc::clone(&first));
    let a = std::fs::read(apart.build(&first)?.path.join("a"))?;
    let b = std::fs::read(apart.build(&second)?.path.join("b"))?;
    assert_eq!(a, b, "make has made again what was made");
    Ok(())
}

fn surroundings_reach_the_commands() -> Result<(), Failed> {
    let script = "{ date +%Y-%m; id -u; umask; locale charmap; printf 'z\\nt\\n' | sort | head -n 1; nproc
        pwd; hostname; echo {jobs}; echo 'int main(){return __LINE__;}' > x.c; gcc -c x.c; stat -c %a x.o; } > {out}/facts";
    let recipe = recipe("surroundings", script, &["facts"]);
    let facts = |variation: Variation| {
        let apart = builder()?.again(variation)?;
        let text = std::fs::read_to_string(apart.build(&recipe)?.path.join("facts"))?;
        Ok::<Vec<String>, Failed>(text.lines().map(str::to_owned).collect())
    };
    let (one, two) = (facts(Variation::first())?, facts(Variation::second())?);
    assert_eq!(one[1..4], ["0", "0022", "UTF-8"]);
    assert_eq!(two[1..4], ["1000", "0002", "UTF-8"]);
    for (line, (a, b)) in one.iter().zip(&two).enumerate() {
        let same_charset = line == 3;
        assert_eq!(a == b, same_charset, "{a} and {b}");
    }
    Ok(())
}

/// Builds a C program twice; the difference, if there is one.
fn prove(
    name: &str,
    source: &str,
    compile: &str,
) -> Result<Option<(String, u64, Vec<u8>)>, Failed> {
    let builder = builder()?;
    let files = BTreeMap::from([("program.c".to_owned(), source.as_bytes().to_vec())]);
    let mut recipe = recipe(name, compile, &["program"]);
    recipe.sources.insert("code".into(), Input::Tree(Tree::of_files(builder.cache(), &files)?));
    let (first, second) = (builder.again(Variation::first())?, rebuild::second_builder(&builder)?);
    let proof = rebuild::prove(&first, &second, &recipe)?;
    let Some(difference) = proof.difference else { return Ok(None) };
    let text = difference.to_string();
    let What::Content(content) = difference.what else { return Err(text.into()) };
    let file = std::fs::read(first.build(&recipe)?.path.join("program"))?;
    assert_eq!(file[content.offset as usize], content.bytes.0[0], "the offset is the file's");
    Ok(Some((text, content.offset, content.bytes.0)))
}

/// The compiler's stamps: `SOURCE_DATE_EPOCH` is taken away, as a careless recipe would.
const PLAIN: &str =
    "env -u SOURCE_DATE_EPOCH gcc -Wl,--build-id=none $STAMP -o {out}/program {src}/code/program.c";

fn a_planted_stamp_is_caught_and_named() -> Result<(), Failed> {
    let stamps = [
        ("time", "__DATE__ \" \" __TIME__", ""),
        ("path", "__FILE__", ""),
        ("user", "STAMP", "-DSTAMP=\\\"$(id -un)\\\""),
        ("host", "STAMP", "-DSTAMP=\\\"$(hostname)\\\""),
    ];
    for (name, stamp, option) in stamps {
        let source =
            format!("#include <stdio.h>\nint main(void) {{ return puts(\"stamp:\" {stamp}); }}\n");
        let compile = PLAIN.replace("$STAMP", option);
        let found = prove(&format!("planted-{name}"), &source, &compile)?;
        let (text, offset, _) = found.ok_or_else(|| format!("the {name} was not caught"))?;
        assert!(text.starts_with("program: first difference at offset"), "{text}");
        assert!(text.contains("in ELF section .rodata"), "{text}");
        assert!(offset > 0x40, "{text}");
    }
    Ok(())
}

fn a_reproducible_program_is_equal() -> Result<(), Failed> {
    let source = "#include <stdio.h>\nint main(void) { return puts(__DATE__ __TIME__); }\n";
    let compile = "gcc -g -ffile-prefix-map={src}=/src -ffile-prefix-map={work}=/work -o {out}/program {src}/code/program.c";
    match prove("equal", source, compile)? {
        None => Ok(()),
        Some((text, ..)) => Err(text.into()),
    }
}

fn the_locked_qemu_runs_on_the_host() -> Result<(), Failed> {
    let qemu = Qemu::locked(&builder()?)?;
    let output = qemu.command().args(["-machine", "help"]).output()?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("q35"));
    Ok(())
}

fn a_rust_program_is_static_and_equal() -> Result<(), Failed> {
    let workspace = tempfile::tempdir()?;
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"app\", \"part\", \"other\"]\n[workspace.dependencies]\npart = { path = \"part\" }\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"part\"]\n[[package]]\nname = \"other\"\nversion = \"0.1.0\"\n[[package]]\nname = \"part\"\nversion = \"0.1.0\"\n",
        ),
        (
            "app/Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\npart.workspace = true\n",
        ),
        (
            "app/src/main.rs",
            "fn main() { println!(\"{} {}\", file!(), part::answer(std::env::args().len())) }\n",
        ),
        (
            "part/Cargo.toml",
            "[package]\nname = \"part\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("part/src/lib.rs", "pub fn answer(n: usize) -> usize { [41, 42][n] }\n"),
        ("other/Cargo.toml", "[package]\nname = \"other\"\nversion = \"0.1.0\"\n"),
        ("other/src/lib.rs", "not even Rust"),
    ];
    for (path, text) in files {
        let path = workspace.path().join(path);
        std::fs::create_dir_all(path.parent().ok_or("a directory")?)?;
        std::fs::write(path, text)?;
    }
    let builder = builder()?;
    let programs = Programs {
        name: "test-rust",
        workspace: "",
        packages: &["app"],
        binaries: &["app"],
        extra: &[],
    };
    let recipe = rust::recipe(&builder, workspace.path(), &programs)?;
    let (first, second) = (builder.again(Variation::first())?, rebuild::second_builder(&builder)?);
    let proof = rebuild::prove(&first, &second, &recipe)?;
    assert!(proof.difference.is_none(), "{:?}", proof.difference.map(|d| d.to_string()));
    let program = first.build(&recipe)?.path.join("app");
    let output = std::process::Command::new(&program).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "app/src/main.rs 42\n");
    let bytes = std::fs::read(program)?;
    let file = File::parse(&bytes[..])?;
    assert!(file.section_by_name(".interp").is_none(), "it wants a dynamic loader");
    Ok(())
}
