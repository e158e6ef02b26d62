//! Makes components for the sandbox of Pads from core modules, as compilers of C, C++ and Rust
//! leave them.
//!
//! The module is joined with the interfaces of `pads/wit`, which are part of this crate, so a tool
//! of another version cannot bring others. A function of another type than the interfaces have is
//! refused, and so is whatever the sandbox does not offer, by its name. The same module always
//! gives the same component. No I/O; nothing is run.

#![forbid(unsafe_code)]

use std::error::Error;

use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::{Resolve, SourceMap};

/// The interfaces, by their files.
const WIT: [(&str, &str); 4] = [
    ("consumer.wit", include_str!("../../wit/consumer.wit")),
    ("engine.wit", include_str!("../../wit/engine.wit")),
    ("inference.wit", include_str!("../../wit/inference.wit")),
    ("types.wit", include_str!("../../wit/types.wit")),
];
/// Bytes of the largest module: no larger component is run.
const MAX_BYTES: usize = 64 << 20;
/// Interfaces that a consumer may import; the last has types only.
const CONSUMER_INTERFACES: [&str; 3] =
    ["dstyx:pad/dataset@0.1.0", "dstyx:pad/inference@0.1.0", "dstyx:pad/types@0.1.0"];
/// What WASI's imports are named by.
const WASI: &str = "wasi";
/// What linkers import a symbol from that they found nowhere.
const SYMBOLS: &str = "env";

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// A program that computes on Pads.
    Consumer,
    /// An engine that decides by policies.
    PolicyEngine,
}

impl World {
    const ALL: [Self; 2] = [Self::Consumer, Self::PolicyEngine];

    /// Its name, as people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::PolicyEngine => "policy-engine",
        }
    }

    /// Its name in the interfaces, with everything that it may import. A component has only what
    /// its module imports.
    fn whole(self) -> &'static str {
        match self {
            Self::Consumer => "consumer-with-inference",
            Self::PolicyEngine => "policy-engine",
        }
    }

    /// The interfaces whose functions it may import.
    fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Consumer => &["dstyx:pad/dataset@0.1.0", "dstyx:pad/inference@0.1.0"],
            Self::PolicyEngine => &["dstyx:pad/proposed@0.1.0"],
        }
    }

    /// A function that its modules export, and no others.
    fn export(self) -> &'static str {
        match self {
            Self::Consumer => "run",
            Self::PolicyEngine => "check-input",
        }
    }
}

/// A component and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its world, by what the module exports.
    pub world: World,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The component of a core module.
///
/// # Errors
/// If the module is none, or imports or exports what the sandbox has not.
pub fn of_module(module: &[u8]) -> Result<Component, ComponentError> {
    if module.len() > MAX_BYTES {
        return Err(ComponentError::Size { found: module.len(), most: MAX_BYTES });
    }
    let world = judge(module)?;
    let bytes = encode(module, world).map_err(|error| match error {
        Refused::Joined(error) => ComponentError::Joined { world: world.name(), error },
        Refused::Module(error) => ComponentError::Invalid(error),
    })?;
    Ok(Component { world, bytes })
}

/// What a component names outside of itself, in its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// Functions and interfaces that it exports.
    pub exports: Vec<String>,
}

/// The outside of a consumer that is a component already.
///
/// # Errors
/// If it is none, or imports or exports what no consumer does. The sandbox judges it again.
pub fn of_consumer(component: &[u8]) -> Result<Outside, ComponentError> {
    if component.len() > MAX_BYTES {
        return Err(ComponentError::Size { found: component.len(), most: MAX_BYTES });
    }
    let outside = outside(component)?;
    let offered = |import: &String| CONSUMER_INTERFACES.contains(&import.as_str());
    if let Some(import) = outside.imports.iter().find(|import| !offered(import)) {
        return Err(ComponentError::Interface(import.clone()));
    }
    match outside.exports.iter().any(|export| export == World::Consumer.export()) {
        true => Ok(outside),
        false => Err(ComponentError::NoConsumer),
    }
}

fn outside(component: &[u8]) -> Result<Outside, ComponentError> {
    let (mut outside, mut depth) = (Outside::default(), 0u32);
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(ComponentError::Module);
            }
            // What is nested in it is wired up inside.
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    outside.imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    outside.exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(outside)
}

/// The world of a module, all of whose imports it has.
fn judge(module: &[u8]) -> Result<World, ComponentError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(ComponentError::Component);
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    imports.push((import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(invalid)?.name);
                }
            }
            _ => {}
        }
    }
    let world = World::ALL.into_iter().find(|world| exports.contains(&world.export()));
    let world = world.ok_or(ComponentError::World)?;
    match imports.into_iter().find(|(module, _)| !world.imports().contains(module)) {
        Some((module, name)) => Err(ComponentError::Import {
            module: module.to_owned(),
            name: name.to_owned(),
            world: world.name(),
        }),
        None => Ok(world),
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> ComponentError {
    ComponentError::Invalid(error.into())
}

type Cause = Box<dyn Error + Send + Sync>;

/// Where a module was refused.
enum Refused {
    Module(Cause),
    Joined(Cause),
}

/// Joins a module with the interfaces. What a generator of bindings left in it about them is taken
/// out first.
fn encode(module: &[u8], world: World) -> Result<Vec<u8>, Refused> {
    let (stripped, _) = metadata::decode(module).map_err(|error| Refused::Module(error.into()))?;
    let mut module = stripped.unwrap_or_else(|| module.to_vec());
    let (resolve, package) = interfaces();
    let world = resolve
        .select_world(&[package], Some(world.whole()))
        .expect("the interfaces have both worlds");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| Refused::Module(error.into()))?;
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| Refused::Joined(error.into()))
}

fn interfaces() -> (Resolve, wit_parser::PackageId) {
    let mut sources = SourceMap::default();
    for (file, text) in WIT {
        sources.push_str(file, text);
    }
    let group = sources.parse().map_err(|(_, error)| error).expect("the project's own text");
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).expect("the project's own text");
    (resolve, package)
}

/// Why no component was made.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// a module that is too large
    #[error("the module has {found} bytes, at most {most} are taken")]
    Size {
        /// Its size.
        found: usize,
        /// The largest.
        most: usize,
    },
    /// a component already
    #[error("a component, expected a core module")]
    Component,
    /// a module that was not made a component
    #[error("a core module, expected a component")]
    Module,
    /// an import of a component that the sandbox does not offer
    #[error("the component imports {0:?}, which a consumer is not offered")]
    Interface(String),
    /// a component without the call of a consumer
    #[error("the component does not export `run`, which a consumer has")]
    NoConsumer,
    /// bytes that are no module
    #[error("the bytes are no WebAssembly module")]
    Invalid(#[source] Cause),
    /// a module without the calls of a world
    #[error("the module exports neither `run` of a consumer nor `check-input` of a policy engine")]
    World,
    /// an import that the sandbox does not offer
    #[error("the module imports {name:?} from {module:?}, which a {world} is not offered")]
    Import {
        /// The import's module.
        module: String,
        /// Its name.
        name: String,
        /// The module's world.
        world: &'static str,
    },
    /// functions of other types than the interfaces have
    #[error("the module's functions are not those of a {world}")]
    Joined {
        /// The module's world.
        world: &'static str,
        /// The reason.
        #[source]
        error: Cause,
    },
}

impl ComponentError {
    /// Advice to the program's author.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Import { module, .. } if module.starts_with(WASI) => {
                "the sandbox has no WASI: link pads/include/dstyx_wasi.c into a module of C or C++, \
                 and compile Rust for wasm32-unknown-unknown"
            }
            Self::Import { module, .. } if module == SYMBOLS => {
                "the linker found this symbol nowhere: link what defines it, without --allow-undefined"
            }
            Self::Interface(import) if import.starts_with(WASI) => {
                "the sandbox has no WASI: compile Rust for wasm32-unknown-unknown, and link \
                 pads/include/dstyx_wasi.c into a module of C or C++"
            }
            Self::Module => "`dstyx pad component` makes one",
            Self::NoConsumer => "a policy engine or a library is no program; name a consumer",
            Self::Import { .. } | Self::Interface(_) => "the interfaces are in pads/wit; nothing else is offered",
            Self::Component => "it can be run as it is",
            Self::World | Self::Joined { .. } => {
                "include pads/include/dstyx_pad.h in C, or use the crate pads/guest in Rust; the \
                 linker must be told to make a reactor (-mexec-model=reactor)"
            }
            Self::Invalid(_) | Self::Size { .. } => "name the file that the linker wrote",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSUMER: &str = r#"
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
        (func (export "run") (param i32 i32))"#;

    fn of(imports: &str, fields: &str) -> Result<Component, ComponentError> {
        of_module(&wat::parse_str(format!("(module {imports} {fields})")).unwrap())
    }

    #[test]
    fn a_module_of_a_consumer_becomes_a_component_and_the_same_one_twice() {
        let import = r#"(import "dstyx:pad/dataset@0.1.0" "pads" (func (result i32)))"#;
        let component = of(import, CONSUMER).unwrap();
        assert_eq!(component.world, World::Consumer);
        assert!(component.bytes.starts_with(b"\0asm\x0d\0\x01\0"));
        assert_eq!(of(import, CONSUMER).unwrap(), component);
    }

    #[test]
    fn what_the_sandbox_does_not_offer_is_refused_by_its_name_with_a_hint() {
        for (module, name, hint) in [
            ("wasi_snapshot_preview1", "fd_write", "dstyx_wasi.c"),
            ("env", "pthread_create", "--allow-undefined"),
            ("dstyx:pad/proposed@0.1.0", "size", "pads/wit"),
            ("dstyx:pad/dataset@0.2.0", "pads", "pads/wit"),
        ] {
            let import = format!("(import {module:?} {name:?} (func))");
            let error = of(&import, CONSUMER).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(module) && text.contains(name), "{text}");
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
    }

    #[test]
    fn functions_that_the_interfaces_do_not_have_are_refused() {
        let unknown = r#"(import "dstyx:pad/dataset@0.1.0" "steal" (func))"#;
        let other_type = r#"(import "dstyx:pad/dataset@0.1.0" "pads" (func (param i64)))"#;
        for import in [unknown, other_type] {
            let error = of(import, CONSUMER).unwrap_err();
            assert!(matches!(error, ComponentError::Joined { .. }), "{error:?}");
        }
        let other_run = CONSUMER.replace("(param i32 i32))", "(param i64))");
        let error = of("", &other_run).unwrap_err();
        assert!(matches!(error, ComponentError::Joined { .. }), "{error:?}");
    }

    #[test]
    fn the_outside_of_a_consumer_is_what_it_is_made_with() {
        let import = r#"(import "dstyx:pad/dataset@0.1.0" "pads" (func (result i32)))"#;
        let component = of(import, CONSUMER).unwrap().bytes;
        let found = of_consumer(&component).unwrap();
        assert!(found.imports.iter().all(|import| import.starts_with("dstyx:pad/")), "{found:?}");
        assert!(found.imports.contains(&"dstyx:pad/dataset@0.1.0".to_owned()), "{found:?}");
        assert!(found.exports.contains(&"run".to_owned()), "{found:?}");
    }

    #[test]
    fn a_component_that_is_no_consumer_is_refused_with_a_hint() {
        let wat = |text: &str| of_consumer(&wat::parse_str(text).unwrap()).unwrap_err();
        let wasi = wat(r#"(component (import "wasi:io/poll@0.2.0" (instance)))"#);
        assert!(wasi.to_string().contains("wasi:io/poll@0.2.0"), "{wasi}");
        assert!(wasi.hint().contains("no WASI"), "{}", wasi.hint());
        let engine = wat(r#"(component (import "dstyx:pad/proposed@0.1.0" (instance)))"#);
        assert!(matches!(engine, ComponentError::Interface(_)), "{engine}");
        let empty = wat("(component (component (import \"wasi:a/b\" (instance))))");
        assert!(matches!(empty, ComponentError::NoConsumer), "{empty}");
        let module = wat("(module)");
        assert!(module.hint().contains("dstyx pad component"), "{module}");
        assert!(matches!(of_consumer(b"no program"), Err(ComponentError::Invalid(_))));
    }

    #[test]
    fn what_is_no_module_of_a_program_is_refused() {
        let module = r#"(memory (export "memory") 1)"#;
        assert!(matches!(of("", module), Err(ComponentError::World)));
        let component = of("", CONSUMER).unwrap().bytes;
        assert!(matches!(of_module(&component), Err(ComponentError::Component)));
        for bytes in [&b""[..], b"\x7fELF", b"\0asm\x01\0\0\0\xff"] {
            assert!(of_module(bytes).is_err());
        }
    }
}
