//! libsvm's own sources as consumers: trained, asked and fine-tuned in the sandbox on the Wisconsin
//! table, beside the same sources on the host.

use std::fs;
use std::process::Command;

use crate::built::{self, Permissive};

/// The rows of three hospitals.
const SHARES: [usize; 3] = [100, 50, 50];
/// The rows by which one of them goes on.
const MORE: usize = 100;
/// The custodian of models.
const CUSTODIAN: [u8; 32] = [0xd0; 32];

/// The rows of the table, without the line that names them.
fn rows() -> Vec<String> {
    let table = fs::read_to_string(built::path("table.csv")).expect("the table");
    let rows: Vec<String> = table.lines().skip(1).map(str::to_owned).collect();
    assert_eq!(rows.len(), 569);
    assert!(rows.iter().all(|row| row.split(',').count() == 31));
    rows
}

/// Pads with these data, whose custodians agree on the policy of a model.
fn agreed(data: &[&[u8]], program: u8) -> Permissive {
    let mut owners = Permissive::of(data);
    owners.attributes = vec![
        ("model-custodian", CUSTODIAN.to_vec()),
        ("model-input", vec![0x80]),
        ("model-output", vec![0x81, 0x02]),
        ("model-program", vec![program; 3]),
    ];
    owners
}

/// The labels of rows by a model, in one run.
fn labels(model: &[u8], rows: &[String]) -> Vec<bool> {
    let features = |row: &String| row.rsplit_once(',').expect("a label").0.to_owned();
    let plain = rows.iter().map(features).collect::<Vec<_>>().join("\n");
    let mut owners = Permissive::of(&[model]);
    owners.run("query", plain.as_bytes()).expect("a query");
    let (proposal, result) = owners.output();
    assert!(proposal.custodian.is_none());
    let label = |line: &str| match line {
        "benign" => true,
        "malignant" => false,
        other => panic!("{other}"),
    };
    std::str::from_utf8(result).expect("labels").lines().map(label).collect()
}

/// The labels by the host's program: of the trained model, and of the one that went on.
fn native(trained: usize, tuned: usize) -> (Vec<bool>, Vec<bool>) {
    let directory = tempfile::tempdir().expect("a directory");
    let table = directory.path().join("rows.csv");
    fs::write(&table, rows().join("\n")).expect("a file");
    let mut program = Command::new(built::path("native"));
    program.arg(&table).args([trained.to_string(), tuned.to_string()]);
    let output = program.output().expect("a program for this machine");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("labels");
    let pair = |line: &str| (line.starts_with('1'), line.ends_with('1'));
    text.lines().map(pair).unzip()
}

fn right(labels: &[bool], rows: &[String]) -> usize {
    labels.iter().zip(rows).filter(|(label, row)| row.ends_with(",1") == **label).count()
}

#[test]
fn three_hospitals_train_a_model_that_answers_as_one_of_the_host_does() {
    let rows = rows();
    let mut left = &rows[..];
    let tables = SHARES.map(|share| {
        let (own, others) = left.split_at(share);
        left = others;
        own.join("\n")
    });
    let mut owners = agreed(&tables.each_ref().map(|table| table.as_bytes()), 7);
    owners.run("train", b"").expect("training");
    let (proposal, model) = owners.output();
    assert_eq!(proposal.custodian, Some(CUSTODIAN));
    let [policy] = &proposal.contents.policies[..] else { panic!("{proposal:?}") };
    assert_eq!((policy.engine, policy.input_id.as_str()), ([1; 32], "model"));
    assert_eq!(
        (&policy.input_constraint[..], &policy.output_constraint[..]),
        (&[0x80][..], &[0x81, 2][..])
    );
    assert_eq!(policy.program_constraint, [7; 3]);

    let (more, held_back) = left.split_at(MORE);
    let mut owners = agreed(&[more.join("\n").as_bytes(), model], 8);
    owners.run("fine-tune", b"").expect("fine-tuning");
    let (proposal, tuned) = owners.output();
    assert_eq!(proposal.contents.policies[0].program_constraint, [8; 3]);

    let (found, found_tuned) = (labels(model, held_back), labels(tuned, held_back));
    assert_eq!((found.clone(), found_tuned.clone()), native(rows.len() - left.len(), MORE));
    let counts = (right(&found, held_back), right(&found_tuned, held_back));
    println!("{counts:?} of {} rows held back are right", held_back.len());
    assert!([counts.0, counts.1].iter().all(|count| count * 100 > held_back.len() * 90));
    assert_ne!(model, tuned);
}

#[test]
fn one_row_has_one_label_and_nothing_beside_it() {
    let rows = rows();
    let mut owners = agreed(&[rows[..200].join("\n").as_bytes()], 7);
    owners.run("train", b"").expect("training");
    let model = owners.output().1.clone();
    // As plain input, or as a Pad.
    let mut asked = Permissive::of(&[&model]);
    asked.run("query", rows[568].rsplit_once(',').expect("a label").0.as_bytes()).expect("a query");
    assert_eq!(asked.output().1, b"benign");
    let mut asked = Permissive::of(&[rows[567].as_bytes(), &model]);
    asked.run("query", b"").expect("a query");
    assert_eq!(asked.output().1, b"malignant");
}

#[test]
fn hospitals_that_disagree_and_models_that_are_none_give_nothing() {
    let rows = rows();
    let mut owners = agreed(&[rows[..50].join("\n").as_bytes()], 7);
    owners.attributes.remove(0);
    assert!(owners.run("train", b"").is_err());
    owners.attributes.insert(0, ("model-custodian", vec![1; 31]));
    assert!(owners.run("train", b"").is_err());
    assert!(owners.outputs.is_empty());
    let mut owners = agreed(&[b"1,x,0"], 7);
    assert!(owners.run("train", b"").is_err());
    let mut owners = agreed(&[rows[..200].join("\n").as_bytes()], 7);
    owners.run("train", b"").expect("training");
    let model = &owners.output().1;
    for wrong in [&model[..model.len() - 1], &model[..20], &[&model[..], b"x"].concat()] {
        let mut asked = Permissive::of(&[wrong]);
        assert!(asked.run("query", b"1,2,3").is_err());
        assert!(asked.outputs.is_empty());
    }
    let mut asked = Permissive::of(&[model]);
    assert!(asked.run("query", b"1,2,3").is_err(), "three features of thirty");
}
