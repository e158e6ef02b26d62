//! The sandbox against programs that want out.

mod artefacts;
mod built;
mod calls;
mod engines;
mod hostile;
mod inference;
mod kernels;
mod kills;
mod kit;
mod leaks;
mod lockdown;
#[allow(dead_code)]
mod native;
mod programs;
mod runs;
mod serve;
mod share;
mod svm;
