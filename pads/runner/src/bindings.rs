//! The two worlds of `pads/wit` as Rust types, generated from the text.

/// The world `policy-engine`.
pub mod engine {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy-engine",
        imports: { default: trappable },
        additional_derives: [PartialEq, Eq],
    });
}

/// The world `consumer`.
pub mod consumer {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "consumer",
        imports: { default: trappable },
    });
}
