//! QEMU arguments for a launch specification.
//!
//! The machine is the same for TDX and emulation as far as measurements see it: q35 without SMM,
//! PIC and HPET (TDX has none of them), and nothing on the bus that the specification does not
//! name. Source: QEMU 11.1 `qemu-options.hx`, `qapi/qom.json` (`TdxGuestProperties`).

use std::path::Path;

use base64::Engine as _;
use protocol::{data_disk, launch, status};
use serde::Serialize;

use crate::spec::{Accelerator, LaunchSpec, Platform, PortForward, QuoteService};

/// Machine type and what is left out of it, on every platform.
const MACHINE: &str = "q35,smm=off,pic=off,hpet=off";
/// Address bits of an emulated guest: the firmware puts its 64-bit PCI window at 7/8 of the address
/// space, of which it uses at most 46 bits, and the window's base stands in the measured DSDT.
const PHYS_BITS: u32 = 46;

/// The arguments behind the program's name. `cmdline` is that of the image.
pub fn arguments(spec: &LaunchSpec, cmdline: &str) -> Vec<String> {
    let mut arguments = Arguments::default();
    platform(spec, &mut arguments);
    arguments.flag("-nodefaults").flag("-nographic").flag("-no-reboot");
    arguments.option("-name", &spec.name);
    arguments.option("-smp", spec.vcpus.to_string());
    arguments.option("-m", format!("{}M", spec.memory_mib));
    boot(spec, cmdline, &mut arguments);
    devices(spec, &mut arguments);
    serial_ports(spec, &mut arguments);
    if let Some(socket) = &spec.control_socket {
        arguments.option("-qmp", format!("unix:{},server=on,wait=off", escaped(socket)));
    }
    arguments.0
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.to_owned());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.extend([name.to_owned(), value.into()]);
        self
    }
}

fn platform(spec: &LaunchSpec, arguments: &mut Arguments) {
    match &spec.platform {
        Platform::Tdx { mrconfigid, quote_service } => {
            let object = TdxObject {
                qom_type: "tdx-guest",
                id: "tdx",
                mrconfigid: base64::engine::general_purpose::STANDARD.encode(mrconfigid.0),
                quote_generation_socket: quote_socket(quote_service),
            };
            arguments
                .option("-accel", "kvm")
                .option("-cpu", "host")
                .option("-object", json(&object))
                .option(
                    "-machine",
                    format!("{MACHINE},kernel-irqchip=split,confidential-guest-support=tdx"),
                );
        }
        Platform::Emulated { accelerator, .. } => {
            let (accelerator, cpu) = match accelerator {
                Accelerator::Tcg => ("tcg,thread=multi", format!("max,phys-bits={PHYS_BITS}")),
                Accelerator::Kvm => {
                    ("kvm", format!("host,host-phys-bits=off,phys-bits={PHYS_BITS}"))
                }
            };
            arguments.option("-accel", accelerator).option("-cpu", cpu).option("-machine", MACHINE);
        }
    }
}

/// `TdxGuestProperties`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TdxObject<'a> {
    qom_type: &'static str,
    id: &'static str,
    mrconfigid: String,
    quote_generation_socket: SocketAddress<'a>,
}

/// `SocketAddress`, as far as a quote generation service needs it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum SocketAddress<'a> {
    Vsock { cid: String, port: String },
    Unix { path: &'a Path },
}

/// `BlockdevOptions` of a raw file.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct BlockNode<'a> {
    driver: &'static str,
    node_name: &'a str,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Cache>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discard: Option<&'static str>,
    file: BlockFile<'a>,
}

/// `BlockdevCacheOptions`.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cache {
    direct: bool,
    no_flush: bool,
}

#[derive(Serialize)]
struct BlockFile<'a> {
    driver: &'static str,
    filename: &'a Path,
}

/// In the order of declaration, so that golden files hold whatever else the workspace enables.
fn json(options: &impl Serialize) -> String {
    serde_json::to_string(options).expect("paths were checked to be UTF-8, and the rest is plain")
}

fn quote_socket(service: &QuoteService) -> SocketAddress<'_> {
    match service {
        QuoteService::Vsock { cid, port } => {
            SocketAddress::Vsock { cid: cid.to_string(), port: port.to_string() }
        }
        QuoteService::Unix { path } => SocketAddress::Unix { path },
    }
}

fn boot(spec: &LaunchSpec, cmdline: &str, arguments: &mut Arguments) {
    let file = |name: &str| spec.image.join(name).to_string_lossy().into_owned();
    arguments
        .option("-bios", file("firmware.fd"))
        .option("-kernel", file("kernel"))
        .option("-initrd", file("initrd"))
        .option("-append", cmdline);
}

/// One PCI function on the root bus each, in this order; their number is part of RTMR0.
fn devices(spec: &LaunchSpec, arguments: &mut Arguments) {
    let forward = |port: &PortForward| {
        format!(",hostfwd={}:{}-:{}", port.transport.name(), port.host, port.guest)
    };
    let forwards: String = spec.ports.iter().map(forward).collect();
    arguments
        .option("-netdev", format!("user,id=net0{forwards}"))
        .option("-device", "virtio-net-pci,netdev=net0,romfile=");
    disk("launch", &spec.launch_disk, true, &format!(",serial={}", launch::DISK_SERIAL), arguments);
    disk(
        "status",
        &spec.status_disk,
        false,
        &format!(",serial={}", status::DISK_SERIAL),
        arguments,
    );
    data_disk(&spec.data_disk, arguments);
    for (index, path) in spec.extra_disks.iter().enumerate() {
        disk(&format!("disk{index}"), path, false, "", arguments);
    }
}

fn disk(id: &str, path: &Path, read_only: bool, properties: &str, arguments: &mut Arguments) {
    let file = BlockFile { driver: "file", filename: path };
    let node =
        BlockNode { driver: "raw", node_name: id, read_only, cache: None, discard: None, file };
    arguments
        .option("-blockdev", json(&node))
        .option("-device", format!("virtio-blk-pci,drive={id}{properties}"));
}

/// The host's page cache with the guest's flushes honoured: what the guest has synced survives the
/// end of QEMU. The guest sends no discards, which would show the host what is free, so none are
/// offered (`discard=off`). A full host disk is an error of the guest's (`werror=report`), not a
/// machine that silently stands still.
fn data_disk(path: &Path, arguments: &mut Arguments) {
    let file = BlockFile { driver: "file", filename: path };
    let cache = Some(Cache { direct: false, no_flush: false });
    let node = BlockNode {
        driver: "raw",
        node_name: "data",
        read_only: false,
        cache,
        discard: Some("ignore"),
        file,
    };
    let serial = data_disk::DISK_SERIAL;
    let device = format!(
        "virtio-blk-pci,drive=data,serial={serial},discard=off,write-zeroes=off,werror=report"
    );
    arguments.option("-blockdev", json(&node)).option("-device", device);
}

fn serial_ports(spec: &LaunchSpec, arguments: &mut Arguments) {
    arguments
        .option("-chardev", format!("file,id=console,path={}", escaped(&spec.console_log)))
        .option("-serial", "chardev:console");
    if let Platform::Emulated { socket, .. } = &spec.platform {
        arguments
            .option("-chardev", format!("socket,id=tdx,path={}", escaped(socket)))
            .option("-serial", "chardev:tdx");
    }
}

/// QEMU's key=value lists double a comma that belongs to a value.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(toml: &str, expected: &str) {
        let spec = LaunchSpec::from_toml(toml).unwrap();
        let lines = arguments(&spec, "quiet").join("\n") + "\n";
        assert_eq!(
            lines, expected,
            "if this change is wanted, it changes measurements: say so in the changelog"
        );
    }

    #[test]
    fn the_emulated_arguments_are_the_checked_in_ones() {
        golden(include_str!("../golden/emulated.toml"), include_str!("../golden/emulated.args"));
    }

    #[test]
    fn the_tdx_arguments_are_the_checked_in_ones() {
        golden(include_str!("../golden/tdx.toml"), include_str!("../golden/tdx.args"));
    }

    #[test]
    fn a_comma_in_a_path_stays_in_the_path() {
        assert_eq!(escaped(Path::new("/a,b")), "/a,,b");
    }
}
