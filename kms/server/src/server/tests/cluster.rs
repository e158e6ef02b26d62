//! Three processes of one KMS on loopback, each on an emulated machine of its own: what guests get
//! while one of them is killed, after it came back, and while two are gone.
//!
//! The processes are this test's own program, started again, with the very function that the
//! program's `main` calls; only their quotes, ports and directories are stated by the test.

mod pads;
mod rotation;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::tests::etcd::Etcd;
use kms_rules::audit;
use kms_rules::ledger::{Entry, Kind};
use protocol::digest::RequestId;
use protocol::kms::{
    Address, EtcdEndpoints, GetTempCaCertResponse, NO_MAJORITY, UNAVAILABLE_STATUS,
};
use tdx_emulator::pki::machine::Machine;
use tokio::time::{sleep, timeout};

use super::public::get;
use super::*;
use crate::member::fixtures::pads::PadOwner;
use crate::store::Location;

/// Tells a started program which process it is.
const REPLICA: &str = "DSTYX_TEST_REPLICA";
/// The test that is a process.
const PROCESS: &str = "server::tests::cluster::one_of_three_processes";
/// How long anything may take on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Guests that ask at the same time.
const GUESTS: u8 = 3;

/// What a process is told; a KMS in a guest reads it from its measured file.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Told {
    number: u8,
    directory: std::path::PathBuf,
    ports: Vec<(SocketAddr, SocketAddr)>,
    pccs: String,
    /// The etcd in which all of them store; `None`: each on a disk of its own.
    etcd: Option<String>,
}

impl Told {
    fn place(&self) -> Place {
        let data = self.directory.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let mut place = Place::new(&data, 1, 1);
        let address = |(channel, _): &(SocketAddr, SocketAddr)| format!("https://{channel}");
        place.config = crate::Config {
            anchor: anchor(),
            pccs: Some(self.pccs.clone()),
            peers: self
                .ports
                .iter()
                .map(|ports| Address::parse(&address(ports)).unwrap())
                .collect(),
            store: match &self.etcd {
                Some(etcd) => Location::Etcd(EtcdEndpoints::parse(etcd).unwrap()),
                None => Location::Directory(data),
            },
            ..place.config
        };
        place
    }

    async fn serve(self) {
        let guest = Emulated::on(Machine::of_seed([self.number; 32]), "kms", true);
        let (file, stated) = (guest.file.clone(), guest.compose_hash());
        let path = self.directory.join(format!("{}.sock", std::process::id()));
        let socket = socket(&path, &file, stated, move |data| Some(guest.evidence(data)));
        let (channels, public) = self.ports[usize::from(self.number)];
        let channels = TcpListener::bind(channels).await.unwrap();
        let public = TcpListener::bind(public).await.unwrap();
        crate::serve(self.place().config, socket, (channels, public)).await.unwrap();
    }
}

/// A process, where the test of three starts this program again; nothing otherwise.
#[test]
fn one_of_three_processes() {
    let Ok(told) = std::env::var(REPLICA) else { return };
    let told: Told = serde_json::from_str(&told).unwrap();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    tokio::runtime::Runtime::new().unwrap().block_on(told.serve());
}

/// A process that runs until it is killed.
struct Process(Child);

impl Process {
    fn start(told: &Told) -> Self {
        let log = std::fs::OpenOptions::new();
        let log = log.clone().create(true).append(true).open(told.directory.join("log")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", PROCESS, "--nocapture"])
            .env(REPLICA, serde_json::to_string(told).unwrap())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

/// SIGKILL, as a host ends a guest.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Three processes and what a test knows of them.
struct Three {
    told: Vec<Told>,
    processes: Vec<Option<Process>>,
    place: Place,
    app: Emulated,
    kms: KmsImage,
    _directory: tempfile::TempDir,
}

impl Three {
    fn start(etcd: Option<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Of an address of its own: on 127.0.0.1 a connection of others may have the port by the
        // time that the process binds it.
        let [a, b, c] = std::array::from_fn(|_| getrandom::u32().unwrap() as u8 | 1);
        let free = || {
            let port = std::net::TcpListener::bind((Ipv4Addr::new(127, a, b, c), 0)).unwrap();
            port.local_addr().unwrap()
        };
        let ports: Vec<_> = (0..3).map(|_| (free(), free())).collect();
        let pccs = pccs(None);
        let told = |number: u8| {
            let directory = directory.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            Told { number, directory, ports: ports.clone(), pccs: pccs.clone(), etcd: etcd.clone() }
        };
        let told: Vec<_> = (0..3).map(told).collect();
        let processes = told.iter().map(|told| Some(Process::start(told))).collect();
        let kms = Emulated::new("kms", true);
        let kms = KmsImage { os_image_hash: os_image_hash(), compose_hash: kms.compose_hash() };
        let (place, app) = (told[0].place(), Emulated::new("app", false));
        Self { told, processes, place, app, kms, _directory: directory }
    }

    async fn owner(&self, number: usize) -> Result<Caller<VerifiedKms>, ChannelError> {
        let accepts = Accepts::Exactly { images: vec![self.kms], image_json: image().to_json() };
        let owner = (Role::Owner, OwnerKey(self.place.seed(0)));
        let (address, id) = (self.told[0].ports[number].0, self.place.config.cluster.id());
        connect(address, id, owner, accepts).await
    }

    async fn status(&self, number: usize) -> Option<StatusResponse> {
        let mut owner = self.owner(number).await.ok()?;
        ask(&mut owner, "Status", &Empty {}).await.ok()
    }

    /// Waits until a process serves.
    async fn serves(&self, number: usize) -> StatusResponse {
        let begun = Instant::now();
        loop {
            match self.status(number).await {
                Some(status) if status.state == "serving" => return status,
                other => assert!(begun.elapsed() < PATIENCE, "{other:?}\n{}", self.logs()),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Makes the root in the first process; the others join it.
    async fn bootstrap(&self) {
        let begun = Instant::now();
        while self.status(0).await.is_none() {
            assert!(begun.elapsed() < PATIENCE, "{}", self.logs());
            sleep(Duration::from_millis(100)).await;
        }
        let mut owner = self.owner(0).await.unwrap();
        let text = String::from_utf8(image().to_json()).unwrap();
        let _: Empty = ask(&mut owner, "PutImage", &PutImageRequest { image: text }).await.unwrap();
        let status: StatusResponse = ask(&mut owner, "Bootstrap", &Empty {}).await.unwrap();
        let _: Share = ask(&mut owner, "TakeShare", &Empty {}).await.unwrap();
        let app = &self.app;
        let pair = KmsImage { os_image_hash: os_image_hash(), compose_hash: app.compose_hash() };
        let mut policy = self.place.policy_file(1, app.app_id(), pair);
        policy.replicas = Some(3);
        policy.pad_custodians = vec![pad_owner(&self.place).key()];
        let policy = self.place.signed(protocol::kms::payload_type::POLICY, &policy);
        let documents = [
            ("CertifyRoot", self.place.certificate(&status)),
            ("SetList", self.place.list_of(1, self.kms)),
            ("SetPolicy", policy),
        ];
        for (method, document) in documents {
            let _: Empty = ask(&mut owner, method, &document).await.unwrap();
        }
    }

    fn kill(&mut self, number: usize) {
        drop(self.processes[number].take());
    }

    fn start_again(&mut self, number: usize) {
        self.processes[number] = Some(Process::start(&self.told[number]));
    }

    fn logs(&self) -> String {
        let log = |told: &Told| std::fs::read_to_string(told.directory.join("log"));
        let logs = self.told.iter().map(log).map(Result::unwrap_or_default);
        logs.collect::<Vec<_>>().join("\n--\n")
    }

    /// What needs a decision has the one answer, soon, of the process that is left.
    async fn decides_nothing(&self) {
        let asked = Instant::now();
        let (mut one, mut other) = (Guest::of(self, 1), Guest::of(self, 2));
        (one.at, other.at) = (0, 0);
        let request = GetAppKeyRequest::default();
        let (opened, keys) = tokio::join!(
            one.once::<_, OpenDiskResponse>("OpenDisk", &OpenDiskRequest {}),
            other.once::<_, AppKeyResponse>("GetAppKey", &request),
        );
        for refused in [opened.unwrap_err(), keys.unwrap_err()] {
            assert!(refused.contains(NO_MAJORITY), "{refused}");
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    }

    /// The whole ledger, as one process has it.
    async fn ledger(&self, number: usize) -> Vec<Entry> {
        let mut owner = self.owner(number).await.unwrap();
        let mut lines: Vec<String> = Vec::new();
        loop {
            let asked = LedgerRequest { from: lines.len() as u64 };
            let page: LedgerResponse = ask(&mut owner, "Ledger", &asked).await.unwrap();
            lines.extend(page.entries);
            if lines.len() as u64 >= page.total {
                break;
            }
        }
        audit::verify(lines.iter().map(String::as_str)).unwrap();
        lines.iter().map(|line| Entry::parse(line).unwrap()).collect()
    }
}

/// A custodian that the policy names.
fn pad_owner(place: &Place) -> PadOwner {
    PadOwner { seed: [0x61; 32], key_provider_id: place.config.cluster.id() }
}

/// A guest's agent: it goes from address to address until it has its answer.
struct Guest {
    emulated: Emulated,
    addresses: Vec<SocketAddr>,
    key_provider_id: Sha256Digest,
    at: usize,
    caller: Option<Caller<VerifiedKms>>,
    retries: usize,
}

impl Guest {
    fn of(three: &Three, instance: u8) -> Self {
        let mut emulated = three.app.clone();
        emulated.instance = instance;
        let addresses = three.told[0].ports.iter().map(|(channel, _)| *channel).collect();
        let key_provider_id = three.place.config.cluster.id();
        let at = usize::from(instance);
        Self { emulated, addresses, key_provider_id, at, caller: None, retries: 0 }
    }

    async fn once<A: Message, R: Message>(
        &mut self,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, String> {
        if self.caller.as_ref().is_none_or(Caller::is_closed) {
            let address = self.addresses[self.at % self.addresses.len()];
            let accepts = Accepts::Listed { minimum_version: 1 };
            let guest = (Role::Agent, self.emulated.clone());
            let opened = connect(address, self.key_provider_id, guest, accepts).await;
            self.caller = Some(opened.map_err(|error| protocol::error::chain(&error))?);
        }
        let caller = self.caller.as_mut().unwrap();
        match timeout(Duration::from_secs(20), ask(caller, method, arguments)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(CallError::Refused { status, text })) if status != UNAVAILABLE_STATUS => {
                panic!("refused for good: {text}")
            }
            Ok(Err(error)) => Err(protocol::error::chain(&error)),
            Err(late) => Err(late.to_string()),
        }
    }

    /// One call, made again elsewhere until it is answered.
    async fn call<A: Message, R: Message>(&mut self, method: &'static str, arguments: &A) -> R {
        let begun = Instant::now();
        loop {
            match self.once(method, arguments).await {
                Ok(answer) => return answer,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{method}: {error}"),
            }
            (self.caller, self.at, self.retries) = (None, self.at + 1, self.retries + 1);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Boots again and again: keys, then a number for its disk.
    async fn boots(mut self, enough: Arc<AtomicBool>) -> Got {
        let mut got = Got::default();
        while !enough.load(Ordering::Relaxed) || got.counters.len() < 4 {
            let mut id = [0; 16];
            getrandom::fill(&mut id).unwrap();
            let request = GetAppKeyRequest { request_id: id.to_vec(), ..Default::default() };
            let keys: AppKeyResponse = self.call("GetAppKey", &request).await;
            assert_eq!(
                *got.disk_key.get_or_insert(keys.disk_crypt_key.clone()),
                keys.disk_crypt_key
            );
            got.requests.push(RequestId(id));
            let opened: OpenDiskResponse = self.call("OpenDisk", &OpenDiskRequest {}).await;
            got.counters.push(opened.open_counter);
        }
        got.retries = self.retries;
        got
    }
}

/// What a guest was answered.
#[derive(Debug, Default)]
struct Got {
    requests: Vec<RequestId>,
    counters: Vec<u64>,
    disk_key: Option<Vec<u8>>,
    retries: usize,
}

/// Every answer stands in the ledger, every release once, and no number was given out twice.
fn check(entries: &[Entry], got: &[Got]) {
    let mut released = Vec::new();
    let mut opened = Vec::new();
    for entry in entries {
        match &entry.kind {
            Kind::Released(entry) => released.extend(entry.request_id),
            Kind::Opened(entry) => opened.push((entry.who.instance_id, entry.counter)),
            _ => {}
        }
    }
    let once: BTreeSet<_> = released.iter().collect();
    assert_eq!(once.len(), released.len(), "a release has two entries");
    let asked: BTreeSet<_> = got.iter().flat_map(|got| &got.requests).collect();
    assert_eq!(once, asked, "a release for every call and for no other one");
    let distinct: BTreeSet<_> = opened.iter().collect();
    assert_eq!(distinct.len(), opened.len(), "a number stands twice in the ledger");
    for got in got {
        let counters: BTreeSet<_> = got.counters.iter().collect();
        assert_eq!(counters.len(), got.counters.len(), "a number was given out twice");
        assert!(got.counters.is_sorted());
        assert!(counters.iter().all(|counter| opened.iter().any(|(_, known)| known == *counter)));
    }
}

async fn during_load(
    three: &mut Three,
    first_instance: u8,
    middle: impl AsyncFnOnce(&mut Three),
) -> Vec<Got> {
    let enough = Arc::new(AtomicBool::new(false));
    let guests: Vec<_> = (first_instance..first_instance + GUESTS)
        .map(|instance| tokio::spawn(Guest::of(three, instance).boots(Arc::clone(&enough))))
        .collect();
    sleep(Duration::from_secs(2)).await;
    middle(three).await;
    enough.store(true, Ordering::Relaxed);
    let mut got = Vec::new();
    for guest in guests {
        got.push(guest.await.unwrap());
    }
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_processes_one_is_killed_and_comes_back_and_two_are_no_majority() {
    let mut three = Three::start(None);
    three.bootstrap().await;
    for number in 0..3 {
        three.serves(number).await;
    }

    // The one that leads is killed while guests ask; the others answer all of them.
    let got = during_load(&mut three, 1, async |three| {
        three.kill(0);
        sleep(Duration::from_secs(4)).await;
    });
    let got = got.await;
    assert!(got.iter().any(|got| got.retries > 0), "the kill met no call: {got:?}");
    check(&three.ledger(1).await, &got);

    // It comes back as another member, with what it had on its disk, and takes its own place.
    three.start_again(0);
    let back = three.serves(0).await;
    let entries = three.ledger(0).await;
    let admitted = entries.iter().filter(|entry| matches!(entry.kind, Kind::MemberAdmitted(_)));
    assert_eq!(admitted.count(), 3);
    assert!(entries.iter().any(|entry| matches!(entry.kind, Kind::MemberRemoved(_))));
    assert_ne!(back.member, three.serves(1).await.member);

    // Two of three are gone: what needs no decision goes on, and nothing is decided.
    three.kill(1);
    three.kill(2);
    let (_, public) = three.told[0].ports[0];
    assert_eq!(get(public, "/prpc/KMS.GetMeta").await.1["state"], "serving");
    three.decides_nothing().await;
    let mut guest = Guest { at: 0, ..Guest::of(&three, 1) };
    let authority = guest.once::<_, GetTempCaCertResponse>("GetTempCaCert", &Empty {}).await;
    assert!(authority.unwrap().ca_cert.starts_with("-----BEGIN"));
    let app = hex::encode(three.app.app_id().0);
    let (_, key) = get(public, &format!("/prpc/GetAppEnvEncryptPubKey?app_id={app}")).await;
    assert_eq!(key["public_key"].as_str().unwrap().len(), 64);

    // Two fresh processes in their places are no majority with the one that is left.
    three.start_again(1);
    three.start_again(2);
    three.decides_nothing().await;
    for number in [1, 2] {
        let status = three.status(number).await;
        assert!(status.is_none_or(|status| status.state != "serving"));
    }
    assert_eq!(three.ledger(0).await.len(), entries.len());

    // The owners' word makes the one a cluster of its own, which the others join.
    let status = three.status(0).await.unwrap();
    let mut owner = three.owner(0).await.unwrap();
    let resumption = three.place.resumption(&status);
    let _: Empty = ask(&mut owner, "Resume", &resumption).await.unwrap();
    let opened: OpenDiskResponse = guest.call("OpenDisk", &OpenDiskRequest {}).await;
    let highest = got.iter().flat_map(|got| &got.counters).max().unwrap();
    assert!(opened.open_counter > highest + 1000);
    for number in [1, 2] {
        three.serves(number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_store_in_one_etcd_of_which_a_member_is_killed() {
    let mut etcd = tokio::task::spawn_blocking(Etcd::start).await.unwrap();
    let mut three = Three::start(Some(etcd.addresses()));
    three.bootstrap().await;
    for number in 0..3 {
        three.serves(number).await;
    }
    let got = during_load(&mut three, 1, async |three| {
        etcd.kill(0);
        sleep(Duration::from_secs(2)).await;
        three.kill(1);
        sleep(Duration::from_secs(4)).await;
    });
    let got = got.await;
    let entries = three.ledger(0).await;
    check(&entries, &got);

    // It reads in etcd what the others stored.
    three.start_again(1);
    three.serves(1).await;
    let [one, other] = [three.ledger(0).await, three.ledger(1).await];
    assert!(one.starts_with(&entries) && other.starts_with(&entries));
    let stored = tokio::task::block_in_place(|| three.place.status(&three.place.start()));
    assert!(stored.state == "locked" && stored.entries >= one.len() as u64, "{stored:?}");
}
