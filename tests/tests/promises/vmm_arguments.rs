//! Promise: what is made from a launch specification is what the VMM takes.
//!
//! Without TDX hardware: the TDX line of the locked QEMU fails at the hardware and not before, and
//! the same line without TDX starts, so every other argument is right. The libvirt domain follows
//! libvirt's own schema (long run).

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use protocol::image::Flavour;
use tempfile::TempDir;
use tests::lab;
use vmm_configs::{LaunchSpec, qemu};

/// Where KVM says that it can start TDs.
const KVM_TDX: &str = "/sys/module/kvm_intel/parameters/tdx";
/// What QEMU says where there is KVM without TDX, or no KVM at all, or none for this user.
const HARDWARE_IS_MISSING: [&str; 2] =
    ["vm-type TDX not supported by KVM", "Could not access KVM kernel module"];

/// The checked-in TDX specification over real files.
fn arguments(directory: &TempDir) -> Vec<String> {
    let golden = fs::read_to_string(lab::checkout().join("vmm-configs/golden/tdx.toml")).unwrap();
    let image = lab::image(Flavour::Release);
    let toml = golden
        .replace("target/image/release", &image.display().to_string())
        .replace("\"vm/", &format!("\"{}/", directory.path().display()));
    for disk in ["launch.img", "status.img", "data.img", "extra.img"] {
        fs::File::create(directory.path().join(disk)).unwrap().set_len(4096).unwrap();
    }
    qemu::arguments(&LaunchSpec::from_toml(&toml).unwrap(), &lab::manifest(&image).cmdline)
}

/// QEMU with these arguments, stopped before the first instruction.
fn stopped(arguments: &[String]) -> Command {
    let mut command = lab::qemu().command();
    command.args(arguments).args(["-S", "-qmp", "stdio"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a QEMU that started says of itself; it ends then.
fn status(mut qemu: Command) -> String {
    let mut child = qemu.spawn().unwrap();
    let mut commands = child.stdin.take().unwrap();
    for command in ["qmp_capabilities", "query-status", "quit"] {
        // A QEMU that has ended is told by what it answers.
        let _ = writeln!(commands, r#"{{"execute":"{command}"}}"#);
    }
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let answers: Vec<String> = lines.collect();
    let ended = child.wait_with_output().unwrap();
    format!("{}\n{}", answers.join("\n"), String::from_utf8_lossy(&ended.stderr))
}

#[test]
fn the_tdx_line_fails_at_the_hardware_and_not_at_its_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let said = status(stopped(&arguments(&directory)));
    if fs::read_to_string(KVM_TDX).is_ok_and(|value| value.trim() == "Y") {
        assert!(said.contains("prelaunch"), "{said}");
    } else {
        assert!(HARDWARE_IS_MISSING.iter().any(|message| said.contains(message)), "{said}");
    }
}

#[test]
fn the_same_line_without_tdx_starts() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = arguments(&directory);
    let object = arguments.iter().position(|argument| argument == "-object").unwrap();
    arguments.drain(object..object + 2);
    let mut changed = 0;
    for (from, to) in [("kvm", "tcg"), ("host", "max")] {
        changed += arguments
            .iter_mut()
            .filter(|argument| *argument == from)
            .map(|argument| *argument = to.into())
            .count();
    }
    for argument in &mut arguments {
        if let Some(machine) = argument.strip_suffix(",confidential-guest-support=tdx") {
            *argument = machine.to_owned();
            changed += 1;
        }
    }
    assert_eq!(changed, 3, "{arguments:#?}");
    let said = status(stopped(&arguments));
    assert!(said.contains(r#""status": "prelaunch""#), "{said}");
}

#[test]
fn the_domain_follows_libvirts_schema_in_the_long_run() {
    if !lab::long() {
        return;
    }
    let tools = lab::tools("libvirt");
    let schema = tools.join("usr/share/libvirt/schemas/domain.rng");
    let domain = lab::checkout().join("vmm-configs/golden/libvirt.xml");
    let check = |domain: &std::path::Path| {
        let mut xmllint = lab::tool(&tools, "usr/bin/xmllint");
        xmllint.args(["--noout", "--nonet", "--relaxng"]).arg(&schema).arg(domain).output().unwrap()
    };
    let output = check(&domain);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The schema is one that knows TDX: it refuses what is almost the same.
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong.xml");
    let text = fs::read_to_string(&domain).unwrap();
    assert!(text.contains("mrConfigId"));
    fs::write(&wrong, text.replace("mrConfigId", "mrConfigID")).unwrap();
    assert!(!check(&wrong).status.success());
}
