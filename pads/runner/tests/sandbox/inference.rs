//! The native helper `onnx`: real models through the interface against `tract` alone, and models
//! and tensors that are none.

use std::fs;

use pad_runner::consumer;
use pad_runner::consumer::middleware::{ConsumerLimits, Job, RunError, run};
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModelExt as _, IntoRunnable as _, Tensor,
    onnx, tvec,
};

use crate::built::{self, Permissive};
use crate::programs::{self, consumer_limits};

/// A model, the type and the dimensions of its one input.
type Model = (&'static str, DatumType, &'static [usize]);

const MODELS: [Model; 3] = [
    ("basic-pitch", DatumType::F32, &[1, 43844, 1]),
    ("magika", DatumType::I32, &[1, 2048]),
    ("rapidocr-rec", DatumType::F32, &[1, 3, 48, 320]),
];

fn model(name: &str) -> Vec<u8> {
    fs::read(built::path(&format!("{name}.onnx"))).expect("a file that is there")
}

/// Numbers such as a model may get, all different.
fn input(element: DatumType, dimensions: &[usize]) -> Vec<u8> {
    let numbers = 0..dimensions.iter().product::<usize>();
    match element {
        DatumType::I32 => numbers.flat_map(|n| ((n * 7 % 257) as i32).to_le_bytes()).collect(),
        _ => numbers.flat_map(|n| ((n as f32) * 0.37).sin().to_le_bytes()).collect(),
    }
}

/// What says to the program `infer` what its input is.
fn plain(element: DatumType, dimensions: &[usize]) -> String {
    let element = if element == DatumType::I32 { "s32" } else { "f32" };
    let sizes: Vec<_> = dimensions.iter().map(usize::to_string).collect();
    format!("{element} {}\n", sizes.join(" "))
}

/// The smallest model, an input for it, and what says so.
pub fn smallest() -> (Vec<u8>, Vec<u8>, String) {
    let (name, element, dimensions) = MODELS[0];
    (model(name), input(element, dimensions), plain(element, dimensions))
}

/// What the program `infer` gives for these Pads.
fn inferred(pads: &[&[u8]], plain: &str) -> Result<Vec<u8>, RunError> {
    let mut owners = Permissive::of(pads);
    let program = programs::compiler().compile(&built::component("infer"), None);
    let program = program.expect("a right component").0;
    let limits = ConsumerLimits {
        data_bytes: 16 << 20,
        helper_bytes: consumer::helper_bytes(&["onnx"]),
        ..consumer_limits()
    };
    let count = u32::try_from(pads.len()).expect("few");
    let job = Job { program: &program, pads: count, plain: plain.as_bytes(), limits };
    run(&programs::runner(), &job, &mut owners)?;
    Ok(owners.output().1.clone())
}

/// What `tract` gives in this process.
fn expected(name: &str, element: DatumType, dimensions: &[usize]) -> Vec<u8> {
    let mut read = onnx().model_for_read(&mut model(name).as_slice()).expect("a model");
    read.set_input_fact(0, InferenceFact::dt_shape(element, dimensions)).expect("an input");
    let plan = read.into_optimized().and_then(|model| model.into_runnable()).expect("it runs");
    let mut tensor = Tensor::zero_dt(element, dimensions).expect("room");
    let bytes = input(element, dimensions);
    tensor.try_as_plain_ram_mut().expect("plain").as_bytes_mut().copy_from_slice(&bytes);
    let outputs = plan.run(tvec!(tensor.into())).expect("outputs");
    outputs
        .iter()
        .flat_map(|output| output.as_plain_ram().expect("plain").as_bytes())
        .copied()
        .collect()
}

#[test]
fn three_models_give_what_they_give_without_the_sandbox() {
    for (name, element, dimensions) in MODELS {
        let pads = [model(name), input(element, dimensions)];
        let found = inferred(&pads.each_ref().map(Vec::as_slice), &plain(element, dimensions));
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.len() > 100, "{name}: {} bytes", found.len());
        assert!(found == expected(name, element, dimensions), "{name}");
    }
}

#[test]
fn what_is_no_model_or_not_its_input_ends_the_run_by_a_constant_text() {
    let (name, element, dimensions) = MODELS[0];
    let (whole, input) = (model(name), input(element, dimensions));
    let right = plain(element, dimensions);
    let refused = "the program used the helper onnx with a model or tensors that it does not take";
    let half = &whole[..whole.len() / 2];
    let cases: [(&[&[u8]], &str); 7] = [
        (&[b"no model", &input], &right),
        (&[half, &input], &right),
        (&[&random_model(), &input], &right),
        (&[&whole, &input], "s32 1 43844 1\n"),
        (&[&whole, &input], "f32 1 43845 1\n"),
        (&[&whole, &input[4..]], &right),
        (&[&whole], ""),
    ];
    for (place, (pads, plain)) in cases.into_iter().enumerate() {
        let ended = inferred(pads, plain).map_err(|error| error.to_string());
        let ended = ended.map(|given| given.len());
        assert_eq!(ended, Err(refused.to_owned()), "case {place}");
    }
}

/// A model whose one operator draws numbers at random: fields of `ModelProto` by hand.
fn random_model() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let shape = [field(1, b"shape"), vec![8 << 3, 4], vec![20 << 3 | 0x80, 1, 7]].concat();
    let node = [field(2, b"y"), field(4, b"RandomUniform"), field(5, &shape)].concat();
    let graph = [field(1, &node), field(2, b"g"), field(12, &field(1, b"y"))].concat();
    [vec![1 << 3, 8], field(7, &graph), field(8, &[2 << 3, 13])].concat()
}

#[test]
fn a_program_has_the_helper_that_it_imports_and_no_other() {
    for (program, helpers) in [("infer", &["onnx"][..]), ("mean", &[]), ("rows", &[])] {
        assert_eq!(consumer::helpers(&built::component(program)).expect("a component"), helpers);
    }
}
