//! Who submitted a run, once, and the order of its steps.

use super::*;

#[test]
fn a_run_is_taken_once_and_only_if_it_was_drawn_here() {
    let [a, ..] = hospitals();
    let Prepared { submission, mut runs } = prepared(&[&a]).signed_by(A);
    let (run_id, signed) = (submission.id, submission.signed.clone());
    assert!(submission.accept(&mut runs).is_ok());
    let again = |id, runs| {
        let mut again = prepared(&[&a]);
        again.submission.id = id;
        again.submission.signed = signed.clone();
        not_accepted(Prepared { submission: again.submission, runs })
    };
    assert_eq!(again(run_id, runs), Reason::RunId);
    assert_eq!(again(RunId([3; 16]), Default::default()), Reason::RunId);
    // An id is used up by a run that is refused.
    let Prepared { mut submission, mut runs } = prepared(&[&a]);
    let id = submission.id;
    submission.parties.push((enrolment(A, DELEGATOR), uri()));
    assert!(submission.accept(&mut runs).is_err());
    assert_eq!(again(id, runs), Reason::RunId);
}

#[test]
fn a_run_that_was_signed_for_anything_else_has_no_owner() {
    let [a, b, c] = hospitals();
    let signed_for = |change: fn(&mut Prepared)| {
        let mut run = prepared(&[&a, &b]).with_plain(b"item").signed_by(A);
        change(&mut run);
        not_accepted(run)
    };
    let changes: [fn(&mut Prepared); 6] = [
        |run| run.submission.exporter = [9; 32],
        |run| run.submission.program = Sha256Digest([9; 32]),
        |run| run.submission.pads.swap(0, 1),
        |run| drop(run.submission.pads.pop()),
        |run| run.submission.plain = None,
        |run| run.submission.now += 24 * 60 * 60,
    ];
    for change in changes {
        assert!(matches!(signed_for(change), Reason::Owner(_)));
    }
    let mut exchanged = prepared(&[&a, &b]).signed_by(A);
    exchanged.submission.pads[1] = c.sealed();
    assert!(matches!(not_accepted(exchanged), Reason::Owner(_)));
    // E names A, whose key it has not.
    let mut named = prepared(&[&a, &b]);
    let run = named.run();
    let signatures = sign(E, &run.signed_bytes(&id(A), NOW + 60));
    named.submission.signed = Some(run.signed(custodian(A), NOW + 60, signatures));
    assert!(matches!(not_accepted(named), Reason::Owner(_)));
}

#[test]
fn a_program_adds_the_pads_that_its_owner_signed_in_their_order() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    for order in [&[0, 1][..], &[1, 0, 2], &[0, 2, 1]] {
        let Prepared { submission, mut runs } = prepared(&pads).signed_by(A);
        let mut dataset = Dataset::new(submission.accept(&mut runs).unwrap());
        order.iter().for_each(|index| dataset.add(*index).unwrap());
        let mut delegation = Delegation::of(&pads);
        let refusals = dataset.check(&mut Told::default(), &mut delegation).err().unwrap();
        let added = order.len();
        assert_eq!(refusals[0].reason, Reason::OtherPads { signed: 3, added });
        assert!(!delegation.steps.contains(&Step::Keys));
    }
    let mut delegation = Delegation::of(&pads);
    assert!(checked(prepared(&pads).signed_by(A), &mut Told::default(), &mut delegation).is_ok());
}

#[test]
fn more_pads_than_a_run_has_are_not_accepted() {
    let [a, ..] = hospitals();
    let mut run = prepared(&[&a]);
    run.submission.pads = (0..10_001).map(|_| a.sealed()).collect();
    assert_eq!(not_accepted(run), Reason::Pads { found: 10_001, most: 10_000 });
}

#[test]
fn handles_are_of_this_run_and_used_once() {
    let [a, ..] = hospitals();
    let Prepared { submission, mut runs } = prepared(&[&a]);
    let mut dataset = Dataset::new(submission.accept(&mut runs).unwrap());
    dataset.add(0).unwrap();
    for forged in [0, 1, usize::MAX] {
        assert_eq!(dataset.add(forged).err().unwrap().reason, Reason::Handle);
    }
}

#[test]
fn a_session_gives_no_data_before_the_yes_and_none_after_a_no() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let Prepared { submission, mut runs } = prepared(&pads);
    let accepted = submission.accept(&mut runs).unwrap();
    let mut session = Session::new(accepted, &mut told, &mut delegation);
    let mut run = pad_run::Run::new(3, 9).unwrap();
    // Handles of another run, with which this session is asked too early.
    let mut other = pad_run::Run::new(3, 9).unwrap();
    (0..3).for_each(|index| other.add(index).unwrap());
    struct Yes;
    impl pad_run::Judge for Yes {
        fn dataset(&mut self, _: &[pad_run::Pad]) -> pad_run::Answer {
            pad_run::Answer::Allowed
        }
        fn output(
            &mut self,
            _: &[pad_run::Pad],
            _: pad_run::Proposal,
            _: Zeroizing<Vec<u8>>,
        ) -> pad_run::Answer {
            pad_run::Answer::Allowed
        }
    }
    other.check(&mut Yes).unwrap();
    let handles = other.open().unwrap();
    assert!(session.data(handles[0]).is_err());
    assert_eq!(session.contents(handles[0]), pad_run::Contents::default());
    assert_eq!(session.output(&handles, plain(), data(b"")), pad_run::Answer::Refused);
    // A and B alone are refused, and after that nothing works any more.
    run.add(0).unwrap();
    run.add(1).unwrap();
    assert_eq!(run.check(&mut session), Ok(pad_run::Answer::Refused));
    assert!(matches!(run.add(2), Err(Misuse::Order { .. })));
    assert!(session.data(handles[0]).is_err());
    assert_eq!(session.dataset(&handles), pad_run::Answer::Refused);
    assert_eq!(session.output(&handles, plain(), data(b"")), pad_run::Answer::Refused);
    let outcome = session.finish();
    assert!(outcome.outputs.is_empty());
    assert!(outcome.refusals.len() >= 4, "{:?}", outcome.refusals);
}

#[test]
fn a_session_in_order_reads_and_gives_its_output_away() {
    let [a, b, c] = hospitals();
    let pads = [&c, &a, &b];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let Prepared { submission, mut runs } = prepared(&pads);
    let accepted = submission.accept(&mut runs).unwrap();
    let mut session = Session::new(accepted, &mut told, &mut delegation);
    let mut run = pad_run::Run::new(3, 9).unwrap();
    [1, 0, 2].into_iter().for_each(|index| run.add(index).unwrap());
    assert_eq!(run.check(&mut session), Ok(pad_run::Answer::Allowed));
    let handles = run.open().unwrap();
    assert_eq!(session.data(handles[0]).unwrap().data_bytes(), 7);
    let shown = session.contents(handles[0]);
    assert_eq!(shown.attributes[0].value, pad_run::Value::Number(100));
    assert_eq!(shown.policies[0].engine, SHARE.0);
    let allowed = run.propose(proposal(D, &model()), &mut session);
    assert_eq!(allowed, Ok(Some(pad_run::Answer::Allowed)));
    let wrong = run.propose(proposal(A, &model()), &mut session);
    assert_eq!(wrong, Ok(Some(pad_run::Answer::Refused)));
    let outcome = session.finish();
    assert_eq!((outcome.outputs.len(), outcome.refusals.len()), (1, 3));
    assert!(outcome.refusals[0].to_string().contains("CUSTODIAN"), "{}", outcome.refusals[0]);
}
