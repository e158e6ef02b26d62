//! A process from its birth over a restart, call by call.

mod boot_auth;
mod pads;
mod stores;
mod time;

use std::collections::BTreeSet;
use std::thread;

use kms_rules::audit;
use protocol::environment::{Header, Suite};
use protocol::kms::{
    AcceptEnvVersionRequest, AcceptEnvVersionResponse, AnchorRequest, AnchorResponse, AppIdRequest,
    AppKeyResponse, GetAppKeyRequest, GetMetaResponse, GetTempCaCertResponse, HELD_STATUS,
    LedgerRequest, LedgerResponse, OpenDiskRequest, OpenDiskResponse, PublicKeyResponse,
    PutImageRequest, SUPERSEDED_STATUS, Share, SignCertRequest, SignCertResponse, SignedDocument,
    StatusResponse, UNAVAILABLE_STATUS,
};

use super::fixtures::{Place, call, env_signer, guest};
use super::*;

fn of(instance: u8) -> Caller {
    Caller::Guest(Box::new(guest(instance)))
}

fn keys(member: &Member, instance: u8) -> Result<AppKeyResponse, MemberError> {
    call(member, &of(instance), Request::GetAppKey(GetAppKeyRequest::default()))
}

fn open(member: &Member, instance: u8) -> Result<OpenDiskResponse, MemberError> {
    call(member, &of(instance), Request::OpenDisk(OpenDiskRequest {}))
}

fn anchor(member: &Member, instance: u8, open_counter: u64) -> Result<AnchorResponse, MemberError> {
    let generation = open_counter << 40 | 7;
    call(
        member,
        &of(instance),
        Request::Anchor(AnchorRequest { open_counter, generation, epoch: 0, last: false }),
    )
}

/// What an owner's call is refused with.
fn refused(member: &Member, place: &Place, request: Request) -> String {
    call::<StatusResponse>(member, &place.owner(0), request).unwrap_err().to_string()
}

#[test]
fn a_root_is_made_once_certified_and_gives_keys() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let member = place.start();
    assert_eq!(place.status(&member).state, "unborn");
    assert_eq!(keys(&member, 1).unwrap_err().status(), UNAVAILABLE_STATUS);
    let bootstrapped: StatusResponse = call(&member, &place.owner(0), Request::Bootstrap).unwrap();
    assert_eq!((bootstrapped.state.as_str(), bootstrapped.epoch), ("uncertified", 1));
    assert!(refused(&member, &place, Request::Bootstrap).contains("uncertified"));

    let certificate = Request::CertifyRoot(place.certificate(&bootstrapped));
    assert!(refused(&member, &place, certificate.clone()).contains("took 0 shares"));
    let _: Share = call(&member, &place.owner(0), Request::TakeShare).unwrap();
    let _: StatusResponse = call(&member, &place.owner(0), certificate).unwrap();
    assert_eq!(place.status(&member).state, "uncertified");
    let _: StatusResponse =
        call(&member, &place.owner(0), Request::SetList(place.list(1))).unwrap();
    assert_eq!(place.status(&member).state, "serving");
    assert!(keys(&member, 1).unwrap_err().to_string().contains("no policy"));
    let _: StatusResponse =
        call(&member, &place.owner(0), Request::SetPolicy(place.policy(1))).unwrap();

    let first = keys(&member, 1).unwrap();
    assert_eq!((first.disk_crypt_key.len(), first.epoch), (64, 1));
    assert_eq!(keys(&member, 1).unwrap(), first);
    assert_ne!(keys(&member, 2).unwrap().disk_crypt_key, first.disk_crypt_key);
    assert_eq!(place.status(&member).identity, bootstrapped.identity);
}

#[test]
fn of_owners_who_begin_at_once_one_makes_the_root() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 1);
    let (member, place) = (&place.start(), &place);
    let outcomes = thread::scope(|scope| {
        let begin = |owner| move || call(member, &place.owner(owner), Request::Bootstrap);
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(begin(number % 2))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let made: Vec<StatusResponse> = outcomes.into_iter().filter_map(Result::ok).collect();
    let [made] = &made[..] else { panic!("{} roots were made", made.len()) };
    let status = place.status(member);
    assert_eq!((status.identity.as_slice(), status.entries), (made.identity.as_slice(), 1));
}

#[test]
fn what_a_guest_says_of_itself_in_a_call_counts_for_nothing() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _) = place.serving();
    let proved = keys(&member, 1).unwrap();
    let vm_config = format!(r#"{{"os_image_hash":"{}"}}"#, "ee".repeat(32));
    let said = GetAppKeyRequest { api_version: 9, vm_config, ..GetAppKeyRequest::default() };
    let answer: AppKeyResponse = call(&member, &of(1), Request::GetAppKey(said.clone())).unwrap();
    assert_eq!(answer, proved);
    let other = Guest { os_image_hash: protocol::digest::OsImageHash([0xee; 32]), ..guest(1) };
    let other = Caller::Guest(Box::new(other));
    let refused = call::<AppKeyResponse>(&member, &other, Request::GetAppKey(said)).unwrap_err();
    assert!(refused.to_string().contains("does not list the image"), "{refused}");
}

#[test]
fn open_counters_rise_and_an_older_mount_is_superseded() {
    let data = tempfile::tempdir().unwrap();
    let (member, _) = Place::new(data.path(), 1, 1).serving();
    assert!(open(&member, 1).unwrap_err().to_string().contains("no key was given"));
    keys(&member, 1).unwrap();
    let first = open(&member, 1).unwrap();
    assert_eq!(first.anchor, None);
    let anchored = anchor(&member, 1, first.open_counter).unwrap().anchor;
    assert_eq!(anchored, first.open_counter << 40 | 7);
    let second = open(&member, 1).unwrap();
    assert!(second.open_counter > first.open_counter);
    assert_eq!(second.anchor, Some(anchored));
    let error = anchor(&member, 1, first.open_counter).unwrap_err();
    assert!(error.to_string().starts_with("superseded"), "{error}");
    assert_eq!(error.status(), SUPERSEDED_STATUS);
}

#[test]
fn a_disk_that_an_earlier_guest_may_use_is_waited_for() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _) = place.serving();
    let stopping = Caller::Guest(Box::new(Guest { stops: true, ..guest(1) }));
    let open = || -> Result<OpenDiskResponse, MemberError> {
        call(&member, &stopping, Request::OpenDisk(OpenDiskRequest {}))
    };
    let anchor = |open_counter: u64, last| -> AnchorResponse {
        let generation = open_counter << 40 | 7;
        let request = AnchorRequest { open_counter, generation, epoch: 0, last };
        call(&member, &stopping, Request::Anchor(request)).unwrap()
    };
    let _: AppKeyResponse =
        call(&member, &stopping, Request::GetAppKey(GetAppKeyRequest::default())).unwrap();
    let first = open().unwrap().open_counter;
    assert!(anchor(first, false).release.contains("statement"));
    let entries = place.status(&member).entries;
    let held = open().unwrap_err();
    assert_eq!(held.status(), HELD_STATUS);
    assert!(held.to_string().contains("s more (until"), "{held}");
    // A guest that waits fills no ledger.
    assert_eq!(place.status(&member).entries, entries);
    assert_eq!(anchor(first, true).release, "");
    assert!(open().unwrap().open_counter > first);
}

#[test]
fn parallel_calls_get_no_counter_twice() {
    let data = tempfile::tempdir().unwrap();
    let (member, _) = Place::new(data.path(), 1, 1).serving();
    keys(&member, 1).unwrap();
    let member = &member;
    let counters = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    (0..4).map(|_| open(member, 1).unwrap().open_counter).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(counters.iter().collect::<BTreeSet<_>>().len(), 32);
}

#[test]
fn after_a_restart_shares_and_the_owners_word_are_needed() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 3, 2);
    let (member, shares) = place.serving();
    let before = keys(&member, 1).unwrap();
    let counter = open(&member, 1).unwrap().open_counter;
    let entries = place.status(&member).entries;
    drop(member);

    let member = place.start();
    let status = place.status(&member);
    assert_eq!((status.state.as_str(), status.entries), ("locked", entries));
    assert!(refused(&member, &place, Request::Bootstrap).contains("locked"));
    assert!(refused(&member, &place, Request::TakeShare).contains("with their owners"));
    assert!(keys(&member, 1).is_err());
    let give = |owner: usize, share: usize| {
        let request = Request::GiveShare(shares[share].clone());
        call::<StatusResponse>(&member, &place.owner(owner), request)
    };
    assert!(give(0, 1).unwrap_err().to_string().contains("is of owner 2"));
    assert_eq!(give(0, 0).unwrap().shares, 1);
    assert_eq!(give(0, 0).unwrap().shares, 1, "one owner is not two");
    let status = give(2, 2).unwrap();
    assert_eq!((status.state.as_str(), status.entries), ("waiting", entries));
    assert_eq!(keys(&member, 1).unwrap_err().status(), UNAVAILABLE_STATUS);
    assert!(refused(&member, &place, Request::SetPolicy(place.policy(2))).contains("waiting"));

    let stale = StatusResponse { entries: entries - 1, ..status.clone() };
    let stale = Request::Resume(place.resumption(&stale));
    assert!(refused(&member, &place, stale).contains("entries with the head"));
    let resumption = Request::Resume(place.resumption(&status));
    let status: StatusResponse = call(&member, &place.owner(1), resumption).unwrap();
    assert_eq!(status.state, "serving");
    assert_eq!(keys(&member, 1).unwrap(), before);
    let opened = open(&member, 1).unwrap().open_counter;
    assert!(opened >= counter + 1024);
    let anchored = anchor(&member, 1, opened).unwrap().anchor;

    // What was decided after the recovery is there after the next one.
    let entries = place.status(&member).entries;
    drop(member);
    let member = place.start();
    for owner in [0, 2] {
        let share = Request::GiveShare(shares[owner].clone());
        let status: StatusResponse = call(&member, &place.owner(owner), share).unwrap();
        assert_eq!(status.entries, entries);
    }
    let resumption = Request::Resume(place.resumption(&place.status(&member)));
    let _: StatusResponse = call(&member, &place.owner(1), resumption).unwrap();
    let again = open(&member, 1).unwrap();
    assert!(again.open_counter > opened && again.anchor == Some(anchored), "{again:?}");
}

#[test]
fn a_wrong_share_opens_nothing_and_can_be_given_again() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 2);
    let (member, shares) = place.serving();
    drop(member);
    let member = place.start();
    let give = |place: &Place, owner: usize, share: Share| {
        call::<StatusResponse>(&member, &place.owner(owner), Request::GiveShare(share))
    };
    let mut wrong = shares[1].clone();
    *wrong.share.last_mut().unwrap() ^= 1;
    give(&place, 0, shares[0].clone()).unwrap();
    assert!(give(&place, 1, wrong).unwrap_err().to_string().contains("do not join"));
    assert_eq!((place.status(&member).state.as_str(), place.status(&member).shares), ("locked", 0));
    give(&place, 0, shares[0].clone()).unwrap();
    assert_eq!(give(&place, 1, shares[1].clone()).unwrap().state, "waiting");
}

#[test]
fn a_root_that_nobody_certified_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let member = place.start();
    let _: StatusResponse = call(&member, &place.owner(0), Request::Bootstrap).unwrap();
    drop(member);
    assert_eq!(place.status(&place.start()).state, "unborn");
}

#[test]
fn the_ledger_is_read_in_pages_and_verifies() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _) = place.serving();
    keys(&member, 1).unwrap();
    assert!(keys_of_another_file(&member).to_string().contains("does not list"));
    let (mut lines, total) = (Vec::new(), place.status(&member).entries);
    while (lines.len() as u64) < total {
        let request = Request::Ledger(LedgerRequest { from: lines.len() as u64 });
        let page: LedgerResponse = call(&member, &place.owner(0), request).unwrap();
        assert_eq!(page.total, total);
        lines.extend(page.entries);
    }
    let summary = audit::verify(lines.iter().map(String::as_str)).unwrap();
    assert_eq!((summary.released, summary.refused, summary.instances), (1, 1, 1));
    assert_eq!(summary.head.0.to_vec(), place.status(&member).head);
}

fn keys_of_another_file(member: &Member) -> MemberError {
    let guest = Guest { compose_hash: protocol::digest::ComposeHash([9; 32]), ..guest(1) };
    let request = Request::GetAppKey(GetAppKeyRequest::default());
    call::<AppKeyResponse>(member, &Caller::Guest(Box::new(guest)), request).unwrap_err()
}

#[test]
fn anybody_learns_who_it_is_and_an_apps_public_key_and_no_more() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let member = place.start();
    let meta: GetMetaResponse = call(&member, &Caller::Anybody, Request::GetMeta).unwrap();
    assert_eq!(meta.key_provider_id, place.config.cluster.id().to_string());
    assert_eq!((meta.state.as_str(), meta.is_dev, meta.k256_pubkey.len()), ("unborn", false, 0));
    let public = |member: &Member, length: usize| {
        let request = AppIdRequest { app_id: vec![0xaa; length] };
        let request = Request::GetAppEnvEncryptPubKey(request);
        call::<PublicKeyResponse>(member, &Caller::Anybody, request)
    };
    assert_eq!(public(&member, 20).unwrap_err().status(), UNAVAILABLE_STATUS);
    drop(member);
    let (member, _) = place.serving();
    assert!(public(&member, 19).is_err());
    let key = public(&member, 20).unwrap();
    let secret = keys(&member, 1).unwrap().env_crypt_key.try_into().unwrap();
    assert_eq!(key.public_key, kms_rules::derivation::x25519_public_key(&secret));
    let meta: GetMetaResponse = call(&member, &Caller::Anybody, Request::GetMeta).unwrap();
    assert_eq!((meta.state.as_str(), meta.k256_pubkey.len()), ("serving", 33));
    for request in [Request::Status, Request::OpenDisk(OpenDiskRequest {})] {
        assert_eq!(
            call::<StatusResponse>(&member, &Caller::Anybody, request).unwrap_err().status(),
            404
        );
    }
}

#[test]
fn a_version_of_an_environment_is_in_the_ledger_before_it_counts_and_none_below_it_does() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, _) = place.serving();
    keys(&member, 1).unwrap();
    let accept = |counter| {
        let Guest { app_id, compose_hash, .. } = guest(1);
        let suite = Suite::X25519Sha256Aes256Gcm;
        let header = Header { suite, app_id, compose_hash, counter };
        let digest = Sha256Digest([counter as u8; 32]);
        let request = AcceptEnvVersionRequest {
            counter,
            suite: 1,
            digest: digest.0.to_vec(),
            signer: env_signer().signer().key().0.to_vec(),
            signature: env_signer().sign(&header.signed_bytes(&digest)).to_vec(),
        };
        let request = Request::AcceptEnvVersion(request);
        call::<AcceptEnvVersionResponse>(&member, &of(1), request)
    };
    let entries = || member.inner().unwrap().state().entries();
    let before = entries();
    assert_eq!(accept(7).unwrap().counter, 7);
    assert_eq!(entries(), before + 1);
    let older = accept(6).unwrap_err();
    assert_eq!((older.status().as_u16(), entries()), (403, before + 2));
    assert_eq!(accept(8).unwrap().counter, 8);
    let request = AppIdRequest { app_id: guest(1).app_id.0.to_vec() };
    let request = Request::GetAppEnvEncryptPubKey(request);
    let key: PublicKeyResponse = call(&member, &place.owner(0), request).unwrap();
    assert_eq!(key.public_key.len(), 32);
}

#[test]
fn stale_unsigned_and_foreign_documents_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 2);
    let (member, _) = place.serving();
    let alone = Place::new(data.path(), 2, 1);
    let rows = [
        (Request::SetPolicy(place.policy(1)), "version 1"),
        (Request::SetList(place.list(1)), "version 1"),
        (Request::SetPolicy(SignedDocument { envelope: String::new() }), "policy"),
        (Request::SetPolicy(alone.policy(2)), "is of the key provider"),
        (Request::SetPolicy(place.list(2)), "policy"),
        (Request::PutImage(PutImageRequest { image: "{}".into() }), "image"),
    ];
    for (request, expected) in rows {
        let error = refused(&member, &place, request);
        assert!(error.contains(expected), "{error}");
    }
    let policy: SignedDocument = call(&member, &place.owner(0), Request::GetPolicy).unwrap();
    assert!(!policy.envelope.is_empty());
    assert_eq!(place.status(&member).policy_version, 1);
}

#[test]
fn a_changed_ledger_is_not_taken_up() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, shares) = place.serving();
    drop(member);
    crate::store::tests::exchange_entries(data.path());
    let member = place.start();
    let error = refused(&member, &place, Request::GiveShare(shares[0].clone()));
    assert!(error.contains("entry 1 of the ledger was changed"), "{error}");
    assert_eq!(place.status(&member).state, "locked");
}

#[test]
fn a_guest_with_keys_gets_an_authority_of_its_own_each_time() {
    let data = tempfile::tempdir().unwrap();
    let (member, _) = Place::new(data.path(), 1, 1).serving();
    let temporary = || call::<GetTempCaCertResponse>(&member, &of(1), Request::GetTempCaCert);
    assert!(temporary().is_err(), "no key was given yet");
    let ca_cert = keys(&member, 1).unwrap().ca_cert;
    assert!(ca_cert.starts_with("-----BEGIN CERTIFICATE-----"));
    let (first, second) = (temporary().unwrap(), temporary().unwrap());
    assert_ne!(first.temp_ca_key, second.temp_ca_key);
    assert_eq!(first.ca_cert, ca_cert);
    let request = Request::SignCert(SignCertRequest { csr: vec![0; 10], ..Default::default() });
    let error = call::<SignCertResponse>(&member, &of(1), request).unwrap_err();
    assert_eq!(error.status(), 400);
}
