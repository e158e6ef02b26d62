//! What a service mounts: `volumes` in both forms, `tmpfs`, `configs` and `secrets`; no target
//! twice.

use protocol::pad_calls;

use super::app_directory;
use super::data;
use super::definitions::Definitions;
use super::document::Value;
use super::field::{Field, Findings, Section};
use super::grants;
use super::keys;
use super::model::{AgentSocket, Mount, MountSource, Tmpfs};
use super::refusal::{Cause, KeyPath};
use super::scalar;
use super::target::target;

/// More than the largest real services have; each costs a mount.
pub const MAX_MOUNTS: usize = 64;

/// Sockets of container daemons, wherever they lie.
const DAEMON_SOCKETS: [&str; 3] = ["docker.sock", "containerd.sock", "podman.sock"];

/// All mounts of a service, those of the nearest targets first.
pub(super) fn read(
    service: &Section<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Vec<Mount> {
    let mut mounts: Vec<(Mount, KeyPath)> = Vec::new();
    let mut add = |mount: Option<Mount>, field: &Field<'_>, findings: &mut Findings<'_>| {
        let Some(mount) = mount else { return };
        if let Some((_, other)) = mounts.iter().find(|(known, _)| known.target == mount.target) {
            let cause =
                Cause::Taken { what: "the mount at", name: mount.target, other: other.to_string() };
            findings.refuse::<()>(field, cause);
        } else {
            mounts.push((mount, field.path.clone()));
        }
    };
    for field in service.items("volumes", findings) {
        add(volume(&field, defined, findings), &field, findings);
    }
    let tmpfs_list =
        service.get("tmpfs").map(|field| field.text_or_list(findings)).unwrap_or_default();
    for (text, field) in tmpfs_list {
        add(tmpfs(&text, &field, findings), &field, findings);
    }
    for kind in [grants::Kind::Config, grants::Kind::Secret] {
        for field in service.items(kind.key(), findings) {
            add(grants::read(kind, &field, defined, findings), &field, findings);
        }
    }
    if mounts.len() > MAX_MOUNTS {
        let cause = Cause::TooMany { what: "mounts", found: mounts.len(), limit: MAX_MOUNTS };
        findings.refuse::<()>(&service.field, cause);
    }
    let mut mounts: Vec<Mount> = mounts.into_iter().map(|(mount, _)| mount).collect();
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    mounts
}

fn volume(field: &Field<'_>, defined: &Definitions, findings: &mut Findings<'_>) -> Option<Mount> {
    match &field.node.value {
        Value::Mapping(_) => long(&field.section(keys::MOUNT, findings)?, defined, findings),
        Value::Scalar { .. } => short(field, defined, findings),
        Value::Sequence(_) => field.wrong_kind("text or a mapping", findings),
    }
}

/// `[source:]target[:modes]`.
fn short(field: &Field<'_>, defined: &Definitions, findings: &mut Findings<'_>) -> Option<Mount> {
    let text = field.text(findings)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, path, modes) = match parts[..] {
        [path] => (None, path, ""),
        [source, path] => (Some(source), path, ""),
        [source, path, modes] => (Some(source), path, modes),
        _ => return field.invalid("mount", &text, "[source:]target[:ro]", findings),
    };
    let (mut read_only, mut nocopy) = (false, false);
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "rw" => {}
            "ro" => read_only = true,
            "nocopy" => nocopy = true,
            "z" | "Z" | "cached" | "consistent" | "delegated" => {
                findings.note(field, &format!("{mode} changes nothing"))
            }
            _ => return field.invalid("mode of a mount", mode, "ro, rw or nocopy", findings),
        }
    }
    let target = target(path, field, findings)?;
    let source = match source {
        None => MountSource::Anonymous,
        Some(source) if source.starts_with(['.', '/', '~']) => {
            let written = data::Bind { source, target: path, read_only, create: true };
            bind(&written, defined, field, findings)?
        }
        Some(name) => named(name, None, nocopy, field, defined, findings)?,
    };
    Some(Mount { target, read_only: read_only || always_read_only(&source), source })
}

fn long(
    section: &Section<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<Mount> {
    let field = &section.field;
    let read_only = section.read("read_only", findings, scalar::boolean).unwrap_or_default();
    if let Some(field) = section.get("consistency") {
        findings.note(&field, "changes nothing");
    }
    let target =
        section.required("target", findings, |f, findings| target(&f.text(findings)?, f, findings));
    let kind = section.required("type", findings, Field::text)?;
    for (key, table) in
        [("bind", keys::MOUNT_BIND), ("volume", keys::MOUNT_VOLUME), ("tmpfs", keys::MOUNT_TMPFS)]
    {
        let Some(options) = section.get(key) else { continue };
        options.section(table, findings);
        if key != kind {
            let why = "its options belong to mounts of that type";
            findings.refuse::<()>(&options, Cause::Conflict { with: "this type", why });
        }
    }
    let source = section.get("source");
    let mounted = match kind.as_str() {
        "bind" => long_bind(section, read_only, defined, findings)?,
        "volume" => long_volume(section, source, defined, findings)?,
        "tmpfs" => long_tmpfs(section, source, findings)?,
        "image" | "npipe" | "cluster" => {
            let reason = "a guest has no mounts of this type";
            return findings
                .refuse(field, Cause::Unsupported { reason, hint: "use bind, volume or tmpfs" });
        }
        other => return field.invalid("type of a mount", other, "bind, volume or tmpfs", findings),
    };
    Some(Mount {
        target: target?,
        read_only: read_only || always_read_only(&mounted),
        source: mounted,
    })
}

fn long_bind(
    section: &Section<'_>,
    read_only: bool,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    let create = options(section, "bind")
        .and_then(|options| options.read("create_host_path", findings, scalar::boolean));
    let target = section.read("target", findings, Field::text).unwrap_or_default();
    section.required("source", findings, |field, findings| {
        let source = field.text(findings)?;
        let create = create.unwrap_or(true);
        bind(
            &data::Bind { source: &source, target: &target, read_only, create },
            defined,
            field,
            findings,
        )
    })
}

/// The options of a mount's type, whose keys have been checked.
fn options<'a>(section: &Section<'a>, key: &str) -> Option<Section<'a>> {
    let field = section.get(key)?;
    match &field.node.value {
        Value::Mapping(entries) => Some(Section { entries, field }),
        _ => None,
    }
}

fn long_volume(
    section: &Section<'_>,
    source: Option<Field<'_>>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    let options = options(section, "volume");
    let option = |name: &str| options.as_ref().and_then(|options| options.get(name));
    let nocopy =
        option("nocopy").and_then(|field| scalar::boolean(&field, findings)).unwrap_or_default();
    let subpath = option("subpath")
        .and_then(|field| app_directory::path(&field.text(findings)?, &field, findings));
    let Some(source) = source else {
        return Some(MountSource::Anonymous);
    };
    named(&source.text(findings)?, subpath, nocopy, &source, defined, findings)
}

fn long_tmpfs(
    section: &Section<'_>,
    source: Option<Field<'_>>,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    if let Some(source) = source {
        return findings
            .refuse(&source, Cause::Conflict { with: "type: tmpfs", why: "memory has no source" });
    }
    let Some(options) = options(section, "tmpfs") else {
        return Some(MountSource::Tmpfs(Tmpfs::default()));
    };
    let size_bytes = options.read("size", findings, scalar::bytes);
    let mode = options.read("mode", findings, grants::mode);
    Some(MountSource::Tmpfs(Tmpfs { size_bytes, mode, ..Tmpfs::default() }))
}

fn named(
    name: &str,
    subpath: Option<String>,
    nocopy: bool,
    field: &Field<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    if !defined.volumes.iter().any(|known| known == name) {
        return findings.refuse(field, Cause::Undefined { what: "volume", name: name.to_owned() });
    }
    Some(MountSource::Volume { name: name.to_owned(), subpath, nocopy })
}

/// A socket of the agent, files of the app directory, or a data directory.
fn bind(
    bind: &data::Bind<'_>,
    defined: &Definitions,
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<MountSource> {
    match bind.source {
        "/var/run/dstack.sock" | "/run/dstack.sock" => {
            return Some(MountSource::Socket(AgentSocket::Dstack));
        }
        "/var/run/tappd.sock" | "/run/tappd.sock" => {
            return Some(MountSource::Socket(AgentSocket::Tappd));
        }
        pad_calls::SOCKET | "/var/run/dstyx/pads.sock" => {
            return Some(MountSource::Socket(AgentSocket::Pads));
        }
        _ if DAEMON_SOCKETS.iter().any(|socket| bind.source.ends_with(socket)) => {
            let reason = "there is no container daemon in the guest";
            let hint = "leave it out; what the guest offers is at /var/run/dstack.sock";
            return findings.refuse(field, Cause::Unsupported { reason, hint });
        }
        _ => {}
    }
    data::source(bind, &defined.declared, field, findings)
}

/// `path[:options]` of the key `tmpfs`.
fn tmpfs(text: &str, field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Mount> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let target = target(path, field, findings)?;
    let (mut tmpfs, mut read_only) = (Tmpfs::default(), false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        if option == "ro" {
            read_only = true;
        } else if tmpfs_option(&mut tmpfs, option).is_none() {
            let rule = "size=64m, mode=1777, uid=1000, gid=1000, exec, ro or rw; nosuid and nodev always hold";
            return field.invalid("option of tmpfs", option, rule, findings);
        }
    }
    Some(Mount { target, read_only, source: MountSource::Tmpfs(tmpfs) })
}

/// `None` if the option is not understood.
fn tmpfs_option(tmpfs: &mut Tmpfs, option: &str) -> Option<()> {
    match option.split_once('=').unwrap_or((option, "")) {
        ("rw" | "noexec" | "nosuid" | "nodev", "") => {}
        ("exec", "") => tmpfs.exec = true,
        ("size", size) => {
            tmpfs.size_bytes = Some(scalar::size(size, 1024).filter(|bytes| *bytes > 0)?);
        }
        ("mode", bits) => {
            let mode = u32::from_str_radix(bits, 8).ok()?;
            tmpfs.mode = Some(Some(mode).filter(|mode| *mode <= 0o7777)?);
        }
        ("uid", id) => tmpfs.uid = id.parse().ok()?,
        ("gid", id) => tmpfs.gid = id.parse().ok()?,
        _ => return None,
    }
    Some(())
}

fn always_read_only(source: &MountSource) -> bool {
    matches!(source, MountSource::File { .. } | MountSource::Directory { .. })
}
