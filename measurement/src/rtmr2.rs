//! RTMR2: what the kernel's EFI stub measures, its command line and its initrd.

use protocol::digest::Sha384Digest;

use crate::event::{Event, Register, event_type};
use crate::rtmr0::utf16;

/// What OVMF appends to the command line of a kernel that it loads with an initrd.
const APPENDED: &str = " initrd=initrd";

/// The two events; `cmdline` is what QEMU is given.
pub(crate) fn events(cmdline: &str, initrd: Sha384Digest) -> Vec<Event> {
    let load_options = utf16(&format!("{cmdline}{APPENDED}\0"));
    let tag = |name: &'static str, digest, preimage: String| Event {
        register: Register::Rtmr2,
        name: name.into(),
        event_type: event_type::EVENT_TAG,
        digest,
        preimage: preimage.into(),
    };
    vec![
        tag("cmdline", Sha384Digest::of(&load_options), format!("UTF-16 of \"{cmdline}{APPENDED}\" and a NUL")),
        tag("initrd", initrd, "the initrd's bytes".into()),
    ]
}
