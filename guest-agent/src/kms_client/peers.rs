//! The two proofs of a channel to the KMS: how this guest proves itself, and what the KMS must be.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::TrustAnchor;
use attestation::kms::{Accepts, KmsRules, VerifiedKms, judge_kms};
use channel::{Attester, Judge};
use protocol::app_compose::KmsBounds;
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::Sha256Digest;
use protocol::error::chain;
use protocol::evidence::Evidence;
use protocol::kms::Statement;
use protocol::launch::LaunchClaims;

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
}

impl PinnedKms {
    /// The KMS with this id, within what the measured file asks of it.
    pub fn new(key_provider_id: Sha256Digest, bounds: KmsBounds) -> Self {
        Self { key_provider_id, bounds }
    }

    fn rules(&self) -> io::Result<KmsRules> {
        Ok(KmsRules {
            key_provider_id: self.key_provider_id,
            anchor: anchor(Path::new(EMULATED_ROOT))?,
            accepts: Accepts::Listed { minimum_version: self.bounds.min_list_version.unwrap_or(1) },
            minimum_evaluation_number: self.bounds.min_tcb_evaluation,
        })
    }
}

impl Judge for PinnedKms {
    type Peer = VerifiedKms;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<VerifiedKms, Refusal> {
        let refused = |code| move |text: String| Refusal::new(code, &text);
        let unavailable = refused(RefusalCode::Unavailable);
        let rules = self.rules().map_err(|error| unavailable(error.to_string()))?;
        let now_secs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let binding = binding.clone();
        // Chains and predictions take a while, and the thread has others to serve.
        let judged = tokio::task::spawn_blocking(move || of(proof, &binding, &rules, now_secs));
        judged
            .await
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(refused(RefusalCode::Evidence))
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<VerifiedKms, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS is no owner"))
    }

    fn unattested(&self) -> Result<VerifiedKms, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS proves itself"))
    }
}

fn of(
    proof: Proof,
    binding: &Binding,
    rules: &KmsRules,
    now_secs: u64,
) -> Result<VerifiedKms, String> {
    let report_data = binding.report_data().ok_or("the peer has no role that proves")?;
    let statement = Statement::parse(&proof.statement).map_err(|error| chain(&error))?;
    let evidence = Evidence::from(proof);
    let exporter = &binding.exporter;
    judge_kms(&evidence, &statement, report_data, exporter, rules, now_secs)
        .map_err(|error| chain(&error))
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
    use protocol::channel::Role;
    use protocol::fixtures::{self, binding};
    use protocol::kms::Cluster;
    use protocol::report_data;

    use super::*;
    use crate::quotes::tests::desk;

    #[tokio::test]
    async fn a_proof_is_bound_to_the_connection_by_the_agents_own_tag() {
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
        for other in [Role::App, Role::Pads, Role::Unattested] {
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
    fn the_floors_of_list_and_collateral_are_the_measured_files() {
        let floors = |min_list_version, min_tcb_evaluation| {
            let bounds = KmsBounds { min_list_version, min_tcb_evaluation, ..KmsBounds::default() };
            let rules = PinnedKms::new(Sha256Digest([1; 32]), bounds).rules().unwrap();
            match rules.accepts {
                Accepts::Listed { minimum_version } => {
                    (minimum_version, rules.minimum_evaluation_number)
                }
                Accepts::Exactly { .. } => panic!("a guest asks for the list"),
            }
        };
        assert_eq!(floors(None, None), (1, None));
        assert_eq!(floors(Some(7), Some(17)), (7, Some(17)));
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
