//! Phase 3: the launch block was read once, bounded, and is what its schema wants. It is still the
//! host's word.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use protocol::app_compose::{self, AppCompose};
use protocol::launch::{self, Launch, LaunchError};
use protocol::status::{Phase, Refusal};

use super::{CommandLineChecked, Mounted};
use crate::disks;
use crate::halt::Halt;
use crate::status;

/// Holding one says: launch block and app-compose have legal syntax and values; nothing in them is
/// proved.
pub struct LaunchRead {
    pub(super) machine: Mounted,
    pub(super) launch: Launch,
    pub(super) app: AppCompose,
}

impl LaunchRead {
    /// Reads the disk whose serial is [`launch::DISK_SERIAL`].
    pub fn enter(CommandLineChecked { machine }: CommandLineChecked) -> Result<Self, Halt> {
        let halt = |refusal, cause: String| Halt::new(Phase::LaunchRead, refusal, cause);
        let node = machine.disks.node(launch::DISK_SERIAL).ok_or_else(|| {
            halt(
                Refusal::LaunchBlockMissing,
                format!("not exactly one disk has the serial {}", launch::DISK_SERIAL),
            )
        })?;
        let disk = read_disk(Path::new("/"), node)?;
        let launch =
            launch::decode(&disk).map_err(|error| halt(refusal_of(&error), error.to_string()))?;
        let app = app_compose::parse(&launch.app_compose)
            .map_err(|error| halt(Refusal::AppComposeInvalid, error.to_string()))?;
        status::reached(Phase::LaunchRead);
        Ok(Self { machine, launch, app })
    }
}

/// All bytes of a disk that is not larger than a launch block may be; read once, so that a host
/// cannot change what was checked.
fn read_disk(root: &Path, node: &Path) -> Result<Vec<u8>, Halt> {
    let unreadable = |error: std::io::Error| {
        Halt::new(
            Phase::LaunchRead,
            Refusal::LaunchBlockMissing,
            format!("{}: {error}", node.display()),
        )
    };
    let size = disks::size_bytes(root, node).map_err(unreadable)?;
    if size > launch::MAX_BYTES as u64 {
        let cause = format!("a disk of {size} bytes, at most {} are accepted", launch::MAX_BYTES);
        return Err(Halt::new(Phase::LaunchRead, Refusal::LaunchBlockMalformed, cause));
    }
    let mut bytes = Vec::new();
    File::open(node)
        .and_then(|file| file.take(size).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Ok(bytes)
}

fn refusal_of(error: &LaunchError) -> Refusal {
    match error {
        LaunchError::Read(_)
        | LaunchError::Magic(_)
        | LaunchError::Version(_)
        | LaunchError::Size { .. }
        | LaunchError::Padding => Refusal::LaunchBlockMalformed,
        LaunchError::Digest { .. } => Refusal::LaunchBlockDigest,
        LaunchError::Json(_) | LaunchError::Field { .. } => Refusal::LaunchBlockContent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(sectors: u64, content: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("sys/block/vda")).unwrap();
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("sys/block/vda/size"), format!("{sectors}\n")).unwrap();
        std::fs::write(root.path().join("dev/vda"), content).unwrap();
        root
    }

    #[test]
    fn a_disk_is_read_up_to_its_stated_size() {
        let root = disk(1, &[1; 600]);
        assert_eq!(read_disk(root.path(), &root.path().join("dev/vda")).unwrap(), [1; 512]);
    }

    #[test]
    fn a_disk_beyond_the_budget_is_not_read_at_all() {
        let root = disk((launch::MAX_BYTES as u64 / 512) + 1, b"");
        let halt = read_disk(root.path(), &root.path().join("dev/vda")).unwrap_err();
        assert_eq!(halt.refusal, Refusal::LaunchBlockMalformed, "{}", halt.cause);
    }

    #[test]
    fn every_kind_of_error_has_its_code() {
        assert_eq!(
            refusal_of(&launch::decode(b"nonsense").unwrap_err()),
            Refusal::LaunchBlockMalformed
        );
        assert_eq!(
            refusal_of(&LaunchError::Field { field: "x", what: "y".into() }),
            Refusal::LaunchBlockContent
        );
    }
}
