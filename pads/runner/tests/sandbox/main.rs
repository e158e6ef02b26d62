//! The sandbox against programs that want out.

mod artefacts;
mod engines;
mod hostile;
mod lockdown;
mod native;
mod programs;
mod runs;
mod serve;
