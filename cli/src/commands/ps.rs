//! `dstyx ps`: the machines that `up` started, or the containers that one of them says it runs.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::app_status::{AppStatus, Container};

use crate::args::Ps;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, Guest};
use crate::kept::Kept;
use crate::output::{Output, columns};
use crate::vm::Vm;
use crate::watch;

/// One row a machine, or a container.
pub fn run(options: &Ps, output: &Output) -> Outcome<ExitCode> {
    match &options.name {
        Some(name) => containers(&Vm::load(name)?, output),
        None => machines(output),
    }
}

fn containers(vm: &Vm, output: &Output) -> Outcome<ExitCode> {
    let trouble = trouble(vm);
    let asked = Guest::of(vm).and_then(|mut guest| guest::document(&mut guest, "/ps"));
    let status: AppStatus = match (asked, &trouble) {
        (Ok(status), _) => status,
        (Err(error), None) => return Err(error),
        // What the guest's port may not show, its deployer knows from the status channel.
        (Err(_), Some(trouble)) => {
            return Err(Failure::new(
                format!("the app does not run: {trouble}"),
                "more of it is shown to owners whom app-compose.json names, or with \"public_sysinfo\": true",
            ));
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let trouble = trouble.map(|trouble| format!("status channel: {trouble}\n"));
    output.result(&status, || trouble.unwrap_or_default() + &of_app(&status, now));
    Ok(ExitCode::SUCCESS)
}

/// Why the app of a machine does not run, by its status disk.
fn trouble(vm: &Vm) -> Option<String> {
    watch::trouble(&vm.directory().ok()?.join("status.img")).filter(|_| vm.qemu.alive())
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
    let (vms, kept) = (Vm::all()?, Kept::names()?);
    let document = vms.iter().map(|vm| {
        serde_json::json!({
            "name": vm.name, "state": state(vm), "platform": platform(vm), "urls": vm.urls,
            "agent": vm.agent_url, "image": vm.image, "app": vm.app, "app_failure": trouble(vm),
            "disk_kept": kept.contains(&vm.name),
        })
    });
    let document: Vec<_> = document.chain(stopped(&vms, &kept).map(of_stopped)).collect();
    output.result(&document, || table(&vms, &kept));
    Ok(ExitCode::SUCCESS)
}

/// Names of machines that were stopped and whose disks are kept.
fn stopped<'a>(vms: &'a [Vm], kept: &'a [String]) -> impl Iterator<Item = &'a String> {
    kept.iter().filter(|name| !vms.iter().any(|vm| vm.name == **name))
}

fn of_stopped(name: &String) -> serde_json::Value {
    serde_json::json!({ "name": name, "state": "stopped", "disk_kept": true })
}

fn table(vms: &[Vm], kept: &[String]) -> String {
    if vms.is_empty() && kept.is_empty() {
        return "no virtual machines; `dstyx up DIR` starts one\n".to_owned();
    }
    let header = ["NAME", "STATE", "PLATFORM", "DISK", "LINK", "AGENT"].map(str::to_owned).to_vec();
    let disk = |name| if kept.contains(name) { "kept" } else { "one boot" };
    let rows = vms.iter().map(|vm| {
        let link = vm.urls.first().cloned().unwrap_or_else(|| "-".into());
        let agent = vm.agent_url.clone();
        vec![
            vm.name.clone(),
            state(vm).into(),
            platform(vm).into(),
            disk(&vm.name).into(),
            link,
            agent,
        ]
    });
    let rows =
        rows.chain(stopped(vms, kept).map(|name| {
            [name.as_str(), "stopped", "-", "kept", "-", "-"].map(str::to_owned).to_vec()
        }));
    let troubles = vms
        .iter()
        .filter_map(|vm| Some(format!("{}: the app does not run: {}\n", vm.name, trouble(vm)?)));
    let table = columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>());
    table + &troubles.collect::<String>()
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
