//! Where things lie: the checkout, and this user's state.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// The file that tells a checkout from any other directory.
const CHECKOUT_MARK: &str = "reproducible-build/inputs.lock";

/// The checkout around the current directory.
pub fn checkout() -> Outcome<PathBuf> {
    let current = std::env::current_dir()
        .map_err(|error| Failure::new(error, "change to an existing directory"))?;
    let found = current.ancestors().find(|directory| directory.join(CHECKOUT_MARK).is_file());
    found.map(Path::to_path_buf).ok_or_else(|| {
        Failure::new(
            format!("{} is not inside a dstyx checkout", current.display()),
            "change to a checkout of dstyx",
        )
    })
}

/// Directory of one virtual machine's state.
pub fn vm_directory(name: &str) -> Outcome<PathBuf> {
    protocol::app_compose::check_name(name)
        .map_err(|error| Failure::new(error, "choose another name with --name"))?;
    Ok(vms_directory()?.join(name))
}

/// Directory of all virtual machines' state: `$XDG_STATE_HOME/dstyx/vms`, by default
/// `~/.local/state/dstyx/vms`.
pub fn vms_directory() -> Outcome<PathBuf> {
    Ok(state_directory()?.join("vms"))
}

/// Directory of what belongs to this host: `$XDG_STATE_HOME/dstyx`, by default
/// `~/.local/state/dstyx`.
pub fn state_directory() -> Outcome<PathBuf> {
    users_directory("XDG_STATE_HOME", ".local/state")
}

/// Directory of what outlives the virtual machines: `$XDG_DATA_HOME/dstyx/disks`, by default
/// `~/.local/share/dstyx/disks`.
pub fn disks_directory() -> Outcome<PathBuf> {
    Ok(data_directory()?.join("disks"))
}

/// Directory of this user's key and of what belongs to it: `$XDG_DATA_HOME/dstyx`, by default
/// `~/.local/share/dstyx`.
pub fn data_directory() -> Outcome<PathBuf> {
    users_directory("XDG_DATA_HOME", ".local/share")
}

/// Directory of what can be had again: `$XDG_CACHE_HOME/dstyx`, by default `~/.cache/dstyx`.
pub fn cache_directory() -> Outcome<PathBuf> {
    users_directory("XDG_CACHE_HOME", ".cache")
}

/// This program's part of one of the XDG base directories.
fn users_directory(variable: &str, in_home: &str) -> Outcome<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(in_home)));
    base.map(|base| base.join("dstyx")).ok_or_else(|| {
        Failure::new(
            format!("neither {variable} nor HOME is set"),
            "set HOME to your home directory",
        )
    })
}
