//! `dstyx ps`: the machines that `up` started, or the containers that one of them says it runs.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::app_status::{AppStatus, Container};

use crate::args::Ps;
use crate::endpoint;
use crate::failure::Outcome;
use crate::output::{Output, columns};
use crate::vm::Vm;

/// One row a machine, or a container.
pub fn run(options: &Ps, output: &Output) -> Outcome<ExitCode> {
    match &options.name {
        Some(name) => containers(&Vm::load(name)?, output),
        None => machines(output),
    }
}

fn containers(vm: &Vm, output: &Output) -> Outcome<ExitCode> {
    let status: AppStatus = endpoint::document(&vm.agent_url, "/ps")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    output.result(&status, || of_app(&status, now));
    Ok(ExitCode::SUCCESS)
}

fn of_app(status: &AppStatus, now_secs: u64) -> String {
    let header = ["CONTAINER", "STATE", "HEALTH", "RESTARTS", "STARTED", "PORTS"]
        .map(str::to_owned)
        .to_vec();
    let rows = status.containers.iter().map(|container| of_container(container, now_secs));
    let message = status.message.iter().map(|message| {
        format!("app: {}: {message}\n", format!("{:?}", status.state).to_lowercase())
    });
    message.collect::<String>() + &columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn of_container(container: &Container, now_secs: u64) -> Vec<String> {
    let started = container
        .started_secs
        .map(|started| format!("{} ago", age(now_secs.saturating_sub(started))));
    vec![
        container.id.clone(),
        container.detail.clone(),
        container.health.clone().unwrap_or_else(|| "-".into()),
        container.restarts.to_string(),
        started.unwrap_or_else(|| "-".into()),
        container.ports.join(" "),
    ]
}

/// In the largest unit of which there are two.
fn age(secs: u64) -> String {
    let units = [("days", 86_400), ("h", 3600), ("min", 60)];
    let unit = units.into_iter().find(|(_, length)| secs >= 2 * length);
    unit.map_or_else(|| format!("{secs} s"), |(name, length)| format!("{} {name}", secs / length))
}

fn machines(output: &Output) -> Outcome<ExitCode> {
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

#[cfg(test)]
mod tests {
    use protocol::app_status::{AppState, ContainerState};

    use super::*;

    #[test]
    fn what_a_guest_says_stays_in_its_row() {
        let container = Container {
            id: "web-1".into(),
            service: "web".into(),
            image: "x".into(),
            state: ContainerState::Failed,
            detail: "failed: \u{1b}[2J\nverdict: pass".into(),
            health: None,
            restarts: 3,
            started_secs: Some(100),
            addresses: vec![],
            ports: vec!["80->80/tcp".into()],
        };
        let status =
            AppStatus { state: AppState::Starting, message: None, containers: vec![container] };
        let table = of_app(&status, 400);
        assert_eq!(table.lines().count(), 2);
        assert!(
            table.contains("\\u{1b}[2J\\u{a}verdict") && table.contains("5 min ago"),
            "{table}"
        );
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(
            [0, 119, 120, 7200, 200_000].map(age),
            ["0 s", "119 s", "2 min", "2 h", "2 days"]
        );
    }
}
