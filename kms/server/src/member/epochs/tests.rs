//! A cluster of two owners through three epochs and restarts.

use kms_rules::audit;
use kms_rules::derivation::dstack::Roots;
use kms_rules::state::Signed;
use protocol::digest::AppId;
use protocol::kms::{
    AnchorRequest, AnchorResponse, AppIdRequest, AppKeyResponse, EarlierKeys, EpochKeys,
    GetAppKeyRequest, LedgerRequest, LedgerResponse, NewEpochRequest, OpenDiskRequest,
    OpenDiskResponse, PublicKeyResponse, Renewal, Request, RootCertificate, Share, StatusResponse,
};

use super::RootRecord;
use crate::member::fixtures::{APP, Place, call, guest};
use crate::member::{Caller, Member, MemberError};

fn asked(renewal: &Renewal) -> NewEpochRequest {
    let renewal = serde_json::to_string(renewal).unwrap();
    NewEpochRequest { renewal, ..NewEpochRequest::default() }
}

fn keys(member: &Member, epoch: u32) -> Result<AppKeyResponse, MemberError> {
    let request = GetAppKeyRequest { epoch, ..GetAppKeyRequest::default() };
    call(member, &Caller::Guest(Box::new(guest(1))), Request::GetAppKey(request))
}

fn environment(member: &Member) -> PublicKeyResponse {
    let request = AppIdRequest { app_id: APP.0.to_vec() };
    call(member, &Caller::Anybody, Request::GetAppEnvEncryptPubKey(request)).unwrap()
}

/// Both owners take their shares and certify what is offered.
fn certified(place: &Place, member: &Member) -> Result<Vec<Share>, MemberError> {
    let status = place.status(member);
    let root: RootCertificate = serde_json::from_str(&status.offered).unwrap();
    let mut shares = Vec::new();
    for owner in [0, 1] {
        shares.push(call::<Share>(member, &place.owner(owner), Request::TakeShare)?);
        let document = place.signed_by(&[owner], Signed::Root.payload_type(), &root);
        let _: StatusResponse = call(member, &place.owner(owner), Request::CertifyRoot(document))?;
    }
    assert!(shares.iter().all(|share| share.epoch == root.epoch));
    Ok(shares)
}

fn begun(place: &Place, member: &Member, request: NewEpochRequest) -> Vec<Share> {
    let _: StatusResponse = call(member, &place.owner(0), Request::NewEpoch(request)).unwrap();
    certified(place, member).unwrap()
}

/// A new process over the same data, with these shares and the owners' word.
fn restarted(place: &Place, shares: &[Share]) -> Result<Member, MemberError> {
    let member = place.start();
    for (owner, share) in shares.iter().enumerate() {
        let request = Request::GiveShare(share.clone());
        let _: StatusResponse = call(&member, &place.owner(owner), request)?;
    }
    let resumption = place.resumption(&place.status(&member));
    let _: StatusResponse = call(&member, &place.owner(0), Request::Resume(resumption))?;
    Ok(member)
}

/// The guest moves its disk to an epoch.
fn moved(member: &Member, epoch: u32) {
    let caller = Caller::Guest(Box::new(guest(1)));
    let request = Request::OpenDisk(OpenDiskRequest {});
    let opened: OpenDiskResponse = call(member, &caller, request).unwrap();
    let open_counter = opened.open_counter;
    let request =
        AnchorRequest { open_counter, generation: open_counter << 40 | 7, epoch, last: false };
    let _: AnchorResponse = call(member, &caller, Request::Anchor(request)).unwrap();
}

#[test]
fn both_epochs_give_their_keys_until_the_older_is_retired_and_shares_are_renewed_each_time() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 2);
    let (member, first_shares) = place.serving();
    let first = keys(&member, 0).unwrap();
    let first_environment = environment(&member);
    assert_eq!((first.epoch, first.newest_epoch, first.keys.as_str()), (1, 1, "dstyx"));

    let second_shares = begun(&place, &member, asked(&Renewal::default()));
    assert_eq!(place.status(&member).epoch, 2);
    assert_eq!(keys(&member, 0).unwrap(), AppKeyResponse { newest_epoch: 2, ..first.clone() });
    assert_eq!(environment(&member).public_key, first_environment.public_key);
    let second = keys(&member, 2).unwrap();
    assert_ne!(second.disk_crypt_key, first.disk_crypt_key);
    assert_ne!((&second.k256_key, &second.ca_cert), (&first.k256_key, &first.ca_cert));
    let earlier = EarlierKeys {
        epoch: 1,
        env_crypt_key: first.env_crypt_key.clone(),
        k256_key: first.k256_key.clone(),
        k256_signature: first.k256_signature.clone(),
    };
    assert_eq!((&first.earlier, &second.earlier), (&vec![], &vec![earlier]));

    drop(member);
    let old = restarted(&place, &first_shares).err().unwrap();
    assert!(old.to_string().contains("epoch 1, expected 2"), "{old}");
    let member = restarted(&place, &second_shares).unwrap();
    assert_eq!(keys(&member, 0).unwrap().disk_crypt_key, first.disk_crypt_key);
    assert_eq!(keys(&member, 2).unwrap(), second);
    moved(&member, 2);
    assert_eq!(keys(&member, 0).unwrap(), second);
    assert_ne!(environment(&member).public_key, first_environment.public_key);

    let retire = Renewal { keys: EpochKeys::None, retires: vec![1], ..Renewal::default() };
    let third_shares = begun(&place, &member, asked(&retire));
    let status = place.status(&member);
    assert_eq!((status.epoch, status.epochs.len(), status.epochs[0].epoch), (3, 1, 2));
    drop(member);
    let member = restarted(&place, &third_shares).unwrap();
    // With the epoch its keys have gone, also those that the app had kept.
    assert_eq!(keys(&member, 0).unwrap(), AppKeyResponse { earlier: vec![], ..second });
    assert!(keys(&member, 1).is_err());
    let ledger: LedgerResponse =
        call(&member, &place.owner(0), Request::Ledger(LedgerRequest { from: 0 })).unwrap();
    audit::verify(ledger.entries.iter().map(String::as_str)).unwrap();
}

#[test]
fn an_app_that_migrates_keeps_the_keys_of_its_dstack_kms() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 2);
    let (member, _) = place.serving();
    let own = keys(&member, 0).unwrap();
    let roots = Roots::new(&[5; 32], &[6; 32]).unwrap();
    let renewal =
        Renewal { keys: EpochKeys::Dstack, dstack: Some(roots.digest()), ..Renewal::default() };
    let request =
        NewEpochRequest { dstack_ca: vec![5; 32], dstack_k256: vec![6; 32], ..asked(&renewal) };
    for wrong in [
        NewEpochRequest { dstack_k256: vec![7; 32], ..request.clone() },
        NewEpochRequest { dstack_ca: Vec::new(), dstack_k256: Vec::new(), ..request.clone() },
        NewEpochRequest { dstack_ca: vec![0; 32], ..request.clone() },
        NewEpochRequest { dstack_ca: vec![5; 31], ..request.clone() },
    ] {
        let refused = call::<StatusResponse>(&member, &place.owner(0), Request::NewEpoch(wrong));
        assert!(refused.unwrap_err().to_string().contains("dstack KMS"));
    }
    let shares = begun(&place, &member, request);
    drop(member);
    let member = restarted(&place, &shares).unwrap();
    let taken = keys(&member, 2).unwrap();
    assert_eq!(taken.keys, "dstack");
    assert_eq!(taken.k256_key, roots.app_k256(&APP).unwrap().to_bytes().to_vec());
    assert_eq!(taken.env_crypt_key, roots.environment_key(&APP).unwrap().to_vec());
    assert_eq!(taken.disk_crypt_key.len(), 64);
    assert_ne!(taken.disk_crypt_key, own.disk_crypt_key);
    assert_eq!(keys(&member, 0).unwrap().k256_key, own.k256_key, "the instance did not move");
    assert_ne!(AppId([0; 20]), APP);
}

#[test]
fn a_root_that_nobody_certified_is_gone_with_its_process() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 2);
    let (member, shares) = place.serving();
    keys(&member, 0).unwrap();
    let request = Request::NewEpoch(asked(&Renewal::default()));
    let offered: StatusResponse = call(&member, &place.owner(0), request.clone()).unwrap();
    assert!(!offered.offered.is_empty());
    let again = call::<StatusResponse>(&member, &place.owner(0), request.clone());
    assert!(again.unwrap_err().to_string().contains("waits for the owners' certificate"));
    drop(member);
    let member = restarted(&place, &shares).unwrap();
    assert_eq!(place.status(&member).offered, "");
    let _: StatusResponse = call(&member, &place.owner(0), request).unwrap();
    certified(&place, &member).unwrap();
    assert_eq!(place.status(&member).epoch, 2);
}

#[test]
fn what_is_stored_beside_a_certificate_is_sealed_and_belongs_to_it() {
    let envelope = "{\"payload\":1}";
    let alone = RootRecord { certificate: envelope.to_owned(), keyring: None };
    assert_eq!(RootRecord::parse(envelope).unwrap(), alone);
    let text = RootRecord::text(envelope, &[1, 2]);
    let both = RootRecord { certificate: envelope.to_owned(), keyring: Some(vec![1, 2]) };
    assert_eq!(RootRecord::parse(&text).unwrap(), both);
    assert!(RootRecord::parse("{\"certificate\":\"\"}").is_err());

    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 2, 2);
    let (member, _) = place.serving();
    let shares = begun(&place, &member, asked(&Renewal::default()));
    drop(member);
    let mut member = place.start();
    member.inner.get_mut().unwrap().keyring.as_mut().unwrap()[40] ^= 1;
    let give = |owner: usize| {
        let request = Request::GiveShare(shares[owner].clone());
        call::<StatusResponse>(&member, &place.owner(owner), request)
    };
    give(0).unwrap();
    let refused = give(1).unwrap_err().to_string();
    assert!(refused.contains("not stored as they were"), "{refused}");
}
