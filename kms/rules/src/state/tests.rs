//! Each rule by itself, and the rules together.

mod calls;
mod epochs;
mod members;
mod owners;
mod release;
mod statements;
mod stops;
