//! Each rule by itself, and the rules together.

mod calls;
mod members;
mod owners;
mod release;
