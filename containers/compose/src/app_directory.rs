//! Paths that a compose file writes, and what of them lies in the app directory.
//!
//! A relative path means a file that travels in the measured file. An absolute one would mean a
//! file of the guest or of a host; there is none that an app may have, but the sockets of the
//! agent.

use super::field::{AppEntry, Field, Findings};
use super::refusal::Cause;

/// Longest path in a container, well below the kernel's 4,096 bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The normalised path in the app directory that `text` means; refuses whatever lies outside.
pub(super) fn path(text: &str, field: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    if text.starts_with(['/', '~']) {
        let reason = "the guest has no files of a host";
        let hint = "put the file into the app directory and name it with ./, or use a named volume";
        return findings.refuse(field, Cause::Unsupported { reason, hint });
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    let reason = "it lies outside the app directory";
                    let hint = "put it into the directory of docker-compose.yml";
                    return findings.refuse(field, Cause::Unsupported { reason, hint });
                }
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        let reason = "the app directory is not mounted whole";
        let hint = "name the files or directories that the service needs";
        return findings.refuse(field, Cause::Unsupported { reason, hint });
    }
    let path = parts.join("/");
    if protocol::app_compose::check_path(&path).is_err() {
        return field.invalid("path", &path, "at most 255 bytes, no control characters", findings);
    }
    Some(path)
}

/// The content of the file at `path`, which must be there.
pub(super) fn file<'i>(
    path: &str,
    field: &Field<'_>,
    findings: &mut Findings<'i>,
) -> Option<&'i [u8]> {
    match findings.app_entry(path) {
        Some(AppEntry::File(content)) => Some(content),
        Some(AppEntry::Directory(_)) => findings.refuse(field, Cause::Directory(path.to_owned())),
        None => findings.refuse(field, Cause::NoFile(path.to_owned())),
    }
}

/// Permission bits of a file of the app directory, which carries none: a program or script may be
/// run, all may be read.
pub(super) fn mode(content: &[u8]) -> u32 {
    if content.starts_with(b"#!") || content.starts_with(b"\x7fELF") { 0o555 } else { 0o444 }
}

/// An absolute path in a container without `.`, `..` and empty parts.
pub(super) fn target(text: &str, field: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let rule = "an absolute path without .. of at most 1024 bytes, without control characters";
    let fits = text.len() <= MAX_PATH_BYTES && !text.chars().any(char::is_control);
    if !text.starts_with('/') || !fits || text.split('/').any(|part| part == "..") {
        return field.invalid("path", text, rule, findings);
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Some(format!("/{}", parts.join("/")))
}
