//! `dstyx stats`: what the containers of a machine use, as its guest says.

use std::process::ExitCode;

use protocol::app_status::{Usage, Usages};

use crate::args::Named;
use crate::failure::Outcome;
use crate::guest::{self, Guest};
use crate::output::{Output, columns};
use crate::vm::Vm;

/// One row a container.
pub fn run(options: &Named, output: &Output) -> Outcome<ExitCode> {
    let mut guest = Guest::of(&Vm::load(&options.name)?)?;
    let usages: Usages = guest::document(&mut guest, "/stats")?;
    output.result(&usages, || table(&usages));
    Ok(ExitCode::SUCCESS)
}

fn table(usages: &Usages) -> String {
    let header = ["CONTAINER", "CPU TIME", "MEMORY", "LIMIT", "PROCESSES", "OOM KILLS"]
        .map(str::to_owned)
        .to_vec();
    columns(&std::iter::once(header).chain(usages.containers.iter().map(row)).collect::<Vec<_>>())
}

fn row(usage: &Usage) -> Vec<String> {
    let number =
        |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mib = |bytes: Option<u64>| {
        bytes.map_or_else(
            || "-".to_owned(),
            |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        )
    };
    // As Docker shows it: cache that can be given back is nobody's.
    let memory =
        usage.memory_bytes.map(|bytes| bytes.saturating_sub(usage.memory_cache_bytes.unwrap_or(0)));
    let cpu = usage
        .cpu_micros
        .map_or_else(|| "-".to_owned(), |micros| format!("{:.2} s", micros as f64 / 1e6));
    vec![
        usage.id.clone(),
        cpu,
        mib(memory),
        mib(usage.memory_limit_bytes),
        number(usage.pids),
        number(usage.oom_kills),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_a_dash() {
        let known = Usage {
            id: "web-1".into(),
            cpu_micros: Some(1_500_000),
            memory_bytes: Some(3 << 20),
            memory_cache_bytes: Some(1 << 20),
            pids: Some(4),
            ..Usage::default()
        };
        assert_eq!(row(&known), ["web-1", "1.50 s", "2.0 MiB", "-", "4", "-"]);
    }
}
