//! Another epoch of a KMS of three processes: each has its root, whenever it comes back.

use protocol::kms::{NewEpochRequest, Renewal, RootCertificate, SignedDocument, payload_type};

use super::*;

impl Three {
    /// Lets one process make the root of another epoch, which its owner certifies; the share.
    async fn begins_epoch(&self, number: usize, elsewhere: usize) -> Share {
        let mut owner = self.owner(number).await.unwrap();
        let renewal = serde_json::to_string(&Renewal::default()).unwrap();
        let request = NewEpochRequest { renewal, ..NewEpochRequest::default() };
        let begun = Instant::now();
        // An offer without an answer is replaced by the next one.
        let offered = loop {
            match ask::<_, _, StatusResponse>(&mut owner, "NewEpoch", &request).await {
                Ok(offered) => break offered,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}\n{}", self.logs()),
            }
        };
        let share: Share = ask(&mut owner, "TakeShare", &Empty {}).await.unwrap();
        let root: RootCertificate = serde_json::from_str(&offered.offered).unwrap();
        let document = self.place.signed(payload_type::ROOT, &root);

        // Another process has the root, and not the shares.
        let mut other = self.owner(elsewhere).await.unwrap();
        let refused = ask::<_, SignedDocument, Empty>(&mut other, "CertifyRoot", &document).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("made by another process"), "{refused}");
        let status: StatusResponse = ask(&mut other, "Status", &Empty {}).await.unwrap();
        assert_eq!((status.epoch + 1, status.offered.as_str()), (root.epoch, ""));

        let certified: StatusResponse = ask(&mut owner, "CertifyRoot", &document).await.unwrap();
        assert_eq!((certified.epoch, share.epoch), (root.epoch, root.epoch));
        share
    }

    /// Waits until a process serves in an epoch.
    async fn serves_in(&self, number: usize, epoch: u32) {
        let begun = Instant::now();
        while self.serves(number).await.epoch != epoch {
            assert!(begun.elapsed() < PATIENCE, "{}", self.logs());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// An instance's keys as this very process gives them.
    async fn keys(&self, number: usize, instance: u8) -> AppKeyResponse {
        let mut guest = Guest { at: number, ..Guest::of(self, instance) };
        let begun = Instant::now();
        loop {
            match guest.once("GetAppKey", &GetAppKeyRequest::default()).await {
                Ok(keys) => return keys,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}\n{}", self.logs()),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops a process, which then is neither dead nor heard, or lets it go on.
    fn signal(&self, number: usize, signal: &str) {
        let id = self.processes[number].as_ref().unwrap().0.id();
        let sent = Command::new("kill").args([signal, &id.to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_epoch_begins_in_three_processes_and_each_has_its_root() {
    let mut three = Three::start(None);
    three.bootstrap().await;
    for number in 0..3 {
        three.serves(number).await;
    }
    let first = three.keys(1, 1).await;
    assert_eq!(first.epoch, 1);

    // One is away, and stored the first epoch alone; it gets the second one with the root.
    three.kill(2);
    three.begins_epoch(1, 0).await;
    three.start_again(2);
    three.serves_in(2, 2).await;
    let second = three.keys(2, 2).await;
    assert_eq!((second.epoch, second.newest_epoch), (2, 2));
    for number in 0..3 {
        three.serves_in(number, 2).await;
        assert_eq!(three.keys(number, 2).await, second);
        let keys = three.keys(number, 1).await;
        assert_eq!(keys, AppKeyResponse { newest_epoch: 2, ..first.clone() });
    }

    // One that stands still meanwhile goes on as the member that it is.
    three.signal(0, "-STOP");
    three.begins_epoch(2, 1).await;
    let share = three.begins_epoch(1, 2).await;
    three.signal(0, "-CONT");
    three.serves_in(0, 4).await;
    let fourth = three.keys(0, 3).await;
    assert_eq!(fourth.epoch, 4);
    let entries = three.ledger(0).await;
    let admitted = entries.iter().filter(|entry| matches!(entry.kind, Kind::MemberAdmitted(_)));
    assert_eq!(admitted.count(), 3, "two at the beginning, and the one that started again");

    // All end: what any one stored has every epoch, behind a share of the newest root.
    (0..3).for_each(|number| three.kill(number));
    three.start_again(0);
    let begun = Instant::now();
    while three.status(0).await.is_none() {
        assert!(begun.elapsed() < PATIENCE, "{}", three.logs());
        sleep(Duration::from_millis(100)).await;
    }
    let mut owner = three.owner(0).await.unwrap();
    let given: StatusResponse = ask(&mut owner, "GiveShare", &share).await.unwrap();
    assert_eq!((given.state.as_str(), given.epoch), ("waiting", 4));
    let resumption = three.place.resumption(&given);
    let _: Empty = ask(&mut owner, "Resume", &resumption).await.unwrap();
    for (instance, before) in [(1, first), (2, second), (3, fourth)] {
        assert_eq!(three.keys(0, instance).await.disk_crypt_key, before.disk_crypt_key);
    }
}
