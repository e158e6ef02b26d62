//! The process of one consumer program.
//!
//! Its standard input is the stream to the middleware, its standard output a sealed file with the
//! compiled program; it has nothing else. It loads the program, locks itself down, and only then
//! runs the first instruction. It holds no data before the middleware opened the dataset.

use std::fs::File;
use std::io;

use pad_run::frames::{Ending, MAX_PART_BYTES, Reply, Request, Start};
use pad_run::wire::{Wire, WireError};
use pad_run::{Attribute, Contents, MAX_OUTPUT_BYTES, MAX_PLAIN_BYTES, Policy, Proposal, Value};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Store, Trap};
use zeroize::Zeroizing;

use super::inference::{self as inference_helper, Models};
use super::memory;
use crate::artefact::Artefact;
use crate::bindings::consumer::dstyx::pad::{dataset, inference, types};
use crate::bindings::consumer::{ConsumerWithInference, ConsumerWithInferencePre};
use crate::ceilings::{Ceiling, Ceilings};
use crate::component::Refused;
use crate::lockdown::{self, LockdownError};
use crate::standard::Standard;
use crate::{big_endian, sys};

/// Bytes that one call of the program may pass: a largest output, with its policies.
const MAX_CALL_BYTES: usize = 2 * MAX_OUTPUT_BYTES as usize;
/// Bytes that the process needs beside memory and data: tables, stacks, and copies of one call.
const OVERHEAD_BYTES: u64 = 64 << 20;

/// Runs one program.
pub(crate) fn run(is_isolated: bool) -> Result<(), ProcessError> {
    lockdown::begin(is_isolated)?;
    let given = rustix::stdio::stdout().try_clone_to_owned().map_err(ProcessError::Given)?;
    let artefact = Artefact::from_parent(File::from(given)).map_err(ProcessError::Given)?;
    let mut wire = Wire::new(Standard::new());
    let Reply::Start(start) = wire.receive()? else { return Err(ProcessError::Unexpected) };
    let program = match ready(&artefact) {
        Ok(program) => program,
        Err(_) => return Ok(wire.send(&Request::Ended(Ending::Start))?),
    };
    drop(artefact);
    if start.helper_bytes > 0 {
        inference_helper::prepare();
    }
    lockdown::finish(data_limit(start.memory_bytes, start.helper_bytes), start.cpu_secs)?;
    wire.send(&Request::Ready)?;
    let mut store = Store::new(program.engine(), Session::new(wire, &start));
    store.limiter(|session| &mut session.ceilings);
    store.set_hostcall_fuel(MAX_CALL_BYTES);
    let ended = program
        .instantiate(&mut store)
        .and_then(|program| program.call_run(&mut store, &start.plain));
    let session = store.data_mut();
    let ending = ended.map_or_else(|error| session.ending(&error), |()| Ending::Returned);
    Ok(session.wire.send(&Request::Ended(ending))?)
}

/// All that the program may make the process allocate. The data of its Pads is the middleware's.
pub(super) fn data_limit(memory_bytes: u64, helper_bytes: u64) -> u64 {
    let copies = MAX_CALL_BYTES as u64 + MAX_PLAIN_BYTES as u64 + OVERHEAD_BYTES;
    copies.saturating_add(memory_bytes).saturating_add(helper_bytes)
}

fn ready(artefact: &Artefact) -> Result<ConsumerWithInferencePre<Session>, Refused> {
    let engine = Engine::new(&super::config()).map_err(|error| Refused::invalid(&error))?;
    let component = sys::component(&engine, artefact).map_err(|error| Refused::invalid(&error))?;
    let mut linker = Linker::new(&engine);
    ConsumerWithInference::add_to_linker::<_, HasSelf<_>>(&mut linker, |session: &mut Session| {
        session
    })
    .and_then(|()| linker.instantiate_pre(&component))
    .and_then(ConsumerWithInferencePre::new)
    .map_err(|error| Refused::world(&error))
}

/// The program's view of its run. The middleware has the state that counts.
struct Session {
    wire: Wire<Standard>,
    ceilings: Ceilings,
    pads: u32,
    added: Vec<u32>,
    /// Data of opened Pads, by their index.
    data: Vec<Option<&'static [u8]>>,
    models: Models,
    /// Why the program was ended from here.
    ended: Option<Ending>,
}

impl Session {
    fn new(wire: Wire<Standard>, start: &Start) -> Self {
        let ceilings = Ceilings::new(start.memory_bytes, start.table_elements);
        Self {
            wire,
            ceilings,
            pads: start.pads,
            added: Vec::new(),
            data: Vec::new(),
            models: Models::default(),
            ended: None,
        }
    }

    fn end(&mut self, ending: Ending) -> wasmtime::Error {
        self.ended = Some(ending);
        wasmtime::Error::msg("the run is ended")
    }

    fn ending(&self, error: &wasmtime::Error) -> Ending {
        match (self.ended, self.ceilings.hit(), error.downcast_ref::<Trap>()) {
            (Some(ending), _, _) => ending,
            (None, Some(Ceiling::Memory), _) => Ending::Memory,
            (None, Some(Ceiling::Tables), _) => Ending::Tables,
            (None, None, Some(Trap::StackOverflow)) => Ending::Stack,
            (None, None, _) => Ending::Trapped,
        }
    }

    fn answer(&mut self) -> Result<bool, ProcessError> {
        match self.wire.receive()? {
            Reply::Answer(answer) => Ok(answer),
            _ => Err(ProcessError::Unexpected),
        }
    }

    fn opened(&mut self) -> Result<(), ProcessError> {
        self.wire.send(&Request::Open)?;
        let sizes = match self.wire.receive()? {
            Reply::Opened(sizes) if sizes.len() == self.added.len() => sizes,
            _ => return Err(ProcessError::Unexpected),
        };
        let bytes = sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size));
        let bytes = bytes.ok_or(ProcessError::Unexpected)?;
        let mut rest = memory::receive(self.wire.stream(), bytes).map_err(ProcessError::Given)?;
        self.data.resize(self.pads as usize, None);
        for (pad, size) in std::mem::take(&mut self.added).into_iter().zip(sizes) {
            let (data, behind) = rest.split_at(size as usize);
            *self.data.get_mut(pad as usize).ok_or(ProcessError::Unexpected)? = Some(data);
            rest = behind;
        }
        Ok(())
    }

    fn described(&mut self, pad: u32) -> Result<Contents, ProcessError> {
        self.wire.send(&Request::Describe(pad))?;
        match self.wire.receive()? {
            Reply::Described(contents) => Ok(contents),
            _ => Err(ProcessError::Unexpected),
        }
    }

    fn proposed(&mut self, proposal: Proposal, data: &[u8]) -> Result<bool, ProcessError> {
        self.wire.send(&Request::Propose(proposal))?;
        for part in data.chunks(MAX_PART_BYTES) {
            self.wire.send(&Request::Part(Zeroizing::new(part.to_vec())))?;
        }
        self.answer()
    }
}

impl types::Host for Session {}

impl dataset::Host for Session {
    fn pads(&mut self) -> wasmtime::Result<u32> {
        Ok(self.pads)
    }

    fn add(&mut self, pad: u32) -> wasmtime::Result<()> {
        self.wire.send(&Request::Add(pad))?;
        self.added.push(pad);
        Ok(())
    }

    fn check(&mut self) -> wasmtime::Result<bool> {
        self.wire.send(&Request::Check)?;
        Ok(self.answer()?)
    }

    fn open(&mut self) -> wasmtime::Result<()> {
        Ok(self.opened()?)
    }

    fn size(&mut self, pad: u32) -> wasmtime::Result<u64> {
        match self.data.get(pad as usize) {
            Some(Some(data)) => Ok(data.len() as u64),
            _ => Err(self.end(Ending::Handle)),
        }
    }

    fn read(&mut self, pad: u32, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        let Some(Some(data)) = self.data.get(pad as usize) else {
            return Err(self.end(Ending::Handle));
        };
        let window = usize::try_from(offset)
            .ok()
            .filter(|_| length as usize <= MAX_PART_BYTES)
            .and_then(|start| data.get(start..start.checked_add(length as usize)?));
        window.map(<[u8]>::to_vec).ok_or_else(|| self.end(Ending::Window))
    }

    fn describe(&mut self, pad: u32) -> wasmtime::Result<dataset::Contents> {
        match self.data.get(pad as usize) {
            Some(Some(_)) => {}
            _ => return Err(self.end(Ending::Handle)),
        }
        let Contents { policies, attributes } = self.described(pad)?;
        Ok(dataset::Contents {
            policies: policies.into_iter().map(shown_policy).collect(),
            attributes: attributes.into_iter().map(shown_attribute).collect(),
        })
    }

    fn propose(&mut self, output: dataset::Output) -> wasmtime::Result<bool> {
        let dataset::Output { custodian, policies, attributes, data } = output;
        let data = Zeroizing::new(data);
        let proposal = Proposal {
            custodian: custodian.map(big_endian::digest),
            contents: Contents {
                policies: policies.into_iter().map(policy).collect(),
                attributes: attributes.into_iter().map(attribute).collect(),
            },
            size_bytes: data.len() as u64,
        };
        if !proposal.is_bounded() {
            return Err(self.end(Ending::Call));
        }
        Ok(self.proposed(proposal, &data)?)
    }
}

impl inference::Host for Session {
    fn load(&mut self, model: Vec<u8>) -> wasmtime::Result<u32> {
        self.models.load(&model).map_err(|_| self.end(Ending::Inference))
    }

    fn compute(
        &mut self,
        model: u32,
        inputs: Vec<inference::Tensor>,
    ) -> wasmtime::Result<Vec<inference::Tensor>> {
        self.models.compute(model, inputs).map_err(|_| self.end(Ending::Inference))
    }
}

fn policy(policy: types::Policy) -> Policy {
    Policy {
        engine: big_endian::digest(policy.engine),
        policy_type: big_endian::uuid(policy.policy_type),
        input_id: policy.input_id,
        input_constraint: policy.input_constraint,
        program_constraint: policy.program_constraint,
        output_constraint: policy.output_constraint,
    }
}

fn attribute(attribute: types::Attribute) -> Attribute {
    let value = match attribute.value {
        types::Value::Number(number) => Value::Number(number),
        types::Value::Text(text) => Value::Text(text),
        types::Value::Bytes(bytes) => Value::Bytes(bytes),
    };
    Attribute { name: attribute.name, value }
}

fn shown_policy(policy: Policy) -> types::Policy {
    types::Policy {
        engine: big_endian::of_digest(&policy.engine),
        policy_type: big_endian::of_uuid(&policy.policy_type),
        input_id: policy.input_id,
        input_constraint: policy.input_constraint,
        program_constraint: policy.program_constraint,
        output_constraint: policy.output_constraint,
    }
}

fn shown_attribute(attribute: Attribute) -> types::Attribute {
    let value = match attribute.value {
        Value::Number(number) => types::Value::Number(number),
        Value::Text(text) => types::Value::Text(text),
        Value::Bytes(bytes) => types::Value::Bytes(bytes),
    };
    types::Attribute { name: attribute.name, value }
}

/// Why a process ends without a word of its program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// it is not locked down
    #[error(transparent)]
    Lockdown(#[from] LockdownError),
    /// no compiled program, or no data
    #[error("what the middleware gives: {0}")]
    Given(io::Error),
    /// no frame
    #[error(transparent)]
    Wire(#[from] WireError),
    /// a frame that does not come here
    #[error("the middleware sent a frame out of order")]
    Unexpected,
}
