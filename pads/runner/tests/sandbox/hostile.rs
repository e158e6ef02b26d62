//! Every file of `tests/hostile`: its first line says of which world it is, and how it must end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pad_runner::consumer::Compiler;
use pad_runner::engines::{Answer, EngineError};
use pad_runner::{Engines, PolicyEngine, Refused, component};

use crate::programs::{
    self, Hospital, SECRET, check_input, check_output, check_update, consumer_limits, run_on,
};

/// One of the three questions to an engine.
type Call = fn(&PolicyEngine) -> Result<Vec<Answer>, EngineError>;

/// Fewer would mean that files were not found.
const LEAST: usize = 100;
/// Calls of each engine: what one leaves behind would change the next.
const CALLS: usize = 3;
/// How a program ends that is given little time.
const WALL: &str = "the program reached its limit of time";

#[test]
fn every_hostile_program_ends_as_its_first_line_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut paths: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("one").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= LEAST, "only {} programs", paths.len());
    let engines = programs::engines();
    let compiler = programs::compiler();
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("text");
        let first = text.lines().next().and_then(|line| line.strip_prefix(";; "));
        let (world, expected) = first.and_then(|line| line.split_once(": ")).expect("a first line");
        let found = match world {
            "engine" => engine(&engines, &text, check_input),
            "engine output" => engine(&engines, &text, check_output),
            "engine update" => engine(&engines, &text, check_update),
            "consumer" => consumer(&compiler, &text, expected == WALL),
            other => panic!("{}: no world is called {other}", path.display()),
        };
        if found != expected {
            let name = path.file_name().expect("a file").display();
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn engine(engines: &Engines, text: &str, call: Call) -> String {
    let component = programs::engine(text);
    let engine = match engines.load(component::digest(&component), &component, None) {
        Ok((engine, _)) => engine,
        Err(refused) => return refused.to_string(),
    };
    let calls: Vec<_> = (0..CALLS).map(|_| call(&engine)).collect();
    assert!(calls.iter().all(|found| *found == calls[0]), "calls differ: {calls:?}");
    match &calls[0] {
        Ok(answers) => answers.iter().map(shown).collect::<Vec<_>>().join(", "),
        Err(error) => error.to_string(),
    }
}

fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Allowed(uses) if uses.is_empty() => "allowed".into(),
        Answer::Allowed(uses) => format!("allowed with {} uses", uses.len()),
        Answer::Refused(refusal) => match refusal.rule {
            Some(rule) => {
                format!("refused by code {} at {:?} {}", refusal.code, rule.part, rule.index)
            }
            None => format!("refused by code {}", refusal.code),
        },
    }
}

fn consumer(compiler: &Compiler, text: &str, short: bool) -> String {
    let program = match compiler.compile(&programs::consumer(text), None) {
        Ok((program, _)) => program,
        Err(refused) => return refused.to_string(),
    };
    let mut hospital = Hospital::default();
    let mut limits = consumer_limits();
    if short {
        limits.wall = Duration::from_secs(1);
    }
    let ended = run_on(&program, 3, limits, &mut hospital);
    match (ended, hospital.allowed.len()) {
        (Ok(()), 0) => "ended".into(),
        (Ok(()), 1) => "ended, 1 output allowed".into(),
        (Ok(()), outputs) => format!("ended, {outputs} outputs allowed"),
        (Err(error), _) => {
            let text = error.to_string();
            assert!(!text.contains(SECRET), "{text}");
            text
        }
    }
}

#[test]
fn bytes_that_are_no_component_are_refused_before_they_are_compiled() {
    let engines = programs::engines();
    let load = |bytes: &[u8]| engines.load(component::digest(bytes), bytes, None).err();
    assert!(matches!(load(b""), Some(Refused::NotWasm)));
    assert!(matches!(load(b"#!/bin/sh\n"), Some(Refused::NotWasm)));
    assert!(matches!(load(b"\0asm\x01\0\0\0"), Some(Refused::Module)));
    assert!(matches!(load(b"\0asm\x0d\0\x01\0\xff"), Some(Refused::Invalid(_))));
    let mut large = programs::engine("");
    large.resize((4 << 20) + 1, 0);
    assert!(matches!(load(&large), Some(Refused::Size { .. })));
}

#[test]
fn a_component_cut_anywhere_is_refused() {
    let engines = programs::engines();
    let component = programs::engine("");
    for length in (0..component.len()).step_by(97) {
        let cut = &component[..length];
        assert!(engines.load(component::digest(cut), cut, None).is_err(), "{length} bytes");
    }
}
