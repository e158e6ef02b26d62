//! RTMR1: the kernel as a program that the firmware starts, and the firmware's steps until it has
//! left.

use protocol::digest::Sha384Digest;

use crate::event::{Event, Origin, Register, event_type};

/// The five events, given the Authenticode hash of the kernel that the firmware starts.
pub(crate) fn events(authenticode: Sha384Digest) -> Vec<Event> {
    let kernel = Event {
        register: Register::Rtmr1,
        name: "kernel".into(),
        event_type: event_type::EFI_BOOT_SERVICES_APPLICATION,
        digest: authenticode,
        preimage: "Authenticode hash of the kernel's PE file".into(),
        origin: Origin::Computed,
    };
    vec![
        kernel,
        action("calling-application", "Calling EFI Application from Boot Option"),
        Event::separator(Register::Rtmr1),
        action("exit-boot-services", "Exit Boot Services Invocation"),
        action("exit-boot-services-success", "Exit Boot Services Returned with Success"),
    ]
}

/// An action whose digest is that of its text.
fn action(name: &'static str, text: &'static str) -> Event {
    let digest = Sha384Digest::of(text.as_bytes());
    Event {
        register: Register::Rtmr1,
        name: name.into(),
        event_type: event_type::EFI_ACTION,
        digest,
        preimage: format!("the text \"{text}\"").into(),
        origin: Origin::Computed,
    }
}
