//! Other policies for a Pad: who may agree on them, and what becomes of the old Pad.

use pad_format::update::{SignedUpdate, Update, UpdateError};

use super::*;
use crate::update::{self, AllowedUpdate};

/// The first policies: A and B together, or one of them with more than half, may agree on others.
fn shared() -> Vec<pad_format::Policy> {
    let mut weights = vec![(owner_id(A), 2), (owner_id(B), 1)];
    weights.sort_unstable();
    let agreed = OutputRule::UpdateBy { basis_points: 6_000, weights };
    vec![policy(&SharePolicy { output: vec![agreed], ..training(100) })]
}

fn others() -> Vec<pad_format::Policy> {
    vec![policy(&training(100))]
}

/// What members of these owners agree on: the policies for the Pad, as version 2.
fn agreed(pad: &Stored, policies: &[pad_format::Policy], owners: &[&[u8]]) -> SignedUpdate {
    let pad_id = pad.sealed().claimed().pad_id;
    let mut contents = Contents {
        policy_version: 2,
        custodian: custodian(A),
        policies: policies.to_vec(),
        attributes: vec![],
    };
    let update = Update { pad_id, policies: contents.policies_digest(), version: 2 };
    contents.policies.clear();
    let approvals = owners.iter().map(|owner| {
        let signatures = sign(owner, &update.signed_bytes(&id(owner)));
        (custodian(owner), signatures)
    });
    update.signed(approvals.collect())
}

fn checked_update(
    prepared: Prepared,
    policies: Vec<pad_format::Policy>,
    signed: &SignedUpdate,
    told: &mut Told,
    delegation: &mut Delegation,
) -> Result<AllowedUpdate<Bytes>, Vec<Refusal>> {
    let Prepared { submission, mut runs } = prepared;
    let accepted = submission.accept(&mut runs).unwrap();
    update::check(accepted, policies, signed, told, delegation)
}

#[test]
fn owners_of_enough_agree_and_the_old_pad_opens_no_more() {
    let data: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let old = pad(A, shared(), 7, &data);
    let mut delegation = Delegation::of(&[&old]);
    let mut told = Told::default();
    let signed = agreed(&old, &others(), &[A]);
    let allowed =
        checked_update(prepared(&[&old]), others(), &signed, &mut told, &mut delegation).unwrap();
    let (bytes, sealed) = allowed.seal(Vec::new()).unwrap();
    // Nobody has the key before the caller has the new Pad.
    assert_eq!(delegation.steps, [Step::Keys]);
    let digest = sealed.hand_over(&mut delegation).unwrap();
    assert_eq!(delegation.steps, [Step::Keys, Step::Audit, Step::Update]);
    let (with_key, from, list) = delegation.updated.take().unwrap();
    let new = Stored { bytes, digest, ..with_key };
    let list: Vec<_> = list.into_iter().collect();
    delegation.push(&new, from, &list);
    assert_eq!(new.sealed().claimed().pad_id, old.sealed().claimed().pad_id);
    assert_ne!(new.sealed().claimed().crypto.key_id, old.sealed().claimed().crypto.key_id);
    let reasons = refused(prepared(&[&old]), &mut delegation);
    assert!(matches!(reasons[..], [Reason::Delegator(Denied::Pad { index: 0, .. })]));
    let mut open = open(prepared(&[&new]).of(TRAINER), &mut told, &mut Delegation::of(&[&new]));
    let view = &open.pads()[0];
    assert!(view.contents.policies == others() && view.contents.policy_version == 2);
    assert!(view.contents.attribute("entries").unwrap().value == Value::Integer(7));
    let mut read = vec![0; data.len()];
    assert_eq!(open.data(0).unwrap().read_at(0, &mut read).unwrap(), data.len());
    assert!(read == data);
}

#[test]
fn too_few_owners_change_nothing() {
    let old = pad(A, shared(), 7, b"records");
    let refused = |signed: &SignedUpdate, policies, told: &mut Told| {
        let mut delegation = Delegation::of(&[&old]);
        let checked = checked_update(prepared(&[&old]), policies, signed, told, &mut delegation);
        let refusals = checked.err().expect("refused");
        assert_eq!(delegation.steps, [Step::Keys, Step::Audit]);
        refusals[0].reason.clone()
    };
    let mut told = Told::default();
    let few = refused(&agreed(&old, &others(), &[B]), others(), &mut told);
    assert!(few.to_string().contains("UPDATE_BY (output rule 1)"), "{few}");
    let others_signed = refused(&agreed(&old, &shared(), &[A, B]), others(), &mut told);
    assert!(matches!(others_signed, Reason::Update(UpdateError::Other("digest of policies"))));
    let elsewhere = pad(A, shared(), 7, b"other");
    let of_another = refused(&agreed(&elsewhere, &others(), &[A]), others(), &mut told);
    assert!(matches!(of_another, Reason::Update(UpdateError::Other("Pad"))));
    let strange = vec![policy_of(OTHER, training(1).to_constraints())];
    let not_stated = refused(&agreed(&old, &strange, &[A]), strange, &mut told);
    assert_eq!(not_stated, Reason::NotStated(OTHER));
    told.failing = [SHARE].into();
    let failing = refused(&agreed(&old, &others(), &[A]), others(), &mut told);
    assert!(matches!(failing, Reason::Engine { .. }));
}

#[test]
fn an_engine_counts_no_uses_where_no_program_runs() {
    let old = pad(A, vec![policy_of(OTHER, training(1).to_constraints())], 7, b"records");
    let mut delegation = Delegation::default();
    delegation.push(&old, DELEGATOR, &[OTHER]);
    let mut run = prepared(&[&old]);
    run.submission.engines = vec![OTHER];
    let quota = QuotaUse { account: [1; 16], owner: id(A), uses: 1, period_secs: 1 };
    let mut told = Told { input: Some(Answer::Allowed(vec![quota])), ..Told::default() };
    let new = vec![policy_of(OTHER, training(2).to_constraints())];
    let signed = agreed(&old, &new, &[A]);
    let checked = checked_update(run, new, &signed, &mut told, &mut delegation);
    assert_eq!(checked.err().unwrap()[0].reason, Reason::Use(OTHER));
}

#[test]
fn an_update_is_of_one_pad_and_its_delegator_is_the_custodian_s() {
    let (one, two) = (pad(A, shared(), 7, b"1"), pad(A, shared(), 7, b"2"));
    let mut delegation = Delegation::of(&[&one, &two]);
    let signed = agreed(&one, &others(), &[A]);
    let mut told = Told::default();
    for pads in [&[&one, &two][..], &[]] {
        let checked = checked_update(prepared(pads), others(), &signed, &mut told, &mut delegation);
        assert_eq!(checked.err().unwrap()[0].reason, Reason::Handle);
    }
    let attacker = Sha256Digest([0xbb; 32]);
    let forged = pad_at(A, shared(), 7, b"1", attacker);
    let signed = agreed(&forged, &others(), &[A]);
    let checked =
        checked_update(prepared(&[&forged]), others(), &signed, &mut told, &mut delegation);
    assert!(matches!(checked.err().unwrap()[0].reason, Reason::OtherDelegator { .. }));
    assert!(!delegation.steps.contains(&Step::Keys));
}

#[test]
fn a_delegator_that_is_away_leaves_the_old_pad_in_force() {
    for broken in [Step::Audit, Step::Update] {
        let old = pad(A, shared(), 7, b"records");
        let (mut told, mut delegation) = (Told::default(), Delegation::of(&[&old]));
        let signed = agreed(&old, &others(), &[A]);
        let run = prepared(&[&old]);
        let allowed = checked_update(run, others(), &signed, &mut told, &mut delegation).unwrap();
        let (_, sealed) = allowed.seal(Vec::new()).unwrap();
        delegation.broken = Some(broken);
        let refusal = sealed.hand_over(&mut delegation).err().unwrap();
        assert!(matches!(refusal.reason, Reason::Delegator(_)), "{refusal}");
        assert!(delegation.updated.is_none());
        delegation.broken = None;
        assert!(checked(prepared(&[&old]), &mut told, &mut delegation).is_ok());
    }
}
