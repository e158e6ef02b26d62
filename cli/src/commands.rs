//! One module a verb.

pub mod build;
pub mod check_apps;
pub mod collateral;
pub mod config;
pub mod diff;
pub mod doctor;
pub mod domain;
pub mod down;
pub mod env;
pub mod events;
pub mod gateway;
pub mod kms;
pub mod lock;
pub mod logs;
pub mod measure;
pub mod pad;
pub mod pin;
pub mod ps;
pub mod rebuild;
pub mod release;
pub mod serve_images;
pub mod stated;
pub mod stats;
pub mod transfer;
pub mod up;
pub mod verify;
