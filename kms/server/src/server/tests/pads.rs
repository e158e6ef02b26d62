//! The key delegator over real channels: a custodian pushes keys and goes away, the middleware of a
//! guest gets them, and nobody else does.

use protocol::kms::{
    AuditHeadRequest, AuditRecord, AuditRequest, AuditResponse, FetchKeysResponse, KeepRequest,
    KeepResponse, QUOTA_STATUS, SpendResponse, UpdateRequest, payload_type,
};

use super::*;
use crate::member::fixtures::pads::{ENGINE, PadOwner, data_key};

/// A KMS whose policy names this app and one custodian, which pushed the keys of the Pads 1 and 2;
/// and the app while it runs.
async fn delegating() -> (Running, TempDir, PadOwner, Emulated) {
    let mut app = Emulated::new("app", false);
    app.ready = true;
    let (running, directory) = start(anchor()).await;
    let pair = KmsImage { os_image_hash: os_image_hash(), compose_hash: app.compose_hash() };
    let key_provider_id = running.place.config.cluster.id();
    let owner = PadOwner { seed: [0x61; 32], key_provider_id };
    let mut policy = running.place.policy_file(1, app.app_id(), pair);
    policy.pad_custodians = vec![owner.key()];
    running.bootstrap(&policy).await;
    let mut custodian = running.custodian(owner.seed).await.unwrap();
    let _: Empty = ask(&mut custodian, "Enrol", &owner.enrolment()).await.unwrap();
    for number in [1, 2] {
        let push = owner.push(number, os_image_hash(), (app.app_id(), app.compose_hash()));
        let _: Empty = ask(&mut custodian, "PushKey", &push).await.unwrap();
    }
    (running, directory, owner, app)
}

/// The status and text of a call that is refused.
async fn refused<A: Message>(
    caller: &mut Caller<VerifiedKms>,
    method: &'static str,
    arguments: &A,
) -> (u16, String) {
    match ask::<_, _, Empty>(caller, method, arguments).await {
        Err(CallError::Refused { status, text }) => (status, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn middleware_gets_the_keys_that_a_custodian_pushed_until_they_are_revoked() {
    let (running, _directory, owner, app) = delegating().await;
    let mut middleware = running.middleware(&app).await.unwrap();
    let request = owner.fetch(&[1, 2], 1);
    let keys: FetchKeysResponse = ask(&mut middleware, "FetchKeys", &request).await.unwrap();
    assert_eq!(keys.keys, [1, 2].map(|number| data_key(number).as_bytes().to_vec()));
    assert!(keys.expires_secs > crate::clock::Clock::of_machine().secs().unwrap());

    let mut custodian = running.custodian(owner.seed).await.unwrap();
    let _: Empty = ask(&mut custodian, "Revoke", &owner.revoke(1)).await.unwrap();
    let (status, text) = refused(&mut middleware, "FetchKeys", &owner.fetch(&[1, 2], 2)).await;
    assert_eq!(status, 403);
    assert!(text.starts_with("key-revoked: "), "{text}");
    let _: FetchKeysResponse =
        ask(&mut middleware, "FetchKeys", &owner.fetch(&[2], 3)).await.unwrap();

    // What it may know of it, the custodian reads; no key stands there.
    let request = AuditRequest { custodian: owner.custodian().id().0.0.to_vec(), from: 0 };
    let audit: AuditResponse = ask(&mut custodian, "Audit", &request).await.unwrap();
    assert_eq!(audit.next, audit.total);
    let released = |line: &&String| line.contains("pad_keys_released");
    assert_eq!((audit.entries.len(), audit.entries.iter().filter(released).count()), (6, 2));
    let lines = audit.entries.concat();
    assert!(!lines.contains(&hex::encode([1; 32])) && !lines.contains(&hex::encode([2; 32])));
    assert!(!lines.contains("policy_set"), "of others nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_role_and_no_other_guest_gets_a_key_of_a_pad() {
    let (running, _directory, owner, app) = delegating().await;
    let request = owner.fetch(&[1], 1);
    let mut agent = running.guest(&app).await.unwrap();
    assert_eq!(refused(&mut agent, "FetchKeys", &request).await.0, 404);
    let mut custodian = running.custodian(owner.seed).await.unwrap();
    assert_eq!(refused(&mut custodian, "FetchKeys", &request).await.0, 404);
    let mut owner_of_kms = running.owner().await.unwrap();
    assert_eq!(refused(&mut owner_of_kms, "FetchKeys", &request).await.0, 404);
    let mut middleware = running.middleware(&app).await.unwrap();
    assert_eq!(refused(&mut middleware, "Enrol", &owner.enrolment()).await.0, 404);
    let asked = GetAppKeyRequest::default();
    assert_eq!(refused(&mut middleware, "GetAppKey", &asked).await.0, 404);

    let stranger = running.custodian([0x62; 32]).await;
    assert_eq!(refusal(stranger).code, RefusalCode::Owner);
    let other = running.middleware(&Emulated::new("other", true)).await;
    assert_eq!(refusal(other).code, RefusalCode::Evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custodian_that_the_policy_names_no_more_still_revokes_and_pushes_for_itself() {
    let (running, _directory, owner, app) = delegating().await;
    let mut kms_owner = running.owner().await.unwrap();
    let pair = KmsImage { os_image_hash: os_image_hash(), compose_hash: app.compose_hash() };
    let policy = running.place.policy_file(2, app.app_id(), pair);
    let policy = running.place.signed(payload_type::POLICY, &policy);
    let _: Empty = ask(&mut kms_owner, "SetPolicy", &policy).await.unwrap();
    let mut custodian = running.custodian(owner.seed).await.unwrap();
    let _: Empty = ask(&mut custodian, "Revoke", &owner.revoke(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_calls_at_once_for_the_last_use_of_a_quota_one_is_counted() {
    const USES: u64 = 5;
    let (running, _directory, owner, app) = delegating().await;
    let mut middleware = running.middleware(&app).await.unwrap();
    for call in 1..USES as u8 {
        let spend = owner.spend(1, USES, [call; 16]);
        let _: SpendResponse = ask(&mut middleware, "Spend", &spend).await.unwrap();
    }
    let mut calls = tokio::task::JoinSet::new();
    for call in 100..108 {
        let mut middleware = running.middleware(&app).await.unwrap();
        let spend = owner.spend(1, USES, [call; 16]);
        calls.spawn(async move {
            ask::<_, _, SpendResponse>(&mut middleware, "Spend", &spend).await.is_ok()
        });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.into_iter().filter(|counted| *counted).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_spends_names_its_record_and_keeps_what_it_made() {
    let (running, _directory, owner, app) = delegating().await;
    let mut middleware = running.middleware(&app).await.unwrap();
    for call in 0..2 {
        let spend = owner.spend(1, 2, [call; 16]);
        let spent: SpendResponse = ask(&mut middleware, "Spend", &spend).await.unwrap();
        assert!(spent.time_secs > 0);
    }
    let again = owner.spend(1, 2, [1; 16]);
    let _: SpendResponse = ask(&mut middleware, "Spend", &again).await.unwrap();
    let (status, text) = refused(&mut middleware, "Spend", &owner.spend(1, 2, [2; 16])).await;
    assert_eq!((status, text.split(':').next()), (QUOTA_STATUS, Some("quota-used-up")));

    let record = AuditRecord { pad: Some(owner.named(1)), sealed: vec![8; 64] };
    let head = AuditHeadRequest {
        run: vec![5; 16],
        head: vec![6; 32],
        records: vec![record],
        sequence: 0,
        previous: vec![0; 32],
    };
    let _: Empty = ask(&mut middleware, "AuditHead", &head).await.unwrap();

    let kept = KeepRequest {
        pad: Some(owner.named(9)),
        key: vec![9; 32],
        engines: vec![ENGINE.0.to_vec()],
        parents: vec![owner.named(1), owner.named(2)],
        enrolment: owner.enrolment().enrolment,
    };
    let answer: KeepResponse = ask(&mut middleware, "Keep", &kept).await.unwrap();
    assert!(answer.kept);
    let fetch = owner.fetch(&[9], 7);
    let keys: FetchKeysResponse = ask(&mut middleware, "FetchKeys", &fetch).await.unwrap();
    assert_eq!(keys.keys, [vec![9; 32]]);
    let short = KeepRequest { key: vec![9; 31], ..kept.clone() };
    assert!(refused(&mut middleware, "Keep", &short).await.1.starts_with("malformed"));

    // A custodian of another delegator: the answer says where.
    let elsewhere = PadOwner { seed: [0x63; 32], key_provider_id: Sha256Digest([4; 32]) };
    let pad = Some(elsewhere.named(9));
    let enrolment = elsewhere.enrolment().enrolment;
    let kept = KeepRequest { pad, enrolment, ..kept };
    let answer: KeepResponse = ask(&mut middleware, "Keep", &kept).await.unwrap();
    assert_eq!((answer.kept, answer.key_provider_id), (false, vec![4; 32]));

    let update = UpdateRequest { pad: Some(owner.named(9)), ..update() };
    let (status, text) = refused(&mut middleware, "Update", &update).await;
    assert_eq!(status, 403);
    assert!(text.starts_with("update: "), "{text}");
}

fn update() -> UpdateRequest {
    UpdateRequest { pad: None, key_id: vec![1, 2], key: vec![8; 32], update: vec![0] }
}
