//! A KMS on loopback whose policy names a gateway and an app.

use std::fs;
use std::path::Path;

use kms::fixtures::{Running, ask};
use protocol::digest::{AppId, ComposeHash, Sha256Digest};
use protocol::kms::{
    AnchorRequest, AnchorResponse, AppKeyResponse, GetAppKeyRequest, KmsImage, OpenDiskRequest,
    OpenDiskResponse, PutImageRequest,
};
use protocol::prpc::Empty;
use tests::emulated::{self, Emulated};
use tests::lab;

/// Who it is.
pub fn id(running: &Running) -> Sha256Digest {
    running.place.config.cluster.id()
}

/// Has it give keys to an app in this image, and to the gateway, which its policy names.
pub async fn name(running: &Running, app: &[u8], image: &Path, gateway: &Emulated) {
    let compose_hash = ComposeHash::of(app);
    let pair = KmsImage { os_image_hash: lab::manifest(image).os_image_hash(), compose_hash };
    let app_id = AppId::from_compose_hash(&compose_hash);
    let mut policy = running.place.policy_file(1, app_id, pair);
    let mut own = policy.apps[0].clone();
    (own.app_id, own.compose_hashes) = (gateway.app_id(), vec![gateway.compose_hash()]);
    policy.apps.push(own);
    policy.os_images.push(emulated::os_image_hash());
    policy.gateway_app_id = Some(gateway.app_id());
    running.bootstrap(&policy).await;
    let image = fs::read_to_string(image.join("image.json")).unwrap();
    let mut owner = running.owner().await.unwrap();
    let _: Empty = ask(&mut owner, "PutImage", &PutImageRequest { image }).await.unwrap();
}

/// What it states of a guest that gets its keys, opens its disk and anchors it.
pub async fn released(running: &Running, guest: &Emulated) -> String {
    let (mut before, mut after) = (guest.clone(), guest.clone());
    (before.ready, after.ready) = (false, true);
    let mut boots = running.guest(&before).await.unwrap();
    let keys = GetAppKeyRequest::default();
    let _: AppKeyResponse = ask(&mut boots, "GetAppKey", &keys).await.unwrap();
    let opened: OpenDiskResponse = ask(&mut boots, "OpenDisk", &OpenDiskRequest {}).await.unwrap();
    let open_counter = opened.open_counter;
    let request =
        AnchorRequest { open_counter, generation: open_counter << 40, epoch: 0, last: false };
    let mut runs = running.guest(&after).await.unwrap();
    let anchored: AnchorResponse = ask(&mut runs, "Anchor", &request).await.unwrap();
    anchored.release
}
