//! Consumer programs: components of the world `consumer`, each in a process of its own.
//!
//! [`middleware`] starts the process, speaks with it and ends it; [`process`] is that process, with
//! the native helper [`inference`] for programs that import it. It
//! has no fuel, which would cost a program more than half of its speed, so it is ended from
//! outside. Its program is a stranger's, and what it says is judged by `pad-run` alone.

mod inference;
mod memory;
pub mod middleware;
pub(crate) mod process;

use std::sync::Arc;

use wasmtime::{Config, Engine};

use crate::artefact::{Artefact, Cache, Origin};
use crate::compile::{CompileLimits, compile};
use crate::component::{self, Refused, World};
use crate::runner::{Role, Runner};

/// What a consumer may import.
const WORLD: World = World {
    interfaces: &["dstyx:pad/dataset@0.1.0", inference::INTERFACE, "dstyx:pad/types@0.1.0"],
    max_bytes: MAX_BYTES,
};
/// Bytes of a program.
pub const MAX_BYTES: usize = 64 << 20;
/// Bytes of stack that a program may use, of the main thread's 8 MiB.
const STACK_BYTES: usize = 2 << 20;

/// Names of the native helpers that a component imports, ascending.
///
/// # Errors
/// If the component cannot be read.
pub fn helpers(component: &[u8]) -> Result<&'static [&'static str], Refused> {
    match component::imports(component, inference::INTERFACE)? {
        true => Ok(&[inference::HELPER]),
        false => Ok(&[]),
    }
}

/// Bytes that a program may take for these helpers beside its memory.
pub fn helper_bytes(helpers: &[&str]) -> u64 {
    if helpers.is_empty() { 0 } else { inference::MEMORY_BYTES }
}

/// Compiles consumers.
pub struct Compiler {
    engine: Engine,
    limits: CompileLimits,
    runner: Arc<Runner>,
}

impl Compiler {
    /// A compiler for the processes of this machine.
    pub fn new(limits: CompileLimits, runner: Arc<Runner>) -> wasmtime::Result<Self> {
        Engine::new(&config()).map(|engine| Self { engine, limits, runner })
    }

    /// Compiles a component, or takes it from the cache; the imports are judged before any process
    /// is started.
    pub fn compile(
        &self,
        component: &[u8],
        cache: Option<&Cache>,
    ) -> Result<(Artefact, Origin), Refused> {
        component::judge(component, &WORLD)?;
        let compile = || compile(&self.runner, Role::CompileConsumer, component, self.limits);
        match cache {
            Some(cache) => cache.artefact(&self.engine, component, compile),
            None => Ok((compile()?, Origin::NotKept)),
        }
    }
}

/// Settings of the compiler and of the process alike.
pub(crate) fn config() -> Config {
    let mut config = component::config();
    // Images of memory would be files, which a process makes after it was locked down.
    config.memory_init_cow(false).max_wasm_stack(STACK_BYTES);
    config
}
