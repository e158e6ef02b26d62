//! `dstyx events`: what happened to the containers of a machine, as its guest says.

use std::process::ExitCode;

use protocol::app_status::{Event, Events};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::Named;
use crate::failure::Outcome;
use crate::guest::{self, Guest};
use crate::output::{Output, columns};
use crate::vm::Vm;

/// One row an event, the oldest first.
pub fn run(options: &Named, output: &Output) -> Outcome<ExitCode> {
    let mut guest = Guest::of(&Vm::load(&options.name)?)?;
    let events: Events = guest::document(&mut guest, "/events")?;
    output.result(&events, || table(&events));
    Ok(ExitCode::SUCCESS)
}

fn table(events: &Events) -> String {
    if events.events.is_empty() {
        return "nothing has happened yet\n".to_owned();
    }
    columns(&events.events.iter().map(row).collect::<Vec<_>>())
}

fn row(event: &Event) -> Vec<String> {
    vec![
        at(event.at_millis),
        event.subject.clone().unwrap_or_else(|| "app".into()),
        event.what.clone(),
    ]
}

/// The guest's clock to the second; a time that no calendar has is shown as the number.
fn at(millis: u64) -> String {
    let seconds = i64::try_from(millis / 1000).ok();
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| millis.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_row_with_its_time() {
        let event = |at_millis, what: &str| Event {
            number: 1,
            at_millis,
            subject: None,
            what: what.into(),
        };
        let table = table(&Events { events: vec![event(1_500, "a\nb"), event(u64::MAX, "c")] });
        assert_eq!(table.lines().next(), Some("1970-01-01T00:00:01Z  app  a\\u{a}b"));
        assert!(table.contains("18446744073709551615"));
    }
}
