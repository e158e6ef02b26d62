//! The signal that asks a container to end.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// The number of a stop signal as images and compose files write it: `SIGQUIT`, `QUIT` or `3`;
/// SIGTERM if there is none.
pub fn stop_signal(name: Option<&str>) -> Result<i32, StopSignalError> {
    let Some(name) = name else {
        return Ok(Signal::SIGTERM as i32);
    };
    let known = match name.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) if name.starts_with("SIG") => Signal::from_str(name).ok(),
        Err(_) => Signal::from_str(&format!("SIG{name}")).ok(),
    };
    known.map(|signal| signal as i32).ok_or_else(|| StopSignalError(name.to_owned()))
}

/// stop signal … is unknown
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stop signal {0:?} is unknown")]
pub struct StopSignalError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_docker_does() {
        for (name, number) in [(None, 15), (Some("SIGQUIT"), 3), (Some("QUIT"), 3), (Some("3"), 3)]
        {
            assert_eq!(stop_signal(name), Ok(number), "{name:?}");
        }
        for bad in ["", "SIGNOPE", "0", "99", "-1"] {
            assert_eq!(stop_signal(Some(bad)), Err(StopSignalError(bad.to_owned())));
        }
    }
}
