//! Programs that the hermetic builder made, and what they are run on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pad_run::{Answer, Attribute, Contents, Judge, Pad, Policy, Proposal, Value};
use pad_runner::consumer::middleware::{ConsumerLimits, Job, Middleware, RunError, run};
use pad_runner::{Artefact, EngineLimits, Engines, PolicyEngine, component};
use zeroize::Zeroizing;

use crate::programs::{self, consumer_limits};

/// A file that `pad_programs` left.
pub fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/pads").join(name);
    assert!(
        path.exists(),
        "{} is missing: run the tests through `cargo xtask test`, or first `cargo run --package \
         image --example pad_programs target/pads`",
        path.display()
    );
    path
}

/// A component by its name.
pub fn component(name: &str) -> Vec<u8> {
    fs::read(path(&format!("{name}.wasm"))).expect("a file that is there")
}

/// A consumer, compiled once for all tests.
fn compiled(name: &str) -> &'static Artefact {
    static COMPILED: Mutex<BTreeMap<String, &'static Artefact>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().expect("no panic");
    compiled.entry(name.to_owned()).or_insert_with(|| {
        let compiler = programs::compiler();
        let (program, _) = compiler.compile(&component(name), None).expect("a right component");
        Box::leak(Box::new(program))
    })
}

/// An engine with the limits that it has in a guest, and its SHA-256.
pub fn engine(name: &str) -> (PolicyEngine, [u8; 32]) {
    let engines = Engines::new(EngineLimits::default(), programs::runner()).expect("engines");
    let component = component(name);
    let digest = component::digest(&component);
    let (engine, _) = engines.load(digest, &component, None).expect("a right component");
    (engine, digest)
}

/// A digest as the interfaces have it.
pub fn digest(bytes: [u8; 32]) -> (u64, u64, u64, u64) {
    let word = |index: usize| {
        u64::from_be_bytes(bytes[index * 8..][..8].try_into().expect("eight of 32 bytes"))
    };
    (word(0), word(1), word(2), word(3))
}

/// An id as the interfaces have it.
pub fn id(bytes: [u8; 16]) -> (u64, u64) {
    let number = u128::from_be_bytes(bytes);
    ((number >> 64) as u64, number as u64)
}

/// A middleware that allows everything, of Pads with these data and attributes of bytes.
#[derive(Default)]
pub struct Permissive {
    /// The data of each Pad.
    pub data: Vec<Vec<u8>>,
    /// Attributes that each of them has.
    pub attributes: Vec<(&'static str, Vec<u8>)>,
    /// What left.
    pub outputs: Vec<(Proposal, Vec<u8>)>,
}

impl Permissive {
    /// Of Pads with these data.
    pub fn of(data: &[&[u8]]) -> Self {
        Self { data: data.iter().map(|data| data.to_vec()).collect(), ..Self::default() }
    }

    /// Runs a program on all of them.
    pub fn run(&mut self, name: &str, plain: &[u8]) -> Result<(), RunError> {
        let program = compiled(name);
        let pads = u32::try_from(self.data.len()).expect("few Pads");
        let limits = ConsumerLimits { data_bytes: 8 << 20, ..consumer_limits() };
        let job = Job { program, pads, plain, limits };
        run(&programs::runner(), &job, self)
    }

    /// The only output.
    pub fn output(&self) -> &(Proposal, Vec<u8>) {
        let [output] = &self.outputs[..] else { panic!("{} outputs", self.outputs.len()) };
        output
    }
}

impl Judge for Permissive {
    fn dataset(&mut self, _: &[Pad]) -> Answer {
        Answer::Allowed
    }

    fn output(&mut self, _: &[Pad], proposal: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
        self.outputs.push((proposal, data.to_vec()));
        Answer::Allowed
    }
}

impl Middleware for Permissive {
    fn size(&mut self, pad: Pad) -> io::Result<u64> {
        Ok(self.data[pad.index()].len() as u64)
    }

    fn data(&mut self, pad: Pad, to: &mut [u8]) -> io::Result<()> {
        to.copy_from_slice(&self.data[pad.index()]);
        Ok(())
    }

    fn contents(&self, _: Pad) -> Contents {
        let policy = Policy {
            engine: [1; 32],
            policy_type: [2; 16],
            input_id: "records".into(),
            input_constraint: vec![3; 4],
            program_constraint: vec![4; 4],
            output_constraint: vec![5; 4],
        };
        let attribute = |(name, value): &(&str, Vec<u8>)| Attribute {
            name: (*name).to_owned(),
            value: Value::Bytes(value.clone()),
        };
        Contents {
            policies: vec![policy],
            attributes: self.attributes.iter().map(attribute).collect(),
        }
    }
}
