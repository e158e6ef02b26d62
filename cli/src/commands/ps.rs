//! `dstyx ps`: the machines that `up` started.

use std::process::ExitCode;

use crate::failure::Outcome;
use crate::output::{Output, columns};
use crate::vm::Vm;

/// One row a machine.
pub fn run(output: &Output) -> Outcome<ExitCode> {
    let vms = Vm::all()?;
    let document: Vec<_> = vms
        .iter()
        .map(|vm| {
            serde_json::json!({
                "name": vm.name, "state": state(vm), "platform": platform(vm), "urls": vm.urls,
                "agent": vm.agent_url, "image": vm.image, "app": vm.app,
            })
        })
        .collect();
    output.result(&document, || table(&vms));
    Ok(ExitCode::SUCCESS)
}

fn table(vms: &[Vm]) -> String {
    if vms.is_empty() {
        return "no virtual machines; `dstyx up DIR` starts one\n".to_owned();
    }
    let header = ["NAME", "STATE", "PLATFORM", "LINK", "AGENT"].map(str::to_owned).to_vec();
    let rows = vms.iter().map(|vm| {
        let link = vm.urls.first().cloned().unwrap_or_else(|| "-".into());
        vec![vm.name.clone(), state(vm).into(), platform(vm).into(), link, vm.agent_url.clone()]
    });
    columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn state(vm: &Vm) -> &'static str {
    if vm.qemu.alive() { "running" } else { "ended" }
}

fn platform(vm: &Vm) -> &'static str {
    if vm.emulated { "emulated" } else { "tdx" }
}
