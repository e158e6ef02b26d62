//! `app-compose.json`: what is accepted has a legal name, the hash of its bytes, files inside their
//! directory, and no feature that the guest lacks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::app_compose::{self, NewApp, StorageFs};
use protocol::digest::ComposeHash;

fuzz_target!(|bytes: &[u8]| {
    let Ok(app) = app_compose::parse(bytes) else { return };
    assert_eq!(app.hash, ComposeHash::of(bytes));
    assert!(app_compose::check_name(&app.name).is_ok());
    assert!(app.files.keys().all(|path| app_compose::check_path(path).is_ok()));
    // The same app, written by ourselves, is accepted too, and is the same app but for its options.
    let new = NewApp {
        danger_privileged: app.danger_privileged,
        key_provider: app.key_provider,
        danger_host_readable_disk: app.storage_fs == StorageFs::BtrfsPlain,
        owners: &app.owners,
        ..NewApp::of(&app.name, &app.docker_compose_file, &app.files)
    };
    let Ok(generated) = new.generate() else {
        return; // escaping has made it larger than the budget
    };
    let again = app_compose::parse(&generated).expect("a generated file is accepted");
    assert_eq!((again.name, again.docker_compose_file), (app.name, app.docker_compose_file));
    assert_eq!(again.key_provider, app.key_provider);
    assert_eq!((again.files, again.danger_privileged), (app.files, app.danger_privileged));
});
