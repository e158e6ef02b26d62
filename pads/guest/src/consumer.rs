//! The world `consumer`, a program that computes on Pads: implement [`Guest`] and export it by
//! [`export!`]. A program that calls [`inference`] uses the native helper `onnx`, which policies
//! have to grant.

wit_bindgen::generate!({
    path: "../wit",
    world: "consumer-with-inference",
    pub_export_macro: true,
    default_bindings_module: "pad_guest::consumer",
});

pub use dstyx::pad::{dataset, inference, types};
