//! Quotas of Pads, counted by three members together.

use protocol::kms::{FetchKeysResponse, QUOTA_STATUS, SpendRequest, SpendResponse};

use super::*;
use crate::member::fixtures::pads::data_key;

/// Uses that the quota has in its period.
const USES: u64 = 10;
/// Calls that want one, spread over the members.
const CALLS: u8 = 24;

/// A channel of the app's middleware to one member.
async fn middleware(three: &Three, number: usize) -> Option<Caller<VerifiedKms>> {
    let mut app = three.app.clone();
    app.ready = true;
    let (address, id) = (three.told[0].ports[number].0, three.place.config.cluster.id());
    let accepts = Accepts::Listed { minimum_version: 1 };
    connect(address, id, (Role::Pads, app), accepts).await.ok()
}

/// Spends one use, at one member after the other until one answers; whether it was counted.
async fn spends(three: &Three, first: usize, request: &SpendRequest) -> bool {
    let begun = Instant::now();
    for number in first.. {
        assert!(begun.elapsed() < PATIENCE, "{}", three.logs());
        let Some(mut caller) = middleware(three, number % 3).await else { continue };
        match ask::<_, _, SpendResponse>(&mut caller, "Spend", request).await {
            Ok(_) => return true,
            Err(CallError::Refused { status: QUOTA_STATUS, .. }) => return false,
            Err(CallError::Refused { status: UNAVAILABLE_STATUS, .. }) | Err(_) => {}
        }
        sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the numbers do not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_count_each_use_of_a_quota_once_while_one_is_killed() {
    let mut three = Three::start(None);
    three.bootstrap().await;
    for number in 0..3 {
        three.serves(number).await;
    }
    let owner = pad_owner(&three.place);
    let accepts = || Accepts::Exactly { images: vec![three.kms], image_json: image().to_json() };
    let id = three.place.config.cluster.id();
    // Each call at another member.
    let channel = |number: usize| {
        let address = three.told[0].ports[number].0;
        connect(address, id, (Role::Owner, OwnerKey(owner.seed)), accepts())
    };
    let mut custodian = channel(1).await.unwrap();
    let _: Empty = ask(&mut custodian, "Enrol", &owner.enrolment()).await.unwrap();
    let mut custodian = channel(2).await.unwrap();
    let app = (three.app.app_id(), three.app.compose_hash());
    let push = owner.push(1, os_image_hash(), app);
    let _: Empty = ask(&mut custodian, "PushKey", &push).await.unwrap();
    let mut fetching = middleware(&three, 0).await.unwrap();
    let request = owner.fetch(&[1], 200);
    let keys: FetchKeysResponse = ask(&mut fetching, "FetchKeys", &request).await.unwrap();
    assert_eq!(keys.keys, [data_key(1).as_bytes().to_vec()]);

    let mut counted = 0;
    for call in 0..CALLS {
        if call == 4 {
            three.kill(1);
        }
        let request = owner.spend(1, USES, [call; 16]);
        let (one, again) = tokio::join!(
            spends(&three, usize::from(call), &request),
            spends(&three, usize::from(call) + 1, &request),
        );
        assert_eq!(one, again, "one call that is made twice is one");
        counted += u64::from(one);
    }
    assert_eq!(counted, USES);
    let entries = three.ledger(0).await;
    let spent = entries.iter().filter(|entry| matches!(entry.kind, Kind::QuotasSpent(_)));
    assert_eq!(spent.count() as u64, USES);
}
