//! Policy engines: components of the world `policy-engine`, run in this process.
//!
//! Faces engines of one owner that decide about Pads of others. Each call has a fresh instance with
//! fuel and ceilings of its own, so an engine keeps nothing between calls and ends. It gives one
//! answer for each Pad that it was asked about; the figures of a refusal are the middleware's.

use std::sync::Arc;

use pad_pipeline::engines::ProposedData;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolConcurrencyLimitError, PoolingAllocationConfig,
    Store, Trap,
};

use crate::artefact::{self, Cache};
use crate::bindings::engine::{PolicyEngine as Bindings, PolicyEnginePre, dstyx};
use crate::ceilings::{Ceiling, Ceilings};
use crate::compile::{CompileLimits, compile};
use crate::component::{self, Refused, World};
use crate::runner::{Role, Runner};
use crate::sys;

pub use dstyx::pad::types::{Attribute, Policy, Value};
pub use dstyx::pad::view::{
    Answer, Origin, Output, Pad, Part, PlainInput, QuotaUse, Refusal, Rule, Run, Statement, Update,
};

/// What an engine may import.
const WORLD: World = World {
    interfaces: &["dstyx:pad/proposed@0.1.0", "dstyx:pad/types@0.1.0", "dstyx:pad/view@0.1.0"],
    max_bytes: MAX_BYTES,
};
/// Bytes of an engine.
pub const MAX_BYTES: usize = 4 << 20;
/// Bytes of one window of proposed data.
const MAX_WINDOW_BYTES: u32 = pad_run::MAX_WINDOW_BYTES;
/// Bytes that an answer may cost the host, whatever its length states: two uses for each of 10,000
/// Pads.
const MAX_ANSWER_BYTES: usize = 2 << 20;
/// Handles of an engine's own resources: the interfaces have none.
const MAX_HANDLES: usize = 1000;
/// Calls at once, each with an instance of the pool.
const MAX_CALLS: u32 = 16;
/// Core instances of one component: its modules, and what joins them.
const MAX_CORE_INSTANCES: u32 = 16;
/// Tables of one component.
const MAX_TABLES: u32 = 8;
/// Elements that a pooled table has room for; what an engine gets of it is its ceiling.
const POOLED_TABLE_ELEMENTS: usize = 100_000;

/// What one call may use.
#[derive(Debug, Clone, Copy)]
pub struct EngineLimits {
    /// Units of fuel, about one for each instruction.
    pub fuel: u64,
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Elements of tables.
    pub table_elements: u32,
    /// Bytes of proposed data, windows added up: each is copied, which costs no fuel.
    pub read_bytes: u64,
}

impl Default for EngineLimits {
    /// A second of work, what a check of 10,000 Pads needs, and each output read twice.
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            memory_bytes: 64 << 20,
            table_elements: 10_000,
            read_bytes: 2 * pad_run::MAX_OUTPUT_BYTES,
        }
    }
}

/// Bytes of stack that an engine may use; a thread has several times as many.
const STACK_BYTES: usize = 256 << 10;

/// Compiles, keeps and calls engines.
pub struct Engines {
    engine: Engine,
    linker: Linker<Call>,
    limits: EngineLimits,
    runner: Arc<Runner>,
}

impl Engines {
    /// The pool of instances is reserved, not touched.
    pub fn new(limits: EngineLimits, runner: Arc<Runner>) -> wasmtime::Result<Self> {
        let engine = Engine::new(&config())?;
        let mut linker = Linker::new(&engine);
        Bindings::add_to_linker::<_, HasSelf<_>>(&mut linker, |call: &mut Call| call)?;
        Ok(Self { engine, linker, limits, runner })
    }

    /// Makes a component ready, if it is the one with this SHA-256.
    pub fn load(
        &self,
        expected: [u8; 32],
        component: &[u8],
        cache: Option<&Cache>,
    ) -> Result<(PolicyEngine, artefact::Origin), Refused> {
        let found = component::digest(component);
        if found != expected {
            return Err(Refused::Digest { found, expected });
        }
        component::judge(component, &WORLD)?;
        let compile =
            || compile(&self.runner, Role::CompileEngine, component, CompileLimits::ENGINE);
        let (artefact, origin) = match cache {
            Some(cache) => cache.artefact(&self.engine, component, compile)?,
            None => (compile()?, artefact::Origin::NotKept),
        };
        let component = sys::component(&self.engine, &artefact);
        let component = component.map_err(|error| Refused::invalid(&error))?;
        Ok((self.ready(&component)?, origin))
    }

    fn ready(&self, component: &Component) -> Result<PolicyEngine, Refused> {
        let ready = self.linker.instantiate_pre(component).and_then(PolicyEnginePre::new);
        let instances = ready.map_err(|error| Refused::world(&error))?;
        Ok(PolicyEngine { instances, limits: self.limits })
    }
}

/// Settings that make an engine's answer depend on its arguments alone.
pub(crate) fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_CALLS)
        .total_core_instances(MAX_CALLS * MAX_CORE_INSTANCES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .total_memories(MAX_CALLS)
        .max_memories_per_component(1)
        .total_tables(MAX_CALLS * MAX_TABLES)
        .max_tables_per_component(MAX_TABLES)
        .table_elements(POOLED_TABLE_ELEMENTS);
    let mut config = component::config();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .consume_fuel(true)
        .max_wasm_stack(STACK_BYTES)
        .cranelift_nan_canonicalization(true);
    config
}

/// An engine that is ready to be called.
pub struct PolicyEngine {
    instances: PolicyEnginePre<Call>,
    limits: EngineLimits,
}

impl PolicyEngine {
    /// Asks about a dataset: one answer for each index in `asked`.
    pub fn check_input(
        &self,
        run: &Run,
        pads: &[Pad],
        asked: &[u32],
    ) -> Result<Vec<Answer>, EngineError> {
        let answers = self.call(ProposedData::default(), |engine, store| {
            engine.call_check_input(store, run, pads, asked)
        });
        counted(answers?, asked)
    }

    /// Asks about an output, whose data the engine may read through windows.
    pub fn check_output(
        &self,
        run: &Run,
        pads: &[Pad],
        asked: &[u32],
        output: &Output,
        data: ProposedData,
    ) -> Result<Vec<Answer>, EngineError> {
        let answers = self
            .call(data, |engine, store| engine.call_check_output(store, run, pads, asked, output));
        counted(answers?, asked)
    }

    /// Asks about other policies for a Pad.
    pub fn check_update(&self, update: &Update) -> Result<Answer, EngineError> {
        self.call(ProposedData::default(), |engine, store| engine.call_check_update(store, update))
    }

    /// One call of a fresh instance. The store is discarded whatever happens.
    fn call<A>(
        &self,
        proposed: ProposedData,
        call: impl FnOnce(&Bindings, &mut Store<Call>) -> wasmtime::Result<A>,
    ) -> Result<A, EngineError> {
        let EngineLimits { fuel, memory_bytes, table_elements, read_bytes } = self.limits;
        let ceilings = Ceilings::new(memory_bytes, table_elements);
        let state = Call { ceilings, proposed, read_left: read_bytes, broken: None };
        let mut store = Store::new(self.instances.engine(), state);
        store.limiter(|call| &mut call.ceilings);
        store.set_hostcall_fuel(MAX_ANSWER_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        let answer = store.set_fuel(fuel).and_then(|()| {
            let instance = self.instances.instantiate(&mut store)?;
            call(&instance, &mut store)
        });
        answer.map_err(|error| store.data().reason(&error))
    }
}

/// One answer for each Pad that was asked about, or none.
fn counted(answers: Vec<Answer>, asked: &[u32]) -> Result<Vec<Answer>, EngineError> {
    match answers.len() == asked.len() {
        true => Ok(answers),
        false => Err(EngineError::Answer { found: answers.len(), expected: asked.len() }),
    }
}

/// The state of one call.
struct Call {
    ceilings: Ceilings,
    proposed: ProposedData,
    read_left: u64,
    /// What the engine asked for that ended the call.
    broken: Option<EngineError>,
}

impl Call {
    fn end(&mut self, reason: EngineError) -> wasmtime::Error {
        self.broken = Some(reason);
        wasmtime::Error::msg("the call is ended")
    }

    /// Why a call failed, in texts of our own: wasmtime's may hold what the engine chose.
    fn reason(&self, error: &wasmtime::Error) -> EngineError {
        if let Some(reason) = self.broken {
            return reason;
        }
        match self.ceilings.hit() {
            Some(Ceiling::Memory) => return EngineError::Memory,
            Some(Ceiling::Tables) => return EngineError::Tables,
            None => {}
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return EngineError::Busy;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => EngineError::Fuel,
            Some(Trap::StackOverflow) => EngineError::Stack,
            _ => EngineError::Trapped,
        }
    }
}

impl dstyx::pad::types::Host for Call {}

impl dstyx::pad::view::Host for Call {}

impl dstyx::pad::proposed::Host for Call {
    fn size(&mut self) -> wasmtime::Result<u64> {
        Ok(self.proposed.len() as u64)
    }

    fn read(&mut self, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        if length > MAX_WINDOW_BYTES {
            return Err(self.end(EngineError::Window));
        }
        match self.read_left.checked_sub(length.into()) {
            Some(left) => self.read_left = left,
            None => return Err(self.end(EngineError::Reads)),
        }
        let window = usize::try_from(offset).ok().and_then(|start| {
            self.proposed.get(start..start.checked_add(length as usize)?).map(<[u8]>::to_vec)
        });
        window.ok_or_else(|| self.end(EngineError::Window))
    }
}

/// Why an engine gave no answer, which counts as a no. The texts hold nothing of its choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// it used its fuel
    #[error("the engine used all its fuel")]
    Fuel,
    /// it asked for more memory than it may have
    #[error("the engine reached its memory ceiling")]
    Memory,
    /// it asked for more table elements than it may have
    #[error("the engine reached its ceiling of table elements")]
    Tables,
    /// its calls were nested too deeply
    #[error("the engine reached its stack ceiling")]
    Stack,
    /// it read more of the proposed data than it may
    #[error("the engine read more of the proposed data than it may")]
    Reads,
    /// it asked for a window that is not inside the proposed data, or too long
    #[error("the engine asked for a window outside the proposed data, or for more than 1 MiB")]
    Window,
    /// it trapped, or broke the rules of the component model
    #[error("the engine trapped")]
    Trapped,
    /// it answered for more or fewer Pads than it was asked about
    #[error("the engine gave {found} answers, expected {expected}")]
    Answer {
        /// Answers given.
        found: usize,
        /// Pads that it was asked about.
        expected: usize,
    },
    /// all instances of the pool are in use
    #[error("too many engines are called at once")]
    Busy,
}
