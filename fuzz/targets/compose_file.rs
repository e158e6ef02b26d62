//! `docker-compose.yml` beside a directory with files and variables: what is accepted keeps its
//! budgets, names only what it has, and says the same when it is read twice.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use compose::model::{MountSource, NetworkMode};
use compose::{ComposeFile, Environment, Inputs, MAX_SERVICES, pinning};
use libfuzzer_sys::fuzz_target;

/// Before it the compose file, behind it the variables of `.env`.
const SPLIT: &[u8] = b"\n%%%\n";

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.windows(SPLIT.len()).position(|window| window == SPLIT);
    let (text, variables) =
        at.map_or((bytes, &b""[..]), |at| (&bytes[..at], &bytes[at + SPLIT.len()..]));
    let files = BTreeMap::from([
        (".env".to_owned(), variables.to_vec()),
        ("a.env".to_owned(), variables.to_vec()),
        ("directory/file".to_owned(), b"#!".to_vec()),
    ]);
    let Ok(environment) = Environment::of_directory(&files) else { return };
    let _ = pinning::unpinned(text);
    for danger_privileged in [false, true] {
        let inputs = Inputs {
            files: &files,
            environment: &environment,
            danger_privileged,
            ..Inputs::default()
        };
        let Ok(file) = ComposeFile::read(text, &inputs) else { continue };
        check(&file);
        assert!(danger_privileged || file.dangers.is_empty());
        assert_eq!(ComposeFile::read(text, &inputs).as_ref(), Ok(&file));
    }
});

fn check(file: &ComposeFile) {
    assert!((1..=MAX_SERVICES).contains(&file.services.len()));
    let all = file.services.len() + file.programs.len();
    assert!(all <= MAX_SERVICES);
    let programs = file.programs.iter().map(|program| &program.name);
    let names: BTreeSet<_> = file.services.iter().map(|it| &it.name).chain(programs).collect();
    assert_eq!(names.len(), all);
    let names: BTreeSet<_> = file.services.iter().map(|service| &service.name).collect();
    assert_eq!(names.len(), file.services.len());
    for service in &file.services {
        assert!(
            service
                .depends_on
                .iter()
                .all(|needed| names.contains(&needed.service) && needed.service != service.name)
        );
        match &service.network {
            NetworkMode::Service(name) => assert!(names.contains(name)),
            NetworkMode::Networks(attached) => {
                assert!(
                    attached
                        .iter()
                        .all(|it| file.networks.iter().any(|network| network.name == it.network))
                );
            }
            NetworkMode::None | NetworkMode::Host => {}
        }
        let targets: BTreeSet<_> = service.mounts.iter().map(|mount| &mount.target).collect();
        assert_eq!(targets.len(), service.mounts.len());
        for mount in &service.mounts {
            assert!(
                mount.target.starts_with('/')
                    && !mount.target.split('/').any(|part| matches!(part, "." | ".."))
            );
            match &mount.source {
                MountSource::Volume { name, .. } => assert!(file.volumes.contains(name)),
                MountSource::Data { path, seed } => {
                    let parts = || path.split('/');
                    assert!(file.data.contains(path) && parts().count() > 0);
                    assert!(parts().all(|part| !matches!(part, "" | "." | "..")));
                    assert!(seed.is_empty() || path == "directory");
                }
                _ => {}
            }
        }
    }
}
