//! `GET /metrics`: figures of the guest and its containers in Prometheus' text.
//!
//! Names of the guest's figures are those of dstack's agent, so that dashboards go on working. The
//! kernel's own files are read, nothing else; a figure that is not there is left out.

use std::fmt::Write as _;
use std::fs;

use containers::app::App;
use nix::sys::statvfs::statvfs;
use protocol::app_status::Usage;

use super::app;

/// Where the data disk is mounted.
const DISK: &str = "/var";

/// The whole text.
pub fn text(app: &App) -> String {
    let mut text = Text::default();
    system(&mut text);
    disk(&mut text);
    containers(&mut text, app);
    text.0
}

/// Lines of metrics.
#[derive(Default)]
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.head(name, help, "gauge");
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "{name} {value}");
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

fn system(text: &mut Text) {
    let memory = Memory::read();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load =
        |place: usize| load.split(' ').nth(place).and_then(|number| number.parse::<f64>().ok());
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|uptime| uptime.split('.').next()?.parse::<u64>().ok());
    let processors = std::thread::available_parallelism().ok();
    text.gauge("system_num_cpus", "Logical processors", processors);
    text.gauge("system_memory_total", "Memory in bytes", memory.total);
    text.gauge(
        "system_memory_available",
        "Memory that programs could get, in bytes",
        memory.available,
    );
    text.gauge("system_memory_free", "Memory that nothing uses, in bytes", memory.free);
    let used = memory
        .total
        .zip(memory.available)
        .map(|(total, available)| total.saturating_sub(available));
    text.gauge("system_memory_used", "Memory in use, in bytes", used);
    text.gauge("system_uptime", "Seconds since the start", uptime);
    text.gauge("system_load_average_1m", "Load over a minute", load(0));
    text.gauge("system_load_average_5m", "Load over five minutes", load(1));
    text.gauge("system_load_average_15m", "Load over a quarter of an hour", load(2));
    let own = fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.gauge("process_resident_memory_bytes", "The agent's own memory", kib(&own, "VmRSS"));
}

fn disk(text: &mut Text) {
    let Ok(disk) = statvfs(DISK) else { return };
    let size = disk.fragment_size();
    let labels = [("name", "data"), ("mount_point", DISK)];
    for (name, help, blocks) in [
        ("disk_total_size", "Size in bytes", disk.blocks()),
        ("disk_free_size", "Bytes that can be written", disk.blocks_available()),
    ] {
        text.head(name, help, "gauge");
        text.labelled(name, &labels, blocks.saturating_mul(size));
    }
}

/// A figure of a container: its name, help, type, and where it stands.
type Figure = (&'static str, &'static str, &'static str, fn(&Usage) -> Option<u64>);

fn containers(text: &mut Text, app: &App) {
    const FIGURES: [Figure; 4] = [
        ("container_cpu_micros_total", "Processor time in microseconds", "counter", |usage| {
            usage.cpu_micros
        }),
        ("container_memory_bytes", "Memory in use, cache included", "gauge", |usage| {
            usage.memory_bytes
        }),
        ("container_pids", "Processes and threads", "gauge", |usage| usage.pids),
        ("container_oom_kills_total", "Processes killed for want of memory", "counter", |usage| {
            usage.oom_kills
        }),
    ];
    let usages = app::usages(app).containers;
    for (name, help, kind, figure) in FIGURES {
        let values: Vec<_> =
            usages.iter().filter_map(|usage| Some((&usage.id, figure(usage)?))).collect();
        if values.is_empty() {
            continue;
        }
        text.head(name, help, kind);
        values.iter().for_each(|(id, value)| text.labelled(name, &[("container", id)], value));
    }
    text.head("container_restarts_total", "Starts after the first", "counter");
    for container in app::status(app).containers {
        text.labelled(
            "container_restarts_total",
            &[("container", &container.id)],
            container.restarts,
        );
    }
}

/// `/proc/meminfo`, in bytes.
#[derive(Default)]
struct Memory {
    total: Option<u64>,
    available: Option<u64>,
    free: Option<u64>,
}

impl Memory {
    fn read() -> Self {
        fs::read_to_string("/proc/meminfo").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        Self {
            total: kib(text, "MemTotal"),
            available: kib(text, "MemAvailable"),
            free: kib(text, "MemFree"),
        }
    }
}

/// A figure that the kernel gives in KiB, in bytes.
fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A label's value: backslash, quote and line break are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let memory = Memory::parse("MemTotal:        2 kB\nMemFree:  1 kB\nOther: 3\n");
        assert_eq!((memory.total, memory.free, memory.available), (Some(2048), Some(1024), None));
    }

    #[test]
    fn a_label_cannot_end_early() {
        let mut text = Text::default();
        text.labelled("x", &[("a", "b\"} 1\n\\")], 2);
        assert_eq!(text.0, "x{a=\"b\\\"} 1\\n\\\\\"} 2\n");
    }
}
