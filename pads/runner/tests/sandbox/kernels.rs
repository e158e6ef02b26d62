//! The kernels that are measured compute in the sandbox what they compute on the host.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::built::{self, Permissive};

/// The checksum of the host's program.
fn native(input: &[u8]) -> Vec<u8> {
    let mut program = Command::new(built::path("native-kernels"));
    let mut process =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program");
    process.stdin.take().expect("piped").write_all(input).expect("it reads all");
    process.wait_with_output().expect("its end").stdout.trim_ascii_end().to_vec()
}

#[test]
fn kernels_have_the_same_checksum_in_the_sandbox_as_on_the_host() {
    let table = std::fs::read_to_string(built::path("table.csv")).expect("a table");
    let rows: Vec<_> = table.lines().skip(1).take(60).collect();
    let rows = rows.join("\n");
    for (kernel, data) in [
        ("numeric-sort", ""),
        ("string-sort", ""),
        ("bitfield", ""),
        ("fp-emulation", ""),
        ("fourier", ""),
        ("assignment", ""),
        ("idea", ""),
        ("huffman", ""),
        ("neural-net", ""),
        ("lu-decomposition", ""),
        ("svm", &rows),
    ] {
        let mut owners = Permissive::of(&[b"1"]);
        let input = format!("{kernel} 2\n{data}");
        owners.run("kernels", input.as_bytes()).expect("it ends well");
        let sum = &owners.output().1;
        assert_eq!((sum.len(), sum), (16, &native(input.as_bytes())), "{kernel}");
    }
}
