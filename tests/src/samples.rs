//! Quotes and collateral of real hardware that the pinned dcap-qvl crate carries, read from the
//! crate's own source, so that no copy of them stands in this repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use serde_json::Value;

/// A real quote of version 4, zero bytes behind it, and its collateral.
pub const V4: [&str; 2] = ["tdx_quote", "tdx_quote_collateral.json"];
/// A real quote of version 5 with an extended body.
pub const V5_EXTENDED: [&str; 2] = ["tdx_quote_td15ex", "tdx_quote_td15ex_collateral.json"];
/// A real quote of version 5 of a platform that misses updates.
pub const V5_OUTDATED: [&str; 2] = ["tdx_quote_outdated", "tdx_quote_outdated_collateral.json"];
/// A real quote of an SGX enclave.
pub const SGX: [&str; 2] = ["sgx_quote", "sgx_quote_collateral.json"];

/// The path of a sample.
pub fn path(name: &str) -> PathBuf {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(directory);
    DIRECTORY.join(name)
}

/// The bytes of a sample.
pub fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cargo says where the source of the pinned crate is.
fn directory() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo metadata: {message}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let package = packages.iter().find(|package| package["name"] == "dcap-qvl");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.expect("dcap-qvl is a dependency"));
    manifest.parent().expect("a manifest is in a directory").join("sample")
}
