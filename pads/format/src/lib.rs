//! Pads: data that is sealed together with its policies and attributes. `docs/pad-format.md` is the
//! specification.
//!
//! Pure: no socket, no file, no clock; what is written and read are streams of the caller. It faces
//! whoever stores or carries Pads and may change, cut, splice and exchange them, and programs and
//! custodians that make Pads of their own. A [`SealedPad`] is a claim that anybody can send; an
//! [`OpenedPad`] has policies and attributes that the holder of the data key sealed, and a
//! [`DataReader`] gives data of exactly that Pad or an error. Keys are cleared when they are
//! dropped, and have no `Debug`.

#![forbid(unsafe_code)]

pub mod cipher;
pub mod contents;
pub mod custodian;
pub mod enrolment;
pub mod grant;
pub mod keys;
mod layout;
pub mod metadata;
pub mod reader;
pub mod run;
pub mod sealed;
pub mod update;
pub mod uuid;
pub mod writer;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod vectors;

pub use contents::{Attribute, Contents, Policy};
pub use custodian::{Custodian, CustodianId};
pub use grant::{Conditions, KeyName};
pub use keys::DataKey;
pub use layout::{LayoutError, MAX_DATA_BYTES, PadDigest};
pub use metadata::Metadata;
pub use reader::{DataReader, OpenedPad, SealedPad};
pub use uuid::{PadId, Uuid};
pub use writer::{Packing, PadWriter};
