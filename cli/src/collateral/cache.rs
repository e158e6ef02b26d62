//! Collateral kept on this machine: a file for each kind of platform and root, replaced whole,
//! readable by its user.
//!
//! A file is believed no more than a service is; whoever changes one can only make verdicts fail.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use attestation::{AnchorName, Collateral, PlatformKey};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::{files, paths, private};

/// What a person can do about a file that does not parse.
const REMOVE: &str = "remove the file and fetch again: `dstyx collateral fetch`";

/// The directory.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// This user's: `$XDG_CACHE_HOME/dstyx/collateral`, by default `~/.cache/dstyx/collateral`.
    pub fn of_user() -> Outcome<Self> {
        Ok(Self { directory: paths::cache_directory()?.join("collateral") })
    }

    /// Where collateral for `key` under that root lies, if there is any.
    pub fn path(&self, anchor: AnchorName, key: &PlatformKey) -> PathBuf {
        let root = match anchor {
            AnchorName::Intel => "intel",
            AnchorName::Emulated => "emulated",
        };
        self.directory.join(root).join(format!("{key}.json"))
    }

    /// What is kept, however old.
    pub fn read(&self, anchor: AnchorName, key: &PlatformKey) -> Outcome<Option<Collateral>> {
        let path = self.path(anchor, key);
        if path.exists() { read_file(&path, REMOVE).map(Some) } else { Ok(None) }
    }

    /// Keeps it; a reader sees the old file or the new one, never half of one.
    pub fn write(
        &self,
        anchor: AnchorName,
        key: &PlatformKey,
        collateral: &Collateral,
    ) -> Outcome<PathBuf> {
        let path = self.path(anchor, key);
        let written = private::replace(&path, &collateral.to_json());
        written.hint(
            path.display(),
            "is the cache directory writable? name another with XDG_CACHE_HOME",
        )?;
        Ok(path)
    }

    /// Every kept file, in order of path.
    pub fn files(&self) -> Outcome<Vec<PathBuf>> {
        let mut files = Vec::new();
        for root in ["intel", "emulated"] {
            let entries = match fs::read_dir(self.directory.join(root)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Failure::new(error, "is the cache directory readable?")),
            };
            let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
            files.extend(
                paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")),
            );
        }
        files.sort();
        Ok(files)
    }
}

/// A file of collateral, strictly parsed; `hint` says what to try with one that is not.
pub fn read_file(path: &Path, hint: &str) -> Outcome<Collateral> {
    let json = files::read_bounded(path, attestation::MAX_COLLATERAL_BYTES as u64)?;
    Collateral::parse(&json).hint(path.display(), hint)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use attestation::IssuingCa;

    use super::*;

    /// Parts that are of the right form and say nothing.
    const MINIMAL: &[u8] = br#"{"pck_crl_issuer_chain":"","root_ca_crl":"00","pck_crl":"00",
        "tcb_info_issuer_chain":"","tcb_info":"{}","tcb_info_signature":"00",
        "qe_identity_issuer_chain":"","qe_identity":"{}","qe_identity_signature":"00"}"#;
    const KEY: PlatformKey =
        PlatformKey { fmspc: [0x50, 0x80, 0x6f, 0, 0, 0], ca: IssuingCa::Platform };

    #[test]
    fn what_is_kept_is_read_by_root_and_platform_and_by_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().join("collateral") };
        assert!(cache.read(AnchorName::Intel, &KEY).unwrap().is_none());
        let collateral = Collateral::parse(MINIMAL).unwrap();
        let path = cache.write(AnchorName::Intel, &KEY, &collateral).unwrap();
        assert!(path.ends_with("intel/50806f000000-platform.json"), "{}", path.display());
        assert_eq!(cache.read(AnchorName::Intel, &KEY).unwrap(), Some(collateral));
        assert!(cache.read(AnchorName::Emulated, &KEY).unwrap().is_none());
        let other = PlatformKey { ca: IssuingCa::Processor, ..KEY };
        assert!(cache.read(AnchorName::Intel, &other).unwrap().is_none());
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, private::FILE_MODE, "others would learn whose guests are verified");
        assert_eq!(cache.files().unwrap(), [path]);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: directory.path().to_owned() };
        let path = cache.path(AnchorName::Intel, &KEY);
        private::replace(&path, &MINIMAL[..MINIMAL.len() / 2]).unwrap();
        let failure = cache.read(AnchorName::Intel, &KEY).unwrap_err();
        assert!(failure.to_string().contains("50806f000000-platform.json"), "{failure}");
    }
}
