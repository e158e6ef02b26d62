//! Phase 4: the clock is not before the image's build.
//!
//! The host sets the clock that the kernel read at its start. A floor keeps certificates that
//! expired before the build refused; time after it is still the host's word until a verified source
//! has been asked.

use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use protocol::status::{Phase, Refusal};

use super::LaunchRead;
use crate::halt::Halt;
use crate::status;

/// Seconds since 1970 at which the image was built, in decimal; part of the measured initramfs.
const BUILD_DATE: &str = "/etc/dstyx/build-date";

/// Holding one says: the clock shows the build's date or later.
pub struct TimeFloored {
    pub(super) launched: LaunchRead,
}

impl TimeFloored {
    /// Sets the clock to the build's date if it is before it.
    pub fn enter(launched: LaunchRead) -> Result<Self, Halt> {
        let halt = |cause: String| Halt::new(Phase::TimeFloored, Refusal::ClockFailed, cause);
        let text = std::fs::read_to_string(BUILD_DATE)
            .map_err(|error| halt(format!("{BUILD_DATE}: {error}")))?;
        let floor = parse(&text)
            .ok_or_else(|| halt(format!("{BUILD_DATE}: {text:?} is no number of seconds")))?;
        if SystemTime::now() < SystemTime::UNIX_EPOCH + floor {
            clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(floor))
                .map_err(|errno| halt(format!("the clock could not be set: {errno}")))?;
        }
        status::reached(Phase::TimeFloored);
        Ok(Self { launched })
    }
}

/// A 32-bit number of seconds (until 2106), so that no arithmetic on it can overflow.
fn parse(text: &str) -> Option<Duration> {
    let seconds: u32 = text.strip_suffix('\n')?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_date_is_one_line_of_digits() {
        assert_eq!(parse("1700000000\n"), Some(Duration::from_secs(1_700_000_000)));
        for wrong in ["", "\n", "1700000000", "-1\n", "99999999999\n", "1 \n"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
