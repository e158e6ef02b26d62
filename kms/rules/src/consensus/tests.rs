//! Members in one thread, with a network that loses, doubles and delays, and hosts that end
//! processes.

mod scripted;

use std::collections::BTreeMap;

use protocol::digest::PlatformId;
use protocol::kms::{AppendResponse, VoteResponse};

use super::*;
use crate::fixtures::{Kms, MEMBER, guest, policy_file};
use crate::guest::Guest;
use crate::policy::Instances;
use crate::state::{admit, open_disk};

const TICK_MS: u64 = 50;

enum Mail {
    Question(Question),
    Appended(AppendRequest, AppendResponse),
    Voted(VoteRequest, VoteResponse),
}

/// Processes and what is under way between them.
struct World {
    replicas: BTreeMap<Ed25519Key, Replica>,
    /// What each stored.
    stored: BTreeMap<Ed25519Key, Vec<Entry>>,
    mail: Vec<(Ed25519Key, Ed25519Key, Mail)>,
    /// Pairs that do not reach each other.
    cut: BTreeSet<(Ed25519Key, Ed25519Key)>,
    leaders: BTreeMap<u64, Ed25519Key>,
    now_ms: u64,
    random: u64,
    /// Of a hundred messages, how many are lost.
    loss: u64,
}

fn key(byte: u8) -> Ed25519Key {
    Ed25519Key([byte; 32])
}

/// The process of a replica, on the platform with its number.
fn process(state: &State, platform: u8) -> Guest {
    let pair = state.list().unwrap().images[0];
    let platform_ids = vec![PlatformId([platform; 16])];
    let Guest { tcb_date_secs, collateral_issued_secs, .. } = guest();
    let (os_image_hash, compose_hash) = (pair.os_image_hash, pair.compose_hash);
    Guest {
        os_image_hash,
        compose_hash,
        platform_ids,
        tcb_date_secs,
        collateral_issued_secs,
        ..guest()
    }
}

/// A ledger whose policy allows this many members, led by [`MEMBER`] on the platform 1.
fn begun(replicas: u8) -> Kms {
    let mut file = policy_file(1);
    (file.replicas, file.platform_ids) = (Some(replicas), None);
    file.apps[0].instances = Instances::Number(100);
    let mut kms = Kms::with_policy(&file);
    kms.release(&guest()).unwrap();
    kms
}

/// A ledger with members 1 to `count`, each on the platform of its number; the first is [`MEMBER`].
fn of_members(count: u8) -> Kms {
    let mut kms = begun(count);
    for platform in 2..=count {
        let (new, own) = (process(&kms.state, platform), PlatformId([1; 16]));
        let entry = admit(&kms.state, (&new, key(platform)), (&MEMBER, own), 0).unwrap();
        kms.append(entry.unwrap());
    }
    kms
}

impl World {
    /// With members 1 to `count`, each on the platform of its number; the first is [`MEMBER`].
    fn of(count: u8, seed: u64) -> Self {
        let kms = of_members(count);
        let mut world = Self {
            replicas: BTreeMap::new(),
            stored: BTreeMap::new(),
            mail: Vec::new(),
            cut: BTreeSet::new(),
            leaders: BTreeMap::new(),
            now_ms: 0,
            random: seed.wrapping_mul(2).wrapping_add(1),
            loss: 0,
        };
        for member in std::iter::once(MEMBER).chain((2..=count).map(key)) {
            world.start(member, &kms);
        }
        world
    }

    fn start(&mut self, member: Ed25519Key, kms: &Kms) {
        let mut replica = Replica::new(member);
        replica.restore(kms.state.clone());
        replica.wait(self.now());
        self.replicas.insert(member, replica);
        self.stored.insert(member, kms.entries.clone());
    }

    fn now(&self) -> Time {
        Time { ms: self.now_ms, clock_secs: 0 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn post(&mut self, from: Ed25519Key, to: Ed25519Key, mail: Mail) {
        if !self.cut.contains(&(from, to)) && self.random(100) >= self.loss {
            self.mail.push((from, to, mail));
        }
    }

    /// One tick, in which some of what is under way arrives, in any order.
    fn step(&mut self) {
        self.now_ms += TICK_MS;
        let now = self.now();
        let keys: Vec<_> = self.replicas.keys().copied().collect();
        for from in &keys {
            let replica = self.replicas.get_mut(from).unwrap();
            replica.tick(now);
            let questions: Vec<_> = keys
                .iter()
                .filter_map(|to| replica.question(to).map(|question| (*to, question)))
                .collect();
            for (to, question) in questions {
                self.post(*from, to, Mail::Question(question));
            }
        }
        // Where messages are lost, some come late as well, behind newer ones.
        let late = if self.loss == 0 { 0 } else { self.random(self.mail.len() as u64 + 1) / 2 };
        for _ in late..self.mail.len() as u64 {
            let at = usize::try_from(self.random(self.mail.len() as u64)).unwrap();
            let (from, to, mail) = self.mail.swap_remove(at);
            self.arrive(from, to, mail, now);
        }
        self.check();
    }

    fn arrive(&mut self, from: Ed25519Key, to: Ed25519Key, mail: Mail, now: Time) {
        let Some(replica) = self.replicas.get_mut(&to) else { return };
        match mail {
            Mail::Question(Question::Append(asked)) => {
                let answer = replica.append(&from, &asked, now);
                self.post(to, from, Mail::Appended(asked, answer));
                self.fetch(to);
            }
            Mail::Question(Question::Vote(asked)) => {
                let answer = replica.vote(&from, &asked, now);
                self.post(to, from, Mail::Voted(asked, answer));
            }
            Mail::Appended(asked, answer) => replica.appended(&from, &asked, &answer, now),
            Mail::Voted(asked, answer) => replica.voted(&from, &asked, &answer, now),
        }
    }

    /// Fetches from another one's store what is missing.
    fn fetch(&mut self, to: Ed25519Key) {
        let replica = self.replicas.get_mut(&to).unwrap();
        let Some(ahead) = replica.ahead.filter(|ahead| replica.take_ahead(ahead)) else { return };
        let own = usize::try_from(replica.state().entries()).unwrap();
        if let Some(missing) = self.stored.get(&ahead).and_then(|stored| stored.get(own..)) {
            replica.install(missing).unwrap();
        }
    }

    /// What must hold at every moment.
    fn check(&mut self) {
        for (member, replica) in &mut self.replicas {
            self.stored.get_mut(member).unwrap().extend(replica.take_agreed());
            if matches!(replica.role, Role::Leader { .. }) {
                let known = *self.leaders.entry(replica.term).or_insert(*member);
                assert_eq!(known, *member, "two leaders in the term {}", replica.term);
            }
        }
        let longest = self.stored.values().max_by_key(|stored| stored.len()).unwrap();
        for stored in self.stored.values() {
            assert_eq!(stored[..], longest[..stored.len()], "two histories");
        }
    }

    fn leader(&self) -> Option<Ed25519Key> {
        let mut leading =
            self.replicas.values().filter(|replica| replica.leader() == Some(replica.own));
        leading.next().map(|replica| replica.own)
    }

    /// Lets one member decide once; says whether the leader took it.
    fn decide(&mut self, by: Ed25519Key) -> bool {
        let Some(leader) = self.leader() else { return false };
        let state = self.replicas[&by].state();
        let Ok(entry) = open_disk(state, &guest(), &by, 0) else { return false };
        let now = self.now();
        self.replicas.get_mut(&leader).unwrap().propose(entry, now) == Ok(Proposed::Taken)
    }

    /// Decides until one more entry of the kind is agreed everywhere that is named.
    fn agrees(&mut self, members: &[Ed25519Key], steps: usize) -> bool {
        let counts = |world: &Self| -> Vec<_> {
            members.iter().map(|member| world.opened(member)).collect()
        };
        let before = counts(self);
        for _ in 0..steps {
            self.decide(members[0]);
            self.step();
            if counts(self).iter().zip(&before).all(|(now, before)| now > before) {
                return true;
            }
        }
        false
    }

    fn opened(&self, member: &Ed25519Key) -> usize {
        let opened = |entry: &&Entry| matches!(entry.kind, Kind::Opened(_));
        self.stored[member].iter().filter(opened).count()
    }

    fn isolate(&mut self, member: Ed25519Key) {
        for other in self.replicas.keys() {
            self.cut.extend([(member, *other), (*other, member)]);
        }
    }
}

#[test]
fn a_process_alone_agrees_with_itself_at_once_and_leads_from_the_start() {
    let mut kms = Kms::default();
    let mut replica = Replica::new(MEMBER);
    let now = Time { ms: 0, clock_secs: 0 };
    for entry in begun(1).entries {
        match entry.index {
            0 => replica.go_alone(&entry, now).unwrap(),
            _ => assert_eq!(replica.propose(entry.clone(), now), Ok(Proposed::Taken)),
        }
        kms.append(entry);
    }
    replica.tick(Time { ms: 1_000_000, clock_secs: 0 });
    assert_eq!(replica.leader(), Some(MEMBER));
    assert_eq!(replica.take_agreed(), kms.entries);
    assert_eq!(*replica.state(), kms.state);
}

#[test]
fn three_members_agree_and_one_that_ends_is_not_missed() {
    let mut world = World::of(3, 1);
    let all = [MEMBER, key(2), key(3)];
    assert!(world.agrees(&all, 400));
    let leader = world.leader().unwrap();
    world.replicas.remove(&leader);
    let rest: Vec<_> = all.into_iter().filter(|member| *member != leader).collect();
    assert!(world.agrees(&rest, 400));
}

#[test]
fn a_majority_is_one_of_all_members_and_short_by_one_agrees_on_nothing() {
    let mut world = World::of(3, 2);
    assert!(world.agrees(&[MEMBER, key(2), key(3)], 400));
    world.replicas.remove(&key(2));
    world.replicas.remove(&key(3));
    assert!(!world.agrees(&[MEMBER], 400));
    assert_eq!(world.leader(), None, "nobody leads without a majority");
    // Four need three.
    let mut world = World::of(4, 2);
    world.isolate(key(2));
    assert!(world.agrees(&[MEMBER, key(3), key(4)], 400));
    world.isolate(key(3));
    assert!(!world.agrees(&[MEMBER, key(4)], 400));
}

#[test]
fn fresh_processes_are_no_majority_and_their_votes_count_for_nothing() {
    let mut world = World::of(3, 3);
    assert!(world.agrees(&[MEMBER, key(2), key(3)], 400));
    // The host ends two and starts two with everything that was agreed.
    let entries = world.stored[&MEMBER].clone();
    let kms = Kms { state: State::replay(&entries).unwrap(), entries };
    for (ended, fresh) in [(key(2), key(12)), (key(3), key(13))] {
        world.replicas.remove(&ended);
        world.start(fresh, &kms);
    }
    assert!(!world.agrees(&[MEMBER], 400));
    // Nobody asks them, they ask nobody, and a vote that one gives is counted nowhere.
    let now = world.now();
    for fresh in [key(12), key(13)] {
        assert_eq!(world.replicas[&fresh].question(&MEMBER), None);
        assert_eq!(world.replicas[&MEMBER].question(&fresh), None);
        assert_ne!(world.replicas[&fresh].leader(), Some(fresh));
    }
    let asked = VoteRequest { term: 1000, trial: false, entries: 1000, last_term: 1000 };
    let member = world.replicas.get_mut(&MEMBER).unwrap();
    assert!(!member.vote(&key(12), &asked, now).granted);
    member.ask_for_votes(false, now);
    let asked = VoteRequest { term: member.term, trial: false, entries: 0, last_term: 0 };
    let granted = VoteResponse { term: member.term, granted: true };
    for fresh in [key(12), key(13)] {
        member.voted(&fresh, &asked, &granted, now);
    }
    assert_eq!(member.leader(), None);
    member.voted(&key(2), &asked, &granted, now);
    assert_eq!(member.leader(), Some(MEMBER), "one of three and itself are a majority");
}

#[test]
fn a_process_that_started_again_takes_its_own_place_by_a_majority_of_the_others() {
    let mut world = World::of(3, 4);
    assert!(world.agrees(&[MEMBER, key(2), key(3)], 400));
    world.replicas.remove(&key(3));
    let entries = world.stored[&MEMBER].clone();
    let kms = Kms { state: State::replay(&entries).unwrap(), entries };
    world.start(key(13), &kms);
    let own = PlatformId([1; 16]);
    for _ in 0..400 {
        world.step();
        let state = world.replicas[&MEMBER].state().clone();
        let new = process(&state, 3);
        let entry = admit(&state, (&new, key(13)), (&MEMBER, own), 0).unwrap();
        let (Some(entry), Some(leader)) = (entry, world.leader()) else { continue };
        let now = world.now();
        world.replicas.get_mut(&leader).unwrap().propose(entry, now).unwrap();
    }
    let members = world.replicas[&MEMBER].state().members().clone();
    assert!(members.is_enrolled(&key(13)) && !members.is_enrolled(&key(3)));
    assert_eq!(members.len(), 3);
    assert!(world.agrees(&[MEMBER, key(2), key(13)], 400));
    // It counts now: with it one more may end.
    world.replicas.remove(&key(2));
    assert!(world.agrees(&[MEMBER, key(13)], 400));
}

#[test]
fn of_two_members_none_takes_the_place_of_the_other_alone() {
    let mut world = World::of(2, 5);
    let now = world.now();
    world.replicas.get_mut(&MEMBER).unwrap().ask_for_votes(true, now);
    assert!(world.agrees(&[MEMBER, key(2)], 400));
    (0..20).for_each(|_| world.step());
    assert_eq!(world.leader(), Some(MEMBER));
    world.replicas.remove(&key(2));
    let state = world.replicas[&MEMBER].state().clone();
    let new = process(&state, 2);
    let now = world.now();
    let member = world.replicas.get_mut(&MEMBER).unwrap();
    let entry = admit(&state, (&new, key(12)), (&MEMBER, PlatformId([1; 16])), 0);
    let entry = entry.unwrap().unwrap();
    assert!(matches!(entry.kind, Kind::MemberRemoved(_)));
    assert_eq!(member.propose(entry, now), Ok(Proposed::Taken));
    for _ in 0..400 {
        world.step();
    }
    assert_eq!(world.replicas[&MEMBER].state().members().len(), 2);
    assert_eq!(world.leader(), None);
}

#[test]
fn a_member_that_was_cut_off_disturbs_nobody_and_catches_up() {
    let mut world = World::of(3, 6);
    assert!(world.agrees(&[MEMBER, key(2), key(3)], 400));
    let cut = [key(2), key(3)].into_iter().find(|key| world.leader() != Some(*key)).unwrap();
    world.isolate(cut);
    let rest: Vec<_> = [MEMBER, key(2), key(3)].into_iter().filter(|key| *key != cut).collect();
    for _ in 0..5 {
        assert!(world.agrees(&rest, 400));
    }
    let (leader, term) = (world.leader(), world.replicas[&MEMBER].term);
    world.cut.clear();
    for _ in 0..200 {
        world.step();
    }
    assert_eq!((world.leader(), world.replicas[&MEMBER].term), (leader, term));
    assert_eq!(world.stored[&cut].len(), world.stored[&MEMBER].len());
}

#[test]
fn members_whose_clocks_all_run_wild_agree_on_one_history_all_the_same() {
    for seed in 0..60 {
        let mut world = World::of(3 + 2 * u8::try_from(seed % 2).unwrap(), seed);
        world.loss = 10 + world.random(40);
        let members: Vec<_> = world.replicas.keys().copied().collect();
        for _ in 0..250 {
            for member in &members {
                let (gives_up, stands) = (world.random(10) == 0, world.random(12) == 0);
                let now = world.now();
                let replica = world.replicas.get_mut(member).unwrap();
                if gives_up && !matches!(replica.role, Role::Leader { .. }) {
                    replica.follow(None, now);
                }
                if stands && replica.leader().is_none() {
                    replica.ask_for_votes(false, now);
                }
            }
            let leader = world.leader().unwrap_or(MEMBER);
            match world.random(12) {
                0 => world.isolate(leader),
                1..=4 => world.cut.clear(),
                _ => {}
            }
            world.decide(leader);
            world.step();
        }
        world.cut.clear();
        world.loss = 0;
        assert!(world.agrees(&members, 600), "seed {seed}: no agreement in peace");
    }
}

#[test]
fn whatever_is_lost_or_cut_there_is_one_history_and_no_counter_twice() {
    for seed in 0..24 {
        let mut world = World::of(3 + u8::try_from(seed % 3).unwrap(), seed);
        world.loss = world.random(40);
        let members: Vec<_> = world.replicas.keys().copied().collect();
        for _ in 0..600 {
            match world.random(60) {
                0 => world.isolate(members[usize::try_from(seed).unwrap() % members.len()]),
                1 => {
                    let leader = world.leader().unwrap_or(MEMBER);
                    world.isolate(leader);
                }
                2..=5 => world.cut.clear(),
                _ => {}
            }
            let by = members[usize::try_from(world.random(members.len() as u64)).unwrap()];
            world.decide(by);
            world.step();
        }
        world.cut.clear();
        world.loss = 0;
        assert!(world.agrees(&members, 600), "seed {seed}: no agreement in peace");
    }
}
