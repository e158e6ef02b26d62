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

/// The world `consumer-with-inference`, of which the world `consumer` is a part.
pub mod consumer {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "consumer-with-inference",
        imports: { default: trappable },
    });
}
