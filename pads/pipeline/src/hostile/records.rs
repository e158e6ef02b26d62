//! The record of a run: what each custodian may read of it, and its chain.

use super::*;

#[test]
fn each_custodian_reads_of_a_refusal_what_is_its_own() {
    let [a, b, _] = hospitals();
    let mut delegation = Delegation::of(&[&a, &b]);
    let run = prepared(&[&a, &b]);
    let run_id = run.submission.id;
    refused(run, &mut delegation);
    let entry = &delegation.entries[0];
    let of = |members: &[u8]| {
        let record = entry.records.iter().find(|record| record.custodian == id(members)).unwrap();
        assert_eq!(record.key_provider_id, DELEGATOR);
        Entry::open(&secret(members), run_id, 0, &record.bytes).unwrap()
    };
    let (of_a, of_b) = (of(A), of(B));
    assert_eq!((&of_a.pads[..], of_a.all_pads), (&[a.digest][..], 2));
    assert_eq!((of_a.program, of_a.owner, of_a.time), (TRAINER, None, NOW));
    let [Event::DatasetRefused(reasons)] = &of_a.events[..] else { panic!("{of_a:?}") };
    assert!(reasons[0].contains("66.7 %"), "{reasons:?}");
    assert_eq!(reasons[1], format!("refused for a Pad of {}", id(B).shown()));
    let [Event::DatasetRefused(reasons)] = &of_b.events[..] else { panic!("{of_b:?}") };
    assert!(reasons[0].contains("33.3 %") && !reasons[1].contains('%'), "{reasons:?}");
    let record = &entry.records[0].bytes;
    let reader = if entry.records[0].custodian == id(A) { B } else { A };
    assert!(Entry::open(&secret(reader), run_id, 0, record).is_err());
    assert!(Entry::open(&secret(A), run_id, 1, record).is_err());
}

#[test]
fn entries_are_chained_and_have_one_encoding() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let run = prepared(&pads);
    let run_id = run.submission.id;
    let mut open = open(run, &mut told, &mut delegation);
    for name in [D, A] {
        let proposed = open.propose(proposal(name, &model()), data(b"model")).unwrap();
        let _ = proposed.check(&mut told).map(|allowed| allowed.pack(&mut delegation).unwrap());
    }
    open.finish(&mut delegation).unwrap();
    let [first, second] = &delegation.entries[..] else { panic!("two entries") };
    assert_eq!((first.sequence, second.sequence, second.previous), (0, 1, first.head));
    assert_eq!(first.records.len(), 3);
    for entry in [first, second] {
        let mut records = entry.records.clone();
        assert_eq!(audit::head(&entry.previous, entry.sequence, &records), entry.head);
        records[0].bytes[0] ^= 1;
        assert_ne!(audit::head(&entry.previous, entry.sequence, &records), entry.head);
        assert_ne!(audit::head(&entry.previous, entry.sequence, &records[1..]), entry.head);
        assert_ne!(audit::head(&entry.previous, 9, &entry.records), entry.head);
    }
    let of_a = first.records.iter().find(|record| record.custodian == id(A)).unwrap();
    let read = Entry::open(&secret(A), run_id, 0, &of_a.bytes).unwrap();
    assert!(matches!(read.events[..], [Event::DatasetAllowed, Event::PadAllowed { .. }]));
    let bytes = read.to_bytes();
    assert_eq!(Entry::parse(&bytes), Ok(read));
    for at in 0..bytes.len() {
        assert!(Entry::parse(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(read) = Entry::parse(&changed) {
            assert_eq!(read.to_bytes(), changed, "{at}");
        }
    }
}

#[test]
fn an_entry_has_every_event_again() {
    let entry = Entry {
        run: RunId([1; 16]),
        sequence: u64::MAX,
        time: 2,
        program: TRAINER,
        owner: Some(id(A)),
        engines: vec![SHARE, OTHER],
        pads: vec![],
        all_pads: 3,
        events: vec![
            Event::DatasetAllowed,
            Event::DatasetRefused(vec![]),
            Event::PadAllowed {
                id: PadId::generate().unwrap(),
                digest: hospitals()[0].digest,
                custodian: id(D),
            },
            Event::PlainAllowed { sealed: OTHER },
            Event::OutputRefused(vec!["é".into(), String::new()]),
            Event::Updated { digest: hospitals()[0].digest },
            Event::UpdateRefused(vec![]),
        ],
    };
    assert_eq!(Entry::parse(&entry.to_bytes()), Ok(entry));
}

#[test]
fn an_entry_of_a_large_run_is_one_that_a_delegator_keeps() {
    let pads: Vec<_> = (0..200)
        .map(|_| pad(A, vec![policy(&training(10)), policy(&training(10))], 1, b""))
        .collect();
    let pads: Vec<_> = pads.iter().collect();
    let mut delegation = Delegation::of(&pads);
    let run = prepared(&pads);
    let run_id = run.submission.id;
    assert_eq!(refused(run, &mut delegation).len(), 200);
    let record = &delegation.entries[0].records[0];
    assert!(record.bytes.len() < 16 << 10, "{} bytes", record.bytes.len());
    let read = Entry::open(&secret(A), run_id, 0, &record.bytes).unwrap();
    assert_eq!((read.pads.len(), read.all_pads), (128, 200));
}

#[test]
fn a_record_of_many_refused_outputs_is_one_that_a_delegator_keeps() {
    let pads: Vec<_> = (0..200).map(|_| pad(A, vec![policy(&training(100))], 1, b"")).collect();
    let pads: Vec<_> = pads.iter().collect();
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let run = prepared(&pads);
    let run_id = run.submission.id;
    let mut open = open(run, &mut told, &mut delegation);
    for _ in 0..64 {
        let proposed = open.propose(proposal(A, &model()), data(b"model")).unwrap();
        assert_eq!(proposed.check(&mut told).err().unwrap().len(), 200);
    }
    open.finish(&mut delegation).unwrap();
    let record = &delegation.entries[0].records[0];
    assert!(record.bytes.len() < 16 << 10, "{} bytes", record.bytes.len());
    let read = Entry::open(&secret(A), run_id, 0, &record.bytes).unwrap();
    assert_eq!(read.events.len(), 65);
    assert_eq!(read.events[64], Event::OutputRefused(vec![]));
}
