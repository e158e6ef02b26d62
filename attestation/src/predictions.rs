//! Registers of an image that were predicted before: where many guests are judged by one image, the
//! same machine comes again and again.
//!
//! A prediction is a pure function of the image's facts and the machine's shape, so this changes
//! how long it takes and nothing else. The shape may be a stranger's claim: what is kept is
//! bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use measurement::{EachRegister, ImageFacts, predict_each};
use protocol::digest::Sha384Digest;
use protocol::shape::Shape;

/// Most machines that are kept, those asked for last: one fleet has a few sizes of guests.
const MAX_KEPT: usize = 16;

/// The predictions of one image that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Predictions(Mutex<VecDeque<Kept>>);

/// A prediction, and all of its inputs that are not the image's own.
#[derive(Debug, Clone)]
struct Kept {
    shape: Shape,
    layout: String,
    handoff_tables: Option<Sha384Digest>,
    registers: EachRegister,
}

impl Predictions {
    /// The registers of a machine of this shape; `facts` are those of the one image that these are
    /// the predictions of.
    pub(crate) fn of(&self, facts: &ImageFacts<'_>, shape: &Shape) -> EachRegister {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = lock();
        let found = kept.iter().position(|kept| kept.is_of(facts, shape));
        if let Some(found) = found.and_then(|place| kept.remove(place)) {
            kept.push_front(found.clone());
            return found.registers;
        }
        drop(kept);
        let registers = predict_each(facts, shape);
        let mut kept = lock();
        kept.truncate(MAX_KEPT - 1);
        kept.push_front(Kept {
            shape: shape.clone(),
            layout: facts.firmware.layout.clone(),
            handoff_tables: facts.handoff_tables,
            registers: registers.clone(),
        });
        registers
    }
}

impl Kept {
    fn is_of(&self, facts: &ImageFacts<'_>, shape: &Shape) -> bool {
        self.shape == *shape
            && self.layout == facts.firmware.layout
            && self.handoff_tables == facts.handoff_tables
    }
}
