//! What may not leave, and in which order what leaves does.

use super::*;

#[test]
fn a_joint_model_leaves_for_its_custodian_and_can_be_read_again() {
    let pads = hospitals();
    let pads: Vec<_> = pads.iter().collect();
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let mut open = open(prepared(&pads), &mut told, &mut delegation);
    let mut read = [0; 7];
    assert_eq!(open.data(2).unwrap().read_at(0, &mut read).unwrap(), 7);
    assert_eq!(&read, b"records");
    assert!(open.data(3).is_none());
    let mut wanted = proposal(D, &model());
    let value = pad_run::Value::Number(1_000_000);
    wanted.contents.attributes = vec![pad_run::Attribute { name: "entries".into(), value }];
    let allowed = open.propose(wanted, data(b"model")).unwrap().check(&mut told).unwrap();
    let packed = allowed.pack(&mut delegation).unwrap().into_output();
    let Output::Pad { id: pad_id, digest, bytes } = packed else { panic!("a Pad") };
    assert_eq!(delegation.steps, [Step::Keys, Step::Audit, Step::Keep]);
    let kept = &delegation.kept[0];
    assert_eq!((kept.pad_id, kept.custodian), (pad_id, id(D)));
    assert_eq!(kept.engines, [SHARE]);
    assert_eq!(kept.parents, pads.iter().map(|pad| pad.digest).collect::<Vec<_>>());
    let sealed = SealedPad::read(Cursor::new(bytes)).unwrap();
    assert_eq!(sealed.digest(), digest);
    let made = sealed.open(&DataKey::from_bytes(Zeroizing::new(kept.key))).unwrap();
    // A program states nothing in the name of a custodian.
    let entries = made.contents().attribute("entries").unwrap();
    assert!(entries.origin == Origin::Program(TRAINER));
    assert!(made.contents().custodian == custodian(D));
}

#[test]
fn an_output_is_for_a_custodian_by_the_whole_of_its_id() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let mut open = open(prepared(&pads), &mut told, &mut delegation);
    let mut colliding = proposal(D, &model());
    colliding.custodian.as_mut().unwrap()[31] ^= 1;
    let like = CustodianId(Sha256Digest(colliding.custodian.unwrap()));
    assert_eq!(like.shown(), id(D).shown());
    let refusal = open.propose(colliding, data(b"model")).err().unwrap();
    assert_eq!(refusal.reason, Reason::NotEnrolled(like));
}

#[test]
fn what_no_pad_can_be_is_not_proposed_to_engines() {
    let [a, b, c] = hospitals();
    let pads = [&a, &b, &c];
    let (mut told, mut delegation) = (Told::default(), Delegation::of(&pads));
    let mut open = open(prepared(&pads), &mut told, &mut delegation);
    let attribute =
        |name: &str| pad_run::Attribute { name: name.into(), value: pad_run::Value::Number(1) };
    let changes: [fn(&mut pad_run::Contents); 4] = [
        |contents| contents.policies.clear(),
        |contents| contents.policies[0].policy_type = [0; 16],
        |contents| contents.policies[0].input_id = "No Name".into(),
        |contents| contents.attributes.swap(0, 1),
    ];
    for change in changes {
        let mut wrong = proposal(D, &model());
        wrong.contents.attributes = vec![attribute("a"), attribute("b")];
        change(&mut wrong.contents);
        let refusal = open.propose(wrong, data(b"model")).err().unwrap();
        assert!(matches!(refusal.reason, Reason::Output(_)), "{refusal}");
    }
    let strange = vec![policy_of(OTHER, training(1).to_constraints())];
    let refusal = open.propose(proposal(D, &strange), data(b"model")).err().unwrap();
    assert_eq!(refusal.reason, Reason::NotStated(OTHER));
    assert!(told.outputs.is_empty());
}

#[test]
fn a_plain_result_is_sealed_for_the_proved_owner_and_counted_before() {
    let a = pad(A, vec![policy(&answering())], 1, b"model");
    let mut delegation = Delegation::of(&[&a]);
    let mut told = Told::default();
    for _ in 0..2 {
        let run = prepared(&[&a]).signed_by(A);
        let about = result_subject(&run.submission.id.0, &id(A));
        delegation.steps.clear();
        let mut open = open(run, &mut told, &mut delegation);
        for label in [&b"malign"[..], b"benign"] {
            let allowed = open.propose(plain(), data(label)).unwrap().check(&mut told).unwrap();
            let packed = allowed.pack(&mut delegation).unwrap().into_output();
            let Output::Plain(sealed) = packed else { panic!("plain") };
            let plain = sealed::open(&secret(A), Purpose::Result, &about, &sealed).unwrap();
            assert_eq!(*plain, label);
        }
        // Two outputs are one use.
        assert_eq!(delegation.steps, [Step::Keys, Step::Spend, Step::Audit, Step::Audit]);
    }
    assert_eq!(delegation.uses.len(), 2);
    let mut open = open(prepared(&[&a]).signed_by(A), &mut told, &mut delegation);
    for expected in ["RATE_LIMIT: 2 uses in 60 seconds", "refused before"] {
        let allowed = open.propose(plain(), data(b"malign")).unwrap().check(&mut told).unwrap();
        let refusal = allowed.pack(&mut delegation).err().unwrap();
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
    assert_eq!(delegation.uses.len(), 3);
}

#[test]
fn a_plain_result_is_for_an_owner_and_bare() {
    let a = pad(A, vec![policy(&training(100))], 1, b"records");
    let mut delegation = Delegation::of(&[&a]);
    let mut told = Told::default();
    let mut nobody = open(prepared(&[&a]), &mut told, &mut delegation);
    let refusal = nobody.propose(plain(), data(b"1")).err().unwrap();
    assert_eq!(refusal.reason, Reason::PlainForNobody);
    let mut owned = open(prepared(&[&a]).signed_by(A), &mut told, &mut delegation);
    let mut dressed = plain();
    dressed.contents = proposal(D, &model()).contents;
    let refusal = owned.propose(dressed, data(b"1")).err().unwrap();
    assert_eq!(refusal.reason, Reason::PlainContents);
    let refusals = owned.propose(plain(), data(b"1")).unwrap().check(&mut told).err().unwrap();
    assert!(refusals[0].to_string().contains("PLAIN_RESULT"), "{}", refusals[0]);
}

#[test]
fn nothing_leaves_if_a_delegator_does_not_do_its_part() {
    let a =
        pad(A, vec![policy(&SharePolicy { output: training(1).output, ..answering() })], 1, b"");
    for broken in [Step::Spend, Step::Audit, Step::Keep] {
        let (mut told, mut delegation) = (Told::default(), Delegation::of(&[&a]));
        let mut open = open(prepared(&[&a]).signed_by(A), &mut told, &mut delegation);
        delegation.broken = Some(broken);
        let proposed = open.propose(proposal(D, &model()), data(b"model")).unwrap();
        let refusal = proposed.check(&mut told).unwrap().pack(&mut delegation).err().unwrap();
        assert!(matches!(refusal.reason, Reason::Delegator(_)), "{refusal}");
        assert!(delegation.kept.is_empty());
        let steps = [Step::Keys, Step::Spend, Step::Audit, Step::Keep];
        let reached = steps.iter().position(|step| *step == broken).unwrap();
        assert_eq!(delegation.steps, steps[..=reached]);
    }
}
