//! What is refused before a component runs.

use std::fmt::Display;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmparser::{BinaryReaderError, ComponentTypeRef, Parser, Payload, TypeBounds};
use wasmtime::Config;

/// The first bytes of a component: the magic, the version and the layer.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// The first bytes of a core module.
const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
/// Characters of a name or a reason that are shown.
const MAX_SHOWN: usize = 200;
/// Bytes of a reason that is not shortened yet.
pub(crate) const MAX_REASON_BYTES: u64 = 4 * MAX_SHOWN as u64;

/// A world, as far as a component may import from it.
#[derive(Debug)]
pub(crate) struct World {
    /// Interfaces that are offered, types included.
    pub(crate) interfaces: &'static [&'static str],
    /// Bytes of a component.
    pub(crate) max_bytes: usize,
}

/// What engines and consumers have in common: nothing that is not needed, and no way for traps to
/// say where they were.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_backtrace_max_frames(None)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

/// SHA-256 of a component.
pub fn digest(component: &[u8]) -> [u8; 32] {
    Sha256::digest(component).into()
}

/// Refuses by the first bytes, the size and the imports, before anything is compiled.
pub(crate) fn judge(component: &[u8], world: &World) -> Result<(), Refused> {
    if component.starts_with(&MODULE) {
        return Err(Refused::Module);
    }
    if !component.starts_with(&COMPONENT) {
        return Err(Refused::NotWasm);
    }
    if component.len() > world.max_bytes {
        return Err(Refused::Size { found: component.len(), most: world.max_bytes });
    }
    let foreign = |name: &str| !world.interfaces.contains(&name);
    match import(component, foreign).map_err(|error| Refused::Invalid(reason(&error)))? {
        Some(name) => Err(Refused::Import(shown(name))),
        None => Ok(()),
    }
}

/// Whether a component imports an interface.
pub(crate) fn imports(component: &[u8], interface: &str) -> Result<bool, Refused> {
    let found = import(component, |name| name == interface);
    Ok(found.map_err(|error| Refused::Invalid(reason(&error)))?.is_some())
}

/// The first import of the outermost component, of whatever kind, whose name is of these.
fn import(
    component: &[u8],
    is_one: impl Fn(&str) -> bool,
) -> Result<Option<&str>, BinaryReaderError> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let import = import?;
                    // A name for a type that is there already.
                    let is_alias = matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_)));
                    if !is_alias && is_one(import.name.name) {
                        return Ok(Some(import.name.name));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

fn reason(error: &impl Display) -> Reason {
    Reason(shown(&format!("{error:#}")))
}

/// The beginning of wasmtime's message, of at most [`MAX_REASON_BYTES`].
pub(crate) fn message(error: &wasmtime::Error) -> String {
    format!("{error:#}").chars().take(MAX_SHOWN).collect()
}

/// Short, and without control characters.
fn shown(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).take(MAX_SHOWN).collect()
}

/// Why a component is not run. No data was there yet, so the texts may name its parts.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// a core module
    #[error("a core module; only components are run")]
    Module,
    /// bytes that are no WebAssembly
    #[error("no WebAssembly component")]
    NotWasm,
    /// a component that is too large
    #[error("the component has {found} bytes, at most {most} are compiled")]
    Size {
        /// Its size.
        found: usize,
        /// The largest.
        most: usize,
    },
    /// another component than the one that was asked for
    #[error(
        "the component has the SHA-256 {}, expected {}",
        hex::encode(found),
        hex::encode(expected)
    )]
    Digest {
        /// SHA-256 of the bytes.
        found: [u8; 32],
        /// SHA-256 that the caller stated.
        expected: [u8; 32],
    },
    /// an import that is not offered
    #[error("the component imports {0}, which is not offered")]
    Import(String),
    /// a component that the sandbox does not run
    #[error("the component is not valid in this sandbox")]
    Invalid(#[source] Reason),
    /// a component that costs the compiler too much
    #[error("compiling the component takes longer than {} seconds", .0.as_secs_f32())]
    Slow(Duration),
    /// a component that ends the compiler, which may have reached its limit of memory
    #[error("the component's compiler was ended by {}", signal(*.0))]
    CompilerEnded(Option<ExitStatus>),
    /// no compiler
    #[error("start the compiler's process: {0}")]
    NoCompiler(io::Error),
    /// a component without the calls of its world
    #[error("the component does not have the calls of its world")]
    World(#[source] Reason),
}

impl Refused {
    pub(crate) fn invalid(error: &wasmtime::Error) -> Self {
        Self::Invalid(reason(error))
    }

    /// What the compiler's process says about a component.
    pub(crate) fn stated(text: &str) -> Self {
        Self::Invalid(Reason(shown(text)))
    }

    pub(crate) fn world(error: &wasmtime::Error) -> Self {
        Self::World(reason(error))
    }
}

fn signal(status: Option<ExitStatus>) -> String {
    let number = status.and_then(|status| status.signal());
    number.map_or_else(|| "itself".to_owned(), |number| format!("signal {number}"))
}

/// wasmtime's message about a component, shortened
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Reason(String);
