//! The cache of compiled code: what somebody else wrote into it is never run.

use std::fs;
use std::path::{Path, PathBuf};

use pad_runner::artefact::Origin;
use pad_runner::{Cache, CacheKey, component};
use zeroize::Zeroizing;

use crate::programs::{self, check_input, yes};

const YES: &str = "";
const NO: &str = r#"(func (export "check-input") (type $input)
    (drop (call $yes))
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.const 0))"#;

fn cache(directory: &Path, key: u8) -> Cache {
    Cache::new(directory, CacheKey::new(Zeroizing::new([key; 32])))
}

/// Loads an engine through a cache; says where its code came from and what it answers.
fn load(text: &str, cache: &Cache) -> (Origin, bool) {
    let engines = programs::engines();
    let component = programs::engine(text);
    let loaded = engines.load(component::digest(&component), &component, Some(cache));
    let (engine, origin) = loaded.expect("a right component");
    (origin, check_input(&engine) == Ok(vec![yes()]))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("one").path()).collect()
}

#[test]
fn what_was_compiled_once_is_taken_from_the_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path(), 1);
    assert_eq!(load(YES, &cache), (Origin::Compiled, true));
    assert_eq!(load(YES, &cache), (Origin::Cache, true));
    assert_eq!(load(NO, &cache), (Origin::Compiled, false));
    assert_eq!(load(NO, &cache), (Origin::Cache, false));
    assert_eq!(files(directory.path()).len(), 2);
}

#[test]
fn code_that_another_key_signed_is_compiled_again() {
    let directory = tempfile::tempdir().expect("a directory");
    load(YES, &cache(directory.path(), 1));
    assert_eq!(load(YES, &cache(directory.path(), 2)), (Origin::Compiled, true));
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path(), 1);
    load(YES, &cache);
    let [path] = files(directory.path()).try_into().expect("one file");
    let right = fs::read(&path).expect("the file");
    for at in [0, 31, 32, 33, right.len() / 2, right.len() - 1] {
        let mut changed = right.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("the file");
        assert_eq!(load(YES, &cache), (Origin::Compiled, true), "byte {at}");
    }
    for other in [&right[..0], &right[..31], &right[..32], &right[..right.len() - 1]] {
        fs::write(&path, other).expect("the file");
        assert_eq!(load(YES, &cache), (Origin::Compiled, true), "{} bytes", other.len());
    }
    fs::write(&path, [&right[..], b"x"].concat()).expect("the file");
    assert_eq!(load(YES, &cache), (Origin::Compiled, true));
}

#[test]
fn authentic_code_of_another_component_is_not_taken_for_this_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path(), 1);
    load(YES, &cache);
    let [yes] = files(directory.path()).try_into().expect("one file");
    let code = fs::read(&yes).expect("the file");
    load(NO, &cache);
    let no = files(directory.path()).into_iter().find(|path| *path != yes).expect("another");
    fs::write(no, code).expect("the file");
    assert_eq!(load(NO, &cache), (Origin::Compiled, false));
}

#[test]
fn code_of_other_settings_is_not_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path(), 1);
    let compiler = programs::compiler();
    let component = programs::consumer("");
    let (_, origin) = compiler.compile(&component, Some(&cache)).expect("a right component");
    assert_eq!(origin, Origin::Compiled);
    let [consumer] = files(directory.path()).try_into().expect("one file");
    let code = fs::read(&consumer).expect("the file");
    load(YES, &cache);
    let engine = files(directory.path()).into_iter().find(|path| *path != consumer);
    fs::write(engine.expect("another"), code).expect("the file");
    assert_eq!(load(YES, &cache), (Origin::Compiled, true));
}

#[test]
fn a_cache_that_cannot_be_written_costs_time_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(&directory.path().join("absent"), 1);
    assert_eq!(load(YES, &cache), (Origin::NotKept, true));
}
