//! `DBUG`: a method that prints a value to the debug port 0x402 (Bochs' and QEMU's `isa-debugcon`).

use crate::acpi::aml::{
    Access, Aml, Entry, Space, Unit, Update, arg, deref, field, increment, index, int, less, local,
    method, operation_region, path, repeat_while, scope, size_of, store, subtract_into, to_buffer,
    to_hex_string,
};

const PORT: u64 = 0x402;
const LINE_FEED: u64 = 0x0a;

/// The scope with port and method.
pub(super) fn block() -> Aml {
    let (text, last, at) = (|| local(0), || local(1), || local(2));
    let next_byte = store(deref(index(text(), at())), path("DBGB"));
    let print = [
        to_hex_string(arg(0), text()),
        to_buffer(text(), text()),
        subtract_into(size_of(text()), int(1), last()),
        store(int(0), at()),
        repeat_while(less(at(), last()), [next_byte, increment(at())]),
        store(int(LINE_FEED), path("DBGB")),
    ];
    scope(
        "\\",
        [
            operation_region("DBG", Space::SystemIo, PORT, 1),
            field("DBG", Access::Byte, Update::Preserve, &[Unit::Named("DBGB", 8)]),
            method("DBUG", 1, Entry::Concurrent, print),
        ],
    )
}
