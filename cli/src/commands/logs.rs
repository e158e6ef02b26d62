//! `dstyx logs`: what a guest said on its status channel, in words, and a dev guest's console; or
//! what one service printed.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use protocol::status::{self, Record};

use crate::args::Logs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::guest::{self, Guest};
use crate::output::Output;
use crate::printable;
use crate::vm::Vm;
use crate::watch;

/// How long a followed log must have lasted to be asked for again when the guest ends it, as it
/// does after some minutes.
const WORTH_ASKING_AGAIN: Duration = Duration::from_secs(60);

/// A service's output, or status records and then the console if asked for.
pub fn run(options: &Logs, output: &Output) -> Outcome<ExitCode> {
    let vm = Vm::load(&options.name)?;
    match &options.service {
        Some(service) => of_service(&vm, service, options, output),
        None => of_guest(&vm, options, output),
    }
}

fn of_service(vm: &Vm, service: &str, options: &Logs, output: &Output) -> Outcome<ExitCode> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if service.is_empty() || !service.bytes().all(legal) {
        let what = format!("{service:?} is no name of a service");
        return Err(Failure::new(
            what,
            "`dstyx ps NAME` shows the containers, if the app publishes them",
        ));
    }
    let times = times(options)?;
    let path = |tail: usize, follow: bool| {
        format!("/logs/{service}?text=true&bare=true&tail={tail}&follow={follow}{times}")
    };
    if !options.follow {
        let mut text = String::new();
        guest::lines(&mut Guest::of(vm)?, &path(options.tail, false), |line| {
            text.push_str(line);
            true
        })?;
        output.result(&serde_json::json!({ "service": service, "output": text }), || text.clone());
        return Ok(ExitCode::SUCCESS);
    }
    let mut tail = options.tail;
    loop {
        let asked = Instant::now();
        guest::lines(&mut Guest::of(vm)?, &path(tail, true), |line| {
            output.line(&serde_json::json!({ "line": line }), line)
        })?;
        if asked.elapsed() < WORTH_ASKING_AGAIN {
            return Ok(ExitCode::SUCCESS);
        }
        tail = 0;
    }
}

/// The parameters about times; the guest reads them, by its own clock.
fn times(options: &Logs) -> Outcome<String> {
    let mut query = format!("&timestamps={}", options.timestamps);
    for (key, value) in [("since", &options.since), ("until", &options.until)] {
        let Some(value) = value else { continue };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.');
        if value.is_empty() || !value.bytes().all(legal) {
            let what = format!("--{key} {value:?} is no time");
            let hint = "give 10m (ago), 2026-01-31T12:00:00Z, or seconds since 1970";
            return Err(Failure::new(what, hint));
        }
        query.push_str(&format!("&{key}={value}"));
    }
    Ok(query)
}

fn of_guest(vm: &Vm, options: &Logs, output: &Output) -> Outcome<ExitCode> {
    let directory = vm.directory()?;
    let disk = directory.join("status.img");
    let bytes = fs::read(&disk)
        .hint(disk.display(), "stop the machine with `dstyx down` and start it again")?;
    let records = status::decode(&bytes)
        .hint(disk.display(), "the guest wrote what no dstyx image writes")?;
    let console = if options.console { read_console(&directory)? } else { String::new() };
    let document = serde_json::json!({ "status": records.iter().map(document).collect::<Vec<_>>(), "console": console });
    output.result(&document, || {
        let lines: String = records.iter().map(|record| watch::sentence(record) + "\n").collect();
        format!("{lines}{}", printable::console(&console))
    });
    Ok(ExitCode::SUCCESS)
}

fn read_console(directory: &std::path::Path) -> Outcome<String> {
    let file = directory.join("console.log");
    let bytes =
        fs::read(&file).hint(file.display(), "a machine that was never started has no console")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn document(record: &Record) -> serde_json::Value {
    serde_json::json!({
        "phase": format!("{:?}", record.phase),
        "blob": record.blob.map(|blob| format!("sha256:{blob}")),
        "refusal": format!("{:?}", record.refusal),
        "sentence": watch::sentence(record),
        "uptime_micros": record.uptime_micros,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(since: &str, timestamps: bool) -> Logs {
        Logs {
            name: "guest".into(),
            service: Some("web".into()),
            follow: false,
            tail: 1,
            since: Some(since.into()),
            until: None,
            timestamps,
            console: false,
        }
    }

    #[test]
    fn times_go_to_the_guest_as_they_are_and_nothing_else_does() {
        let asked = times(&options("2026-01-31T12:00:00.5Z", true)).unwrap();
        assert_eq!(asked, "&timestamps=true&since=2026-01-31T12:00:00.5Z");
        for wrong in ["", "1&tail=all", "a b", "10m#"] {
            let refused = times(&options(wrong, false)).err().map(|failure| failure.hint);
            assert!(refused.is_some_and(|hint| hint.contains("10m")), "{wrong}");
        }
    }
}
