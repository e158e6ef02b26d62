//! Each rule by itself, and the rules together.

mod calls;
mod owners;
mod release;
