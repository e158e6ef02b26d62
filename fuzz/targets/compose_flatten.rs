//! Several compose files as one: two that are merged, and those that they extend or include. What
//! is joined names only files that may be read, knows where each of its lines comes from, asks for
//! no further file, and says the same when it is joined again.
#![no_main]

use compose::flatten::{flatten, made_of};
use compose::{ComposeFile, Inputs};
use libfuzzer_sys::fuzz_target;

/// Between two files.
const SPLIT: &str = "\n%%%\n";
/// In the order of the parts; the first two are merged.
const NAMES: [&str; 4] =
    ["docker-compose.yml", "docker-compose.override.yml", "other.yml", "sub/compose.yml"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let files: Vec<_> = NAMES.into_iter().zip(text.split(SPLIT)).collect();
    let mut read = |path: &str| {
        assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path}");
        let found = files.iter().find(|(name, _)| *name == path);
        found.map(|(_, text)| (*text).to_owned())
    };
    for count in 1..=files.len().min(2) {
        let listed: Vec<_> = files[..count].iter().map(|(name, _)| (*name).to_owned()).collect();
        let Ok(joined) = flatten(&listed, &mut read) else { continue };
        assert!(joined.files.iter().all(|file| NAMES.contains(&file.as_str())));
        for line in 0..=joined.text.lines().count() + 1 {
            assert!(NAMES.contains(&joined.origin(line).0));
        }
        if !joined.is_made() {
            assert_eq!((count, joined.text.as_str()), (1, files[0].1));
            continue;
        }
        assert_eq!(made_of(&joined.text), listed);
        let mut alone = |path: &str| (path == NAMES[0]).then(|| joined.text.clone());
        let again = flatten(&listed[..1], &mut alone).expect("it asks for no other file");
        assert_eq!((again.text.as_str(), again.is_made()), (joined.text.as_str(), false));
        let _ = ComposeFile::read(joined.text.as_bytes(), &Inputs::default());
    }
});
