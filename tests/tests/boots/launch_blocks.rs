//! Every way in which a host can write a launch block wrongly, each booted: the guest halts with
//! its phase and cause.

use libtest_mimic::Trial;
use protocol::image::Flavour;
use protocol::launch::HEADER_BYTES;
use protocol::status::{Phase, Refusal};
use serde_json::{Value, json};
use tests::guest::{Host, LaunchDisk};
use tests::lab;

use crate::trial;

struct Case {
    name: &'static str,
    disk: LaunchDisk,
    refusal: Refusal,
}

const fn changed(name: &'static str, change: fn(&mut Vec<u8>), refusal: Refusal) -> Case {
    Case { name, disk: LaunchDisk::Changed(change), refusal }
}

const fn field(name: &'static str, change: fn(&mut Value)) -> Case {
    Case { name, disk: LaunchDisk::Resealed(change), refusal: Refusal::LaunchBlockContent }
}

static CASES: [Case; 22] = [
    Case { name: "no disk", disk: LaunchDisk::Absent, refusal: Refusal::LaunchBlockMissing },
    changed("magic", |disk| disk[0] ^= 1, Refusal::LaunchBlockMalformed),
    changed("version", |disk| disk[8] = 2, Refusal::LaunchBlockMalformed),
    changed("length beyond the disk", |disk| disk[15] = 1, Refusal::LaunchBlockMalformed),
    changed("length of nothing", |disk| disk[12..16].fill(0), Refusal::LaunchBlockMalformed),
    changed("one byte longer", |disk| disk.push(0), Refusal::LaunchBlockMalformed),
    changed(
        "one sector shorter",
        |disk| disk.truncate(disk.len() - 512),
        Refusal::LaunchBlockMalformed,
    ),
    changed("not a block at all", |disk| disk.fill(0), Refusal::LaunchBlockMalformed),
    changed("padding", |disk| *disk.last_mut().unwrap() = 1, Refusal::LaunchBlockMalformed),
    changed("digest", |disk| disk[16] ^= 1, Refusal::LaunchBlockDigest),
    changed(
        "one byte of the content",
        |disk| disk[HEADER_BYTES + 3] ^= 1,
        Refusal::LaunchBlockDigest,
    ),
    field("unknown key", |json| json["more"] = json!(1)),
    field("app_compose", |json| json["app_compose"] = json!("not base64")),
    field("app_id", |json| json["app_id"] = json!("00")),
    field("instance_id_seed", |json| json["instance_id_seed"] = json!("07")),
    field("kms_urls", |json| json["kms_urls"] = json!(["ftp://10.0.2.2"])),
    field("gateway_urls", |json| json["gateway_urls"] = json!(["http://a b"])),
    field("registry_mirrors with NUL", |json| {
        json["registry_mirrors"] = json!(["http://10.0.2.2\u{0}"])
    }),
    field("encrypted_env", |json| json["encrypted_env"] = json!("%")),
    field("claims.os_image_hash", |json| json["claims"]["os_image_hash"] = json!("zz")),
    field("claims.shape", |json| json["claims"]["shape"]["vcpus"] = json!(0)),
    field("no claims", |json| drop(json.as_object_mut().unwrap().remove("claims"))),
];

/// One boot each.
pub fn trials() -> impl Iterator<Item = Trial> {
    CASES.iter().map(|case| {
        trial(format!("launch block: {}: {}", case.name, case.refusal.sentence()), || case.halts())
    })
}

impl Case {
    fn halts(&self) {
        let host = Host { vcpus: 1, memory_mib: 1024, launch_disk: self.disk, ..Host::default() };
        let mut guest = host.start(&lab::image(Flavour::Dev));
        let last = guest.reached(Phase::Networked).unwrap();
        assert_eq!(
            (last.phase, last.refusal),
            (Phase::LaunchRead, self.refusal),
            "{}",
            guest.console()
        );
        guest.ended();
    }
}
