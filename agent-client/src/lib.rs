//! What programs in containers ask of their own guest's agent, and the collateral for the quotes
//! that they get there and from others.
//!
//! The agent is measured with the guest, so its word is believed as far as it goes; whoever gets
//! the quote judges it. A collateral service is believed nothing.

#![forbid(unsafe_code)]

pub mod collateral;
pub mod socket;

pub use collateral::{Collaterals, NoCollateral};
pub use socket::{Socket, SocketError};
