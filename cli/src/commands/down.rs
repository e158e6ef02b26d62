//! `dstyx down`: stops a machine and removes its state, and on request the data that are kept.

use std::fs;
use std::process::ExitCode;

use serde_json::json;

use crate::args::Down;
use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::kept::Kept;
use crate::kms::local::MACHINE;
use crate::kms::memory::Memory;
use crate::output::Output;
use crate::owner::Owner;
use crate::vm::Vm;

/// Ends QEMU and its helpers, then removes the directory.
pub fn run(options: &Down, output: &Output) -> Outcome<ExitCode> {
    let name = &options.name;
    let kept = Kept::of(name)?;
    if options.volumes && name == MACHINE {
        refuse_to_lose_keys(&Kept::names()?)?;
    }
    let stopped = match Vm::load(name) {
        Ok(vm) => {
            stop(&vm)?;
            true
        }
        // A disk can be kept for a machine that was stopped before.
        Err(failure) if kept.is_none() || !options.volumes => return Err(failure),
        Err(_) => false,
    };
    let (removed, keeps) = match kept {
        Some(kept) if options.volumes => {
            kept.remove()?;
            if name == MACHINE {
                forget()?;
            }
            (true, false)
        }
        kept => (false, kept.is_some()),
    };
    let document = json!({
        "name": name, "stopped": stopped, "disk_removed": removed, "disk_kept": keeps,
    });
    output.result(&document, || sentence(name, stopped, removed, keeps));
    Ok(ExitCode::SUCCESS)
}

/// The ledger is gone with the disk: what was seen of it says nothing of the next one.
fn forget() -> Outcome<()> {
    match Owner::load()? {
        Some(owner) => Memory::of(owner.key_provider_id())?.set_aside(now_secs()?),
        None => Ok(()),
    }
}

fn stop(vm: &Vm) -> Outcome<()> {
    vm.end()?;
    let directory = vm.directory()?;
    fs::remove_dir_all(&directory).hint(directory.display(), "remove the directory by hand")
}

fn sentence(name: &str, stopped: bool, removed: bool, keeps: bool) -> String {
    let stopped = if stopped { format!("{name} stopped\n") } else { String::new() };
    let disk = match (removed, keeps) {
        (true, _) => "its data disk was removed: what was on it is lost\n".to_owned(),
        (false, true) => format!(
            "its data disk is kept for the next `dstyx up`; `dstyx down {name} --volumes` removes it\n"
        ),
        (false, false) => String::new(),
    };
    stopped + &disk
}

/// The KMS's disk has the state of every key: without it no other kept disk opens again.
fn refuse_to_lose_keys(kept: &[String]) -> Outcome<()> {
    let others: Vec<&str> =
        kept.iter().map(String::as_str).filter(|name| *name != MACHINE).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        format!("the kept disks of {} open with the keys of this KMS only", others.join(", ")),
        "remove them first with `dstyx down NAME --volumes`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_the_kms_is_removed_last() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        refuse_to_lose_keys(&names(&[MACHINE])).unwrap();
        let failure = refuse_to_lose_keys(&names(&["a", MACHINE, "b"])).unwrap_err();
        assert!(failure.to_string().contains("disks of a, b open"), "{failure}");
    }

    #[test]
    fn what_is_kept_and_what_is_lost_is_said() {
        assert_eq!(sentence("a", true, false, false), "a stopped\n");
        assert!(sentence("a", true, false, true).contains("dstyx down a --volumes"));
        assert!(sentence("a", false, true, false).starts_with("its data disk was removed"));
    }
}
