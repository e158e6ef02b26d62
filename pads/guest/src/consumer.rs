//! The world `consumer`, a program that computes on Pads: implement [`Guest`] and export it by
//! [`export!`].

wit_bindgen::generate!({
    path: "../wit",
    world: "consumer",
    pub_export_macro: true,
    default_bindings_module: "pad_guest::consumer",
});

pub use dstyx::pad::{dataset, types};
