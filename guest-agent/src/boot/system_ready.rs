//! Phase `SystemReady`: the boot is complete, and the app may run.

use std::sync::Arc;

use compose::ComposeFile;
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::status::Phase;

use super::{
    Boot, BootError, DiskOpened, EnvironmentOpened, HandoverRead, KeysReleased, PhaseError,
};

/// Holding one says: the event log stands at `system-ready` or later; what is recorded from now on
/// belongs to the app.
#[derive(Debug)]
pub struct SystemReady {
    boot: Boot,
}

impl SystemReady {
    /// Records that the boot is complete.
    pub fn enter(opened: EnvironmentOpened) -> Result<Self, PhaseError> {
        Self::with(opened).map_err(BootError::entering(Phase::SystemReady))
    }

    pub(super) fn with(opened: EnvironmentOpened) -> Result<Self, BootError> {
        let EnvironmentOpened { disk: DiskOpened { keys, anchors }, environment } = opened;
        let KeysReleased { read, released } = keys;
        let HandoverRead { handover, app_compose, app, log } = read;
        log.ensure(&RuntimeEvent::new(event_name::SYSTEM_READY, ""))?;
        let compose =
            ComposeFile::of_app_in_guest(&app, &environment).map(Arc::new).map_err(Arc::new);
        let (handover, app) = (Arc::new(handover), Arc::new(app));
        let (keys, kms) = released.map(|released| (released.keys, released.kms)).unzip();
        let app_compose = app_compose.into();
        let environment = Arc::new(environment);
        Ok(Self {
            boot: Boot {
                handover,
                app_compose,
                app,
                environment,
                compose,
                log,
                keys,
                kms,
                anchors,
            },
        })
    }

    /// What the agent's parts share of it.
    pub fn boot(&self) -> &Boot {
        &self.boot
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;

    use compose::Environment;
    use protocol::app_compose::{self, AppFiles, KeyProvider, NewApp};
    use protocol::digest::Sha256Digest;

    use super::*;

    /// A value with all bits inverted, so that this program holds it nowhere.
    const INVERTED: [u8; 16] = *b"\x8c\x9a\x9c\x8d\x9a\x8b\xd2\x92\x9e\x8d\x94\x9a\x8d\xd2\xc8\xce";
    /// More than the memory of one region of a test.
    const MAX_REGION_BYTES: u64 = 1 << 28;

    /// How often the value is in what this process has allocated.
    fn copies() -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let regions = maps.lines().filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let ours = fields.get(5).is_none_or(|name| *name == "[heap]");
            let (from, to) = fields[0].split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            (ours && fields[1].starts_with("rw")).then_some((number(from)?, number(to)?))
        });
        regions.map(|region| copies_in(&memory, region)).sum()
    }

    fn copies_in(memory: &File, (from, to): (u64, u64)) -> usize {
        if to - from > MAX_REGION_BYTES {
            return 0;
        }
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // Another test may have given the region back meanwhile.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            return 0;
        }
        let begins = bytes.iter().enumerate().filter(|(_, byte)| **byte == !INVERTED[0]);
        let is_value = |at: usize| {
            let here = bytes.get(at..at + INVERTED.len());
            here.is_some_and(|here| here.iter().zip(INVERTED).all(|(byte, other)| *byte == !other))
        };
        begins.filter(|(at, _)| is_value(*at)).count()
    }

    /// Its app has the value as a variable, inside of another one, in a command and in a secret.
    fn compose_with(value: String) -> (Environment, ComposeFile) {
        let text = format!(
            "services:\n  web:\n    image: a.example/b@sha256:{}\n    command: [run, \"${{KEY}}\"]\n    \
             environment: {{KEY: null, OTHER: \"x-${{KEY}}\"}}\n    secrets: [s]\n\
             secrets: {{s: {{environment: KEY}}}}\n",
            "0a".repeat(32)
        );
        let (files, names) = (AppFiles::new(), ["KEY".to_owned()]);
        let key_provider = KeyProvider::Kms { id: Sha256Digest([7; 32]) };
        let new = NewApp { key_provider, allowed_envs: &names, ..NewApp::of("a", &text, &files) };
        let app = app_compose::parse(&new.generate().unwrap()).unwrap();
        let environment: Environment = [("KEY".to_owned(), value)].into_iter().collect();
        let compose = ComposeFile::of_app_in_guest(&app, &environment).unwrap();
        (environment, compose)
    }

    #[test]
    fn values_of_the_environment_are_cleared_wherever_the_compose_reader_copied_them() {
        // Longer than what an allocator overwrites of a piece that is freed.
        let value = INVERTED.map(|byte| char::from(!byte)).into_iter().cycle().take(256).collect();
        let held = compose_with(value);
        assert!(copies() >= 4, "the search finds what is there");
        drop(held);
        assert_eq!(copies(), 0);
    }
}
