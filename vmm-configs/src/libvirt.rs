//! libvirt domain XML for a launch specification: the same TDX machine as [`crate::qemu`] says in
//! arguments.
//!
//! What RTMR0 sees is the same: q35 without SMM and HPET, and on the root bus the host bridge, the
//! network card and the disks, in the same order, each at the slot that QEMU itself would choose.
//! What libvirt adds of its own accord (USB, memory balloon, ports for hot-plug) is turned off or
//! not reached, as each device has an address. Source: libvirt 12 `docs/formatdomain.rst`,
//! `schemas/domaincommon.rng`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use protocol::digest::MrConfigId;
use protocol::{data_disk, launch, status};

use crate::spec::{LaunchSpec, Platform, QuoteService};
use crate::xml::Document;

/// TD_ATTRIBUTES: SEPT_VE_DISABLE (bit 28) and nothing else; QEMU's own default, and what verifiers
/// ask for.
const POLICY: &str = "0x10000000";
/// More disks than a root bus has slots.
const DISK_NAMES: &str = "abcdefghijklmnopqrstuvwxyz";

/// As [`crate::qemu`] has the data disk, with its reasons.
const DATA_DRIVER: [(&str, &str); 3] =
    [("cache", "writeback"), ("discard", "ignore"), ("error_policy", "report")];

/// A specification that libvirt cannot launch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibvirtError {
    /// not a TDX guest
    #[error("an emulated guest needs QEMU's own arguments; libvirt's XML is for TDX")]
    Emulated,
    /// libvirt knows only a unix socket
    #[error("libvirt reaches the quote generation service by a unix socket, not by vsock")]
    Vsock,
    /// libvirt takes absolute paths only
    #[error("{} is not an absolute path, which libvirt's paths must be", .0.display())]
    Relative(PathBuf),
    /// more disks than the bus has slots
    #[error("{0} extra disks; at most {most} fit", most = DISK_NAMES.len() - 3)]
    ManyDisks(usize),
}

/// The domain. `cmdline` is that of the image.
///
/// # Errors
/// If the specification is not for TDX, or says something that libvirt has no words for.
pub fn domain(spec: &LaunchSpec, cmdline: &str) -> Result<String, LibvirtError> {
    let Platform::Tdx { mrconfigid, quote_service } = &spec.platform else {
        return Err(LibvirtError::Emulated);
    };
    if spec.extra_disks.len() + 3 > DISK_NAMES.len() {
        return Err(LibvirtError::ManyDisks(spec.extra_disks.len()));
    }
    let mut xml = Document::default();
    xml.open("domain", &[("type", "kvm")]);
    xml.text("name", &[], &spec.name);
    xml.text("memory", &[("unit", "MiB")], &spec.memory_mib.to_string());
    xml.text("vcpu", &[], &spec.vcpus.to_string());
    boot(spec, cmdline, &mut xml)?;
    machine(&mut xml);
    devices(spec, &mut xml)?;
    security(*mrconfigid, quote_service, &mut xml)?;
    xml.close("domain");
    Ok(xml.finish())
}

fn boot(spec: &LaunchSpec, cmdline: &str, xml: &mut Document) -> Result<(), LibvirtError> {
    xml.open("os", &[]);
    xml.text("type", &[("arch", "x86_64"), ("machine", "q35")], "hvm");
    xml.text("loader", &[("type", "rom")], absolute(&spec.image.join("firmware.fd"))?.as_str());
    xml.text("kernel", &[], absolute(&spec.image.join("kernel"))?.as_str());
    xml.text("initrd", &[], absolute(&spec.image.join("initrd"))?.as_str());
    xml.text("cmdline", &[], cmdline);
    xml.close("os");
    Ok(())
}

fn machine(xml: &mut Document) {
    xml.open("features", &[]);
    xml.empty("acpi", &[]);
    xml.empty("apic", &[]);
    xml.empty("smm", &[("state", "off")]);
    // The interrupt controller's other half is KVM's.
    xml.empty("ioapic", &[("driver", "qemu")]);
    xml.close("features");
    xml.empty("cpu", &[("mode", "host-passthrough")]);
    xml.open("clock", &[("offset", "utc")]);
    xml.empty("timer", &[("name", "hpet"), ("present", "no")]);
    xml.close("clock");
    xml.text("on_reboot", &[], "destroy");
    xml.text("on_crash", &[], "destroy");
}

fn devices(spec: &LaunchSpec, xml: &mut Document) -> Result<(), LibvirtError> {
    xml.open("devices", &[]);
    xml.empty("controller", &[("type", "usb"), ("model", "none")]);
    network(spec, xml);
    let fixed = [
        Disk {
            path: &spec.launch_disk,
            read_only: true,
            driver: &[],
            serial: Some(launch::DISK_SERIAL),
        },
        Disk {
            path: &spec.status_disk,
            read_only: false,
            driver: &[],
            serial: Some(status::DISK_SERIAL),
        },
        Disk {
            path: &spec.data_disk,
            read_only: false,
            driver: &DATA_DRIVER,
            serial: Some(data_disk::DISK_SERIAL),
        },
    ];
    let extra = spec.extra_disks.iter().map(|path| Disk {
        path,
        read_only: false,
        driver: &[],
        serial: None,
    });
    for ((index, name), disk) in DISK_NAMES.chars().enumerate().zip(fixed.into_iter().chain(extra))
    {
        // Slot 0 is the host bridge, slot 1 the network card.
        disk_device(xml, index + 2, &format!("vd{name}"), &disk)?;
    }
    xml.open("serial", &[("type", "file")]);
    xml.empty("source", &[("path", &absolute(&spec.console_log)?)]);
    xml.empty("target", &[("type", "isa-serial"), ("port", "0")]);
    xml.close("serial");
    xml.empty("memballoon", &[("model", "none")]);
    xml.close("devices");
    Ok(())
}

/// User networking; its forwards need libvirt's back end `passt`.
fn network(spec: &LaunchSpec, xml: &mut Document) {
    xml.open("interface", &[("type", "user")]);
    xml.empty("backend", &[("type", "passt")]);
    for port in &spec.ports {
        xml.open(
            "portForward",
            &[("proto", port.transport.name()), ("address", &port.host.ip().to_string())],
        );
        let (host, guest) = (port.host.port().to_string(), port.guest.to_string());
        xml.empty("range", &[("start", &host), ("to", &guest)]);
        xml.close("portForward");
    }
    xml.empty("model", &[("type", "virtio")]);
    xml.empty("rom", &[("enabled", "no")]);
    address(xml, 1);
    xml.close("interface");
}

/// One disk of the domain.
struct Disk<'a> {
    path: &'a Path,
    read_only: bool,
    /// Attributes of `driver` besides its name and type.
    driver: &'a [(&'a str, &'a str)],
    serial: Option<&'a str>,
}

fn disk_device(
    xml: &mut Document,
    slot: usize,
    name: &str,
    disk: &Disk<'_>,
) -> Result<(), LibvirtError> {
    xml.open("disk", &[("type", "file"), ("device", "disk")]);
    xml.empty("driver", &[&[("name", "qemu"), ("type", "raw")], disk.driver].concat());
    xml.empty("source", &[("file", &absolute(disk.path)?)]);
    xml.empty("target", &[("dev", name), ("bus", "virtio")]);
    if disk.read_only {
        xml.empty("readonly", &[]);
    }
    if let Some(serial) = disk.serial {
        xml.text("serial", &[], serial);
    }
    address(xml, slot);
    xml.close("disk");
    Ok(())
}

fn address(xml: &mut Document, slot: usize) {
    let slot = format!("{slot:#04x}");
    xml.empty(
        "address",
        &[
            ("type", "pci"),
            ("domain", "0x0000"),
            ("bus", "0x00"),
            ("slot", &slot),
            ("function", "0x0"),
        ],
    );
}

fn security(
    mrconfigid: MrConfigId,
    service: &QuoteService,
    xml: &mut Document,
) -> Result<(), LibvirtError> {
    let QuoteService::Unix { path } = service else {
        return Err(LibvirtError::Vsock);
    };
    xml.open("launchSecurity", &[("type", "tdx")]);
    xml.text("policy", &[], POLICY);
    xml.text("mrConfigId", &[], &base64::engine::general_purpose::STANDARD.encode(mrconfigid.0));
    xml.empty("quoteGenerationService", &[("path", &absolute(path)?)]);
    xml.close("launchSecurity");
    Ok(())
}

fn absolute(path: &Path) -> Result<String, LibvirtError> {
    if path.is_absolute() {
        Ok(path.to_string_lossy().into_owned())
    } else {
        Err(LibvirtError::Relative(path.to_path_buf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::BASE_ROOT_SLOTS;

    const TOML: &str = include_str!("../golden/libvirt.toml");

    fn xml_of(toml: &str, cmdline: &str) -> Result<String, LibvirtError> {
        domain(&LaunchSpec::from_toml(toml).unwrap(), cmdline)
    }

    #[test]
    fn the_domain_is_the_checked_in_one() {
        let xml = xml_of(TOML, "quiet").unwrap();
        assert_eq!(
            xml,
            include_str!("../golden/libvirt.xml"),
            "a change here changes what is measured"
        );
    }

    #[test]
    fn the_root_bus_has_as_many_devices_as_qemus_arguments_make() {
        let xml = xml_of(TOML, "quiet").unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let slots: Vec<&str> =
            document.descendants().filter_map(|node| node.attribute("slot")).collect();
        assert_eq!(slots, ["0x01", "0x02", "0x03", "0x04", "0x05"]);
        let spec = LaunchSpec::from_toml(TOML).unwrap();
        assert_eq!(slots.len() + 1, BASE_ROOT_SLOTS as usize + spec.extra_disks.len());
    }

    #[test]
    fn whatever_is_in_a_value_stays_in_it() {
        let odd = r#"a="<&'>" --> ]]> ü"#;
        let toml = TOML.replace("/var/lib/dstyx/launch.img", "/var/lib/<&>'/launch.img");
        let xml = xml_of(&toml, odd).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let found =
            |name: &str| document.descendants().find(|node| node.has_tag_name(name)).unwrap();
        assert_eq!(found("cmdline").text(), Some(odd));
        assert!(
            document
                .descendants()
                .any(|node| node.attribute("file") == Some("/var/lib/<&>'/launch.img"))
        );
    }

    #[test]
    fn what_libvirt_has_no_words_for_is_refused() {
        let refused = |from: &str, to: &str| {
            assert!(TOML.contains(from), "{from}");
            xml_of(&TOML.replace(from, to), "").unwrap_err()
        };
        assert_eq!(
            refused("/var/lib/dstyx/status.img", "status.img"),
            LibvirtError::Relative("status.img".into())
        );
        let unix = r#"{ unix = { path = "/var/run/tdx-qgs/qgs.socket" } }"#;
        assert_eq!(refused(unix, "{ vsock = { cid = 2, port = 4050 } }"), LibvirtError::Vsock);
        let emulated = xml_of(include_str!("../golden/emulated.toml"), "");
        assert_eq!(emulated, Err(LibvirtError::Emulated));
    }
}
