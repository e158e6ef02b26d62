//! RTMR2: what the kernel's EFI stub measures, its command line and its initrd.

use protocol::digest::Sha384Digest;

use crate::command_line::CommandLine;
use crate::event::{Event, Origin, Register, event_type};
use crate::rtmr0::utf16;

/// What OVMF appends to the command line of a kernel that it loads with an initrd.
const APPENDED: &str = " initrd=initrd";

/// The two events; `cmdline` is what QEMU is given.
pub(crate) fn events(cmdline: &CommandLine, initrd: Sha384Digest) -> Vec<Event> {
    let tag = |name: &'static str, digest, preimage: String| Event {
        register: Register::Rtmr2,
        name: name.into(),
        event_type: event_type::EVENT_TAG,
        digest,
        preimage: preimage.into(),
        origin: Origin::Computed,
    };
    let shown = match cmdline {
        CommandLine::Text(text) => format!("UTF-16 of \"{text}{APPENDED}\" and a NUL"),
        CommandLine::Digest(_) => "the command line, known by its digest alone".to_owned(),
    };
    vec![
        tag("cmdline", load_options(cmdline), shown),
        tag("initrd", initrd, "the initrd's bytes".into()),
    ]
}

/// What is measured of a command line.
pub(crate) fn load_options(cmdline: &CommandLine) -> Sha384Digest {
    match cmdline {
        CommandLine::Text(text) => Sha384Digest::of(&utf16(&format!("{text}{APPENDED}\0"))),
        CommandLine::Digest(digest) => *digest,
    }
}
