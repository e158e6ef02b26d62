//! Three hospitals: A, B and C train a classifier of tumours together, ask it within quotas, and A
//! fine-tunes it with records of its own. Each step says what it must end with.
//!
//! The engine, the programs, the policies and the middleware are those of a guest; delegators are
//! files of this machine. The policies are in `examples/hospitals`.

use std::path::Path;

use crate::command;
use crate::demo::bench::{Dstyx, Left, Run, copy};

/// The delegator of all custodians.
const DELEGATOR: &str = "5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d";
/// Records of each hospital in the common data set.
const RECORDS: [(&str, usize); 3] = [("a", 100), ("b", 50), ("c", 50)];
/// Records of A that it keeps for itself.
const PRIVATE_RECORDS: usize = 100;
/// The first second of the scenario, and the length of the quotas' period.
const NOW: u64 = 1_800_000_000;
const MINUTE: u64 = 60;
/// Uses of A in a minute.
const USES: u64 = 10;
/// The engine and the enrolments that every run gets.
const COMMON: &str =
    "--engine share.wasm --enrolment a.enrolment b.enrolment c.enrolment d.enrolment e.enrolment";
/// What the training Pads say of the model's Pad.
const MODEL: &str = "--attribute model-input=input-of:model.toml \
                     --attribute model-program=program-of:model.toml \
                     --attribute model-output=output-of:model.toml";

/// What a step must end with.
enum Must {
    /// One Pad.
    GivePad,
    /// One result in plain, one of these.
    Answer,
    /// Nothing, with a refusal that has each of these texts.
    Refuse(&'static [&'static str]),
}

/// Steps that were walked.
struct Walk<'a> {
    dstyx: &'a Dstyx,
    now: u64,
    steps: usize,
    failed: Vec<String>,
}

/// Walks all steps; the number of those that ended as they must is all of them, or it is an error.
pub fn walk(dstyx: &Dstyx, programs: &Path) -> Result<usize, String> {
    prepare(dstyx, programs)?;
    let mut walk = Walk { dstyx, now: NOW, steps: 0, failed: Vec::new() };
    walk.train()?;
    walk.ask()?;
    walk.fine_tune()?;
    walk.change_policy()?;
    for failure in &walk.failed {
        println!("FAILED {failure}");
    }
    println!("{} steps, {} not as they must be", walk.steps, walk.failed.len());
    match walk.failed.len() {
        0 => Ok(walk.steps),
        count => Err(format!("{count} steps did not end as they must")),
    }
}

/// Custodians, programs, policies and Pads.
fn prepare(dstyx: &Dstyx, programs: &Path) -> Result<(), String> {
    let directory = dstyx.file("");
    copy(programs, &directory, |name| name.ends_with(".wasm"))?;
    copy(&command::root().join("examples/hospitals"), &directory, |name| name.ends_with(".toml"))?;
    for name in ["a", "b", "c", "e"] {
        dstyx.pad(&format!("keygen {name}.key"))?;
        enrol(dstyx, name, &format!("--key {name}.key"))?;
    }
    dstyx.pad("joint --threshold 2 a.custodian b.custodian c.custodian --out d.custodian")?;
    enrol(dstyx, "d", "--key a.key --key b.key")?;
    let table = programs.join("table.csv");
    let table = std::fs::read_to_string(&table).map_err(|error| format!("{table:?}: {error}"))?;
    let mut rows = table.lines().skip(1);
    for (name, count) in RECORDS {
        write(dstyx, &format!("{name}.csv"), &mut rows, count)?;
        let entries = format!("--attribute entries={count} {MODEL}");
        let own = format!("{entries} --attribute model-custodian=custodian-of:d.custodian");
        pack(dstyx, name, name, &own, name)?;
        let other = format!("{entries} --attribute model-custodian=custodian-of:a.custodian");
        pack(dstyx, name, name, &other, &format!("{name}-for-a"))?;
    }
    write(dstyx, "private.csv", &mut rows, PRIVATE_RECORDS)?;
    for tuned in ["tuned", "tuned-for-e", "tuned-for-all", "tuned-unlimited"] {
        let stated = ["input", "program", "output"]
            .map(|part| format!("--attribute model-{part}={part}-of:{tuned}.toml"))
            .join(" ");
        let stated = format!("{stated} --attribute model-custodian=custodian-of:d.custodian");
        pack(dstyx, "private", "a", &stated, &format!("private-{tuned}"))?;
    }
    write(dstyx, "item.csv", &mut rows, 1)
}

fn enrol(dstyx: &Dstyx, name: &str, keys: &str) -> Result<(), String> {
    let command = format!(
        "enrol-file {name}.custodian {keys} --delegator {DELEGATOR} --out {name}.enrolment"
    );
    dstyx.pad(&command).map(drop)
}

/// Packs `DATA.csv` under `DATA.toml`.
fn pack(dstyx: &Dstyx, data: &str, custodian: &str, more: &str, pad: &str) -> Result<(), String> {
    let command = format!(
        "pack {data}.csv --policy {data}.toml --custodian {custodian}.key {more} \
         --delegator {DELEGATOR} --out {pad}.pad"
    );
    dstyx.pad(&command).map(drop)
}

/// Writes the next rows of the table.
fn write<'a>(
    dstyx: &Dstyx,
    name: &str,
    rows: &mut impl Iterator<Item = &'a str>,
    count: usize,
) -> Result<(), String> {
    let rows: Vec<_> = rows.take(count).collect();
    if rows.len() < count {
        return Err(format!("the table has too few rows for {name}"));
    }
    let path = dstyx.file(name);
    std::fs::write(&path, rows.join("\n")).map_err(|error| format!("{path:?}: {error}"))
}

impl Walk<'_> {
    fn train(&mut self) -> Result<(), String> {
        let all = "--pad a.pad b.pad c.pad";
        self.step(
            "A and B alone train",
            &format!("train.wasm --owner a.key --pad a.pad b.pad {COMMON}"),
            Must::Refuse(&["MAX_SHARE", "66.7 %", "33.3 %"]),
        )?;
        self.step(
            "another program on the records",
            &format!("query.wasm --owner a.key {all} {COMMON}"),
            Must::Refuse(&["PROGRAM_IN"]),
        )?;
        self.step(
            "a trainer that proposes a model for A instead of D",
            &format!("train.wasm --owner a.key --pad a-for-a.pad b-for-a.pad c-for-a.pad {COMMON}"),
            Must::Refuse(&["CUSTODIAN"]),
        )?;
        let command = format!("train.wasm --owner a.key {all} {COMMON}");
        self.pad("A, B and C train", &command, "model")
    }

    fn ask(&mut self) -> Result<(), String> {
        let ask = |who: &str, program: &str| {
            format!("{program}.wasm {who} --pad model.pad --plain item.csv {COMMON}")
        };
        let a = ask("--owner a.key", "query");
        for number in 1..=USES {
            self.step(&format!("A asks the model, {number} of {USES}"), &a, Must::Answer)?;
        }
        self.step("A asks once more", &a, Must::Refuse(&["RATE_LIMIT"]))?;
        let b = ask("--owner b.key", "query");
        self.step("B asks in the same minute", &b, Must::Answer)?;
        let e = ask("--owner e.key", "query");
        self.step("E asks", &e, Must::Refuse(&["AUTH_USER"]))?;
        let named = ask("--owner e.key --owner-custodian a.custodian", "query");
        self.step("E asks in A's name", &named, Must::Refuse(&["is no member"]))?;
        self.now += MINUTE;
        let unknown = ask("--owner a.key", "rows");
        self.step("A asks by an unknown program", &unknown, Must::Refuse(&["PROGRAM_IN"]))?;
        self.step("A asks in the next minute", &a, Must::Answer)
    }

    fn fine_tune(&mut self) -> Result<(), String> {
        let tune = |pad: &str| {
            format!("fine-tune.wasm --owner a.key --pad model.pad private-{pad}.pad {COMMON}")
        };
        let ask = |who: &str, pad: &str| {
            format!("query.wasm --owner {who}.key --pad {pad}.pad --plain item.csv {COMMON}")
        };
        self.pad("A fine-tunes the model for itself", &tune("tuned"), "tuned")?;
        self.step("A asks the new model", &ask("a", "tuned"), Must::Answer)?;
        let refused = Must::Refuse(&["AUTH_USER"]);
        self.step("B asks the new model", &ask("b", "tuned"), refused)?;
        self.pad("A names E beside itself, and keeps the rules", &tune("tuned-for-e"), "for-e")?;
        let refused = Must::Refuse(&["AUTH_USER"]);
        self.step("E asks that model", &ask("e", "for-e"), refused)?;
        for (what, pad) in [
            ("A drops the list of owners", "tuned-for-all"),
            ("A drops the quota", "tuned-unlimited"),
        ] {
            self.step(what, &tune(pad), Must::Refuse(&["SAME_POLICY"]))?;
        }
        Ok(())
    }

    /// The key holder seals the model again; a delegator would erase the old key as well.
    fn change_policy(&mut self) -> Result<(), String> {
        let update = format!(
            "update model.pad --key model.pad.key --policy tuned.toml --engine share.wasm \
             --enrolment d.enrolment --runner {} --out changed.pad",
            self.dstyx.runner.display()
        );
        let few = self.dstyx.pad(&format!("{update} --approve b.key --approve c.key"));
        self.told("B and C agree on another policy", few, Some("UPDATE_BY"));
        let enough = self.dstyx.pad(&format!("{update} --approve a.key --approve b.key"));
        self.told("A and B agree on it", enough, None);
        let old_key = self.dstyx.pad("open changed.pad --key model.pad.key --out changed.model");
        self.told("the old key on the Pad under it", old_key, Some("another sealing"));
        let ask = |who: &str| {
            format!("query.wasm --owner {who}.key --pad changed.pad --plain item.csv {COMMON}")
        };
        self.now += MINUTE;
        self.step("A asks under the new policy", &ask("a"), Must::Answer)?;
        self.step("B asks under the new policy", &ask("b"), Must::Refuse(&["AUTH_USER"]))
    }

    /// A step without a run: it must be refused with this text, or end well.
    fn told(&mut self, what: &str, done: Result<serde_json::Value, String>, must: Option<&str>) {
        let (is_right, found) = match (&done, must) {
            (Ok(_), must) => (must.is_none(), "done".to_owned()),
            (Err(error), None) => (false, error.clone()),
            (Err(error), Some(text)) => (error.contains(text), error.clone()),
        };
        self.tell(what, is_right, found.trim_end());
    }

    /// A step that must give a Pad, which gets this name.
    fn pad(&mut self, what: &str, command: &str, name: &str) -> Result<(), String> {
        let Some(file) = self.walked(what, command, &Must::GivePad)? else {
            return Err(format!("{what}: without this Pad there are no further steps"));
        };
        for ending in ["", ".key"] {
            let (from, to) = (format!("{file}{ending}"), format!("{name}.pad{ending}"));
            std::fs::copy(self.dstyx.file(&from), self.dstyx.file(&to))
                .map_err(|error| format!("{from}: {error}"))?;
        }
        Ok(())
    }

    fn step(&mut self, what: &str, command: &str, must: Must) -> Result<(), String> {
        self.walked(what, command, &must).map(drop)
    }

    /// Runs a step and compares; the file of the Pad that it gave.
    fn walked(&mut self, what: &str, command: &str, must: &Must) -> Result<Option<String>, String> {
        let run = self.dstyx.run(command, &format!("step-{}", self.steps + 1), self.now)?;
        let (is_right, found) = judged(&run, must);
        self.tell(what, is_right, &found);
        let pad = run.outputs.into_iter().find_map(|left| match left {
            Left::Pad(file) => Some(file),
            Left::Result(_) => None,
        });
        Ok(pad)
    }
}

impl Walk<'_> {
    fn tell(&mut self, what: &str, is_right: bool, found: &str) {
        self.steps += 1;
        let mark = if is_right { "ok " } else { "NOT" };
        println!("{mark} {:2}. {what}: {found}", self.steps);
        if !is_right {
            self.failed.push(format!("{what}: {found}"));
        }
    }
}

/// Whether a run ended as it must, and with what.
fn judged(run: &Run, must: &Must) -> (bool, String) {
    let found = match (&run.outputs[..], &run.refusals[..]) {
        ([Left::Pad(_)], []) => "a Pad".to_owned(),
        ([Left::Result(text)], []) => format!("\"{text}\""),
        (outputs, refusals) => format!("{} outputs; {}", outputs.len(), refusals.join("; ")),
    };
    let is_right = match must {
        Must::GivePad => matches!((&run.outputs[..], &run.refusals[..]), ([Left::Pad(_)], [])),
        Must::Answer => match (&run.outputs[..], &run.refusals[..]) {
            ([Left::Result(text)], []) => matches!(text.as_str(), "benign" | "malignant"),
            _ => false,
        },
        Must::Refuse(texts) => {
            run.outputs.is_empty()
                && texts.iter().all(|text| run.refusals.iter().any(|one| one.contains(text)))
        }
    };
    (is_right, found)
}
