//! Every state of the channel that an attacker on the network can reach, searched exhaustively.
//!
//! The machines are the product's; TLS connections, quotes and the attacker are modelled. The
//! attacker ends connections with keys of its own and with leaked ones, knows every proof that was
//! ever made, and lets a container of the victim's guest quote what it likes under the tag of
//! containers. Whoever takes a field out of the binding lets it win: each removal is shown to.

use std::collections::BTreeSet;

use channel::machine::{Machine, Output, Session, Settings, Side, Violation};
use protocol::channel::{Binding, Direction, Frame, Hello, Kind, Refusal, RefusalCode, Role};
use protocol::digest::ReportData;
use protocol::report_data::{self, TAG_BYTES};
use stateright::{Checker as _, Model, Property};

const ALPN: &[u8] = b"dstyx-test/1";
/// Keys that handshakes show.
const GUEST_KEY: u8 = 0xc1;
const KMS_KEY: u8 = 0x51;
const REPLICA_KEY: u8 = 0x71;
const ATTACKER_KEY: u8 = 0xa1;
/// The attacker's nonce, where it chooses a new one.
const ATTACKER_NONCE: u8 = 0xee;

/// What a quote says of the program behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Identity {
    Guest = 1,
    Kms = 2,
}

/// A quote: nobody but its platform makes it, and everybody may copy it.
type Quote = (Identity, [u8; 64]);

/// What is taken out of the binding, to see that something breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Exporter,
    Keys,
    Role,
    Direction,
    ClientNonce,
    ServerNonce,
}

impl Without {
    fn report_data(self, binding: &Binding) -> [u8; 64] {
        let mut binding = binding.clone();
        match self {
            Self::Nothing => {}
            Self::Exporter => binding.exporter = [0; 32],
            Self::Keys => (binding.own_spki, binding.peer_spki) = Default::default(),
            Self::Role => binding.own = Role::App,
            Self::Direction => binding.direction = Direction::ClientToServer,
            Self::ClientNonce => binding.client_nonce = [0; 32],
            Self::ServerNonce => binding.server_nonce = [0; 32],
        }
        let ReportData(bytes) = binding.report_data().expect("a role with a quote");
        bytes
    }
}

/// One end of a connection that an honest program holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct End {
    machine: Machine,
    identity: Identity,
    /// The identity that it accepts.
    wants: Identity,
    /// The end behind the same connection, if that is honest too; else the attacker has it.
    other: Option<usize>,
    /// Frames under way to this end from an honest one.
    inbox: Vec<Frame>,
    /// Whether it has proved itself on its connection.
    proved: bool,
    ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    ends: Vec<End>,
    /// Every quote that the attacker can copy.
    quotes: BTreeSet<Quote>,
    /// Every nonce that the attacker has read.
    nonces: BTreeSet<[u8; 32]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    /// The network delivers what an honest end has sent.
    Deliver(usize),
    /// The attacker greets with this nonce.
    Greet(usize, [u8; 32]),
    /// It sends a quote that it has.
    Present(usize, Quote),
    /// It sends one that a container of the guest made to its order.
    PresentContainers(usize),
    /// It accepts whatever it was sent.
    Accept(usize),
}

/// An end of a scenario before anything was sent.
struct Start {
    identity: Identity,
    wants: Identity,
    settings: Settings,
    own_key: u8,
    peer_key: u8,
    exporter: u8,
    nonce: u8,
    other: Option<usize>,
}

/// The ends of a scenario.
type Starts = fn() -> Vec<Start>;

struct Scenario {
    starts: Starts,
    without: Without,
}

impl Model for Scenario {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world =
            World { ends: Vec::new(), quotes: BTreeSet::new(), nonces: BTreeSet::new() };
        let mut first = Vec::new();
        for start in (self.starts)() {
            let session = Session {
                alpn: ALPN.to_vec(),
                own_spki: vec![start.own_key; 44],
                peer_spki: vec![start.peer_key; 44],
                exporter: [start.exporter; 32],
            };
            let (machine, outputs) = Machine::start(start.settings, session, [start.nonce; 32]);
            first.push(outputs);
            let (identity, wants, other) = (start.identity, start.wants, start.other);
            let (inbox, proved, ended) = (Vec::new(), false, false);
            world.ends.push(End { machine, identity, wants, other, inbox, proved, ended });
        }
        for (at, outputs) in first.into_iter().enumerate() {
            self.carry_out(&mut world, at, outputs);
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, end) in world.ends.iter().enumerate().filter(|(_, end)| !end.ended) {
            match end.other {
                Some(_) if end.inbox.is_empty() => {}
                Some(_) => actions.push(Action::Deliver(at)),
                None => {
                    let fresh = [ATTACKER_NONCE; 32];
                    let nonces = world.nonces.iter().copied().chain([fresh]);
                    actions.extend(nonces.map(|nonce| Action::Greet(at, nonce)));
                    let quotes = world.quotes.iter().copied();
                    actions.extend(quotes.map(|quote| Action::Present(at, quote)));
                    actions.push(Action::PresentContainers(at));
                    actions.push(Action::Accept(at));
                }
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Deliver(at) => {
                let frame = world.ends[at].inbox.remove(0);
                self.take(&mut world, at, &frame);
            }
            Action::Greet(at, nonce) => {
                let frame = greeting(&world.ends[at], nonce);
                self.take(&mut world, at, &frame);
            }
            Action::Present(at, quote) => self.take(&mut world, at, &proof(quote)),
            Action::PresentContainers(at) => self.take_containers(&mut world, at),
            Action::Accept(at) => self.take(&mut world, at, &Frame::empty(Kind::Accepted)),
        }
        // A frame that only ends a machine leads nowhere that matters.
        let ended = |world: &World| world.ends.iter().filter(|end| end.ended).count();
        (world != *last && ended(&world) == ended(last)).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "an open channel ends in the program that was proved",
                |_, world: &World| {
                    world.ends.iter().filter(|end| end.machine.is_open()).all(|end| {
                        let peer = end.other.map(|other| &world.ends[other]);
                        peer.is_some_and(|peer| peer.proved && peer.identity == end.wants)
                    })
                },
            ),
            Property::sometimes("a channel between honest programs opens", |_, world: &World| {
                let honest = world.ends.iter().filter(|end| end.other.is_some());
                world.ends.iter().all(|end| end.other.is_none())
                    || honest.clone().any(|end| end.machine.is_open())
            }),
        ]
    }
}

impl Scenario {
    fn take(&self, world: &mut World, at: usize, frame: &Frame) {
        let outcome = world.ends[at].machine.frame(frame);
        self.go_on(world, at, outcome);
    }

    /// A container of the guest quotes what would fit but for the tag, which is its own.
    fn take_containers(&self, world: &mut World, at: usize) {
        let mut trial = world.ends[at].machine.clone();
        let probe = proof((Identity::Guest, [0; 64]));
        let Ok(outputs) = trial.frame(&probe) else { return };
        let [Output::Judge { binding, .. }] = outputs.as_slice() else { return };
        let mut wanted = self.without.report_data(binding);
        wanted[..TAG_BYTES].copy_from_slice(report_data::Role::App.tag());
        self.take(world, at, &proof((Identity::Guest, wanted)));
    }

    fn go_on(&self, world: &mut World, at: usize, outcome: Result<Vec<Output>, Violation>) {
        match outcome {
            Ok(outputs) => self.carry_out(world, at, outputs),
            Err(_) => world.ends[at].ended = true,
        }
    }

    fn carry_out(&self, world: &mut World, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(frame) => send(world, at, frame),
                Output::Prove(binding) => {
                    let quote = (world.ends[at].identity, self.without.report_data(&binding));
                    world.quotes.insert(quote);
                    world.ends[at].proved = true;
                    let outcome = world.ends[at].machine.proved(proof(quote));
                    self.go_on(world, at, outcome);
                }
                Output::Judge { proof, binding } => {
                    let wants = world.ends[at].wants;
                    let wanted = self.without.report_data(&binding);
                    let fits = proof.first() == Some(&(wants as u8)) && proof[1..] == wanted;
                    let refusal = Refusal::new(RefusalCode::Evidence, "");
                    if !fits {
                        world.ends[at].ended = true;
                    }
                    let verdict = if fits { Ok(()) } else { Err(refusal) };
                    let outcome = world.ends[at].machine.judged(verdict);
                    self.go_on(world, at, outcome);
                }
                Output::Open => {}
                Output::Sign(_) | Output::JudgeOwner { .. } => unreachable!("no owner takes part"),
            }
        }
    }
}

/// The attacker reads what is sent to it; of what honest ends send each other it has the quotes.
fn send(world: &mut World, at: usize, frame: Frame) {
    if frame.kind == Kind::Hello {
        let hello = Hello::decode(&frame.payload).expect("an honest greeting");
        world.nonces.insert(hello.nonce);
    }
    if let Some(other) = world.ends[at].other {
        world.ends[other].inbox.push(frame);
    }
}

fn proof((identity, report_data): Quote) -> Frame {
    Frame { kind: Kind::Proof, payload: [&[identity as u8][..], &report_data].concat() }
}

/// A greeting that fits the end, as the attacker would send it.
fn greeting(end: &End, nonce: [u8; 32]) -> Frame {
    let (own, expected) = match (end.identity, end.wants) {
        (Identity::Guest, _) => (Role::App, Role::Agent),
        (Identity::Kms, Identity::Guest) => (Role::Agent, Role::App),
        (Identity::Kms, Identity::Kms) => (Role::App, Role::App),
    };
    Hello { own, expected, nonce }.frame()
}

/// A guest's agent that dials a KMS.
fn guest(peer_key: u8, exporter: u8, nonce: u8, other: Option<usize>) -> Start {
    let settings = Settings { own: Role::Agent, side: Side::Client { server: Role::App } };
    let (identity, wants, own_key) = (Identity::Guest, Identity::Kms, GUEST_KEY);
    Start { identity, wants, settings, own_key, peer_key, exporter, nonce, other }
}

/// A KMS that serves guests' agents.
fn kms(peer_key: u8, exporter: u8, nonce: u8, other: Option<usize>) -> Start {
    let side = Side::Server { clients: vec![Role::Agent] };
    let settings = Settings { own: Role::App, side };
    let (identity, wants, own_key) = (Identity::Kms, Identity::Guest, KMS_KEY);
    Start { identity, wants, settings, own_key, peer_key, exporter, nonce, other }
}

/// Two honest programs, connected.
fn direct() -> Vec<Start> {
    vec![guest(KMS_KEY, 3, 0x31, Some(1)), kms(GUEST_KEY, 3, 0x32, Some(0))]
}

/// The guest dials the attacker, which dials the KMS.
fn relay() -> Vec<Start> {
    vec![guest(ATTACKER_KEY, 1, 0x11, None), kms(ATTACKER_KEY, 2, 0x12, None)]
}

/// The same where keying material does not tell the two connections apart.
fn relay_with_one_exporter() -> Vec<Start> {
    vec![guest(ATTACKER_KEY, 1, 0x11, None), kms(ATTACKER_KEY, 1, 0x12, None)]
}

/// The same with the leaf keys of both programs leaked.
fn relay_with_leaked_keys() -> Vec<Start> {
    vec![guest(KMS_KEY, 4, 0x41, None), kms(GUEST_KEY, 5, 0x42, None)]
}

/// Beside an honest connection, one to the KMS whose randomness repeats, with the guest's key.
fn replay_to_the_kms() -> Vec<Start> {
    [direct(), vec![kms(GUEST_KEY, 3, 0x62, None)]].concat_starts()
}

/// The same to the guest, with the KMS's key.
fn replay_to_the_guest() -> Vec<Start> {
    [direct(), vec![guest(KMS_KEY, 3, 0x91, None)]].concat_starts()
}

/// A replica dials what it takes for another, and meets its own key.
fn reflection() -> Vec<Start> {
    let settings = Settings { own: Role::App, side: Side::Client { server: Role::App } };
    let (identity, wants) = (Identity::Kms, Identity::Kms);
    let (own_key, peer_key, exporter, nonce) = (REPLICA_KEY, REPLICA_KEY, 7, 0x71);
    vec![Start { identity, wants, settings, own_key, peer_key, exporter, nonce, other: None }]
}

/// Everything at once.
fn all() -> Vec<Start> {
    [direct(), relay(), relay_with_leaked_keys()].concat_starts()
}

trait ConcatStarts {
    fn concat_starts(self) -> Vec<Start>;
}

impl<const N: usize> ConcatStarts for [Vec<Start>; N] {
    fn concat_starts(self) -> Vec<Start> {
        self.into_iter().flatten().collect()
    }
}

/// Searches all states; whether the attacker wins in one.
fn attacker_wins(starts: Starts, without: Without) -> bool {
    let checker = Scenario { starts, without }.checker().spawn_bfs().join();
    assert!(checker.is_done() || !checker.discoveries().is_empty());
    let discoveries = checker.discoveries();
    println!("{without:?}: {} states", checker.unique_state_count());
    assert!(
        without != Without::Nothing
            || discoveries.contains_key("a channel between honest programs opens"),
        "honest programs cannot meet"
    );
    discoveries.contains_key("an open channel ends in the program that was proved")
}

const SCENARIOS: [Starts; 8] = [
    direct,
    relay,
    relay_with_one_exporter,
    relay_with_leaked_keys,
    replay_to_the_kms,
    replay_to_the_guest,
    reflection,
    all,
];

#[test]
fn no_attacker_opens_a_channel() {
    for starts in SCENARIOS {
        assert!(!attacker_wins(starts, Without::Nothing));
    }
}

#[test]
fn each_field_of_the_binding_stops_an_attack() {
    let attacks: [(Without, Starts); 6] = [
        (Without::Exporter, relay_with_leaked_keys),
        (Without::Keys, relay_with_one_exporter),
        (Without::Role, relay),
        (Without::Direction, reflection),
        (Without::ClientNonce, replay_to_the_guest),
        (Without::ServerNonce, replay_to_the_kms),
    ];
    for (without, starts) in attacks {
        assert!(attacker_wins(starts, without), "without {without:?} nothing breaks");
    }
}
