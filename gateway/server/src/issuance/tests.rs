//! What is in the store is judged as what was just issued, and a step that fails takes nothing
//! away.

use ::tests::emulated::{Emulated, pccs};
use agent_client::Collaterals;
use agent_client::socket::fixtures::socket;
use gateway_domain::issuance::Failed;
use pccs::{Roots, Service};
use protocol::digest::InstanceId;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::domains::{CertifiedBy, Domain};
use crate::local_authority::ACCOUNT;
use crate::store::StoreKey;

const BASE: &str = "apps.example";
const DAY_SECS: u64 = 86_400;

struct Scene {
    directory: TempDir,
    runtime: Runtime,
    store: Arc<Mutex<Store>>,
    attest: GuestAttest,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let store = Store::open(directory.path(), StoreKey::derive(&[1; 32], &InstanceId([7; 20])));
        let store = Arc::new(Mutex::new(store.unwrap()));
        let (app, path) = (Emulated::new("gateway", true), directory.path().join("dstack.sock"));
        let (file, hash) = (app.file.clone(), app.compose_hash());
        let socket = runtime.block_on(async move {
            socket(&path, &file, hash, move |data| Some(app.evidence(data)))
        });
        let service = Service::new(&pccs(None), &Roots::CompiledIn).unwrap();
        let attest = GuestAttest {
            socket,
            collaterals: Arc::new(Collaterals::new(move |key| service.fetch(key))),
            store: Arc::clone(&store),
            own: Arc::default(),
            runtime: runtime.handle().clone(),
        };
        Self { directory, runtime, store, attest }
    }

    /// As a process that has just started; `directory` is the configured authority's.
    fn keeper(&self, directory: Option<&str>) -> Keeper {
        let base = BaseDomain::new(BASE.parse().unwrap(), "authority.invalid".parse().unwrap());
        let routed = DomainName::parse(BASE).unwrap();
        let authority = local_authority(&self.store, &base).unwrap();
        let own = Arc::new(Own::default());
        own.domains.add(routed.clone(), Domain::new(CertifiedBy::Authority(String::new())));
        Keeper {
            base,
            routed,
            directory: directory.map(str::to_owned),
            certifier: Certifier::DangerLocal(authority),
            store: Arc::clone(&self.store),
            attest: GuestAttest { own: Arc::clone(&own), ..self.attest.clone() },
            own,
            pause: Keeper::PAUSE,
        }
    }

    fn put(&self, key: &LeafKey, chain: &[Vec<u8>]) {
        let stored = StoredCertificate {
            pkcs8: Zeroizing::new(STANDARD.encode(key.to_pkcs8().unwrap().as_slice())),
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        };
        let text = serde_json::to_vec(&stored).unwrap();
        locked(&self.store).put(&format!("certificate/{BASE}"), &text).unwrap();
    }
}

impl Keeper {
    fn served(&self) -> Option<Vec<u8>> {
        let domain = self.own.domains.get(&self.routed).unwrap();
        let served =
            domain.standing.served(now_secs()).map(|one| one.certificate().spki().to_vec());
        assert_eq!(served.is_some(), self.own.certificates.described(&self.routed).is_some());
        served
    }

    fn failure(&self) -> Option<Failed> {
        self.own.domains.get(&self.routed).unwrap().standing.failure().cloned()
    }

    fn certified(&self, key: &LeafKey, now_secs: u64) -> Vec<Vec<u8>> {
        let Certifier::DangerLocal(authority) = &self.certifier else { panic!() };
        let spki = key.spki().unwrap();
        let leaf = Leaf::new(ACCOUNT.to_owned(), self.base.certified(), spki.clone()).unwrap();
        self.attest.publish(&Subject::Leaf(leaf)).unwrap();
        authority.certify(&self.base, &spki, now_secs).unwrap()
    }
}

#[test]
fn an_expired_or_mismatched_certificate_of_the_store_is_not_served_and_the_page_says_so() {
    let scene = Scene::new();
    let keeper = scene.keeper(None);
    let (key, other) = (LeafKey::generate().unwrap(), LeafKey::generate().unwrap());
    let good = keeper.certified(&key, now_secs());
    let rows = [
        (&key, keeper.certified(&key, now_secs() - 91 * DAY_SECS), "is valid from"),
        (&key, keeper.certified(&key, now_secs() + 2 * DAY_SECS), "is valid from"),
        (&key, keeper.certified(&other, now_secs()), "another key"),
        (&LeafKey::generate().unwrap(), good.clone(), "no published evidence"),
        (&key, vec![], "no certificate"),
        (&key, vec![b"?".to_vec()], "no certificate"),
    ];
    for (key, chain, expected) in rows {
        scene.put(key, &chain);
        let keeper = scene.keeper(None);
        keeper.restore();
        assert_eq!(keeper.served(), None);
        let failure = keeper.failure().unwrap().to_string();
        assert!(failure.contains(expected), "{failure}");
        assert_eq!(keeper.due(false), None, "a new one is got at once");
    }
    scene.put(&key, &good);
    let keeper = scene.keeper(None);
    keeper.restore();
    assert_eq!((keeper.served(), keeper.failure()), (Some(key.spki().unwrap()), None));
    assert!(keeper.due(false).is_some() && keeper.due(true).is_none());
}

#[test]
fn a_renewal_that_fails_wipes_no_certificate_that_is_served_or_stored() {
    let scene = Scene::new();
    let keeper = scene.keeper(None);
    keeper.attempt().unwrap();
    let first = keeper.served().unwrap();
    // The agent gives no more quotes.
    std::fs::remove_file(scene.directory.path().join("dstack.sock")).unwrap();
    let error = keeper.attempt().unwrap_err();
    assert_eq!(error.step, Step::LeafEvidence);
    keeper.failed(error);
    assert_eq!(keeper.served().as_ref(), Some(&first));
    assert!(keeper.failure().unwrap().to_string().contains("dstack.sock"));
    let again = scene.keeper(None);
    again.restore();
    assert_eq!(again.served(), Some(first));
    drop(scene.runtime);
}

#[test]
fn a_local_authority_s_certificate_is_not_served_where_an_authority_is_configured_since() {
    let scene = Scene::new();
    scene.keeper(None).attempt().unwrap();
    let keeper = scene.keeper(Some("https://authority.example/dir"));
    keeper.restore();
    assert_eq!(keeper.served(), None);
    assert!(keeper.failure().unwrap().to_string().contains("no published evidence"));
}

#[test]
fn what_an_owner_forgets_is_not_taken_for_an_account() {
    let scene = Scene::new();
    let keeper = scene.keeper(None);
    locked(&scene.store).put("account/apps.example", b"one").unwrap();
    keeper.forget_account();
    let stored = locked(&scene.store).get("account/apps.example").unwrap().unwrap();
    assert!(stored.is_empty());
}
