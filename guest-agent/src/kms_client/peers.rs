//! The two proofs of a channel to the KMS: how this guest proves itself, and what the KMS must be.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use attestation::TrustAnchor;
use attestation::kms::{Accepts, KmsProof, KmsRules};
use channel::{Attester, Judge};
use protocol::app_compose::KmsBounds;
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::Sha256Digest;
use protocol::error::chain;
use protocol::evidence::Evidence;
use protocol::kms::Statement;
use protocol::launch::LaunchClaims;

use super::JudgesKms;
use crate::quotes::QuoteDesk;

/// Root certificate of the emulator; only dev images have it, whose measurements no release has.
const EMULATED_ROOT: &str = "/etc/dstyx/danger-emulated-root.der";

/// What this guest proves of itself on a channel.
pub struct AgentProof {
    /// The one door to quotes.
    pub desk: Arc<QuoteDesk>,
    /// The host's claims about the launch.
    pub claims: LaunchClaims,
    /// Exact bytes of the measured file.
    pub app_compose: Arc<[u8]>,
}

impl Attester for AgentProof {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let quoted = self.desk.quote_for_channel(binding).await;
        let quoted = quoted.map_err(|error| error.to_string())?;
        Ok(Proof {
            quote: quoted.quote,
            event_log: quoted.log.events().map_err(|error| error.to_string())?,
            claims: self.claims.clone(),
            app_compose: self.app_compose.to_vec(),
            statement: Vec::new(),
        })
    }
}

/// The KMS that the measured file pins, and whose signatures count on its quote.
pub struct PinnedKms {
    key_provider_id: Sha256Digest,
    bounds: KmsBounds,
    /// The latest time at which a KMS held, in seconds since 1970, and when it was.
    passed: Mutex<Option<(u64, Instant)>>,
}

impl PinnedKms {
    /// The KMS with this id, within what the measured file asks of it.
    pub fn new(key_provider_id: Sha256Digest, bounds: KmsBounds) -> Self {
        Self { key_provider_id, bounds, passed: Mutex::default() }
    }

    fn rules(&self) -> io::Result<KmsRules> {
        Ok(KmsRules {
            key_provider_id: self.key_provider_id,
            anchor: trust_anchor()?,
            accepts: Accepts::Listed { minimum_version: self.bounds.min_list_version.unwrap_or(1) },
            // No clock that is set back makes a platform good that was known to be broken when this
            // image was made.
            minimum_evaluation_number: Some(self.bounds.tcb_evaluation()),
        })
    }

    /// The time by which a KMS is judged first: this guest's clock, but never before a time that a
    /// KMS had.
    pub(super) fn now_secs(&self) -> u64 {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let passed = *self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        clock.max(passed.map_or(0, |(secs, since)| secs.saturating_add(since.elapsed().as_secs())))
    }

    /// A KMS held at this time.
    fn has_passed(&self, secs: u64) {
        let now_secs = self.now_secs();
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if secs > now_secs {
            *passed = Some((secs, Instant::now()));
        }
    }

    async fn judge_proved(&self, proved: &Arc<KmsProof>, now_secs: u64) -> Result<(), Refusal> {
        let unavailable = |text: String| Refusal::new(RefusalCode::Unavailable, &text);
        let rules = self.rules().map_err(|error| unavailable(error.to_string()))?;
        let proved = Arc::clone(proved);
        // Chains and predictions take a while, and the thread has others to serve.
        let judged = tokio::task::spawn_blocking(move || proved.judge(&rules, now_secs).map(drop));
        judged
            .await
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|error| Refusal::new(RefusalCode::Evidence, &chain(&error)))
    }
}

impl Judge for PinnedKms {
    type Peer = Arc<KmsProof>;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<Arc<KmsProof>, Refusal> {
        let proved = read(proof, binding);
        let proved = Arc::new(proved.map_err(|text| Refusal::new(RefusalCode::Evidence, &text))?);
        self.judge_proved(&proved, self.now_secs()).await?;
        Ok(proved)
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<Arc<KmsProof>, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS is no owner"))
    }

    fn unattested(&self) -> Result<Arc<KmsProof>, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS proves itself"))
    }
}

impl JudgesKms for PinnedKms {
    async fn judge_at(&self, proved: &Arc<KmsProof>, now_secs: u64) -> Result<(), String> {
        self.judge_proved(proved, now_secs).await.map_err(|refusal| refusal.text)?;
        self.has_passed(now_secs);
        Ok(())
    }
}

fn read(proof: Proof, binding: &Binding) -> Result<KmsProof, String> {
    let report_data = binding.report_data().ok_or("the peer has no role that proves")?;
    let statement = Statement::parse(&proof.statement).map_err(|error| chain(&error))?;
    Ok(KmsProof::new(Evidence::from(proof), statement, report_data, binding.exporter))
}

/// Whose signatures count on quotes.
///
/// # Errors
/// If a file of the image cannot be read.
pub fn trust_anchor() -> io::Result<TrustAnchor> {
    anchor(Path::new(EMULATED_ROOT))
}

/// Intel, but in a dev image.
fn anchor(emulated_root: &Path) -> io::Result<TrustAnchor> {
    match fs::read(emulated_root) {
        Ok(root) => Ok(TrustAnchor::DangerEmulated(root)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TrustAnchor::Intel),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use protocol::app_compose::TCB_EVALUATION_AT_BUILD;
    use protocol::channel::Role;
    use protocol::fixtures::{self, binding};
    use protocol::kms::Cluster;
    use protocol::report_data;

    use super::*;
    use crate::quotes::tests::desk;

    #[tokio::test]
    async fn a_proof_is_bound_to_the_connection_by_a_tag_of_the_agents_own() {
        let directory = tempfile::tempdir().unwrap();
        let desk = Arc::new(desk(directory.path()));
        let proof =
            AgentProof { desk, claims: fixtures::claims(), app_compose: b"{}".to_vec().into() };
        let proved = proof.prove(&binding(Role::Agent)).await.unwrap();
        let expected = binding(Role::Agent).report_data().unwrap();
        assert_eq!(proved.quote[48..], expected.0);
        assert!(expected.as_bytes().starts_with(report_data::Role::Agent.tag()));
        assert_eq!(proved.event_log.len(), protocol::event_name::REQUIRED.len());
        assert!(proved.statement.is_empty());
        let proved = proof.prove(&binding(Role::Pads)).await.unwrap();
        let expected = binding(Role::Pads).report_data().unwrap();
        assert_eq!(proved.quote[48..], expected.0);
        assert!(expected.as_bytes().starts_with(report_data::Role::Pads.tag()));
        for other in [Role::App, Role::Unattested] {
            assert!(proof.prove(&binding(other)).await.is_err(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn another_cluster_is_foreign_and_so_is_what_states_nothing() {
        let judge = PinnedKms::new(Sha256Digest([1; 32]), KmsBounds::default());
        let cluster = Cluster {
            name: "strangers".into(),
            owners: vec![protocol::digest::Ed25519Key([1; 32])],
            threshold: 1,
        };
        let statement = Statement {
            cluster,
            image: "{}".into(),
            collateral: None,
            root: None,
            list: None,
            signature: None,
            member: None,
        };
        let proof = |statement| Proof {
            quote: vec![0; 64],
            event_log: Vec::new(),
            claims: fixtures::claims(),
            app_compose: b"{}".to_vec(),
            statement,
        };
        let refused = judge.judge(proof(statement.to_json()), &binding(Role::App)).await;
        assert!(refused.unwrap_err().text.contains("the key provider is"));
        let refused = judge.judge(proof(Vec::new()), &binding(Role::App)).await.unwrap_err();
        assert_eq!(refused.code, RefusalCode::Evidence);
    }

    #[test]
    fn the_floors_of_list_and_collateral_are_the_measured_files_or_the_images() {
        let floors = |min_list_version, min_tcb_evaluation| {
            let bounds = KmsBounds { min_list_version, min_tcb_evaluation, ..KmsBounds::default() };
            let rules = PinnedKms::new(Sha256Digest([1; 32]), bounds).rules().unwrap();
            let Accepts::Listed { minimum_version } = rules.accepts else { panic!("no list") };
            (minimum_version, rules.minimum_evaluation_number)
        };
        assert_eq!(floors(None, None), (1, Some(TCB_EVALUATION_AT_BUILD)));
        assert_eq!(floors(Some(7), Some(3)), (7, Some(3)));
    }

    #[test]
    fn a_time_at_which_a_kms_held_has_passed_whatever_the_clock_says() {
        let pinned = PinnedKms::new(Sha256Digest([1; 32]), KmsBounds::default());
        let clock = pinned.now_secs();
        pinned.has_passed(clock - 1000);
        assert!(pinned.now_secs() <= clock + 1);
        pinned.has_passed(clock + 1000);
        pinned.has_passed(clock);
        assert!((clock + 1000..clock + 1010).contains(&pinned.now_secs()));
    }

    #[test]
    fn an_emulators_root_counts_only_where_the_image_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root.der");
        assert_eq!(anchor(&root).unwrap(), TrustAnchor::Intel);
        fs::write(&root, b"der").unwrap();
        assert_eq!(anchor(&root).unwrap(), TrustAnchor::DangerEmulated(b"der".to_vec()));
    }
}
