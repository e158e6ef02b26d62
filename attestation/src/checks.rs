//! The checks, one file a subject; each reads what earlier ones accepted and writes its rows.

pub(crate) mod app;
pub(crate) mod attributes;
pub(crate) mod collateral;
pub(crate) mod events;
pub(crate) mod firmware_log;
pub(crate) mod image;
pub(crate) mod pck;
pub(crate) mod quote;
pub(crate) mod tcb;

use protocol::evidence::Evidence;

use crate::collateral::Collateral;
use crate::policy::Policy;

/// What is judged, by what, and when.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) policy: &'a Policy,
    pub(crate) collateral: Option<&'a Collateral>,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// A policy's list, for a person.
pub(crate) fn one_of<T: ToString>(list: impl Iterator<Item = T>) -> String {
    let list = list.map(|item| item.to_string()).collect::<Vec<_>>().join(", ");
    if list.is_empty() {
        "nothing: the list is empty and refuses everybody".to_owned()
    } else {
        list
    }
}
