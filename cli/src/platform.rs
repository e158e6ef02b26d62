//! What this machine offers to a guest: Intel TDX, or an emulation that proves nothing.

use std::fs;
use std::io;

use protocol::image::Flavour;

use crate::failure::{Failure, Hint as _, Outcome};
use crate::{paths, private};

/// Name of the file with the seed of the emulated machine's ids and keys.
const MACHINE_SEED_FILE: &str = "emulated-machine";
/// Length of that seed.
const MACHINE_SEED_BYTES: usize = 32;
/// Where KVM says whether it can start TDs.
const KVM_TDX: &str = "/sys/module/kvm_intel/parameters/tdx";

/// What a guest will stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Hardware.
    Tdx,
    /// The emulated device.
    Emulated,
}

/// The platform that a person named; clap refuses both at once.
pub fn asked(tdx: bool, emulate: bool) -> Option<Choice> {
    if tdx {
        return Some(Choice::Tdx);
    }
    emulate.then_some(Choice::Emulated)
}

/// As asked for; if nothing was asked, TDX where the machine offers it.
pub fn choose(asked: Option<Choice>) -> Outcome<Choice> {
    match (asked, missing()) {
        (Some(Choice::Tdx), Some(missing)) => Err(Failure::new(
            format!("this machine offers no TDX: {missing}"),
            "without --tdx the guest is emulated, which shows everything and proves nothing",
        )),
        (Some(Choice::Tdx) | None, None) => Ok(Choice::Tdx),
        (Some(Choice::Emulated), _) | (None, Some(_)) => Ok(Choice::Emulated),
    }
}

impl Choice {
    /// The image that fits.
    pub fn flavour(self) -> Flavour {
        match self {
            Self::Tdx => Flavour::Release,
            Self::Emulated => Flavour::Dev,
        }
    }

    /// What is said before anything else.
    pub fn announcement(self) -> &'static str {
        match self {
            Self::Tdx => "this machine offers TDX: the guest will be a trust domain",
            Self::Emulated => {
                "EMULATED: no TDX is used; the guest runs the same programs, and its evidence proves nothing"
            }
        }
    }
}

/// What TDX lacks here, if anything.
fn missing() -> Option<String> {
    match kvm_tdx().as_deref() {
        Some("Y") => {}
        Some(_) => {
            return Some(
                "KVM was loaded without it (kvm_intel.tdx=1, TDX enabled in the BIOS)".to_owned(),
            );
        }
        None => {
            return Some(
                "the kernel's KVM does not know it (Linux 6.16 or later on a TDX processor)"
                    .to_owned(),
            );
        }
    }
    kvm_access().err().map(|error| format!("/dev/kvm: {error}"))
}

/// The seed of the emulated machine that this host is, in hexadecimal digits: made once, so that
/// all emulated guests of one user have one platform id, and those of another user or host have
/// another.
pub fn emulated_machine_seed() -> Outcome<String> {
    let file = paths::state_directory()?.join(MACHINE_SEED_FILE);
    let mut seed = [0; MACHINE_SEED_BYTES];
    getrandom::fill(&mut seed)
        .map_err(|error| Failure::new(error, "the system's randomness is needed"))?;
    private::create(&file, hex::encode(seed).as_bytes())
        .hint(file.display(), "is the directory writable?")?;
    let limit_bytes = 2 * MACHINE_SEED_BYTES as u64;
    let kept = private::read(&file, limit_bytes)?.unwrap_or_default();
    let seed = std::str::from_utf8(&kept).ok().filter(|text| {
        text.len() == 2 * MACHINE_SEED_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit())
    });
    seed.map(str::to_owned).ok_or_else(|| {
        let what = format!("{}: not {} hexadecimal digits", file.display(), 2 * MACHINE_SEED_BYTES);
        Failure::new(what, "remove the file: this host then becomes another emulated machine")
    })
}

/// What KVM says of TDX: `Y` or `N`, or nothing where it does not know it.
pub fn kvm_tdx() -> Option<String> {
    fs::read_to_string(KVM_TDX).ok().map(|value| value.trim().to_owned())
}

/// Whether this user may start virtual machines.
pub fn kvm_access() -> io::Result<()> {
    fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop)
}
