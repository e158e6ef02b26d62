//! Unsafe code has at most one home in a crate, a `sys.rs`.

use super::Source;

/// Crates that may have a `sys.rs`, because they talk to the kernel.
const MAY: &[&str] = &["tee", "init", "guest-agent", "containers/helper", "pads/runner"];
/// What tests try inside a container and in a consumer's process: system calls that no safe
/// interface offers.
const TEST_PROBES: &[&str] =
    &["containers/helper/tests/probe/probe.rs", "pads/runner/tests/sandbox/native.rs"];

/// Two rules: crate roots forbid unsafe, and no file but a permitted `sys.rs` has any.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources.iter().filter_map(wrong).collect()
}

fn wrong(source: &Source) -> Option<String> {
    let path = source.path.to_string_lossy();
    let crate_name = path.split("/src/").next().unwrap_or_default();
    let permitted = TEST_PROBES.contains(&&*path)
        || MAY.iter().any(|name| path == format!("{name}/src/sys.rs"));
    let code = source.text.lines().map(|line| line.split("//").next().unwrap_or_default());
    // Written in two parts, so that this file does not find itself.
    let openings =
        [concat!("unsafe", " {"), concat!("unsafe", " fn"), concat!("unsafe", " extern")];
    if !permitted && code.clone().any(|line| openings.iter().any(|opening| line.contains(opening)))
    {
        return Some(format!("{path}: unsafe code outside a permitted sys.rs"));
    }
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let has_sys = MAY.contains(&crate_name) && source.text.contains("mod sys;");
    if is_root && !has_sys && !source.text.contains("#![forbid(unsafe_code)]") {
        return Some(format!("{path}: the crate root does not forbid unsafe code"));
    }
    None
}
