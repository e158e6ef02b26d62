//! Components from text, and what they are run with.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pad_run::{Answer, Attribute, Contents, Judge, Pad, Policy, Proposal, Value};
use pad_runner::consumer::Compiler;
use pad_runner::consumer::middleware::{ConsumerLimits, Job, Middleware, RunError, run};
use pad_runner::engines::{self, EngineError};
use pad_runner::{Artefact, CompileLimits, EngineLimits, Engines, PolicyEngine, Runner, Setting};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;
use zeroize::Zeroizing;

/// What a Pad's data begins with.
pub const SECRET: &str = "secret";
/// An output that begins so is refused.
const REFUSED: &[u8] = b"no";
/// The Pad whose engine refuses.
const UNWILLING: usize = 2;

/// Definitions that a program has unless it brings its own, which the mark shows.
const SHARED: &[(&str, &str)] = &[
    ("(export \"memory\")", r#"(memory (export "memory") 2)"#),
    ("(global $free ", "(global $free (mut i32) (i32.const 65536))"),
    (
        "(export \"cabi_realloc\")",
        r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
             (local $at i32)
             (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
             (global.set $free (i32.add (local.get $at) (local.get 3)))
             (local.get $at))"#,
    ),
];
/// The same for engines: the type of `check-input`, and yes as the answer about one Pad.
const ENGINE: &[(&str, &str)] = &[
    ("(type $input ", "(type $input (func (param i32) (result i32)))"),
    (
        "(func $yes ",
        "(func $yes (result i32)
           (i32.store (i32.const 0) (i32.const 16))
           (i32.store (i32.const 4) (i32.const 1))
           (i32.const 0))",
    ),
    ("(export \"check-input\")", r#"(func (export "check-input") (type $input) (call $yes))"#),
    (
        "(export \"check-output\")",
        r#"(func (export "check-output") (param i32) (result i32) (call $yes))"#,
    ),
    (
        "(export \"check-update\")",
        r#"(func (export "check-update") (param i32) (result i32) (i32.const 16))"#,
    ),
];
/// What a consumer may import, before everything else of its module.
const DATASET: &str = r#"
    (import "dstyx:pad/dataset@0.1.0" "pads" (func $pads (result i32)))
    (import "dstyx:pad/dataset@0.1.0" "add" (func $add (param i32)))
    (import "dstyx:pad/dataset@0.1.0" "check" (func $check (result i32)))
    (import "dstyx:pad/dataset@0.1.0" "open" (func $open))
    (import "dstyx:pad/dataset@0.1.0" "size" (func $size (param i32) (result i64)))
    (import "dstyx:pad/dataset@0.1.0" "read" (func $read (param i32 i64 i32 i32)))
    (import "dstyx:pad/dataset@0.1.0" "describe" (func $describe (param i32 i32)))
    (import "dstyx:pad/dataset@0.1.0" "propose"
      (func $propose (param i32 i64 i64 i64 i64 i32 i32 i32 i32 i32 i32) (result i32)))
"#;
/// An open dataset of the first Pad, and a plain output.
const CONSUMER: &[(&str, &str)] = &[
    (
        "(func $opened ",
        "(func $opened
           (call $add (i32.const 0))
           (if (i32.eqz (call $check)) (then (unreachable)))
           (call $open))",
    ),
    (
        "(func $output ",
        "(func $output (param $data i32) (param $length i32) (result i32)
           (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
             (local.get $data) (local.get $length)))",
    ),
    ("(export \"run\")", r#"(func (export "run") (param i32 i32))"#),
];

/// Numbers that are the same in each run of a test (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Those of a list of this number.
    pub fn new(list: u64) -> Self {
        Self(list << 32 ^ 0x5747_5958)
    }

    /// The next, below this.
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// A component of the world `policy-engine`, from the fields of its module or as it stands.
pub fn engine(text: &str) -> Vec<u8> {
    whole(text).unwrap_or_else(|| {
        let fields = [text.to_owned(), missing(text, SHARED), missing(text, ENGINE)];
        componentized(&format!("(module {})", fields.concat()), "policy-engine")
    })
}

/// A component of the world `consumer`.
pub fn consumer(text: &str) -> Vec<u8> {
    whole(text).unwrap_or_else(|| {
        let fields =
            [DATASET.to_owned(), text.to_owned(), missing(text, SHARED), missing(text, CONSUMER)];
        componentized(&format!("(module {})", fields.concat()), "consumer")
    })
}

fn whole(text: &str) -> Option<Vec<u8>> {
    let is_whole =
        text.lines().any(|line| line.starts_with("(component") || line.starts_with("(module"));
    is_whole.then(|| wat::parse_str(text).expect("text of a component or a module"))
}

fn missing(text: &str, defaults: &[(&str, &str)]) -> String {
    let missing = defaults.iter().filter(|(mark, _)| !text.contains(mark));
    missing.map(|(_, default)| format!("\n{default}")).collect()
}

fn componentized(module: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("text of a module");
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_path(wit).expect("the project's own interfaces");
    let world = resolve.select_world(&[package], Some(world)).expect("a world of them");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).expect("a module");
    encoder.encode().expect("a module of this world")
}

/// The program, on this machine.
pub fn runner() -> Arc<Runner> {
    static RUNNER: OnceLock<Arc<Runner>> = OnceLock::new();
    let open = || {
        let program = Path::new(env!("CARGO_BIN_EXE_pad-runner"));
        Arc::new(Runner::open(program, Setting::Local).expect("the program"))
    };
    Arc::clone(RUNNER.get_or_init(open))
}

/// Engines with [`engine_limits`].
pub fn engines() -> Engines {
    Engines::new(engine_limits(), runner()).expect("wasmtime")
}

/// A compiler of consumers.
pub fn compiler() -> Compiler {
    Compiler::new(CompileLimits::CONSUMER, runner()).expect("wasmtime")
}

/// Ceilings that a test reaches in a moment.
pub fn engine_limits() -> EngineLimits {
    EngineLimits {
        fuel: 20_000_000,
        memory_bytes: 4 << 20,
        table_elements: 1000,
        read_bytes: 1 << 20,
    }
}

/// A yes without a use of any quota.
pub fn yes() -> engines::Answer {
    engines::Answer::Allowed(Vec::new())
}

/// Two Pads, of which the engine is asked about the first.
pub fn check_input(engine: &PolicyEngine) -> Result<Vec<engines::Answer>, EngineError> {
    engine.check_input(&run_of_one(), &[pad(1), pad(2)], &[0])
}

/// The same about an output that a program made of them.
pub fn check_output(engine: &PolicyEngine) -> Result<Vec<engines::Answer>, EngineError> {
    let data = format!("{SECRET} of the output's data").into_bytes();
    let data = Arc::new(Zeroizing::new(data));
    let output = engines::Output {
        custodian: Some((1, 2, 3, 4)),
        policies: pad(3).policies,
        attributes: Vec::new(),
        size: data.len() as u64,
    };
    engine.check_output(&run_of_one(), &[pad(1), pad(2)], &[0], &output, data)
}

/// Other policies for a Pad.
pub fn check_update(engine: &PolicyEngine) -> Result<Vec<engines::Answer>, EngineError> {
    let update = engines::Update {
        engine: (1, 0, 0, 0),
        pad: pad(1),
        policies: pad(3).policies,
        owners: vec![(5, 6, 7, 8)],
    };
    engine.check_update(&update).map(|answer| vec![answer])
}

/// A run of a program whose owner signed it.
pub fn run_of_one() -> engines::Run {
    engines::Run {
        engine: (1, 0, 0, 0),
        program: (1, 2, 3, 4),
        owner: Some((5, 6, 7, 8)),
        plain: None,
        helpers: Vec::new(),
    }
}

/// A Pad with one policy.
pub fn pad(number: u64) -> engines::Pad {
    let policy = engines::Policy {
        engine: (number, 0, 0, 0),
        policy_type: (1, 1),
        input_id: "records".into(),
        input_constraint: vec![1; 40],
        program_constraint: Vec::new(),
        output_constraint: vec![2; 3],
    };
    let entries = engines::Attribute { name: "entries".into(), value: engines::Value::Number(100) };
    let made_by =
        engines::Attribute { name: "made-by".into(), value: engines::Value::Bytes(vec![1]) };
    engines::Pad {
        id: (0, number),
        digest: (0, 0, 0, number),
        custodian: (9, 9, 9, number),
        policies: vec![policy],
        attributes: vec![
            engines::Statement { attribute: entries, origin: engines::Origin::Custodian },
            engines::Statement {
                attribute: made_by,
                origin: engines::Origin::Program((1, 2, 3, 4)),
            },
        ],
    }
}

/// The middleware of three Pads, of which the last has an engine that refuses.
#[derive(Default)]
pub struct Hospital {
    /// Outputs that left.
    pub allowed: Vec<Vec<u8>>,
    /// Outputs that did not.
    pub refused: Vec<Vec<u8>>,
    /// Pads whose data was given away.
    pub opened: Vec<usize>,
}

impl Judge for Hospital {
    fn dataset(&mut self, pads: &[Pad]) -> Answer {
        match pads.iter().any(|pad| pad.index() == UNWILLING) {
            true => Answer::Refused,
            false => Answer::Allowed,
        }
    }

    fn output(&mut self, _: &[Pad], _: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
        if data.starts_with(REFUSED) {
            self.refused.push(data.to_vec());
            return Answer::Refused;
        }
        self.allowed.push(data.to_vec());
        Answer::Allowed
    }
}

impl Middleware for Hospital {
    fn size(&mut self, pad: Pad) -> io::Result<u64> {
        Ok(data(pad).len() as u64)
    }

    fn data(&mut self, pad: Pad, to: &mut [u8]) -> io::Result<()> {
        self.opened.push(pad.index());
        to.copy_from_slice(data(pad).as_bytes());
        Ok(())
    }

    fn contents(&self, pad: Pad) -> Contents {
        let policy = Policy {
            engine: [1; 32],
            policy_type: [2; 16],
            input_id: "records".into(),
            input_constraint: vec![3; 4],
            program_constraint: Vec::new(),
            output_constraint: Vec::new(),
        };
        let number = Value::Number(pad.index() as u64 + 100);
        let entries = Attribute { name: "entries".into(), value: number };
        Contents { policies: vec![policy], attributes: vec![entries] }
    }
}

fn data(pad: Pad) -> String {
    format!("{SECRET} of pad{}", pad.index())
}

/// Room for the largest output, and more time than a busy machine takes.
pub fn consumer_limits() -> ConsumerLimits {
    ConsumerLimits {
        memory_bytes: 96 << 20,
        helper_bytes: 0,
        table_elements: 1000,
        data_bytes: 1 << 20,
        wall: Duration::from_secs(60),
        proposals: 2,
    }
}

/// Runs a program on so many Pads.
pub fn run_on(
    program: &Artefact,
    pads: u32,
    limits: ConsumerLimits,
    hospital: &mut Hospital,
) -> Result<(), RunError> {
    let job = Job { program, pads, plain: b"", limits };
    run(&runner(), &job, hospital)
}
