//! Frames of a tunnel from a peer that breaks rules: nothing is kept beyond the windows, and what
//! is read means the same however it is cut.
#![no_main]

use std::num::NonZeroU16;

use libfuzzer_sys::fuzz_target;
use tunnel::mux::{Event, Mux, Read, Side, Violation};
use tunnel::{MAX_STREAMS, MAX_WAITING_BYTES, WINDOW_BYTES};

fuzz_target!(|bytes: &[u8]| {
    for side in [Side::Gateway, Side::Guest] {
        let (whole, cut) = (run(side, bytes, bytes.len().max(1)), run(side, bytes, 7));
        assert_eq!(whole.0, cut.0);
        assert_eq!(whole.1, cut.1);
    }
});

/// What a side makes of the bytes: how it ends, and what its streams give.
fn run(side: Side, bytes: &[u8], piece: usize) -> (Result<(), Violation>, Vec<(u32, Vec<u8>)>) {
    let mut mux = Mux::new(side);
    let port = NonZeroU16::new(80).expect("a constant port");
    let mut ids: Vec<u32> = (0..3).filter_map(|_| mux.open(port)).collect();
    let mut outcome = Ok(());
    for piece in bytes.chunks(piece) {
        outcome = mux.receive(piece, |event| {
            if let Event::Opened(id, _) = event {
                ids.push(id);
            }
        });
        if outcome.is_err() {
            break;
        }
    }
    assert!(mux.streams() <= 4 * MAX_STREAMS);
    assert!(mux.take_waiting().len() <= 2 * MAX_WAITING_BYTES);
    let mut space = vec![0; 2 * WINDOW_BYTES as usize];
    let read = |id: u32| match mux.read(id, &mut space) {
        Read::Bytes(count) => {
            assert!(count <= WINDOW_BYTES as usize);
            (id, space[..count].to_vec())
        }
        Read::End | Read::Reset | Read::Wait => (id, Vec::new()),
    };
    let read = ids.into_iter().map(read).collect();
    (outcome, if outcome.is_ok() { read } else { Vec::new() })
}
