//! What every server of dstyx shares: HTTP/1.1 with stated bounds, `prpc` over it, and the frame of
//! a page.
//!
//! The peers are anybody on the network and the containers of an app. Each bound (connections, the
//! head, the body, the time of a connection) holds here, so that no server has its own and forgets
//! one. Nothing here decides about trust, holds a key or knows what is served.

#![forbid(unsafe_code)]

pub mod answer;
pub mod budget;
pub mod page;
pub mod prpc;
pub mod server;

pub use answer::Answer;
pub use server::{Answers, serve};
