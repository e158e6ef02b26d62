//! Both sides joined by hand, and a peer that breaks rules.

use proptest::prelude::*;

use super::*;

fn port() -> NonZeroU16 {
    NonZeroU16::new(80).unwrap()
}

/// Carries all that waits from one side to the other; gives what it meant there.
fn carry(from: &mut Mux, to: &mut Mux) -> Vec<Event> {
    let mut events = Vec::new();
    to.receive(&from.take_waiting(), |event| events.push(event)).unwrap();
    events
}

/// Two sides with one stream that is connected.
fn pair() -> (Mux, Mux, u32) {
    let (mut gateway, mut guest) = (Mux::new(Side::Gateway), Mux::new(Side::Guest));
    let id = gateway.open(port()).unwrap();
    assert_eq!(gateway.is_connected(id), None);
    assert_eq!(carry(&mut gateway, &mut guest), [Event::Opened(id, port())]);
    guest.connect(id);
    carry(&mut guest, &mut gateway);
    assert_eq!(gateway.is_connected(id), Some(true));
    (gateway, guest, id)
}

fn read(mux: &mut Mux, id: u32) -> Result<Vec<u8>, Read> {
    let mut space = [0; 100_000];
    match mux.read(id, &mut space) {
        Read::Bytes(count) => Ok(space[..count].to_vec()),
        other => Err(other),
    }
}

fn frame(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&Head { kind, stream, bytes: payload.len() }.encode()[..], payload].concat()
}

fn violation(mux: &mut Mux, bytes: &[u8]) -> Violation {
    mux.receive(bytes, |_| {}).unwrap_err()
}

#[test]
fn halves_end_apart_and_bytes_arrive_before_the_end() {
    let (mut gateway, mut guest, id) = pair();
    assert_eq!(gateway.write(id, b"question"), Write::Taken(8));
    gateway.end(id);
    assert_eq!(gateway.write(id, b"more"), Write::Closed);
    carry(&mut gateway, &mut guest);
    assert_eq!(read(&mut guest, id), Ok(b"question".to_vec()));
    assert_eq!(read(&mut guest, id), Err(Read::End));
    assert_eq!(read(&mut gateway, id), Err(Read::Wait));
    guest.write(id, b"answer");
    guest.end(id);
    carry(&mut guest, &mut gateway);
    assert_eq!(read(&mut gateway, id), Ok(b"answer".to_vec()));
    assert_eq!(read(&mut gateway, id), Err(Read::End));
    gateway.leave(id);
    guest.leave(id);
    assert!(!gateway.has_waiting() && !guest.has_waiting(), "both have ended: nothing to say");
    assert_eq!((gateway.streams(), guest.streams()), (0, 0));
}

#[test]
fn a_stream_that_breaks_off_has_no_end() {
    let (mut gateway, mut guest, id) = pair();
    guest.write(id, b"half an answ");
    guest.leave(id);
    carry(&mut guest, &mut gateway);
    assert_eq!(read(&mut gateway, id), Err(Read::Reset));
    assert_eq!(gateway.write(id, b"x"), Write::Closed);
    let (mut gateway, mut guest, id) = pair();
    guest.write(id, b"half an answ");
    carry(&mut guest, &mut gateway);
    gateway.break_off();
    assert_eq!(read(&mut gateway, id), Err(Read::Reset));
}

#[test]
fn what_a_side_sent_and_ended_counts_although_it_reads_no_more() {
    let (mut gateway, mut guest, id) = pair();
    guest.write(id, b"a whole answer");
    guest.end(id);
    guest.leave(id);
    carry(&mut guest, &mut gateway);
    assert_eq!(read(&mut gateway, id), Ok(b"a whole answer".to_vec()));
    assert_eq!(read(&mut gateway, id), Err(Read::End));
    assert_eq!(gateway.write(id, b"more of the question"), Write::Closed);
}

#[test]
fn a_guest_refuses_by_leaving() {
    let (mut gateway, mut guest) = (Mux::new(Side::Gateway), Mux::new(Side::Guest));
    let id = gateway.open(port()).unwrap();
    carry(&mut gateway, &mut guest);
    guest.leave(id);
    carry(&mut guest, &mut gateway);
    assert_eq!(gateway.is_connected(id), Some(false));
    gateway.leave(id);
    assert!(!gateway.has_waiting());
    // What the peer sent before it knew that a stream was left changes nothing.
    let id = gateway.open(port()).unwrap();
    gateway.leave(id);
    guest.receive(&gateway.take_waiting(), |_| {}).unwrap();
    guest.connect(id);
    gateway.receive(&guest.take_waiting(), |_| {}).unwrap();
}

#[test]
fn a_reader_that_does_not_read_holds_a_window_and_stops_its_own_stream_only() {
    let (mut gateway, mut guest, slow) = pair();
    let fast = gateway.open(port()).unwrap();
    carry(&mut gateway, &mut guest);
    guest.connect(fast);
    let mut sent = 0;
    while let Write::Taken(count) = guest.write(slow, &[7; 5000]) {
        sent += count;
        carry(&mut guest, &mut gateway);
    }
    assert_eq!(sent, WINDOW_BYTES as usize);
    assert_eq!(guest.write(fast, b"fast"), Write::Taken(4));
    carry(&mut guest, &mut gateway);
    assert_eq!(read(&mut gateway, fast), Ok(b"fast".to_vec()));
    assert_eq!(read(&mut gateway, slow).unwrap().len(), sent);
    carry(&mut gateway, &mut guest);
    assert_eq!(guest.write(slow, b"again"), Write::Taken(5));
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let (mut gateway, mut guest, _) = pair();
    let ids: Vec<_> = (0..40).map(|_| gateway.open(port()).unwrap()).collect();
    carry(&mut gateway, &mut guest);
    ids.iter().for_each(|id| guest.connect(*id));
    let before = guest.waiting.len();
    for id in ids {
        while let Write::Taken(_) = guest.write(id, &[7; 5000]) {}
    }
    assert!(guest.waiting.len() <= before + MAX_WAITING_BYTES + MAX_DATA_BYTES);
    // A peer that asks and does not read is ended.
    let asks: Vec<u8> = frame(Kind::Ping, 0, &[]).repeat(MAX_WAITING_BYTES / HEAD_BYTES + 2);
    assert_eq!(violation(&mut guest, &asks), Violation::Unread);
}

#[test]
fn streams_are_bounded_on_both_sides() {
    let (mut gateway, mut guest) = (Mux::new(Side::Gateway), Mux::new(Side::Guest));
    let ids: Vec<_> = std::iter::from_fn(|| gateway.open(port())).collect();
    assert_eq!(ids.len(), MAX_STREAMS);
    carry(&mut gateway, &mut guest);
    let one_more = frame(Kind::Open, ids.len() as u32 + 1, &80_u16.to_be_bytes());
    assert_eq!(violation(&mut guest, &one_more), Violation::Streams);
    // A guest whose holders are slow is not taken for one that has too many.
    let mut guest = Mux::new(Side::Guest);
    let mut gateway = Mux::new(Side::Gateway);
    for _ in 0..2 * MAX_STREAMS {
        let id = gateway.open(port()).unwrap();
        gateway.leave(id);
        guest.receive(&gateway.take_waiting(), |_| {}).unwrap();
    }
}

#[test]
fn each_broken_rule_ends_the_tunnel() {
    let credit = |bytes: u32| bytes.to_be_bytes();
    type Case = (Vec<u8>, fn(Violation) -> bool);
    let cases: [Case; 11] = [
        (vec![0; 8], |found| matches!(found, Violation::Frame(_))),
        (frame(Kind::Open, 2, &[0, 80]), |found| found == Violation::Side(Kind::Open)),
        (frame(Kind::Data, 2, b"x"), |found| found == Violation::Unknown(2)),
        (frame(Kind::End, 9, &[]), |found| found == Violation::Unknown(9)),
        (frame(Kind::Credit, 1, &credit(1)), |found| found == Violation::Credit(1)),
        (frame(Kind::Credit, 1, &credit(u32::MAX)), |found| found == Violation::Credit(1)),
        (frame(Kind::Connected, 1, &[]), |found| matches!(found, Violation::State { .. })),
        (frame(Kind::End, 1, &[]).repeat(2), |found| matches!(found, Violation::State { .. })),
        ([frame(Kind::End, 1, &[]), frame(Kind::Data, 1, b"x")].concat(), |found| {
            matches!(found, Violation::State { .. })
        }),
        (frame(Kind::Data, 1, &[7; 16384]).repeat(5), |found| found == Violation::Window(1)),
        (frame(Kind::Data, 0, b"x"), |found| matches!(found, Violation::Frame(_))),
    ];
    for (bytes, expected) in cases {
        let (mut gateway, ..) = pair();
        let found = violation(&mut gateway, &bytes);
        assert!(expected(found), "{found}");
    }
    let (_, mut guest, _) = pair();
    assert_eq!(violation(&mut guest, &frame(Kind::Ready, 0, &[1])), Violation::Side(Kind::Ready));
    let order = Violation::Order { found: 5, next: 2 };
    assert_eq!(violation(&mut guest, &frame(Kind::Open, 5, &[0, 80])), order);
    assert_eq!(violation(&mut guest, &frame(Kind::Open, 2, &[0, 0])), Violation::Port);
    // Data before the guest has connected the port.
    let mut early = Mux::new(Side::Gateway);
    early.open(port()).unwrap();
    let found = violation(&mut early, &frame(Kind::Data, 1, b"x"));
    assert!(matches!(found, Violation::State { .. }));
}

proptest! {
    #[test]
    fn two_streams_never_share_a_byte_however_frames_are_cut(
        writes in proptest::collection::vec((0_usize..3, 1_usize..3000), 1..40),
        cut in 1_usize..700,
    ) {
        let (mut gateway, mut guest, first) = pair();
        let mut ids = vec![first];
        for _ in 0..2 {
            let id = gateway.open(port()).unwrap();
            carry(&mut gateway, &mut guest);
            guest.connect(id);
            ids.push(id);
        }
        carry(&mut guest, &mut gateway);
        let (mut sent, mut got) = ([0; 3], [0; 3]);
        for (index, bytes) in writes {
            if let Write::Taken(count) = guest.write(ids[index], &vec![index as u8; bytes]) {
                sent[index] += count;
            }
            for part in guest.take_waiting().chunks(cut) {
                gateway.receive(part, |_| {}).unwrap();
            }
            for (index, id) in ids.iter().enumerate() {
                if let Ok(bytes) = read(&mut gateway, *id) {
                    prop_assert!(bytes.iter().all(|byte| usize::from(*byte) == index));
                    got[index] += bytes.len();
                }
            }
            carry(&mut gateway, &mut guest);
        }
        prop_assert_eq!(sent, got);
    }

    #[test]
    fn no_peer_makes_a_side_hold_more_than_its_windows(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), opened in 0_usize..3,
    ) {
        let mut gateway = Mux::new(Side::Gateway);
        let ids: Vec<_> = (0..opened).map(|_| gateway.open(port()).unwrap()).collect();
        let _ = gateway.receive(&bytes, |_| {});
        for id in ids {
            prop_assert!(gateway.streams[&id].received.len() <= WINDOW_BYTES as usize);
        }
    }
}
