//! Steps, heads and signatures, against a KMS that answers from a script.

use std::collections::VecDeque;

use protocol::digest::{ComposeHash, OsImageHash};
use protocol::kms::{PendingDocument, Renewal};
use protocol::prpc::{self, Arguments, Encoding, Message};

use super::*;

const ID: Sha256Digest = Sha256Digest([9; 32]);

fn status(state: &str, entries: u64) -> StatusResponse {
    StatusResponse {
        state: state.into(),
        key_provider_id: ID.to_string(),
        member: vec![5; 32],
        identity: vec![6; 32],
        epoch: 1,
        entries,
        head: vec![7; 32],
        ..StatusResponse::default()
    }
}

fn certified(identity: u8) -> Seen {
    let identity = Ed25519Key([identity; 32]);
    Seen {
        head: Some(Head { entries: 3, hash: Sha256Digest([7; 32]) }),
        root: Some(RootCertificate { key_provider_id: ID, epoch: 1, identity, renewal: None }),
        ..Seen::default()
    }
}

#[test]
fn each_state_has_its_step() {
    let rows = [
        ("unborn", Step::Bootstrap),
        ("uncertified", Step::Certify),
        ("locked", Step::GiveShare),
        ("waiting", Step::Resume),
        ("serving", Step::Done),
    ];
    for (state, step) in rows {
        assert_eq!(next(&status(state, 1), &Seen::default(), ID), Ok(step), "{state}");
    }
    assert!(next(&status("other", 1), &Seen::default(), ID).is_err());
    let foreign = next(&status("locked", 1), &Seen::default(), Sha256Digest([8; 32]));
    assert!(matches!(foreign, Err(CeremonyError::Foreign { .. })));
}

#[test]
fn a_kms_that_lost_the_certified_root_makes_no_new_one() {
    assert_eq!(next(&status("unborn", 0), &certified(6), ID), Err(CeremonyError::Lost));
    assert_eq!(next(&status("waiting", 3), &certified(6), ID), Ok(Step::Resume));
    for state in ["uncertified", "waiting", "serving"] {
        let other = next(&status(state, 3), &certified(1), ID);
        assert!(matches!(other, Err(CeremonyError::OtherRoot { epoch: 1, .. })), "{state}");
    }
}

#[test]
fn a_root_that_came_to_nothing_is_replaced_with_its_share() {
    let never_seen = Seen { head: None, ..certified(6) };
    assert_eq!(next(&status("unborn", 0), &never_seen, ID), Ok(Step::Bootstrap));
    let other = Seen { head: None, ..certified(1) };
    assert_eq!(next(&status("uncertified", 1), &other, ID), Ok(Step::Certify));
    let mut bench = Bench::new();
    let share = OwnShare { epoch: 1, bytes: zeroize::Zeroizing::new(vec![1; 33]) };
    bench.memory.keep_share(&share).unwrap();
    let taken = Share { epoch: 1, share: vec![2; 33] };
    bench.ceremony().take_share(&mut Scripted::of([("TakeShare", answer(&taken))])).unwrap();
    assert_eq!(bench.memory.share(1).unwrap().unwrap().bytes[0], 2);
    bench.memory.seen.head = Some(head(&lines(1)));
    let again = Share { epoch: 1, share: vec![3; 33] };
    let refused = bench.ceremony().take_share(&mut Scripted::of([("TakeShare", answer(&again))]));
    assert!(refused.is_err());
}

#[test]
fn a_root_that_is_certified_is_not_certified_again() {
    let (mut bench, all) = (Bench::new(), lines(2));
    let holders = vec![bench.owner.public().to_string()];
    let status = StatusResponse { certified: true, holders, ..bench.status("uncertified", &all) };
    let share = OwnShare { epoch: 1, bytes: zeroize::Zeroizing::new(vec![1; 33]) };
    bench.memory.keep_share(&share).unwrap();
    let mut kms = Scripted::of([("SetList", ack())]);
    bench.ceremony().certify(&mut kms, &status).unwrap();
    assert_eq!(kms.methods(), ["SetList"]);
}

/// The first of two owners who decide together.
fn of_two() -> Bench {
    let mut bench = Bench::new();
    bench.cluster.threshold = 2;
    bench.cluster.owners.push(Owner::of_seed(2).public());
    bench.cluster.owners.sort();
    bench
}

fn waiting(owner: &Owner, payload_type: &str) -> PendingDocument {
    let signers = vec![owner.public().to_string()];
    PendingDocument { payload_type: payload_type.to_owned(), digest: vec![0; 32], signers }
}

#[test]
fn an_owner_does_its_part_and_leaves_the_rest_to_the_others() {
    let (mut bench, all) = (of_two(), lines(1));
    let born = bench.status("uncertified", &all);
    let signed = StatusResponse {
        holders: vec![bench.owner.public().to_string()],
        pending: vec![
            waiting(&bench.owner, payload_type::ROOT),
            waiting(&bench.owner, payload_type::LIST),
        ],
        ..born.clone()
    };
    let mut kms = Scripted::of([
        ("Status", answer(&born)),
        ("TakeShare", answer(&Share { epoch: 1, share: vec![3; 33] })),
        ("CertifyRoot", ack()),
        ("SetList", ack()),
        ("Status", answer(&signed)),
    ]);
    assert_eq!(bench.ceremony().lead(&mut kms).unwrap(), signed);
    // Asked again, it signs nothing twice.
    let mut kms = Scripted::of([("Status", answer(&signed))]);
    bench.ceremony().lead(&mut kms).unwrap();
    assert_eq!(kms.methods(), ["Status"]);
    // What another owner signed does not stand for this one.
    let other = Owner::of_seed(2);
    let others = vec![waiting(&other, payload_type::ROOT), waiting(&other, payload_type::LIST)];
    let status = StatusResponse { pending: others, ..signed };
    assert!(!bench.ceremony().waits_for_others(Step::Certify, &status));
}

fn next_root(bench: &Bench, identity: u8) -> RootCertificate {
    let (key_provider_id, identity) = (bench.cluster.id(), Ed25519Key([identity; 32]));
    let renewal = Some(Renewal { retires: vec![1], ..Renewal::default() });
    RootCertificate { key_provider_id, epoch: 2, identity, renewal }
}

#[test]
fn the_share_of_a_new_epoch_takes_the_place_of_the_old_one_once_its_root_counts() {
    let (mut bench, all) = (of_two(), lines(3));
    let share = |epoch, byte| Share { epoch, share: vec![byte; 33] };
    bench.memory.keep_share(&OwnShare::taken(share(1, 1))).unwrap();
    let root = next_root(&bench, 8);
    let offered = serde_json::to_string(&root).unwrap();
    let status = StatusResponse { offered, ..bench.status("serving", &all) };
    let waits = StatusResponse { epoch: 1, ..status.clone() };
    let mut kms =
        Scripted::of([("TakeShare", answer(&share(2, 2))), ("CertifyRoot", answer(&waits))]);
    bench.ceremony().certify_offered(&mut kms, &status).unwrap();
    let sent: SignedDocument =
        Arguments::Body(Encoding::Protobuf, &kms.asked[1].1).decode().unwrap();
    let payload = bench.owner.signed_by_this(sent.envelope.as_bytes(), payload_type::ROOT);
    assert_eq!(serde_json::from_slice::<RootCertificate>(&payload.unwrap()).unwrap(), root);
    assert!(bench.memory.share(1).unwrap().is_some(), "too few owners certified it");
    let mut ceremony = bench.ceremony();
    ceremony.proved = Some(root.clone());
    ceremony.memory.seen.head = Some(head(&all));
    ceremony.look(&mut Scripted::of([("Status", answer(&bench_status(&all)))])).unwrap();
    assert!(bench.memory.share(1).unwrap().is_none());
    assert_eq!(bench.memory.share(2).unwrap().unwrap().bytes[0], 2);
    assert_eq!(bench.memory.seen.root, Some(root));
}

fn bench_status(all: &[String]) -> StatusResponse {
    of_two().status("serving", all)
}

#[test]
fn nothing_is_signed_for_an_epoch_that_is_not_the_next_one_of_this_kms() {
    let (mut bench, all) = (of_two(), lines(3));
    let good = next_root(&bench, 8);
    let wrong = [
        RootCertificate { epoch: 3, ..good.clone() },
        RootCertificate { key_provider_id: ID, ..good.clone() },
        RootCertificate { renewal: None, ..good.clone() },
    ];
    for root in wrong {
        let offered = serde_json::to_string(&root).unwrap();
        let status = StatusResponse { offered, ..bench.status("serving", &all) };
        assert!(bench.ceremony().certify_offered(&mut Scripted::of([]), &status).is_err());
    }
    let nothing = bench.status("serving", &all);
    assert!(bench.ceremony().certify_offered(&mut Scripted::of([]), &nothing).is_err());
    // A share of another epoch than the certificate's is not signed for.
    let offered = serde_json::to_string(&good).unwrap();
    let status = StatusResponse { offered, ..nothing };
    let old = Share { epoch: 1, share: vec![1; 33] };
    let mut kms = Scripted::of([("TakeShare", answer(&old))]);
    assert!(bench.ceremony().certify_offered(&mut kms, &status).is_err());
}

#[test]
fn an_owner_whom_the_others_did_not_wait_for_takes_its_share_late() {
    let (mut bench, all) = (of_two(), lines(1));
    let image =
        KmsImage { os_image_hash: OsImageHash([1; 32]), compose_hash: ComposeHash([2; 32]) };
    let key_provider_id = bench.cluster.id();
    let serving = StatusResponse {
        holders: vec![Owner::of_seed(2).public().to_string()],
        list_version: 1,
        ..bench.status("serving", &all)
    };
    let mut kms = Scripted::of([
        ("Status", answer(&serving)),
        ("TakeShare", answer(&Share { epoch: 1, share: vec![3; 33] })),
        ("Status", answer(&serving)),
        ("Ledger", page(&all, 1)),
    ]);
    let mut ceremony = bench.ceremony();
    ceremony.listed = Some(KmsList { key_provider_id, version: 1, images: vec![image] });
    ceremony.lead(&mut kms).unwrap();
    assert!(kms.answers.is_empty());
    assert!(bench.memory.share(1).unwrap().is_some());
}

fn lines(count: u64) -> Vec<String> {
    let mut previous = Sha256Digest::ZERO;
    let line = |index| {
        let text = format!(
            r#"{{"index":{index},"previous":"{previous}","time_secs":1,"kind":{{"list_set":{{"version":1,"envelope":"{index}"}}}}}}"#
        );
        previous = Sha256Digest::of(text.as_bytes());
        text
    };
    (0..count).map(line).collect()
}

fn head(lines: &[String]) -> Head {
    let hash = lines.last().map_or(Sha256Digest::ZERO, |line| Sha256Digest::of(line.as_bytes()));
    Head { entries: lines.len() as u64, hash }
}

#[test]
fn a_head_counts_if_its_ledger_holds_the_one_that_was_seen() {
    let all = lines(5);
    let (seen, stated) = (head(&all[..3]), head(&all));
    assert_eq!(extends(Some(seen), stated, &all[3..]), Ok(stated));
    assert_eq!(extends(None, stated, &all), Ok(stated));
    assert_eq!(extends(Some(seen), seen, &[]), Ok(seen));
    assert_eq!(extends(None, head(&[]), &[]), Ok(head(&[])));
}

#[test]
fn an_older_another_or_an_unproved_head_does_not_count() {
    let all = lines(5);
    let seen = head(&all[..3]);
    let shorter = extends(Some(seen), head(&all[..2]), &[]);
    assert_eq!(shorter, Err(CeremonyError::Shorter { found: 2, seen: 3 }));
    let branched = Err(CeremonyError::Branched { entries: 3 });
    let other = Head { hash: Sha256Digest([1; 32]), ..seen };
    assert_eq!(extends(Some(seen), other, &[]), branched);
    // The same length as seen, then more, on another history.
    assert_eq!(extends(Some(other), head(&all), &all[3..]), branched);
    assert_eq!(extends(Some(seen), head(&all), &all[4..]), branched);
    assert_eq!(extends(Some(seen), head(&all), &all[3..4]), Err(CeremonyError::Head));
    let more = Head { entries: 9, ..head(&all) };
    assert_eq!(extends(Some(seen), more, &all[3..]), Err(CeremonyError::Head));
}

/// A KMS that answers from a script: method and answer, in order.
struct Scripted {
    answers: VecDeque<(&'static str, Vec<u8>)>,
    asked: Vec<(String, Vec<u8>)>,
}

impl Scripted {
    fn of(answers: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        Self { answers: answers.into_iter().collect(), asked: Vec::new() }
    }

    fn methods(&self) -> Vec<&str> {
        self.asked.iter().map(|(method, _)| method.as_str()).collect()
    }
}

impl Calls for Scripted {
    fn call<A: Message, R: Message>(&mut self, method: &str, arguments: &A) -> Outcome<R> {
        let (expected, answer) = self.answers.pop_front().expect("more is asked than scripted");
        assert_eq!(method, expected);
        self.asked.push((method.to_owned(), prpc::encode(arguments, Encoding::Protobuf)));
        Ok(Arguments::Body(Encoding::Protobuf, &answer).decode().unwrap())
    }
}

fn answer(message: &impl Message) -> Vec<u8> {
    prpc::encode(message, Encoding::Protobuf)
}

fn ack() -> Vec<u8> {
    Vec::new()
}

struct Bench {
    _directory: tempfile::TempDir,
    owner: Owner,
    cluster: Cluster,
    memory: Memory,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::in_directory(&directory.path().join("id")).unwrap();
        let owner = Owner::of_seed(1);
        Self { _directory: directory, cluster: owner.local_cluster(), owner, memory }
    }

    fn status(&self, state: &str, lines: &[String]) -> StatusResponse {
        let head = head(lines);
        StatusResponse {
            key_provider_id: self.cluster.id().to_string(),
            head: head.hash.0.to_vec(),
            ..status(state, head.entries)
        }
    }

    fn ceremony(&mut self) -> Ceremony<'_> {
        let image =
            KmsImage { os_image_hash: OsImageHash([1; 32]), compose_hash: ComposeHash([2; 32]) };
        Ceremony {
            owner: &self.owner,
            cluster: &self.cluster,
            memory: &mut self.memory,
            image,
            proved: None,
            listed: None,
            say: &|_| (),
        }
    }
}

fn page(lines: &[String], total: u64) -> Vec<u8> {
    answer(&LedgerResponse { entries: lines.to_vec(), total })
}

#[test]
fn a_fresh_kms_is_certified_after_its_share_is_kept() {
    let (mut bench, all) = (Bench::new(), lines(3));
    let serving = StatusResponse { list_version: 1, ..bench.status("serving", &all) };
    let mut kms = Scripted::of([
        ("Status", answer(&bench.status("unborn", &[]))),
        ("Bootstrap", ack()),
        ("Status", answer(&bench.status("uncertified", &all[..1]))),
        ("TakeShare", answer(&Share { epoch: 1, share: vec![3; 33] })),
        ("CertifyRoot", ack()),
        ("SetList", ack()),
        ("Status", answer(&serving)),
        ("Status", answer(&serving)),
        ("Ledger", page(&all[..2], 3)),
        ("Ledger", page(&all[2..], 3)),
    ]);
    bench.ceremony().lead(&mut kms).unwrap();
    assert!(kms.answers.is_empty());
    assert_eq!(bench.memory.share(1).unwrap().unwrap().epoch, 1);
    let seen = &bench.memory.seen;
    assert_eq!(seen.head, Some(head(&all)));
    assert_eq!(seen.root.as_ref().unwrap().identity, Ed25519Key([6; 32]));
    assert_eq!(seen.list.as_ref().unwrap().version, 1);
}

#[test]
fn a_restarted_kms_gets_the_share_and_goes_on_from_what_was_seen() {
    let (mut bench, all) = (Bench::new(), lines(4));
    let key_provider_id = bench.cluster.id();
    bench.memory.seen.head = Some(head(&all[..2]));
    let share = OwnShare { epoch: 1, bytes: zeroize::Zeroizing::new(vec![3; 33]) };
    bench.memory.keep_share(&share).unwrap();
    let image =
        KmsImage { os_image_hash: OsImageHash([1; 32]), compose_hash: ComposeHash([2; 32]) };
    bench.memory.seen.list = Some(KmsList { key_provider_id, version: 1, images: vec![image] });
    let serving = StatusResponse { list_version: 1, ..bench.status("serving", &all) };
    let mut kms = Scripted::of([
        ("Status", answer(&bench.status("locked", &all[..3]))),
        ("GiveShare", ack()),
        ("Status", answer(&bench.status("waiting", &all[..3]))),
        ("Ledger", page(&all[2..3], 3)),
        ("Resume", ack()),
        ("Status", answer(&serving)),
        ("Status", answer(&serving)),
        ("Ledger", page(&all[3..], 4)),
    ]);
    bench.ceremony().lead(&mut kms).unwrap();
    let (_, sent) = &kms.asked[4];
    let sent: SignedDocument = Arguments::Body(Encoding::Protobuf, sent).decode().unwrap();
    let payload =
        bench.owner.signed_by_this(sent.envelope.as_bytes(), payload_type::RESUMPTION).unwrap();
    let resumption: Resumption = serde_json::from_slice(&payload).unwrap();
    let expected = head(&all[..3]);
    assert_eq!((resumption.entries, resumption.head), (expected.entries, expected.hash));
    assert_eq!(resumption.member, Ed25519Key([5; 32]));
}

#[test]
fn nothing_is_signed_for_a_kms_whose_state_was_put_back() {
    let (mut bench, all) = (Bench::new(), lines(4));
    bench.memory.seen.head = Some(head(&all));
    let mut kms = Scripted::of([("Status", answer(&bench.status("waiting", &all[..2])))]);
    let failure = bench.ceremony().lead(&mut kms).unwrap_err();
    assert!(failure.to_string().contains("an older state was put back"), "{failure}");
    assert_eq!(kms.methods(), ["Status"]);
    assert_eq!(bench.memory.seen.head, Some(head(&all)));
}

#[test]
fn two_processes_do_not_go_on_from_one_entry_unless_an_owner_says_that_the_first_never_served() {
    let (mut bench, all) = (Bench::new(), lines(3));
    let first = bench.status("waiting", &all[..2]);
    let other = StatusResponse { member: vec![8; 32], ..first.clone() };
    let resume = || [("Ledger", page(&all[..2], 2)), ("Resume", ack())];
    bench.ceremony().resume(&mut Scripted::of(resume()), &first, false).unwrap();
    // Its answer was lost, or other owners have not signed yet.
    let again = || [("Resume", ack())];
    bench.ceremony().resume(&mut Scripted::of(again()), &first, false).unwrap();
    // The store was put back to where it was, and a second process runs on it.
    let failure = bench.ceremony().resume(&mut Scripted::of([]), &other, false).unwrap_err();
    assert!(failure.to_string().contains("goes on from entry 2"), "{failure}");
    assert_eq!(bench.memory.seen.resumed.unwrap().member, Ed25519Key([5; 32]));
    bench.ceremony().resume(&mut Scripted::of(again()), &other, true).unwrap();
    // Where entries came after, their counters are known.
    let later = StatusResponse { member: vec![9; 32], ..bench.status("waiting", &all) };
    let resume = [("Ledger", page(&all[2..], 3)), ("Resume", ack())];
    bench.ceremony().resume(&mut Scripted::of(resume), &later, false).unwrap();
}

#[test]
fn another_image_is_on_the_next_list() {
    let (mut bench, all) = (Bench::new(), lines(1));
    let key_provider_id = bench.owner.key_provider_id();
    bench.memory.seen.list = Some(KmsList { key_provider_id, version: 4, images: Vec::new() });
    let serving = StatusResponse { list_version: 4, ..bench.status("serving", &all) };
    let mut kms = Scripted::of([("SetList", ack())]);
    bench.ceremony().list(&mut kms, &serving).unwrap();
    assert_eq!(bench.memory.seen.list.as_ref().unwrap().version, 5);
    let known = StatusResponse { list_version: 5, ..serving };
    bench.ceremony().list(&mut Scripted::of([]), &known).unwrap();
}
