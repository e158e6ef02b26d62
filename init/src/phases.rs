//! The boot as a line of types: each phase is made from the one before it and from nothing else.
//!
//! Every phase records itself on the status disk when it is reached; what it could not do is a
//! [`Halt`] that names it.

mod app_measured;
mod command_line_checked;
mod launch_read;
mod mounted;
mod networked;
mod time_floored;

pub use app_measured::AppMeasured;
pub use command_line_checked::CommandLineChecked;
pub use launch_read::LaunchRead;
pub use mounted::Mounted;
pub use networked::Networked;
pub use time_floored::TimeFloored;
