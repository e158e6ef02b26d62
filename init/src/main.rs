//! PID 1 of a dstyx guest: mounts, reads the launch block, measures the app into RTMR3, configures
//! the network, then keeps the agent running.
//!
//! It is a line of named phases, each a type that the next one consumes, so that no step can run
//! early. It judges no peer and holds no key; there is no TLS and no async runtime in it. The host
//! is its attacker: every byte of the launch block, of DHCP and of the disks is bounded and
//! checked, nothing is read from the environment, SMBIOS, fw_cfg or credentials, and whatever fails
//! powers the machine off with a code on the status disk.

#![forbid(unsafe_code)]

mod agent;
mod console;
mod disks;
mod halt;
mod memory;
mod mounts;
mod network;
mod phases;
mod shutdown;
mod signals;
mod sockets;
mod status;
mod supervisor;

use protocol::status::Phase;

use crate::halt::Halt;
use crate::phases::{AppMeasured, CommandLineChecked, LaunchRead, Mounted, Networked, TimeFloored};

fn main() {
    if std::process::id() != 1 {
        console::say("this program is the init of a dstyx guest and runs as process 1 only");
        std::process::exit(1);
    }
    halt::on_panic();
    match boot() {
        Ok(networked) => supervisor::run(networked),
        Err(halt) => halt.power_off(),
    }
}

/// The boot: each phase exists only after the one before it.
fn boot() -> Result<Networked, Halt> {
    status::reached(Phase::Started);
    signals::block_all()?;
    let mounted = Mounted::enter()?;
    let checked = CommandLineChecked::enter(mounted)?;
    let launched = LaunchRead::enter(checked)?;
    let floored = TimeFloored::enter(launched)?;
    let measured = AppMeasured::enter(floored)?;
    Networked::enter(measured)
}
