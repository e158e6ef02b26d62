//! Promise: nothing but a KMS of the pinned cluster, made of what its owners listed, with the root
//! that they certified, on this very connection, is taken for one.
//!
//! The KMS never ran: see `tests::scene`. Each test breaks one thing of a genuine one.

use attestation::kms::{
    Accepts, KmsProof, KmsRefusal, KmsRules, Owners, VerifiedKms, judge_kms, member_of,
};
use attestation::signatures::{Envelope, PayloadType, SignatureError, SigningKey};
use attestation::{CheckName, Image, Parts, TrustAnchor};
use ed25519_dalek::Signer as _;
use protocol::channel::{Binding, Direction, EXPORTER_BYTES, NONCE_BYTES, Role};
use protocol::digest::{ComposeHash, Ed25519Key, OsImageHash, Sha256Digest};
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use protocol::evidence::Evidence;
use protocol::fixtures;
use protocol::image::Flavour;
use protocol::kms::{
    Cluster, KmsImage, KmsList, MemberClaim, RootCertificate, Statement, payload_type,
    signed_by_member, signed_by_root,
};
use serde::Serialize;
use tests::emulated;
use tests::scene::{Scene, now_secs};

/// The oldest version of the list that the guest takes.
const MINIMUM: u64 = 3;
/// What is on no list.
const STRANGE: [u8; 32] = [0xee; 32];

/// A KMS and a guest that asks it, on one connection.
struct Meeting {
    scene: Scene,
    reserves_report_data: bool,
    /// As the KMS states it.
    cluster: Cluster,
    /// By whom root and list are signed.
    signers: Vec<SigningKey>,
    root: RootCertificate,
    list: KmsList,
    /// The seed of what the KMS signs with.
    identity: [u8; 32],
    /// The connection as the KMS sees it.
    binding: Binding,
    rules: KmsRules,
    /// What happens to evidence and statement on their way.
    edit: fn(&mut Evidence, &mut Statement),
}

impl Meeting {
    fn genuine() -> Self {
        let scene = Scene::synthetic();
        let cluster = cluster(&owners());
        let key_provider_id = cluster.id();
        let identity = [9; 32];
        let key = ed25519_dalek::SigningKey::from_bytes(&identity).verifying_key();
        let root = RootCertificate {
            key_provider_id,
            epoch: 1,
            identity: Ed25519Key(key.to_bytes()),
            renewal: None,
        };
        let image = image(&scene, true);
        let pair = pair(&image, ComposeHash::of(&scene.app_compose()));
        let list = KmsList { key_provider_id, version: MINIMUM, images: vec![pair] };
        let rules = KmsRules {
            key_provider_id,
            anchor: TrustAnchor::DangerEmulated(emulated::root()),
            accepts: Accepts::Listed { minimum_version: MINIMUM },
            minimum_evaluation_number: None,
        };
        let binding = Binding {
            expected: Role::Agent,
            direction: Direction::ServerToClient,
            ..fixtures::binding(Role::App)
        };
        Self {
            scene,
            reserves_report_data: true,
            cluster,
            signers: owners().into_iter().take(2).collect(),
            root,
            list,
            identity,
            binding,
            rules,
            edit: |_, _| {},
        }
    }

    /// The image that runs, and its file.
    fn running(&self) -> KmsImage {
        let image = image(&self.scene, self.reserves_report_data);
        pair(&image, ComposeHash::of(&self.scene.app_compose()))
    }

    /// Before anything is signed, the owner states what it wants.
    fn exactly(mut self, images: Vec<KmsImage>) -> Self {
        let image_json = image_json(&self.scene, self.reserves_report_data);
        self.rules.accepts = Accepts::Exactly { images, image_json };
        self
    }

    /// What the KMS shows.
    fn shown(&self) -> (Evidence, Statement) {
        let image = image(&self.scene, self.reserves_report_data);
        let report_data = self.binding.report_data().unwrap();
        let mut evidence = self.scene.evidence_for(image.os_image_hash(), &report_data);
        let key = ed25519_dalek::SigningKey::from_bytes(&self.identity);
        let signature = key.sign(&signed_by_root(&self.binding.exporter, &evidence.quote));
        let mut statement = Statement {
            cluster: self.cluster.clone(),
            image: String::from_utf8(image_json(&self.scene, self.reserves_report_data)).unwrap(),
            collateral: Some(String::from_utf8(self.scene.collateral_json()).unwrap()),
            root: Some(signed(payload_type::ROOT, &self.root, &self.signers)),
            list: Some(signed(payload_type::LIST, &self.list, &self.signers)),
            signature: Some(hex::encode(signature.to_bytes())),
            member: None,
        };
        (self.edit)(&mut evidence, &mut statement);
        (evidence, statement)
    }

    /// The verdict of the other side, which sees the connection as it is.
    fn judged(&self) -> Result<VerifiedKms, KmsRefusal> {
        let (evidence, statement) = self.shown();
        self.judge(&evidence, &statement)
    }

    fn judge(&self, evidence: &Evidence, statement: &Statement) -> Result<VerifiedKms, KmsRefusal> {
        self.judge_at(evidence, statement, now_secs())
    }

    fn judge_at(
        &self,
        evidence: &Evidence,
        statement: &Statement,
        now_secs: u64,
    ) -> Result<VerifiedKms, KmsRefusal> {
        let report_data = self.binding.report_data().unwrap();
        let exporter = &self.binding.exporter;
        judge_kms(evidence, statement, report_data, exporter, &self.rules, now_secs)
    }

    #[track_caller]
    fn refused_by(&self, check: CheckName) {
        match self.judged() {
            Err(KmsRefusal::Evidence(refusal)) => assert_eq!(refusal.check(), check),
            other => panic!("{other:?}"),
        }
    }
}

/// Three owners in the cluster's order; two decide.
fn owners() -> Vec<SigningKey> {
    keys([1, 2, 3])
}

fn strangers() -> Vec<SigningKey> {
    keys([4, 5, 6])
}

fn keys(seeds: [u8; 3]) -> Vec<SigningKey> {
    let mut keys: Vec<_> = seeds.iter().map(|seed| SigningKey::from_seed(&[*seed; 32])).collect();
    keys.sort_by_key(|key| key.signer().key());
    keys
}

fn cluster(owners: &[SigningKey]) -> Cluster {
    let owners = owners.iter().map(|key| key.signer().key()).collect();
    Cluster { name: "promises".into(), owners, threshold: 2 }
}

fn signed(payload_type: &'static str, document: &impl Serialize, by: &[SigningKey]) -> String {
    let payload = serde_json::to_vec(document).unwrap();
    let mut envelope = Envelope::new(PayloadType(payload_type), payload);
    by.iter().for_each(|key| envelope.sign(key));
    envelope.to_json()
}

fn image_json(scene: &Scene, reserves_report_data: bool) -> Vec<u8> {
    let mut manifest = scene.manifest(Flavour::Release);
    if !reserves_report_data {
        manifest.reserved_report_data = None;
    }
    manifest.to_json()
}

fn image(scene: &Scene, reserves_report_data: bool) -> Image {
    Image::ours(&image_json(scene, reserves_report_data), Parts::default()).unwrap()
}

fn pair(image: &Image, compose_hash: ComposeHash) -> KmsImage {
    KmsImage { os_image_hash: image.os_image_hash(), compose_hash }
}

#[test]
fn a_listed_kms_with_the_certified_root_is_one() {
    let meeting = Meeting::genuine();
    let verified = meeting.judged().unwrap();
    assert_eq!(verified.cluster(), &meeting.cluster);
    assert_eq!((verified.root(), verified.list()), (Some(&meeting.root), Some(&meeting.list)));
    assert_eq!(verified.evidence().app().compose_hash, meeting.running().compose_hash);
}

#[test]
fn a_genuine_kms_of_strangers_under_the_pinned_id_is_refused() {
    let (pinned, theirs) = (cluster(&owners()).id(), cluster(&strangers()).id());
    // It says who it is.
    let mut meeting = Meeting::genuine();
    meeting.cluster = cluster(&strangers());
    meeting.signers = strangers();
    (meeting.root.key_provider_id, meeting.list.key_provider_id) = (theirs, theirs);
    let expected = KmsRefusal::Foreign { found: theirs, expected: pinned };
    assert_eq!(meeting.judged(), Err(expected.clone()));
    // Its owners name the pinned cluster in what they sign.
    (meeting.root.key_provider_id, meeting.list.key_provider_id) = (pinned, pinned);
    assert_eq!(meeting.judged(), Err(expected.clone()));
    // The pinned owners would have to sign for all of the strangers' three.
    let mut more = owners();
    more.extend(strangers());
    more.sort_by_key(|key| key.signer().key());
    meeting.cluster = cluster(&more);
    assert!(matches!(meeting.judged(), Err(KmsRefusal::Foreign { .. })));
    // It says that it is the pinned one.
    meeting.cluster = cluster(&owners());
    let source = SignatureError::Foreign { signatures: 3 };
    let document = "root certificate";
    assert_eq!(meeting.judged(), Err(KmsRefusal::Signatures { document, source }));
}

#[test]
fn a_list_that_strangers_signed_does_not_count_beside_a_root_that_the_owners_certified() {
    let mut meeting = Meeting::genuine();
    meeting.signers = strangers();
    let (_, theirs) = meeting.shown();
    let genuine = Meeting::genuine();
    let (evidence, mut statement) = genuine.shown();
    statement.list = theirs.list;
    let source = SignatureError::Foreign { signatures: 3 };
    let expected = KmsRefusal::Signatures { document: "list", source };
    assert_eq!(genuine.judge(&evidence, &statement), Err(expected));
}

#[test]
fn one_signature_less_than_the_threshold_is_too_few_and_one_owner_counts_once() {
    let mut meeting = Meeting::genuine();
    meeting.signers.truncate(1);
    let document = "root certificate";
    let source = SignatureError::TooFew { counted: 1, threshold: 2 };
    let expected = KmsRefusal::Signatures { document, source };
    assert_eq!(meeting.judged(), Err(expected.clone()));
    meeting.signers = vec![owners().remove(0), owners().remove(0), strangers().remove(0)];
    assert_eq!(meeting.judged(), Err(expected));
    // The threshold is part of the pinned hash.
    meeting.cluster.threshold = 1;
    assert!(matches!(meeting.judged(), Err(KmsRefusal::Foreign { .. })));
}

#[test]
fn documents_that_the_same_owners_signed_for_another_cluster_do_not_count() {
    let other = Sha256Digest(STRANGE);
    let mut meeting = Meeting::genuine();
    meeting.list.key_provider_id = other;
    let expected = KmsRefusal::OtherCluster { document: "list", found: other };
    assert_eq!(meeting.judged(), Err(expected));
    let mut meeting = Meeting::genuine();
    meeting.root.key_provider_id = other;
    let expected = KmsRefusal::OtherCluster { document: "root certificate", found: other };
    assert_eq!(meeting.judged(), Err(expected));
}

#[test]
fn a_document_does_not_stand_for_one_of_another_type() {
    let genuine = Meeting::genuine();
    let (evidence, mut statement) = genuine.shown();
    statement.root.clone_from(&statement.list);
    let refused = genuine.judge(&evidence, &statement).unwrap_err();
    let expected = matches!(
        &refused,
        KmsRefusal::Signatures {
            document: "root certificate",
            source: SignatureError::Envelope(_)
        }
    );
    assert!(expected, "{refused:?}");
    let owners = Owners::of(&genuine.cluster, genuine.rules.key_provider_id).unwrap();
    let swapped = signed(payload_type::LIST, &genuine.root, &genuine.signers);
    let refused = owners.list(&swapped).unwrap_err();
    assert!(matches!(refused, KmsRefusal::Document { document: "list", .. }), "{refused:?}");
}

#[test]
fn one_owners_signature_alone_counts_for_that_owner_and_for_nobody_else() {
    let genuine = Meeting::genuine();
    let owners = Owners::of(&genuine.cluster, genuine.rules.key_provider_id).unwrap();
    let [first, second] = [0, 1].map(|place| genuine.signers[place].signer().key());
    let alone = signed(payload_type::ROOT, &genuine.root, &genuine.signers[..1]);
    owners.only(&first).unwrap().root(&alone).unwrap();
    let refused = owners.only(&second).unwrap().root(&alone).unwrap_err();
    assert!(matches!(refused, KmsRefusal::Signatures { .. }), "{refused:?}");
    let stranger = Ed25519Key([9; 32]);
    assert_eq!(owners.only(&stranger).unwrap_err(), KmsRefusal::NoOwner(stranger));
}

#[test]
fn a_list_that_was_replaced_does_not_count() {
    let mut meeting = Meeting::genuine();
    meeting.list.version = MINIMUM - 1;
    let expected = KmsRefusal::OldList { found: MINIMUM - 1, minimum: MINIMUM };
    assert_eq!(meeting.judged(), Err(expected));
    meeting.list.version = MINIMUM + 1;
    assert!(meeting.judged().is_ok());
}

#[test]
fn a_missing_root_certificate_and_a_missing_list_are_refusals() {
    let without_root = Meeting { edit: |_, statement| statement.root = None, ..Meeting::genuine() };
    assert_eq!(without_root.judged(), Err(KmsRefusal::Missing("root certificate")));
    let without_list = Meeting { edit: |_, statement| statement.list = None, ..Meeting::genuine() };
    assert_eq!(without_list.judged(), Err(KmsRefusal::Missing("list")));
}

#[test]
fn an_image_and_a_file_that_are_listed_apart_are_not_listed_together() {
    let mut meeting = Meeting::genuine();
    let KmsImage { os_image_hash, compose_hash } = meeting.running();
    meeting.list.images = vec![
        KmsImage { os_image_hash, compose_hash: ComposeHash(STRANGE) },
        KmsImage { os_image_hash: OsImageHash(STRANGE), compose_hash },
    ];
    assert_eq!(meeting.judged(), Err(KmsRefusal::Pair(meeting.running())));
}

#[test]
fn an_image_or_a_file_that_is_not_listed_is_refused_and_an_empty_list_refuses_all() {
    let listed = |change: fn(&mut KmsImage)| {
        let mut meeting = Meeting::genuine();
        change(&mut meeting.list.images[0]);
        meeting
    };
    listed(|pair| pair.os_image_hash = OsImageHash(STRANGE)).refused_by(CheckName::ImageList);
    listed(|pair| pair.compose_hash = ComposeHash(STRANGE)).refused_by(CheckName::ComposeHash);
    let mut nobody = Meeting::genuine();
    nobody.list.images.clear();
    assert!(matches!(nobody.judged(), Err(KmsRefusal::Evidence(_))));
}

#[test]
fn a_privileged_kms_is_refused_though_it_is_listed() {
    let mut meeting = Meeting::genuine();
    meeting.scene.measured = |events| {
        let done = events.iter().position(|event| event.name == event_name::BOOT_MR_DONE);
        events.insert(done.unwrap(), RuntimeEvent::new(event_name::DANGER_PRIVILEGED, []));
    };
    meeting.refused_by(CheckName::ForbiddenEvents);
}

#[test]
fn a_root_signature_by_another_key_is_none() {
    let meeting = Meeting { identity: [8; 32], ..Meeting::genuine() };
    assert_eq!(meeting.judged(), Err(KmsRefusal::RootSignature));
    for edit in [
        |_: &mut Evidence, statement: &mut Statement| statement.signature = None,
        |_: &mut Evidence, statement: &mut Statement| statement.signature = Some("00".into()),
        |_: &mut Evidence, statement: &mut Statement| statement.signature = Some("00".repeat(64)),
    ] {
        let meeting = Meeting { edit, ..Meeting::genuine() };
        assert_eq!(meeting.judged(), Err(KmsRefusal::RootSignature));
    }
}

#[test]
fn evidence_and_root_signature_count_on_their_own_connection() {
    let old = Meeting::genuine();
    let (old_evidence, old_statement) = old.shown();
    let mut new = Meeting::genuine();
    new.binding.exporter = [7; EXPORTER_BYTES];
    // The quote of an old connection, with its signature.
    match new.judge(&old_evidence, &old_statement) {
        Err(KmsRefusal::Evidence(refusal)) => assert_eq!(refusal.check(), CheckName::ReportData),
        other => panic!("{other:?}"),
    }
    // A new quote, by a clone of the image that does not have the root.
    let (new_evidence, new_statement) = new.shown();
    assert_eq!(new.judge(&new_evidence, &old_statement), Err(KmsRefusal::RootSignature));
    assert!(new.judge(&new_evidence, &new_statement).is_ok());
    // The same keying material, other nonces: the signature covers the quote.
    let mut again = Meeting::genuine();
    again.binding.server_nonce = [6; NONCE_BYTES];
    let (evidence, _) = again.shown();
    assert_eq!(again.judge(&evidence, &old_statement), Err(KmsRefusal::RootSignature));
    // The same quote, other keying material.
    let report_data = old.binding.report_data().unwrap();
    let other = &[7; EXPORTER_BYTES];
    let judged =
        judge_kms(&old_evidence, &old_statement, report_data, other, &old.rules, now_secs());
    assert_eq!(judged, Err(KmsRefusal::RootSignature));
}

#[test]
fn a_process_is_known_by_its_own_key_on_its_own_connection() {
    let meeting = Meeting::genuine();
    let (evidence, mut statement) = meeting.shown();
    let exporter = &meeting.binding.exporter;
    let own = ed25519_dalek::SigningKey::from_bytes(&[21; 32]);
    let claim = |exporter, quote: &[u8]| MemberClaim {
        key: Ed25519Key(own.verifying_key().to_bytes()),
        signature: hex::encode(own.sign(&signed_by_member(exporter, quote)).to_bytes()),
    };
    let good = claim(exporter, &evidence.quote);
    let root = own.sign(&signed_by_root(exporter, &evidence.quote)).to_bytes();
    let other = ed25519_dalek::SigningKey::from_bytes(&[22; 32]).verifying_key().to_bytes();
    for wrong in [
        None,
        Some(claim(&[7; EXPORTER_BYTES], &evidence.quote)),
        Some(claim(exporter, b"another quote")),
        Some(MemberClaim { key: Ed25519Key(other), ..good.clone() }),
        Some(MemberClaim { signature: hex::encode(root), ..good.clone() }),
        Some(MemberClaim { signature: "00".into(), ..good.clone() }),
    ] {
        statement.member = wrong;
        let refused = member_of(&statement, exporter, &evidence.quote);
        assert_eq!(refused, Err(KmsRefusal::Member));
    }
    statement.member = Some(good.clone());
    assert_eq!(member_of(&statement, exporter, &evidence.quote), Ok(good.key));
}

#[test]
fn emulated_evidence_is_refused_where_intels_root_is_asked_for() {
    let mut meeting = Meeting::genuine();
    meeting.rules.anchor = TrustAnchor::Intel;
    meeting.refused_by(CheckName::TrustAnchor);
}

/// A guest's clock is its host's: old collateral is current to a guest that was set back.
#[test]
fn a_guest_whose_clock_is_set_back_asks_for_the_measured_evaluation_number() {
    let mut meeting = Meeting::genuine();
    let (evidence, statement) = meeting.shown();
    let check = |judged: Result<VerifiedKms, KmsRefusal>| match judged {
        Err(KmsRefusal::Evidence(refusal)) => refusal.check(),
        other => panic!("{other:?}"),
    };
    let later = now_secs() + 60 * 24 * 3600;
    let expired = meeting.judge_at(&evidence, &statement, later);
    assert_eq!(check(expired), CheckName::CrlCurrent);
    let verified = meeting.judge(&evidence, &statement).unwrap();
    let number = verified.evidence().tcb().evaluation_number;
    meeting.rules.minimum_evaluation_number = Some(number);
    assert!(meeting.judge(&evidence, &statement).is_ok());
    meeting.rules.minimum_evaluation_number = Some(number + 1);
    let refused = KmsRefusal::OldEvaluation { found: number, minimum: number + 1 };
    assert_eq!(meeting.judge(&evidence, &statement), Err(refused));
}

/// What a guest does once the KMS told its time: nothing that held at one time holds at all.
#[test]
fn a_proof_that_is_judged_at_several_times_is_refused_at_each_at_which_it_is_outdated() {
    let meeting = Meeting::genuine();
    let (evidence, statement) = meeting.shown();
    let report_data = meeting.binding.report_data().unwrap();
    let proof = KmsProof::new(evidence, statement, report_data, meeting.binding.exporter);
    let now = now_secs();
    let later = now + 60 * 24 * 3600;
    let outdated = |at| match proof.judge(&meeting.rules, at) {
        Err(KmsRefusal::Evidence(refusal)) => refusal.check() == CheckName::CrlCurrent,
        other => panic!("{other:?}"),
    };
    assert!(outdated(later));
    for _ in 0..2 {
        let again = proof.judge(&meeting.rules, now);
        assert_eq!(again, meeting.judge(&proof.evidence, &proof.statement));
        assert!(again.is_ok() && outdated(later));
    }
    let other = KmsRules { key_provider_id: Sha256Digest(STRANGE), ..meeting.rules.clone() };
    assert!(matches!(proof.judge(&other, now), Err(KmsRefusal::Foreign { .. })));
}

#[test]
fn an_image_whose_containers_can_quote_as_the_guest_is_refused_though_it_is_listed() {
    let mut meeting = Meeting { reserves_report_data: false, ..Meeting::genuine() };
    meeting.list.images = vec![meeting.running()];
    assert_eq!(meeting.judged(), Err(KmsRefusal::Unreserved));
    let stated = meeting.running();
    assert_eq!(meeting.exactly(vec![stated]).judged(), Err(KmsRefusal::Unreserved));
}

#[test]
fn before_anything_is_signed_the_owner_gets_what_it_stated_and_nothing_else() {
    let unborn = || Meeting {
        edit: |_, statement| {
            (statement.root, statement.list, statement.signature) = (None, None, None);
        },
        ..Meeting::genuine()
    };
    let stated = unborn().running();
    let verified = unborn().exactly(vec![stated]).judged().unwrap();
    assert_eq!((verified.root(), verified.list()), (None, None));
    let other = KmsImage { compose_hash: ComposeHash(STRANGE), ..stated };
    unborn().exactly(vec![other]).refused_by(CheckName::ComposeHash);
    let crossed = KmsImage { os_image_hash: OsImageHash(STRANGE), ..stated };
    let apart = unborn().exactly(vec![other, crossed]);
    assert_eq!(apart.judged(), Err(KmsRefusal::Pair(stated)));
    // What was signed already counts here too.
    let root = Meeting { identity: [8; 32], ..Meeting::genuine() }.exactly(vec![stated]);
    assert_eq!(root.judged(), Err(KmsRefusal::RootSignature));
}
