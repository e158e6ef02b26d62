//! An example of a consumer in Rust: the mean of the numbers in all Pads of a run.
//!
//! The data of each Pad are decimal numbers, one a line. The mean is proposed as a result in plain,
//! with three digits, so policies have to allow that: `PLAIN_RESULT` with the schema of a number.

#![forbid(unsafe_code)]

use pad_guest::consumer::Guest;
use pad_guest::consumer::dataset::{self, Output};

/// Bytes that are read at once; more are not given.
const WINDOW_BYTES: u64 = 1 << 20;

struct Mean;

pad_guest::consumer::export!(Mean);

impl Guest for Mean {
    fn run(_plain: Vec<u8>) {
        let pads = 0..dataset::pads();
        pads.clone().for_each(dataset::add);
        if !dataset::check() {
            return;
        }
        dataset::open();
        let numbers: Vec<f64> = pads.flat_map(|pad| numbers(&data(pad))).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        dataset::propose(&Output {
            custodian: None,
            policies: Vec::new(),
            attributes: Vec::new(),
            data: format!("{mean:.3}").into_bytes(),
        });
    }
}

/// All data of a Pad.
fn data(pad: u32) -> Vec<u8> {
    let size = dataset::size(pad);
    let mut data = Vec::new();
    while let left @ 1.. = size - data.len() as u64 {
        data.extend(dataset::read(pad, data.len() as u64, left.min(WINDOW_BYTES) as u32));
    }
    data
}

/// A program that cannot go on ends by a trap, which says nothing to anybody.
fn numbers(data: &[u8]) -> Vec<f64> {
    let text = str::from_utf8(data).expect("the data of a Pad is text");
    text.lines().map(|line| line.parse().expect("each line is a number")).collect()
}
