//! The native helper `onnx`: models and tensors of a program, computed by `tract` in the program's
//! own process.
//!
//! The program chooses every byte of a model, and `tract` is not written for hostile ones. It runs
//! where the program runs, behind the same filter of system calls and the same ends, so a model
//! that takes it over has won what a program that leaves its sandbox has: nothing. What is bounded
//! here keeps honest mistakes from ending in a dead process.

use std::sync::Arc;

use tract_onnx::prelude::tract_linalg::{cache, x86_64};
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _,
    IntoRunnable as _, TValue, TVec, Tensor, TractResult, TypedRunnableModel, onnx,
};

use crate::bindings::consumer::dstyx::pad::inference::{self, Element};

/// The helper's name in policies.
pub(crate) const HELPER: &str = "onnx";
/// The interface of a program that uses it.
pub(crate) const INTERFACE: &str = "dstyx:pad/inference@0.1.0";
/// Bytes that models and what is computed from them may take beside a program's memory: several
/// times the weights of the largest model that one call can carry.
pub(crate) const MEMORY_BYTES: u64 = 512 << 20;
/// Models of one run: a pipeline of a few steps.
const MAX_MODELS: usize = 4;
/// Dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// Inputs or outputs of a model.
const MAX_TENSORS: usize = 64;
/// Operators that draw numbers at random, which programs have not.
const RANDOM: [&str; 2] = ["Random", "Multinomial"];

/// The models of one run.
#[derive(Default)]
pub(super) struct Models(Vec<Model>);

struct Model {
    read: InferenceModel,
    /// For inputs of the types and dimensions that came last.
    ready: Option<Ready>,
}

struct Ready {
    inputs: Vec<(DatumType, Vec<usize>)>,
    plan: Arc<TypedRunnableModel>,
}

/// Has `tract` look at the machine, which it does once: for sizes of caches in files, for the speed
/// of instructions by a clock, for the kernel's leave to use tiles. After the lockdown each of them
/// would end the process.
pub(super) fn prepare() {
    cache::last_level_cache();
    x86_64::fma_width::avx512_fma_units();
    x86_64::amx::has_amx_int8();
    x86_64::amx_bf16::has_amx_bf16();
}

/// A model or tensors that are not taken; nothing says which of them.
pub(super) struct NotTaken;

impl Models {
    /// Reads a model; what stands for it.
    pub(super) fn load(&mut self, mut bytes: &[u8]) -> Result<u32, NotTaken> {
        if self.0.len() >= MAX_MODELS {
            return Err(NotTaken);
        }
        let read = onnx().model_for_read(&mut bytes).map_err(|_| NotTaken)?;
        if read.nodes().iter().any(|node| RANDOM.contains(&&*node.op.name())) {
            return Err(NotTaken);
        }
        self.0.push(Model { read, ready: None });
        Ok((self.0.len() - 1) as u32)
    }

    /// Computes a model's outputs.
    pub(super) fn compute(
        &mut self,
        model: u32,
        inputs: Vec<inference::Tensor>,
    ) -> Result<Vec<inference::Tensor>, NotTaken> {
        let model = self.0.get_mut(model as usize).ok_or(NotTaken)?;
        if inputs.len() > MAX_TENSORS {
            return Err(NotTaken);
        }
        let inputs = inputs.into_iter().map(taken).collect::<Result<TVec<_>, _>>()?;
        let outputs = model.run(inputs).map_err(|_| NotTaken)?;
        if outputs.len() > MAX_TENSORS {
            return Err(NotTaken);
        }
        outputs.iter().map(|output| given(output).ok_or(NotTaken)).collect()
    }
}

impl Model {
    fn run(&mut self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shapes = inputs.iter().map(|input| (input.datum_type(), input.shape().to_vec()));
        let shapes: Vec<_> = shapes.collect();
        if self.ready.as_ref().is_none_or(|ready| ready.inputs != shapes) {
            self.ready = None; // before another one takes memory
            self.ready = Some(Ready::of(self.read.clone(), shapes)?);
        }
        let ready = self.ready.as_ref().expect("it was set above");
        ready.plan.run(inputs)
    }
}

impl Ready {
    /// Makes a model ready for inputs of these types and dimensions.
    fn of(mut model: InferenceModel, inputs: Vec<(DatumType, Vec<usize>)>) -> TractResult<Self> {
        for (index, (element, dimensions)) in inputs.iter().enumerate() {
            model.set_input_fact(index, InferenceFact::dt_shape(*element, dimensions))?;
        }
        let plan = model.into_optimized()?.into_runnable()?;
        Ok(Self { inputs, plan })
    }
}

/// A program's tensor, if it has the bytes that its dimensions say.
fn taken(tensor: inference::Tensor) -> Result<TValue, NotTaken> {
    let inference::Tensor { dimensions, element, data } = tensor;
    if dimensions.len() > MAX_DIMENSIONS {
        return Err(NotTaken);
    }
    let element = datum_type(element);
    let shape: TVec<usize> = dimensions.iter().map(|size| *size as usize).collect();
    let bytes = shape.iter().try_fold(element.size_of(), |bytes, size| bytes.checked_mul(*size));
    if bytes != Some(data.len()) {
        return Err(NotTaken);
    }
    let filled = || -> TractResult<Tensor> {
        let mut tensor = Tensor::zero_dt(element, &shape)?;
        tensor.try_as_plain_ram_mut()?.as_bytes_mut().copy_from_slice(&data);
        Ok(tensor)
    };
    Ok(filled().map_err(|_| NotTaken)?.into())
}

/// What a program gets of a tensor, if its elements are of a type that programs know.
fn given(tensor: &Tensor) -> Option<inference::Tensor> {
    let sizes = tensor.shape().iter().map(|size| u32::try_from(*size).ok());
    Some(inference::Tensor {
        dimensions: sizes.collect::<Option<_>>()?,
        element: element(tensor.datum_type())?,
        data: tensor.as_plain_ram()?.as_bytes().to_vec(),
    })
}

fn datum_type(element: Element) -> DatumType {
    match element {
        Element::F32 => DatumType::F32,
        Element::F64 => DatumType::F64,
        Element::S32 => DatumType::I32,
        Element::S64 => DatumType::I64,
        Element::U8 => DatumType::U8,
    }
}

fn element(found: DatumType) -> Option<Element> {
    match found {
        DatumType::F32 => Some(Element::F32),
        DatumType::F64 => Some(Element::F64),
        DatumType::I32 => Some(Element::S32),
        DatumType::I64 => Some(Element::S64),
        DatumType::U8 => Some(Element::U8),
        _ => None,
    }
}
