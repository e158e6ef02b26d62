//! The public port: what a guest shows to anybody, as far as the measured app-compose allows.

mod app;
mod evidence;
mod logs;
mod metrics;
mod page;
mod routes;

pub use routes::Port;

/// Connections at a time; the next ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 64;

#[cfg(test)]
mod tests;
