//! Disks: calls of two instances of an app under two files, with restarts and clocks of the host's
//! choice. No open counter is given twice, of one instance or after a resumption; an anchor belongs
//! to the newest mount and never goes back; the ledger leads to the same state.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use attestation::policy::TcbStatus;
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use kms_rules::measurements::BootMeasurements;
use kms_rules::state::{
    State, anchor, bootstrap, certify_root, open_disk, release, resume, set_list, set_policy,
};
use kms_rules::{Entry, Guest, Refused};
use libfuzzer_sys::fuzz_target;
use protocol::digest::{
    AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, PlatformId, Sha256Digest,
};
use protocol::kms::{AnchorRequest, Cluster, GENERATION_BITS, payload_type};
use serde_json::{Value, json};

/// 2026-11-24T00:00:00Z.
const NOW: u64 = 1_795_478_400;
const FILES: [[u8; 32]; 2] = [[1; 32], [2; 32]];
/// Restarts that one input can cause: each costs a signature.
const MAX_RESTARTS: u8 = 4;

fn cluster() -> Cluster {
    let owners = vec![SigningKey::from_seed(&[1; 32]).signer().key()];
    Cluster { name: "fuzz".into(), owners, threshold: 1 }
}

fn signed(payload_type: &'static str, document: &Value) -> String {
    let mut envelope = Envelope::new(PayloadType(payload_type), document.to_string().into_bytes());
    envelope.sign(&SigningKey::from_seed(&[1; 32]));
    envelope.to_json()
}

/// A KMS that serves, and its ledger so far.
static BEGINNING: LazyLock<(State, Vec<Entry>)> = LazyLock::new(|| {
    let (id, identity) = (cluster().id(), Ed25519Key([2; 32]));
    let image = "03".repeat(32);
    let root = json!({ "key_provider_id": id, "epoch": 1, "identity": identity });
    let images = json!([{ "os_image_hash": image, "compose_hash": image }]);
    let list = json!({ "key_provider_id": id, "version": 1, "images": images });
    let app = json!({
        "app_id": AppId([4; 20]), "compose_hashes": FILES.map(ComposeHash), "instances": 2,
        "danger_go_back_to": FILES.map(ComposeHash),
    });
    let policy = json!({
        "key_provider_id": id, "version": 1, "not_before_secs": NOW - 3600,
        "not_after_secs": NOW + 20 * 86_400, "apps": [app], "os_images": [image],
    });
    let (mut state, mut entries) = (State::default(), Vec::new());
    let mut append = |decide: &dyn Fn(&State) -> Entry| {
        let entry = decide(&state);
        state.apply(&entry).expect("what was decided can be applied");
        entries.push(entry);
    };
    const WHY: &str = "the owner signed it";
    let member = Ed25519Key([0; 32]);
    append(&|state| bootstrap(state, &cluster(), identity, member, NOW).expect("no root is there"));
    let root = signed(payload_type::ROOT, &root);
    append(&|state| certify_root(state, &root, NOW).expect(WHY));
    let list = signed(payload_type::LIST, &list);
    append(&|state| set_list(state, &list, NOW).expect(WHY));
    let policy = signed(payload_type::POLICY, &policy);
    append(&|state| set_policy(state, &policy, NOW).expect(WHY));
    (state, entries)
});

/// The KMS, and what its guests were told.
struct Kms {
    state: State,
    entries: Vec<Entry>,
    member: Ed25519Key,
    /// Open counters of each instance, in order.
    counters: BTreeMap<u8, Vec<u64>>,
    anchors: BTreeMap<u8, u64>,
}

// Steps of four bytes: the call, guest and file, clock, and what an anchor says.
fuzz_target!(|bytes: &[u8]| {
    let (state, entries) = BEGINNING.clone();
    let (counters, anchors) = Default::default();
    let mut kms = Kms { state, entries, member: Ed25519Key([0; 32]), counters, anchors };
    for step in bytes.chunks_exact(4).take(64) {
        let [call, who, clock, told] = step else { return };
        let clock_secs = if clock % 4 == 0 { 0 } else { NOW + u64::from(*clock) * 600 };
        match call % 5 {
            0 => kms.release(*who, clock_secs),
            1 => kms.open(*who, clock_secs),
            2 | 3 => kms.anchor(*who, *told, clock_secs),
            _ => kms.restart(clock_secs),
        }
    }
    assert_eq!(State::replay(&kms.entries).as_ref(), Ok(&kms.state));
});

impl Kms {
    fn append(&mut self, decide: impl FnOnce(&Self) -> Result<Entry, Refused>) -> bool {
        let Ok(entry) = decide(self) else { return false };
        self.state.apply(&entry).expect("what was decided can be applied");
        self.entries.push(entry);
        true
    }

    fn release(&mut self, who: u8, clock_secs: u64) {
        self.append(|kms| release(&kms.state, &guest(who), &kms.member, clock_secs));
    }

    fn open(&mut self, who: u8, clock_secs: u64) {
        let guest = guest(who);
        if !self.append(|kms| open_disk(&kms.state, &guest, &kms.member, clock_secs)) {
            return;
        }
        let mount = self.state.instances()[&(guest.app_id, guest.instance_id)].mount();
        let counter = mount.expect("it was opened").counter;
        assert!(counter < 1 << (64 - GENERATION_BITS), "a generation of it is a number");
        let counters = self.counters.entry(who % 2).or_default();
        assert!(counters.last().is_none_or(|last| *last < counter), "given twice");
        counters.push(counter);
    }

    /// The newest counter or an older one, its window or another, and low bits.
    fn anchor(&mut self, who: u8, told: u8, clock_secs: u64) {
        let newest = self.counters.get(&(who % 2)).and_then(|all| all.last().copied());
        let open_counter = newest.unwrap_or(7).wrapping_sub(u64::from(told >> 6));
        let window = open_counter.wrapping_add(u64::from(told >> 4 & 3)).wrapping_sub(1);
        let generation = (window << GENERATION_BITS).wrapping_add(u64::from(told & 15));
        let request = AnchorRequest { open_counter, generation, epoch: 0, last: told == 255 };
        let guest = Guest { ready: told % 2 == 0, ..guest(who) };
        if !self.append(|kms| anchor(&kms.state, &guest, &kms.member, &request, clock_secs)) {
            return;
        }
        assert_eq!(Some(open_counter), newest, "an older mount");
        assert_eq!(generation >> GENERATION_BITS, open_counter, "another mount's generation");
        let last = self.anchors.insert(who % 2, generation);
        assert!(last.is_none_or(|last| last <= generation), "it went back");
    }

    /// A process of another key goes on, once the owner has signed that it may.
    fn restart(&mut self, clock_secs: u64) {
        let member = Ed25519Key([self.member.0[0] + 1; 32]);
        if member.0[0] > MAX_RESTARTS {
            return;
        }
        assert!(release(&self.state, &guest(0), &member, clock_secs).is_err(), "nobody signed");
        let resumption = json!({
            "key_provider_id": cluster().id(), "member": member,
            "entries": self.state.entries(), "head": self.state.head(),
        });
        let envelope = signed(payload_type::RESUMPTION, &resumption);
        let entry = resume(&self.state, &envelope, &member, clock_secs).expect("the owner signed");
        self.state.apply(&entry).expect("what was decided can be applied");
        self.entries.push(entry);
        self.member = member;
    }
}

/// One of two instances under one of two files.
fn guest(who: u8) -> Guest {
    Guest {
        app_id: AppId([4; 20]),
        instance_id: Some(InstanceId([5 + who % 2; 20])),
        compose_hash: ComposeHash(FILES[usize::from(who / 2 % 2)]),
        os_image_hash: OsImageHash([3; 32]),
        agent_key: Sha256Digest([7; 32]),
        measurements: BootMeasurements::default(),
        platform_ids: vec![PlatformId([6; 16])],
        privileged: false,
        reserves_report_data: true,
        ready: false,
        storage: "btrfs",
        stops: who & 8 != 0,
        tcb_status: TcbStatus::UpToDate,
        advisory_ids: Vec::new(),
        tcb_evaluation_number: 17,
        tcb_date_secs: NOW,
        collateral_issued_secs: NOW,
    }
}
