//! Unsafe code lives in one `sys.rs` of the crates that need it; every other crate forbids it.

use super::Source;

/// Crates that may have a `sys.rs`.
const MAY: &[&str] = &["tee", "init", "guest-agent", "containers"];

/// Two rules: crate roots forbid unsafe, and no file but a permitted `sys.rs` has any.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources.iter().filter_map(|source| wrong(source)).collect()
}

fn wrong(source: &Source) -> Option<String> {
    let path = source.path.to_string_lossy();
    let crate_name = path.split('/').next().unwrap_or_default();
    let permitted = MAY.iter().any(|name| path == format!("{name}/src/sys.rs"));
    let code = source.text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mentions = code.clone().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
    if mentions && !permitted && !path.starts_with("xtask/") {
        return Some(format!("{path}: unsafe code outside a permitted sys.rs"));
    }
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let has_sys = MAY.contains(&crate_name) && source.text.contains("mod sys;");
    if is_root && !has_sys && !source.text.contains("#![forbid(unsafe_code)]") {
        return Some(format!("{path}: the crate root does not forbid unsafe code"));
    }
    None
}
