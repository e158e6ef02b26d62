//! What differs between two builds of the same recipe, and may not show in the output.
//!
//! All of it reaches the compilers: the directory is the one they run in, the ids are
//! those of their user namespace, and the clock is shifted by `libfaketime`, which is
//! loaded into every process (the wall clock itself has no namespace). The log of
//! each build begins with what the commands see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

/// Where a preloaded library that shifts the clock lies in the build root.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The surroundings of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variation {
    /// Told in the log's name.
    pub name: &'static str,
    /// The directory that holds sources, work and output.
    pub base: PathBuf,
    /// User and group id.
    pub uid: u32,
    /// File mode creation mask.
    pub umask: u32,
    /// Name of the machine.
    pub hostname: &'static str,
    /// Language and collation; anything but `C.UTF-8` is compiled when the build starts.
    pub locale: &'static str,
    /// Time zone in POSIX form.
    pub timezone: &'static str,
    /// How far the clock is ahead, in days.
    pub clock_days: u32,
    /// For `-j`.
    pub jobs: usize,
}

impl Variation {
    /// How everything is built that is kept.
    #[must_use]
    pub fn first() -> Self {
        Self {
            name: "first",
            base: "/build".into(),
            uid: 0,
            umask: 0o022,
            hostname: "builder",
            locale: "C.UTF-8",
            timezone: "UTC",
            clock_days: 0,
            jobs: cpus(),
        }
    }

    /// How the build is repeated: everything differs. The locale sorts `z` before `t`.
    #[must_use]
    pub fn second() -> Self {
        Self {
            name: "second",
            base: "/elsewhere/second-build".into(),
            uid: 1000,
            umask: 0o002,
            hostname: "another-machine",
            locale: "et_EE.UTF-8",
            timezone: "XXX-14",
            clock_days: 397,
            jobs: cpus() + 1,
        }
    }

    /// The part of the environment that follows from the surroundings.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let base = self.base.display();
        let jobs = self.jobs.to_string();
        let mut env = BTreeMap::from(
            [
                ("HOME", format!("{base}/work/home")),
                ("LANG", self.locale.into()),
                ("LC_ALL", self.locale.into()),
                ("TZ", self.timezone.into()),
                ("USER", if self.uid == 0 { "root" } else { "builder" }.into()),
                ("CARGO_BUILD_JOBS", jobs.clone()),
                // coreutils' nproc believes it.
                ("OMP_NUM_THREADS", jobs),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        if self.locale != "C.UTF-8" {
            env.insert("LOCPATH".into(), format!("{base}/locale"));
        }
        if self.clock_days > 0 {
            env.insert("LD_PRELOAD".into(), FAKETIME.into());
            env.insert("FAKETIME".into(), format!("+{}d", self.clock_days));
            // Durations stay true, or programs that wait would wait wrongly.
            env.insert("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into());
            // Times of files stay true: make does not see the shifted clock, and would wait for
            // files from the future.
            env.insert("NO_FAKE_STAT".into(), "1".into());
        }
        env
    }

    /// Shell commands that prepare the surroundings and show them in the log.
    pub(crate) fn prologue(&self) -> String {
        let locale = match self.locale.split_once('.') {
            Some((name, charset)) if name != "C" => {
                format!(
                    "mkdir -p \"$LOCPATH\"; localedef -i {name} -f {charset} \"$LOCPATH/{}\"\n",
                    self.locale
                )
            }
            _ => String::new(),
        };
        format!(
            "mkdir -p \"$HOME\"\n{locale}\
             echo \"build: {}\"; date; id; echo \"umask $(umask)\"; locale 2>&1 | head -n 2\n\
             echo \"jobs $(nproc)\"; echo \"directory $(pwd)\"; echo \"host $(hostname)\"",
            self.name
        )
    }
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
