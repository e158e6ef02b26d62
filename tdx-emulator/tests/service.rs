//! Promise: the program serves one QEMU over its socket, measures what it runs, and ends when it
//! ends.
//!
//! QEMU is played by this test's own binary, started again with QEMU's arguments: the service reads
//! them from `/proc`, as it would QEMU's.

// A test without the harness, so that clippy does not see it as one.
#![allow(clippy::unwrap_used)]

#[path = "support/synthetic.rs"]
mod synthetic;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use protocol::quote::Quote;
use tdx_emulator::collateral::Collateral;
use tdx_emulator::frame::{Decoder, Frame};
use tdx_emulator::lie::Lie;
use tdx_emulator::measure::acpi::FirmwareBlobs;
use tdx_emulator::measure::{LaunchMeasurement, Launched};
use tdx_emulator::pki::Chain;
use tdx_emulator::quote::platform::pck_facts;
use tdx_emulator::quote::{QuoteVersion, Quoter};
use tdx_emulator::registers::{ENCODED_BYTES, Registers};
use x509_cert::der::DateTime;

/// First argument of a process that plays QEMU; the second is the socket.
const PLAY: &str = "play-qemu";
/// The same, where the guest asks for one quote only and writes it to [`QUOTE`] in its directory.
const PLAY_QUOTE: &str = "play-quote";
const QUOTE: &str = "quote.bin";
const NOW: &str = "2026-11-21T06:00:00Z";
const CMDLINE: &str = "console=ttyS0 quiet";
const TIMEOUT: Duration = Duration::from_secs(60);
const OPTIONS: [&str; 12] = [
    "-bios",
    "firmware.fd",
    "-kernel",
    "kernel",
    "-initrd",
    "initrd",
    "-append",
    CMDLINE,
    "-m",
    "2048M",
    "-smp",
    "2",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, part, socket, ..] = &arguments[..]
        && part == PLAY
    {
        guests_life(UnixStream::connect(socket).unwrap());
        return ExitCode::SUCCESS;
    }
    if let [_, part, socket, ..] = &arguments[..]
        && part == PLAY_QUOTE
    {
        one_quote(UnixStream::connect(socket).unwrap());
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("a_guests_whole_life", || checked(a_guests_whole_life)),
        Trial::test("every_lie_is_told", || checked(every_lie_is_told)),
        Trial::test("a_launch_that_cannot_be_measured", || {
            checked(a_launch_that_cannot_be_measured)
        }),
        Trial::test("a_directory_in_use", || checked(a_directory_in_use)),
        Trial::test("a_stale_socket_is_replaced_and_a_file_is_not", || checked(a_stale_socket)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn checked(test: fn()) -> Result<(), Failed> {
    test();
    Ok(())
}

fn a_guests_whole_life() {
    let directory = image_directory();
    let mut service =
        start(directory.path(), &["--mrconfigid", &"ab".repeat(48), "--quote-version", "5"]);
    assert!(play_qemu(directory.path(), &OPTIONS).success());
    assert_eq!(wait(&mut service), Some(0));
    assert!(!directory.path().join("tdx.sock").exists());
    let log = std::fs::read(directory.path().join("firmware_log.json")).unwrap();
    assert_eq!(protocol::event_log::parse(&log).unwrap().len(), 20);
    let journal = std::fs::read_to_string(directory.path().join("emulator.log")).unwrap();
    for line in [
        "2 vCPUs, 2048 MiB",
        "the guest has started",
        "RTMR3 extended",
        "register 0 cannot",
        "QEMU has gone",
    ] {
        assert!(journal.contains(line), "{line}: {journal}");
    }
}

/// What the service says, told to lie, is what the library says: tests of verdicts may use the
/// library.
fn every_lie_is_told() {
    let now: DateTime = NOW.parse().unwrap();
    let registers = expected_registers(&blobs());
    let stated = |lie| {
        let chain = Chain::issue(now, &pck_facts(lie), lie).unwrap();
        let quote = Quoter::new(&chain, QuoteVersion::V5, lie).unwrap().quote(&registers, &[9; 64]);
        (quote, Collateral::issue(&chain, now, lie).unwrap().to_json())
    };
    let honest = stated(None);
    for lie in Lie::all() {
        let directory = image_directory();
        let options = ["--mrconfigid", &"ab".repeat(48), "--quote-version", "5", "--now", NOW];
        let name = lie.name();
        let mut service =
            start(directory.path(), &[&options[..], &["--danger-lie", &name]].concat());
        assert!(play(PLAY_QUOTE, directory.path(), &OPTIONS).success(), "{name}");
        assert_eq!(wait(&mut service), Some(0), "{name}");
        let read = |file: &str| std::fs::read(directory.path().join(file)).unwrap();
        let told = (read(QUOTE), read("collateral.json"));
        assert!(told == stated(Some(*lie)), "{name}: the service and the library differ");
        assert!(told != honest, "{name} is no lie");
        let journal = String::from_utf8(read("emulator.log")).unwrap();
        assert!(journal.contains(&format!("told to lie: {lie:?}")), "{journal}");
    }
}

fn a_launch_that_cannot_be_measured() {
    let directory = image_directory();
    let cases: [(&[&str], &str); 3] = [
        (&OPTIONS[2..], "QEMU was started without -bios"),
        (&[&["-bios", "absent.fd"], &OPTIONS[2..]].concat(), "absent.fd"),
        (&[&["-bios", "initrd"], &OPTIONS[2..]].concat(), "is it built for TDX"),
    ];
    for (options, expected) in cases {
        let mut service = start(directory.path(), &[]);
        assert!(
            !play_qemu(directory.path(), options).success(),
            "the guest must not get an answer"
        );
        assert_eq!(wait(&mut service), Some(1));
        let journal = std::fs::read_to_string(directory.path().join("emulator.log")).unwrap();
        let [.., error, hint] = journal.lines().collect::<Vec<_>>()[..] else {
            panic!("{journal}")
        };
        assert!(error.contains(expected) && hint.starts_with("hint: "), "{journal}");
    }
}

fn a_directory_in_use() {
    let directory = image_directory();
    let mut first = start(directory.path(), &[]);
    let second = command(directory.path(), &[]).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8(second.stderr).unwrap().contains("in use by another emulator"));
    first.kill().unwrap();
    first.wait().unwrap();
}

fn a_stale_socket() {
    let directory = image_directory();
    let mut first = start(directory.path(), &[]);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut second = start(directory.path(), &[]);
    second.kill().unwrap();
    second.wait().unwrap();
    let socket = directory.path().join("tdx.sock");
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    assert!(!command(directory.path(), &[]).status().unwrap().success());
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

/// What the guest's driver does, and some that it does not.
fn guests_life(stream: UnixStream) {
    let mut guest = Guest { stream, decoder: Decoder::default() };
    assert_eq!(guest.ask(2, &[]), refusal(61), "registers before HELLO");
    guest.stream.write_all(b"\x1b[2J\x1b[01;01HUEFI TDX").unwrap();

    let (blobs, hello) = (blobs(), hello());
    let mut expected = expected_registers(&blobs);
    assert_eq!(guest.ask(1, &hello), (0x81, expected.encode()));

    let value = expected.extend(3, &[7; 48]);
    assert_eq!(guest.ask(3, &[&[3][..], &[7; 48]].concat()), (0x83, value.to_vec()));
    assert_eq!(guest.ask(3, &[&[0][..], &[7; 48]].concat()), refusal(22));
    assert_eq!(guest.ask(9, &[]), refusal(95));

    // A frame that claims more than comes, then a good one: heard after the gap.
    let cut = Frame { opcode: 1, payload: hello.clone() }.encode();
    guest.stream.write_all(&cut[..100]).unwrap();
    assert_eq!(guest.ask(2, &[]), (0x82, expected.encode()));

    let (opcode, quote) = guest.ask(4, &[9; 64]);
    let report = Quote::parse(&quote).unwrap().report;
    assert_eq!((opcode, report.report_data.0), (0x84, [9; 64]));
    assert_eq!((report.rtmrs[3].0, report.mr_config_id.0), (expected.rtmrs[3], [0xab; 48]));

    assert_eq!(
        guest.ask(1, &hello),
        (0x81, expected_registers(&blobs).encode()),
        "a reset starts anew"
    );
}

fn one_quote(stream: UnixStream) {
    let mut guest = Guest { stream, decoder: Decoder::default() };
    assert_eq!(guest.ask(1, &hello()).0, 0x81);
    let (opcode, quote) = guest.ask(4, &[9; 64]);
    assert_eq!(opcode, 0x84);
    std::fs::write(QUOTE, quote).unwrap();
}

fn blobs() -> FirmwareBlobs {
    FirmwareBlobs { loader: vec![1; 4096], rsdp: vec![2; 20], tables: vec![0; 131_072] }
}

/// The driver's first request, with [`blobs`], their trailing zeros left out.
fn hello() -> Vec<u8> {
    [
        &[0, 16, 0, 0, 0, 16, 0, 0][..],
        &[1; 4096],
        &[20, 0, 0, 0, 20, 0, 0, 0],
        &[2; 20],
        &[0, 0, 2, 0, 0, 0, 0, 0],
    ]
    .concat()
}

struct Guest {
    stream: UnixStream,
    decoder: Decoder,
}

impl Guest {
    fn ask(&mut self, opcode: u8, payload: &[u8]) -> (u8, Vec<u8>) {
        self.stream.write_all(&Frame { opcode, payload: payload.to_vec() }.encode()).unwrap();
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        loop {
            if let Some(frame) = self.decoder.next_frame() {
                return (frame.opcode, frame.payload);
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the service hung up");
            self.decoder.push(&bytes[..count]);
        }
    }
}

fn refusal(errno: u32) -> (u8, Vec<u8>) {
    (0xff, errno.to_le_bytes().to_vec())
}

fn expected_registers(blobs: &FirmwareBlobs) -> Registers {
    let launched = Launched {
        firmware: synthetic::firmware(),
        kernel: synthetic::kernel(),
        initrd: b"initrd".to_vec(),
        cmdline: CMDLINE.to_owned(),
        memory_bytes: 2 << 30,
    };
    let launch = LaunchMeasurement::of(&launched).unwrap();
    let mut registers = Registers::new(launch.mrtd, [0xab; 48]);
    for event in launch.events(blobs) {
        registers.extend(event.register, &event.digest);
    }
    assert_eq!(registers.encode().len(), ENCODED_BYTES);
    registers
}

fn image_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("firmware.fd"), synthetic::firmware()).unwrap();
    std::fs::write(directory.path().join("kernel"), synthetic::kernel()).unwrap();
    std::fs::write(directory.path().join("initrd"), b"initrd").unwrap();
    directory
}

fn command(directory: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tdx-emulator"));
    command
        .arg("serve")
        .arg("--socket")
        .arg(directory.join("tdx.sock"))
        .arg("--state-dir")
        .arg(directory)
        .args(extra);
    command
}

fn start(directory: &Path, extra: &[&str]) -> Child {
    let mut service =
        command(directory, extra).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line:?}");
    service
}

fn play_qemu(directory: &Path, options: &[&str]) -> std::process::ExitStatus {
    play(PLAY, directory, options)
}

/// Plays QEMU in a process of its own, in the directory of the image.
fn play(part: &str, directory: &Path, options: &[&str]) -> std::process::ExitStatus {
    let mut qemu = Command::new(std::env::current_exe().unwrap());
    qemu.arg(part).arg(directory.join("tdx.sock")).args(options).current_dir(directory);
    // Where the service hangs up, the player panics, as it should.
    let output = qemu.output().unwrap();
    if options == OPTIONS {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status
}

fn wait(service: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = service.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    service.kill().unwrap();
    panic!("the service did not end");
}
