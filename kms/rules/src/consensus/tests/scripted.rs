//! Histories that a random network meets too rarely, message by message.

use protocol::kms::{AppendResponse, RootCertificate, payload_type};

use super::*;
use crate::fixtures::{cluster, signed};
use crate::state::{certify_root, offer_epoch};

/// Longer than any member waits for its leader.
const LONG_MS: u64 = 10 * PATIENCE_MS;
/// The root that is offered.
const NEXT: Ed25519Key = Ed25519Key([44; 32]);

/// Members with one agreed history, which say only what the script lets them.
#[derive(Clone)]
struct Script {
    members: BTreeMap<Ed25519Key, Replica>,
    now: Time,
}

impl Script {
    fn of(count: u8, kms: &Kms) -> Self {
        let keys = std::iter::once(MEMBER).chain((2..=count).map(key));
        let member = |key| {
            let mut replica = Replica::new(key);
            replica.restore(kms.state.clone());
            (key, replica)
        };
        Self { members: keys.map(member).collect(), now: Time { ms: LONG_MS, clock_secs: 0 } }
    }

    fn member(&mut self, key: Ed25519Key) -> &mut Replica {
        self.members.get_mut(&key).unwrap()
    }

    /// Whether these give enough votes, in one of the terms that follow.
    fn elect(&mut self, candidate: Ed25519Key, voters: &[Ed25519Key]) -> bool {
        self.now.ms += LONG_MS;
        let now = self.now;
        for _ in 0..3 {
            self.member(candidate).ask_for_votes(false, now);
            for voter in voters {
                let Some(Question::Vote(asked)) = self.members[&candidate].question(voter) else {
                    continue;
                };
                let answer = self.member(*voter).vote(&candidate, &asked, now);
                self.member(candidate).voted(voter, &asked, &answer, now);
            }
            if self.members[&candidate].leader() == Some(candidate) {
                return true;
            }
        }
        false
    }

    /// The leader's message with its first lines alone arrives, and so does the answer.
    fn tell(&mut self, leader: Ed25519Key, to: Ed25519Key, lines: usize) -> AppendResponse {
        let now = self.now;
        let question = self.members[&leader].question(&to);
        let Some(Question::Append(mut asked)) = question else { panic!("{question:?}") };
        asked.lines.truncate(lines);
        let answer = self.member(to).append(&leader, &asked, now);
        self.member(leader).appended(&to, &asked, &answer, now);
        answer
    }

    /// The entry with which the term of a leader begins.
    fn begin(&mut self, leader: Ed25519Key) {
        let now = self.now;
        self.member(leader).begin_term(now);
    }

    fn agreed(&self, key: Ed25519Key) -> u64 {
        self.members[&key].state().entries()
    }
}

/// Figure 8 of Raft's paper: an entry of an earlier term that a majority has may still be replaced.
#[test]
fn a_leader_counts_members_only_for_entries_of_its_own_term() {
    let [one, two, three, four, five] = [MEMBER, key(2), key(3), key(4), key(5)];
    let mut script = Script::of(5, &of_members(5));
    let before = script.agreed(one);

    // One entry comes to the second member alone; the fifth one leads, and has another.
    assert!(script.elect(one, &[two, three]));
    script.begin(one);
    script.tell(one, two, 1);
    assert!(script.elect(five, &[three, four]));
    script.begin(five);

    // The first one leads again, and three of five have its entry: that is no agreement.
    assert!(script.elect(one, &[two, three]));
    for to in [two, three] {
        assert!(script.tell(one, to, 1).accepted);
    }
    assert_eq!(script.agreed(one), before);

    // With the entry of its own term it is one, and the fifth member leads no more.
    let mut goes_on = script.clone();
    for to in [two, three] {
        assert!(goes_on.tell(one, to, 2).accepted);
    }
    assert_eq!(goes_on.agreed(one), before + 2);
    assert!(!goes_on.elect(five, &[two, three, four]));

    // Without it the fifth one leads, and its history is everybody's.
    assert!(script.elect(five, &[three, four]));
    for to in [three, four] {
        assert!(script.tell(five, to, 2).accepted);
    }
    assert_eq!(script.agreed(five), before + 2);
    let entries = script.member(five).take_agreed();
    let head = script.members[&five].state().head();
    for other in [one, two, three, four] {
        if !script.tell(five, other, 0).accepted {
            script.member(other).install(&entries).unwrap();
        }
        assert_eq!(script.members[&other].state().head(), head, "two histories");
    }
}

#[test]
fn a_leader_whose_term_has_no_entry_agrees_on_nothing() {
    let [one, two, three] = [MEMBER, key(2), key(3)];
    let mut script = Script::of(3, &of_members(3));
    let before = script.agreed(one);
    assert!(script.elect(one, &[two]));
    script.begin(one);
    while script.members[&one].behind.len() < MAX_BEHIND {
        assert!(script.elect(one, &[two]));
    }
    assert!(script.elect(one, &[two]));
    for to in [two, three] {
        assert!(script.tell(one, to, MAX_BEHIND).accepted);
    }
    assert_eq!(script.agreed(one), before);
}

/// A ledger in which the root of a second epoch is offered, and the owners' certificate of it.
fn offered() -> (Kms, String) {
    let mut kms = of_members(3);
    let renewal = protocol::kms::Renewal::default();
    let entry = offer_epoch(&kms.state, NEXT, renewal.clone(), 0).unwrap();
    kms.append(entry);
    let (key_provider_id, epoch) = (cluster().id(), 2);
    let root = RootCertificate { key_provider_id, epoch, identity: NEXT, renewal: Some(renewal) };
    (kms, signed(payload_type::ROOT, &root, &[0, 2]))
}

#[test]
fn a_certificate_is_agreed_only_by_members_that_have_its_root() {
    let [one, two, three] = [MEMBER, key(2), key(3)];
    let (kms, envelope) = offered();
    let mut script = Script::of(3, &kms);
    assert!(script.elect(one, &[two]));
    script.begin(one);
    script.tell(one, two, 1);
    script.tell(one, two, 1);
    let begun = script.member(one).take_agreed();
    script.member(three).install(&begun).unwrap();
    let now = script.now;
    let before = script.agreed(three);
    let entry = certify_root(script.members[&one].state(), &envelope, 0).unwrap();

    // Neither the leader nor another member takes it without the root, or with another one.
    assert_eq!(script.member(one).propose(entry.clone(), now), Ok(Proposed::Late));
    script.member(one).hold(Roots { epoch: 1, offered: Some(NEXT) });
    assert_eq!(script.member(one).propose(entry.clone(), now), Ok(Proposed::Taken));
    for here in [None, Some(key(45))] {
        script.member(two).hold(Roots { epoch: 1, offered: here });
        assert!(!script.tell(one, two, 1).accepted);
        assert_eq!(script.agreed(one), before);
    }
    script.member(two).hold(Roots { epoch: 1, offered: Some(NEXT) });
    assert!(script.tell(one, two, 1).accepted);
    assert_eq!(script.agreed(one), before + 1);

    // It is agreed; who lacks the root installs what comes before it, and goes on with the root.
    let entries = [entry];
    let missing = Err(InstallError::Rootless(2));
    assert_eq!(script.member(three).install(&entries), missing);
    assert_eq!(script.agreed(three), before);
    script.member(three).hold(Roots { epoch: 2, offered: None });
    assert_eq!(script.member(three).install(&entries), Ok(()));
    assert_eq!(script.members[&three].state(), script.members[&one].state());
}
