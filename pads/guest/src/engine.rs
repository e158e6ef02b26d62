//! The world `policy-engine`, which decides by policies: implement [`Guest`] and export it by
//! [`export!`].

wit_bindgen::generate!({
    path: "../wit",
    world: "policy-engine",
    pub_export_macro: true,
    default_bindings_module: "pad_guest::engine",
});

pub use dstyx::pad::{proposed, types, view};
