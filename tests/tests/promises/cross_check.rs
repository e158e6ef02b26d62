//! Promise: firmware and TPM of others measure a kernel, its command line and its initrd as we
//! predict.
//!
//! Debian's OVMF starts our kernel beside a software TPM. What it and the kernel's EFI stub extend
//! into the PCRs is what they extend into RTMR1 and RTMR2 where there is a TDX module instead of a
//! TPM (UEFI 2.10, section 38.4.1: PCR 2 to 6 map to RTMR1, 8 to 15 to RTMR2), by code that is not
//! ours. A guest needs no driver for the TPM, and ours has none. QEMU rewrites the kernel's header
//! for a plain machine, but since 10.0 it also offers the file as it is, which firmware since edk2
//! 2025.02 prefers; so what is measured is the file.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use measurement::{Event, ImageFacts, Register, Shape};
use protocol::digest::Rtmr;
use protocol::image::Flavour;
use reproducible_build::qemu::Qemu;
use tests::lab;
use tests::tpm::Tpm;

/// Longest boot: an emulated guest on two loaded cores.
const TIMEOUT: Duration = Duration::from_secs(300);
/// RTMR1's events. Each of the two PCRs has a separator of its own: the first three are PCR 4's,
/// the last three PCR 5's.
const KNOWN: [&str; 5] = [
    "kernel",
    "calling-application",
    "separator",
    "exit-boot-services",
    "exit-boot-services-success",
];

/// One machine and what it boots.
struct Boot {
    flavour: Flavour,
    memory_mib: u64,
    qemu: &'static Qemu,
}

#[test]
fn another_firmware_measures_what_we_predict() {
    let mut boots = vec![Boot { flavour: Flavour::Dev, memory_mib: 2048, qemu: lab::qemu() }];
    if lab::long() {
        boots.push(Boot { flavour: Flavour::Dev, memory_mib: 1024, qemu: lab::qemu_10() });
        boots.push(Boot { flavour: Flavour::Release, memory_mib: 3072, qemu: lab::qemu() });
    }
    for boot in boots {
        let started = Instant::now();
        let measured = measured(&boot);
        println!("{boot}: {:.1} s", started.elapsed().as_secs_f64());
        assert_eq!(measured, predicted(&boot), "PCR 4, 5, 8 and 9 of {boot}");
    }
}

/// What our code says of PCR 4, 5, 8 and 9.
fn predicted(boot: &Boot) -> [Rtmr; 4] {
    let manifest = lab::manifest(&boot.image());
    let shape = Shape {
        vcpus: 1,
        memory_mib: boot.memory_mib,
        root_slots: manifest.machine.root_slots,
        serial_ports: manifest.machine.serial_ports,
        qemu_version: manifest.machine.qemu_version.clone(),
        pci_hotplug: true,
    };
    let facts = ImageFacts::from_manifest(&manifest).unwrap();
    let events = measurement::predict_registers(&facts, &shape).unwrap().events;
    let of_rtmr = |register| events.iter().filter(move |event| event.register == register);
    let names: Vec<_> = of_rtmr(Register::Rtmr1).map(|event| event.name.as_ref()).collect();
    let [in_pcr_4 @ .., _, _] = KNOWN;
    let [_, _, in_pcr_5 @ ..] = KNOWN;
    assert_eq!(names, KNOWN, "each event of RTMR1 has its PCR here");
    [
        replay(of_rtmr(Register::Rtmr1).filter(|event| in_pcr_4.contains(&event.name.as_ref()))),
        replay(of_rtmr(Register::Rtmr1).filter(|event| in_pcr_5.contains(&event.name.as_ref()))),
        Rtmr::ZERO,
        replay(of_rtmr(Register::Rtmr2)),
    ]
}

/// A PCR is extended as an RTMR is.
fn replay<'a>(events: impl Iterator<Item = &'a Event>) -> Rtmr {
    Rtmr::replay(events.map(|event| &event.digest))
}

/// What the TPM has in PCR 4, 5, 8 and 9 when the kernel has run.
fn measured(boot: &Boot) -> [Rtmr; 4] {
    let directory = tempfile::tempdir().unwrap();
    let tools = lab::tools("cross-check");
    let tpm = Tpm::start(&tools, directory.path()).unwrap();
    let mut machine = Machine::start(boot.command(&tools, directory.path(), &tpm));
    machine.powered_off();
    drop(machine);
    tpm.pcrs([4, 5, 8, 9]).unwrap()
}

impl Boot {
    fn image(&self) -> PathBuf {
        lab::image(self.flavour)
    }

    /// A machine that has no TDX device, so that init powers it off at once, and a QEMU that then
    /// waits.
    fn command(&self, tools: &Path, directory: &Path, tpm: &Tpm) -> Command {
        let image = self.image();
        let variables = directory.join("variables.fd");
        fs::copy(tools.join("usr/share/OVMF/OVMF_VARS_4M.fd"), &variables).unwrap();
        let code = tools.join("usr/share/OVMF/OVMF_CODE_4M.fd");
        let flash = |unit: u8, path: &Path, mode: &str| {
            format!("if=pflash,format=raw,unit={unit},{mode}file={}", path.display())
        };
        let mut command = self.qemu.command();
        command.args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-machine",
            "q35,smm=off",
            "-nodefaults",
            "-nographic",
        ]);
        command.args(["-smp", "1", "-m", &format!("{}M", self.memory_mib)]);
        command.args(["-no-reboot", "-no-shutdown", "-qmp", "stdio"]);
        command.args([
            "-drive",
            &flash(0, &code, "readonly=on,"),
            "-drive",
            &flash(1, &variables, ""),
        ]);
        command.arg("-kernel").arg(image.join("kernel")).arg("-initrd").arg(image.join("initrd"));
        command.args(["-append", &lab::manifest(&image).cmdline]);
        command
            .args(["-chardev", &format!("socket,id=tpm,path={}", tpm.control_socket().display())]);
        command.args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]);
        command
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flavour, memory_mib, qemu } = self;
        write!(f, "{flavour:?} with {memory_mib} MiB on QEMU {}", qemu.version)
    }
}

/// A QEMU with its control protocol on its standard channels; it is killed when this is dropped.
struct Machine(Child);

impl Machine {
    fn start(mut qemu: Command) -> Self {
        Self(qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until the guest has powered itself off.
    fn powered_off(&mut self) {
        writeln!(self.0.stdin.as_ref().unwrap(), r#"{{"execute":"qmp_capabilities"}}"#).unwrap();
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, off) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.filter(|line| line.contains(r#""event": "SHUTDOWN""#)) {
                // Nobody listens any more once the test has failed.
                let _ = sender.send(line);
            }
        });
        off.recv_timeout(TIMEOUT).expect("the guest neither powers off nor ends");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
