//! Three hospitals: A, B and C train a classifier of tumours together, ask it within quotas, and A
//! fine-tunes it with records of its own. Each step says what it must end with.
//!
//! The policies are in `examples/hospitals`. In a guest the middleware is the agent with
//! `pad-runner`, the delegator is a KMS, and the hospitals' tools reach both as anybody would.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::command;
use crate::demo::bench::{Dstyx, Left, Run, copy};
use crate::demo::place::Place;

/// Records of each hospital in the common data set.
const RECORDS: [(&str, usize); 3] = [("a", 100), ("b", 50), ("c", 50)];
/// Records of A that it keeps for itself.
const PRIVATE_RECORDS: usize = 100;
/// Uses of each hospital in a minute; together so many held-back records are asked for.
const USES: [(&str, usize); 3] = [("a", 10), ("b", 5), ("c", 5)];
/// The engine and the enrolments that every run gets.
const COMMON: &str =
    "--engine share.wasm --enrolment a.enrolment b.enrolment c.enrolment d.enrolment e.enrolment";
/// What the training Pads say of the model's Pad.
const MODEL: &str = "--attribute model-input=input-of:model.toml \
                     --attribute model-program=program-of:model.toml \
                     --attribute model-output=output-of:model.toml";
/// What A's own Pads say of the Pads of models that are made of the first one.
const TUNED: [&str; 4] = ["tuned", "tuned-for-e", "tuned-for-all", "tuned-unlimited"];
/// What the programs call the two classes.
const LABELS: [&str; 2] = ["malignant", "benign"];

/// What a step must end with.
enum Must<'a> {
    /// One Pad.
    GivePad,
    /// One result in plain: this label, as libsvm on this machine gives it.
    Answer(&'static str),
    /// Nothing, with a refusal for each of these texts that has its parts between `…`.
    Refuse(&'a [&'a str]),
}

/// A record that no model was made of, and what two models of libsvm on this machine say of it: the
/// one of all, and the one that A went on with.
#[derive(Clone, Copy)]
struct HeldBack {
    by_model: &'static str,
    by_tuned: &'static str,
}

/// Steps that were walked.
struct Walk<'a> {
    dstyx: &'a Dstyx,
    place: Place,
    held_back: Vec<HeldBack>,
    steps: usize,
    failed: Vec<String>,
}

/// Walks all steps; the number of those that ended as they must is all of them, or it is an error.
pub fn walk(dstyx: &Dstyx, place: Place, programs: &Path) -> Result<usize, String> {
    let begun = Instant::now();
    let held_back = prepare(dstyx, &place, programs)?;
    let mut walk = Walk { dstyx, place, held_back, steps: 0, failed: Vec::new() };
    walk.train()?;
    walk.ask()?;
    walk.fine_tune()?;
    walk.change_policy()?;
    for failure in &walk.failed {
        println!("FAILED {failure}");
    }
    let seconds = begun.elapsed().as_secs();
    println!("{} steps in {seconds} s, {} not as they must be", walk.steps, walk.failed.len());
    match walk.failed.len() {
        0 => Ok(walk.steps),
        count => Err(format!("{count} steps did not end as they must")),
    }
}

/// Custodians, programs, policies, Pads and their delegator; records that are held back.
fn prepare(dstyx: &Dstyx, place: &Place, programs: &Path) -> Result<Vec<HeldBack>, String> {
    let directory = dstyx.file("");
    copy(programs, &directory, |name| name.ends_with(".wasm"))?;
    copy(&command::root().join("examples/hospitals"), &directory, |name| name.ends_with(".toml"))?;
    for name in ["a", "b", "c", "e"] {
        dstyx.pad(&format!("keygen {name}.key"))?;
        enrol(dstyx, place, name, &format!("--key {name}.key"))?;
    }
    dstyx.pad("joint --threshold 2 a.custodian b.custodian c.custodian --out d.custodian")?;
    enrol(dstyx, place, "d", "--key a.key --key b.key")?;
    let table = programs.join("table.csv");
    let table = std::fs::read_to_string(&table).map_err(|error| format!("{table:?}: {error}"))?;
    let mut rows = table.lines().skip(1);
    write(dstyx, "all.csv", &mut rows.clone(), rows.clone().count())?;
    let mut pads = Vec::new();
    for (name, count) in RECORDS {
        write(dstyx, &format!("{name}.csv"), &mut rows, count)?;
        let entries = format!("--attribute entries={count} {MODEL}");
        for (custodian, pad) in [("d", name.to_owned()), ("a", format!("{name}-for-a"))] {
            let model = format!("--attribute model-custodian=custodian-of:{custodian}.custodian");
            pack(dstyx, place, name, name, &format!("{entries} {model}"), &pad)?;
            pads.push((pad, name));
        }
    }
    write(dstyx, "private.csv", &mut rows, PRIVATE_RECORDS)?;
    for tuned in TUNED {
        let stated = ["input", "program", "output"]
            .map(|part| format!("--attribute model-{part}={part}-of:{tuned}.toml"))
            .join(" ");
        let stated = format!("{stated} --attribute model-custodian=custodian-of:d.custodian");
        let pad = format!("private-{tuned}");
        pack(dstyx, place, "private", "a", &stated, &pad)?;
        pads.push((pad, "a"));
    }
    let asked = USES.iter().map(|(_, uses)| uses).sum();
    let mut items = rows.filter_map(|row| row.rsplit_once(',')).map(|(features, _)| features);
    write(dstyx, "item.csv", &mut items.clone(), 1)?;
    pack(dstyx, place, "item", "a", "", "item")?;
    pads.push(("item".to_owned(), "a"));
    place.delegate(dstyx, &[("a", "a"), ("b", "b"), ("c", "c"), ("d", "a")], &pads)?;
    for number in 0..asked {
        write(dstyx, &format!("item-{number}.csv"), &mut items, 1)?;
    }
    held_back(dstyx, programs, asked)
}

/// What libsvm on this machine, trained on the same records, says of the first ones that are left.
fn held_back(dstyx: &Dstyx, programs: &Path, count: usize) -> Result<Vec<HeldBack>, String> {
    let trained: usize = RECORDS.iter().map(|(_, count)| count).sum();
    let mut native = Command::new(programs.join("native"));
    native.arg(dstyx.file("all.csv")).args([trained, PRIVATE_RECORDS].map(|n| n.to_string()));
    let printed = command::capture(&mut native)?.stdout;
    let printed = String::from_utf8_lossy(&printed).into_owned();
    let label = |word: Option<&str>| LABELS.get(word?.parse::<usize>().ok()?).copied();
    let read = |line: &str| {
        let mut labels = line.split_whitespace().map(Some).chain([None, None]);
        let [by_model, by_tuned] = [labels.next()?, labels.next()?].map(label);
        Some(HeldBack { by_model: by_model?, by_tuned: by_tuned? })
    };
    let found: Option<Vec<_>> = printed.lines().take(count).map(read).collect();
    let found = found.filter(|found| found.len() == count);
    let found =
        found.ok_or_else(|| format!("{native:?} prints no two labels a line: {printed:.200}"))?;
    let has = |label| found.iter().any(|item| item.by_model == label);
    match LABELS.into_iter().all(has) {
        true => Ok(found),
        false => {
            Err("the records that are asked about have one label: they show little".to_owned())
        }
    }
}

fn enrol(dstyx: &Dstyx, place: &Place, name: &str, keys: &str) -> Result<(), String> {
    let delegator = place.delegator();
    let command = format!("enrol-file {name}.custodian {keys} {delegator} --out {name}.enrolment");
    dstyx.pad(&command).map(drop)
}

/// Packs `DATA.csv` under `DATA.toml`.
fn pack(
    dstyx: &Dstyx,
    place: &Place,
    data: &str,
    custodian: &str,
    more: &str,
    pad: &str,
) -> Result<(), String> {
    let command = format!(
        "pack {data}.csv --policy {data}.toml --custodian {custodian}.key {more} {} --out {pad}.pad",
        place.delegator()
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

/// A run that asks a model about a record.
fn ask(who: &str, program: &str, pad: &str, item: usize) -> String {
    format!("{program}.wasm --owner {who}.key --pad {pad}.pad --plain item-{item}.csv {COMMON}")
}

impl Walk<'_> {
    fn train(&mut self) -> Result<(), String> {
        let all = "--pad a.pad b.pad c.pad";
        let train = format!("{} --owner a.key", self.place.trainer());
        println!("-- only A and B loaded: 66.7 % and 33.3 % break both caps");
        let [a, b] = [("a", "66.7 %"), ("b", "33.3 %")]
            .map(|(pad, share)| self.pad_id(pad).map(|id| format!("{id} … MAX_SHARE … {share}")));
        self.step(
            "A and B alone train",
            &format!("{train} --pad a.pad b.pad {COMMON}"),
            Must::Refuse(&[&a?, &b?]),
        )?;
        println!("-- another program, and a trainer that proposes custodian A instead of D");
        self.step(
            "another program on the records",
            &format!("query.wasm --owner a.key {all} {COMMON}"),
            Must::Refuse(&["PROGRAM_IN"]),
        )?;
        self.step(
            "a trainer that proposes a model for A instead of D",
            &format!("{train} --pad a-for-a.pad b-for-a.pad c-for-a.pad {COMMON}"),
            Must::Refuse(&["CUSTODIAN"]),
        )?;
        println!("-- A: 100 entries, at most 60 %; B: 50, 30 %; C: 50, 40 %: a model of D");
        let command = format!("{train} {all} {COMMON}");
        self.pad("A, B and C train, of 50 %, 25 % and 25 % of the records", &command, "model")
    }

    fn ask(&mut self) -> Result<(), String> {
        println!("-- the model answers A ten times a minute, B and C five times");
        let begun = Instant::now();
        let mut item = 0;
        for (who, uses) in USES {
            let name = who.to_uppercase();
            for number in 1..=uses {
                let must = Must::Answer(self.held_back[item].by_model);
                let what = format!("{name} asks the model, {number} of {uses} in a minute");
                self.step(&what, &ask(who, "query", "model", item), must)?;
                item += 1;
            }
            let (what, once_more) =
                (format!("{name} asks once more"), ask(who, "query", "model", 0));
            self.step(&what, &once_more, Must::Refuse(&["RATE_LIMIT"]))?;
            if who == "a" {
                println!("   A asked eleven times in {:.0} s", begun.elapsed().as_secs_f64());
            }
        }
        println!("-- E, E in the name of A without A's key, an unknown program");
        let e = ask("e", "query", "model", 0);
        self.step("E asks", &e, Must::Refuse(&["AUTH_USER"]))?;
        let named = format!("{e} --owner-custodian a.custodian");
        self.step("E asks in A's name", &named, Must::Refuse(&["is no member"]))?;
        let unknown = ask("a", "rows", "model", 0);
        self.place.next_period();
        self.step("A asks by an unknown program", &unknown, Must::Refuse(&["PROGRAM_IN"]))?;
        println!("-- the item as plain input, or as a Pad");
        let again = || Must::Answer(self.held_back[0].by_model);
        let (plain, pad) = (again(), again());
        self.step("A asks in the next minute", &ask("a", "query", "model", 0), plain)?;
        let sealed = format!("query.wasm --owner a.key --pad model.pad item.pad {COMMON}");
        self.step("A asks about a Pad of its own", &sealed, pad)
    }

    fn fine_tune(&mut self) -> Result<(), String> {
        let tune = |who: &str, pad: &str| {
            format!("fine-tune.wasm --owner {who}.key --pad model.pad private-{pad}.pad {COMMON}")
        };
        println!("-- fine-tune by A with A's private Pad, whose policy is checked too");
        let refused = format!("{} … AUTH_USER", self.pad_id("private-tuned")?);
        self.step("B fine-tunes by it", &tune("b", "tuned"), Must::Refuse(&[&refused]))?;
        self.pad("A fine-tunes the model for itself", &tune("a", "tuned"), "tuned")?;
        let must = Must::Answer(self.held_back[0].by_tuned);
        self.step("A asks the new model", &ask("a", "query", "tuned", 0), must)?;
        let refused = Must::Refuse(&["AUTH_USER"]);
        self.step("B asks the new model", &ask("b", "query", "tuned", 0), refused)?;
        println!("-- fine-tune adding AUTH_USER {{A,E}} but keeping the old rule");
        let both = tune("a", "tuned-for-e");
        self.pad("A names E beside itself, and keeps the rules", &both, "for-e")?;
        let refused = Must::Refuse(&["AUTH_USER"]);
        self.step("E asks that model", &ask("e", "query", "for-e", 0), refused)?;
        println!("-- fine-tune dropping AUTH_USER or RATE_LIMIT");
        for (what, pad) in [
            ("A drops the list of owners", "tuned-for-all"),
            ("A drops the quota", "tuned-unlimited"),
        ] {
            self.step(what, &tune("a", pad), Must::Refuse(&["SAME_POLICY"]))?;
        }
        Ok(())
    }

    fn change_policy(&mut self) -> Result<(), String> {
        let place = self.place.update_options("model.pad");
        let update = format!(
            "update model.pad {place} --engine share.wasm --enrolment d.enrolment \
             --policy tuned.toml --out changed.pad"
        );
        println!("-- policy change agreed by owners of at least the stated share, and by fewer");
        let few = format!("{update} --approve b.key --approve c.key");
        self.told("B and C agree on another policy", &few, Some("UPDATE_BY"));
        let enough = format!("{update} --approve a.key --approve b.key");
        self.told("A and B agree on it", &enough, None);
        self.place.next_period();
        match self.place {
            // Files keep the old key; nothing but the Pad is new.
            Place::Local { .. } => {
                let old = "open changed.pad --key model.pad.key --out changed";
                self.told("the old key on the Pad under it", old, Some("another sealing"));
            }
            Place::Guest(_) => {
                let old = ask("a", "query", "model", 0);
                self.step("A asks the old Pad", &old, Must::Refuse(&["key-replaced"]))?;
            }
        }
        let must = Must::Answer(self.held_back[0].by_model);
        self.step("A asks under the new policy", &ask("a", "query", "changed", 0), must)?;
        let refused = Must::Refuse(&["AUTH_USER"]);
        self.step("B asks under the new policy", &ask("b", "query", "changed", 0), refused)
    }

    /// The id of a Pad, as its metadata claim it.
    fn pad_id(&self, pad: &str) -> Result<String, String> {
        let shown = self.dstyx.pad(&format!("inspect {pad}.pad"))?;
        let id = shown["pad_id"].as_str().map(str::to_owned);
        id.ok_or_else(|| format!("{pad}.pad: no id in {shown}"))
    }

    /// A step without a program: it must be refused with this text, or end well.
    fn told(&mut self, what: &str, command: &str, must: Option<&str>) {
        let done = self.dstyx.pad(command);
        let done = done.map_err(|error| error.replacen(&format!("dstyx pad {command}: "), "", 1));
        let (is_right, found) = match (&done, must) {
            (Ok(_), must) => (must.is_none(), "done".to_owned()),
            (Err(error), None) => (false, error.clone()),
            (Err(error), Some(text)) => (error.contains(text), error.clone()),
        };
        let expected = must.map_or_else(|| "done".to_owned(), |text| format!("refused: {text}"));
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        self.tell(what, is_right, &expected, &found);
    }

    /// A step that must give a Pad, which gets this name; its key, where there is a file of it.
    fn pad(&mut self, what: &str, command: &str, name: &str) -> Result<(), String> {
        let Some(file) = self.walked(what, command, &Must::GivePad)? else {
            return Err(format!("{what}: without this Pad there are no further steps"));
        };
        let endings: &[&str] = match self.place {
            Place::Local { .. } => &["", ".key"],
            Place::Guest(_) => &[""],
        };
        for ending in endings {
            let (from, to) = (format!("{file}{ending}"), format!("{name}.pad{ending}"));
            std::fs::copy(self.dstyx.file(&from), self.dstyx.file(&to))
                .map_err(|error| format!("{from}: {error}"))?;
        }
        Ok(())
    }

    fn step(&mut self, what: &str, command: &str, must: Must<'_>) -> Result<(), String> {
        self.walked(what, command, &must).map(drop)
    }

    /// Runs a step and compares; the file of the Pad that it gave.
    fn walked(
        &mut self,
        what: &str,
        command: &str,
        must: &Must<'_>,
    ) -> Result<Option<String>, String> {
        let out = format!("step-{}", self.steps + 1);
        let begun = Instant::now();
        let run = self.dstyx.run(command, &out, &self.place.options())?;
        let took = begun.elapsed().as_secs_f64();
        let (is_right, found) = judged(&run, must);
        self.tell(what, is_right, &must.text(), &format!("{found} ({took:.1} s)"));
        let pad = run.outputs.into_iter().find_map(|left| match left {
            Left::Pad(file) => Some(file),
            Left::Result(_) => None,
        });
        Ok(pad)
    }

    fn tell(&mut self, what: &str, is_right: bool, expected: &str, found: &str) {
        self.steps += 1;
        let mark = if is_right { "ok " } else { "NOT" };
        println!("{mark} {:2}. {what}", self.steps);
        println!("        expected: {expected}\n        found:    {found}");
        if !is_right {
            self.failed.push(format!("{what}: expected {expected}, found {found}"));
        }
    }
}

impl Must<'_> {
    fn text(&self) -> String {
        match self {
            Self::GivePad => "a Pad".to_owned(),
            Self::Answer(label) => format!("\"{label}\", as native libsvm"),
            Self::Refuse(texts) => format!("refused: {}", texts.join(", ")),
        }
    }
}

/// Whether a run ended as it must, and with what.
fn judged(run: &Run, must: &Must<'_>) -> (bool, String) {
    let found = match (&run.outputs[..], &run.refusals[..]) {
        ([Left::Pad(_)], []) => "a Pad".to_owned(),
        ([Left::Result(text)], []) => format!("\"{text}\""),
        ([], refusals) => format!("refused: {}", refusals.join("; ")),
        (outputs, refusals) => format!("{} outputs; {}", outputs.len(), refusals.join("; ")),
    };
    let is_right = match must {
        Must::GivePad => matches!((&run.outputs[..], &run.refusals[..]), ([Left::Pad(_)], [])),
        Must::Answer(label) => match (&run.outputs[..], &run.refusals[..]) {
            ([Left::Result(text)], []) => text == label,
            _ => false,
        },
        Must::Refuse(texts) => {
            run.outputs.is_empty()
                && texts.iter().all(|text| run.refusals.iter().any(|one| has(one, text)))
        }
    };
    (is_right, found)
}

/// Whether a refusal has each part of a text.
fn has(refusal: &str, text: &str) -> bool {
    text.split(" … ").all(|part| refusal.contains(part))
}
