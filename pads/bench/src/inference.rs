//! Inference through the native helper, beside the same library on the same models in this
//! process.
//!
//! There is no clock in the sandbox. So a run computes once and many times, and the difference
//! counts; what is measured of the helper is the calls, with their tensors copied in and out.

use std::time::Duration;

use pad_run::{Answer, Contents, Judge, Pad, Proposal};
use pad_runner::Artefact;
use pad_runner::consumer::helper_bytes;
use pad_runner::consumer::middleware::{ConsumerLimits, Job, Middleware, run};
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModelExt as _, IntoRunnable as _, TValue,
    Tensor, TractResult, onnx, tvec,
};
use zeroize::Zeroizing;

use crate::programs;
use crate::table::{Times, row, time, timed};

/// Models by their files, the types of their inputs and the dimensions.
const MODELS: [(&str, DatumType, &[usize]); 3] = [
    ("magika", DatumType::I32, &[1, 2048]),
    ("basic-pitch", DatumType::F32, &[1, 43844, 1]),
    ("rapidocr-rec", DatumType::F32, &[1, 3, 48, 320]),
];
/// How long `tract` alone shall work in one round.
const ROUND: Duration = Duration::from_millis(600);
/// Rounds, each of both.
const ROUNDS: usize = 9;

/// Prints a row for each model.
pub fn inference() {
    let program = programs::compiled(&programs::component("infer"));
    for (name, element, dimensions) in MODELS {
        let model = std::fs::read(programs::path(&format!("{name}.onnx"))).expect("a model");
        let input = zeros(element, dimensions);
        compare(&program, name, &model, &input).expect("a model that `tract` takes");
    }
}

fn zeros(element: DatumType, dimensions: &[usize]) -> Tensor {
    Tensor::zero_dt(element, dimensions).expect("room")
}

fn compare(program: &Artefact, name: &str, model: &[u8], input: &Tensor) -> TractResult<()> {
    let mut read = onnx().model_for_read(&mut &*model)?;
    let fact = InferenceFact::dt_shape(input.datum_type(), input.shape());
    read.set_input_fact(0, fact)?;
    let plan = read.into_optimized()?.into_runnable()?;
    let alone = |rounds: u32| -> TractResult<()> {
        (0..rounds).try_for_each(|_| {
            let given: TValue = input.clone().into();
            plan.run(tvec!(given)).map(drop)
        })
    };
    alone(2)?;
    let (done, once) = timed(|| alone(1));
    done?;
    let rounds = 2 + (ROUND.as_secs_f64() / once.as_secs_f64()) as u32;
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let (done, theirs) = timed(|| alone(rounds));
        done?;
        let (few, many) =
            (sandboxed(program, model, input, 1), sandboxed(program, model, input, rounds + 1));
        pairs.push((many.saturating_sub(few) / rounds, theirs / rounds));
    }
    let ours = Times::of(pairs.iter().map(|pair| pair.0));
    let theirs = Times::of(pairs.iter().map(|pair| pair.1));
    let ratios = pairs
        .iter()
        .map(|(ours, theirs)| Duration::from_secs_f64(ours.as_secs_f64() / theirs.as_secs_f64()));
    let ratio = Times::of(ratios).median().as_secs_f64();
    let figure = format!("inference by {name} through the helper");
    let beside = format!("`tract` alone: {}", time(theirs.median()));
    row(&figure, &time(ours.median()), &beside, Some(ratio), "≤ 1.03x");
    Ok(())
}

/// How long a run takes that computes so often.
fn sandboxed(program: &Artefact, model: &[u8], input: &Tensor, rounds: u32) -> Duration {
    let element = if input.datum_type() == DatumType::I32 { "s32" } else { "f32" };
    let sizes: Vec<_> = input.shape().iter().map(usize::to_string).collect();
    let plain = format!("times {rounds}\n{element} {}\n", sizes.join(" "));
    let data = input.as_plain_ram().expect("plain").as_bytes();
    let mut pads = Pads { data: [model, data], has_left: false };
    let limits = ConsumerLimits {
        data_bytes: 16 << 20,
        helper_bytes: helper_bytes(&["onnx"]),
        ..programs::limits()
    };
    let job = Job { program, pads: 2, plain: plain.as_bytes(), limits };
    let (ended, took) = timed(|| run(&programs::runner(), &job, &mut pads));
    ended.expect("a run that ends well");
    assert!(pads.has_left, "the result is there");
    took
}

/// A model and its input, whose owners allow all.
struct Pads<'a> {
    data: [&'a [u8]; 2],
    has_left: bool,
}

impl Judge for Pads<'_> {
    fn dataset(&mut self, _: &[Pad]) -> Answer {
        Answer::Allowed
    }

    fn output(&mut self, _: &[Pad], _: Proposal, _: Zeroizing<Vec<u8>>) -> Answer {
        self.has_left = true;
        Answer::Allowed
    }
}

impl Middleware for Pads<'_> {
    fn size(&mut self, pad: Pad) -> std::io::Result<u64> {
        Ok(self.data[pad.index() as usize].len() as u64)
    }

    fn data(&mut self, pad: Pad, to: &mut [u8]) -> std::io::Result<()> {
        to.copy_from_slice(self.data[pad.index() as usize]);
        Ok(())
    }

    fn contents(&self, _: Pad) -> Contents {
        Contents::default()
    }
}
