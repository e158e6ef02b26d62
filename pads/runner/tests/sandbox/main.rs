//! The sandbox against programs that want out.

mod artefacts;
mod built;
mod engines;
mod hostile;
mod kit;
mod lockdown;
mod native;
mod programs;
mod runs;
mod serve;
mod share;
mod svm;
