//! The parts that a content of a known format consists of.

/// A named part of a content: an archive's member, a program's section.
pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) bytes: &'a [u8],
}
