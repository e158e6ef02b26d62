//! CBOR of which every value has one spelling: the deterministic encoding of RFC 8949, section 4.2,
//! cut down to what Pads and their policies are made of.
//!
//! The types are unsigned integers, byte strings, texts, booleans, arrays, and maps with unsigned
//! keys. The reader is driven by the schema of its caller and never builds a tree of what somebody
//! sent: depth, counts and lengths are those that the schema names, and nothing is reserved for a
//! length that the bytes only claim. Longer forms than the shortest, indefinite lengths, keys out
//! of order, twice, missing or unknown, and bytes behind the end are refused. It links nothing of
//! an operating system, because policy engines read with it inside their sandbox.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod reader;
mod writer;

pub use reader::{CborError, Kind, Map, Reader, read_whole};
pub use writer::Writer;
