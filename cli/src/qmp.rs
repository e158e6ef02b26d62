//! What is asked of QEMU over its control socket: whether it runs, and to press the guest's power
//! button.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, Hint as _, Outcome};

/// QEMU answers at once or hangs.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest line of an answer that is of interest.
const MAX_LINES: usize = 64;

/// Whether QEMU greets, which it does once all that it was told to make is there.
pub fn answers(socket: &Path) -> bool {
    let greeting = UnixStream::connect(socket).and_then(|stream| {
        stream.set_read_timeout(Some(TIMEOUT))?;
        BufReader::new(stream).lines().next().transpose()
    });
    matches!(greeting, Ok(Some(_)))
}

/// Presses the power button; the guest's init then stops the app, syncs and powers off.
pub fn power_button(socket: &Path) -> Outcome<()> {
    const HINT: &str = "the machine is ended without asking the guest";
    let stream = UnixStream::connect(socket).hint(socket.display(), HINT)?;
    stream.set_read_timeout(Some(TIMEOUT)).hint(socket.display(), HINT)?;
    let mut lines = BufReader::new(stream.try_clone().hint(socket.display(), HINT)?).lines();
    lines.next().transpose().hint(socket.display(), HINT)?;
    for command in ["qmp_capabilities", "system_powerdown"] {
        writeln!(&stream, "{{\"execute\":\"{command}\"}}").hint(socket.display(), HINT)?;
        let accepted = lines
            .by_ref()
            .take(MAX_LINES)
            .map_while(Result::ok)
            .any(|line| line.starts_with("{\"return\""));
        if !accepted {
            return Err(Failure::new(format!("QEMU refuses {command}"), HINT));
        }
    }
    Ok(())
}
