//! The state machine of one side: frames and verdicts in, frames and questions out.
//!
//! It does no I/O, reads no clock and judges no evidence; what it guarantees is order. Nothing but
//! [`Output::Open`] makes a channel, and that comes only after this side has proved what it must
//! and has accepted the proof of its peer for the binding of this very connection. Every rule
//! reports through [`unless`].

use protocol::channel::{
    Binding, Direction, EXPORTER_BYTES, Frame, Hello, Kind, MessageError, NONCE_BYTES, OwnerClaim,
    OwnerProof, Refusal, RefusalCode, Role,
};
use protocol::rule::unless;

/// What a side is, and what it wants its peer to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The role of this side.
    pub own: Role,
    /// Which side this is.
    pub side: Side,
}

/// The two ends of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that dialled; it proves first.
    Client {
        /// The role that the server must have.
        server: Role,
    },
    /// The side that was dialled; it always proves.
    Server {
        /// The roles that a client may have; it says in its greeting which it plays.
        clients: Vec<Role>,
    },
}

impl Side {
    fn direction(&self) -> Direction {
        match self {
            Self::Client { .. } => Direction::ClientToServer,
            Self::Server { .. } => Direction::ServerToClient,
        }
    }
}

/// What the TLS handshake of this connection showed to this side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// The application protocol that was negotiated.
    pub alpn: Vec<u8>,
    /// DER of this side's SubjectPublicKeyInfo.
    pub own_spki: Vec<u8>,
    /// The same of the peer.
    pub peer_spki: Vec<u8>,
    /// Keying material of [`protocol::channel::EXPORTER_LABEL`].
    pub exporter: [u8; EXPORTER_BYTES],
}

/// What the caller must do next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send this frame.
    Send(Frame),
    /// Get a quote over the report data of this binding, and give the proof to
    /// [`Machine::proved`].
    Prove(Binding),
    /// Sign these bytes with the owner's key, and give the proof to [`Machine::proved`].
    Sign(Vec<u8>),
    /// Judge the payload of a proof, whose quote must have the report data of this binding, and
    /// give the verdict to [`Machine::judged`].
    Judge {
        /// Payload of the frame.
        proof: Vec<u8>,
        /// This connection as the peer must see it.
        binding: Binding,
    },
    /// Check that this owner is one whom the measured file names and that the signature over the
    /// bytes is the key's; give the verdict to [`Machine::judged`].
    JudgeOwner {
        /// Key and signature.
        proof: OwnerProof,
        /// What must be signed.
        signed: Vec<u8>,
    },
    /// The channel is open.
    Open,
}

/// Why the machine ended without a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// a frame that this state does not take
    #[error("a frame {found:?} came while {wanted} was awaited")]
    Unexpected {
        /// The kind that came.
        found: Kind,
        /// What was awaited.
        wanted: &'static str,
    },
    /// a payload that cannot be read
    #[error("a frame {kind:?} cannot be read")]
    Message {
        /// The kind.
        kind: Kind,
        /// What is wrong with it.
        #[source]
        source: MessageError,
    },
    /// roles that do not fit
    #[error("the peer is {own:?} and expects {expected:?}; this side is {is:?} and has {side:?}")]
    Role {
        /// The peer's role.
        own: Role,
        /// The role that the peer expects.
        expected: Role,
        /// This side's role.
        is: Role,
        /// This side, with the roles that it takes.
        side: Side,
    },
    /// both nonces are equal
    #[error("the peer sent this side's own nonce")]
    Nonce,
    /// the peer refused
    #[error("the peer refuses ({:?}): {}", .0.code, .0.text)]
    Refused(Refusal),
    /// a call of the caller's that this state does not take
    #[error("{0} was given while nothing asked for it")]
    Caller(&'static str),
    /// the machine has ended
    #[error("the channel has ended")]
    Ended,
}

impl Violation {
    /// What the peer is told before the connection ends; nothing if it is the peer that refused.
    pub fn refusal(&self) -> Option<Refusal> {
        let code = match self {
            Self::Role { .. } => RefusalCode::Role,
            Self::Nonce => RefusalCode::Nonce,
            Self::Refused(_) | Self::Ended | Self::Caller(_) => return None,
            Self::Unexpected { .. } | Self::Message { .. } => RefusalCode::Protocol,
        };
        Some(Refusal::new(code, &self.to_string()))
    }
}

/// The state, named by what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    PeerHello,
    OwnProof,
    PeerVerdict,
    PeerProof,
    OwnVerdict,
    Open,
    Ended,
}

/// One side of a channel that comes to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    settings: Settings,
    session: Session,
    own_nonce: [u8; NONCE_BYTES],
    peer_nonce: [u8; NONCE_BYTES],
    /// The peer's role: what a client asked for, or what a server's client says that it is.
    peer: Role,
    state: State,
}

impl Machine {
    /// Begins behind a handshake, with a nonce that was never used before. The client speaks first.
    pub fn start(
        settings: Settings,
        session: Session,
        nonce: [u8; NONCE_BYTES],
    ) -> (Self, Vec<Output>) {
        let peer = match &settings.side {
            Side::Client { server } => *server,
            // Replaced by the greeting; until then it stands for the least that a client can be.
            Side::Server { .. } => Role::Unattested,
        };
        let (peer_nonce, state) = ([0; NONCE_BYTES], State::PeerHello);
        let machine = Self { settings, session, own_nonce: nonce, peer_nonce, peer, state };
        let first = match machine.settings.side {
            Side::Client { .. } => vec![machine.hello()],
            Side::Server { .. } => Vec::new(),
        };
        (machine, first)
    }

    /// Whether the channel is open.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Takes a frame of the peer. After an error the machine has ended.
    ///
    /// # Errors
    /// If the peer breaks the protocol, does not fit, or refuses.
    pub fn frame(&mut self, frame: &Frame) -> Result<Vec<Output>, Violation> {
        let outcome = self.step(frame);
        if outcome.is_err() {
            self.state = State::Ended;
        }
        outcome
    }

    fn step(&mut self, frame: &Frame) -> Result<Vec<Output>, Violation> {
        unless(self.state != State::Ended, || Violation::Ended)?;
        if frame.kind == Kind::Refused {
            let refusal = Refusal::decode(&frame.payload).map_err(unreadable(frame.kind))?;
            return Err(Violation::Refused(refusal));
        }
        self.check_order(frame.kind)?;
        match frame.kind {
            Kind::Hello => self.take_hello(&frame.payload),
            Kind::Accepted => Ok(self.take_acceptance()),
            Kind::Proof | Kind::Unattested | Kind::Owner => self.take_proof(frame),
            Kind::Refused => Err(Violation::Ended), // it was taken above
        }
    }

    /// Each state takes one kind of frame, or none.
    fn check_order(&self, found: Kind) -> Result<(), Violation> {
        let unexpected = |wanted| Violation::Unexpected { found, wanted };
        match self.state {
            State::PeerHello => unless(found == Kind::Hello, || unexpected("the peer's greeting")),
            State::PeerVerdict => {
                unless(found == Kind::Accepted, || unexpected("the peer's verdict"))
            }
            State::PeerProof => {
                unless(found == self.expected_proof(), || unexpected("the peer's proof"))
            }
            State::OwnProof | State::OwnVerdict => unless(false, || unexpected("nothing")),
            State::Open | State::Ended => {
                unless(false, || unexpected("nothing: the channel is open"))
            }
        }
    }

    /// Takes the frame in which this side proves, for [`Output::Prove`] or [`Output::Sign`].
    ///
    /// # Errors
    /// If nothing asked for one.
    pub fn proved(&mut self, proof: Frame) -> Result<Vec<Output>, Violation> {
        let asked = self.state == State::OwnProof;
        let fits = proof.kind == proof_of(self.settings.own);
        let given = unless(asked, || Violation::Caller("a proof"))
            .and_then(|()| unless(fits, || Violation::Caller("a proof of another role")));
        self.state = if given.is_ok() { State::PeerVerdict } else { State::Ended };
        given.map(|()| vec![Output::Send(proof)])
    }

    /// Takes the verdict on the peer's proof, for [`Output::Judge`] or [`Output::JudgeOwner`].
    ///
    /// # Errors
    /// If nothing asked for one.
    pub fn judged(&mut self, verdict: Result<(), Refusal>) -> Result<Vec<Output>, Violation> {
        let asked = unless(self.state == State::OwnVerdict, || Violation::Caller("a verdict"));
        if asked.is_err() {
            self.state = State::Ended;
        }
        asked?;
        match verdict {
            Ok(()) => self.accept(),
            Err(refusal) => {
                self.state = State::Ended;
                Ok(vec![Output::Send(refusal.frame())])
            }
        }
    }

    fn hello(&self) -> Output {
        let hello = Hello { own: self.settings.own, expected: self.peer, nonce: self.own_nonce };
        Output::Send(hello.frame())
    }

    fn take_hello(&mut self, payload: &[u8]) -> Result<Vec<Output>, Violation> {
        let hello = Hello::decode(payload).map_err(unreadable(Kind::Hello))?;
        let Hello { own, expected, .. } = hello;
        let role = || {
            let Settings { own: is, side } = self.settings.clone();
            Violation::Role { own, expected, is, side }
        };
        match &self.settings.side {
            Side::Client { server } => unless(own == *server, role)?,
            Side::Server { clients } => unless(clients.contains(&own), role)?,
        }
        unless(expected == self.settings.own, role)?;
        // Equal nonces are a reflection of this side's own greeting.
        unless(hello.nonce != self.own_nonce, || Violation::Nonce)?;
        (self.peer, self.peer_nonce) = (hello.own, hello.nonce);
        match self.settings.side {
            Side::Client { .. } => Ok(vec![self.prove()]),
            Side::Server { .. } => {
                self.state = State::PeerProof;
                Ok(vec![self.hello()])
            }
        }
    }

    /// This side's turn to prove. A client without evidence says so and awaits the server's proof.
    fn prove(&mut self) -> Output {
        self.state = State::OwnProof;
        match self.settings.own {
            Role::Owner => Output::Sign(self.owner_claim()),
            Role::Unattested => {
                self.state = State::PeerVerdict;
                Output::Send(Frame::empty(Kind::Unattested))
            }
            Role::Agent | Role::Pads | Role::App => Output::Prove(self.own_binding()),
        }
    }

    fn take_proof(&mut self, frame: &Frame) -> Result<Vec<Output>, Violation> {
        self.state = State::OwnVerdict;
        let proof = match self.peer {
            Role::Unattested => return self.accept(),
            Role::Owner => {
                let proof = OwnerProof::decode(&frame.payload).map_err(unreadable(frame.kind))?;
                Output::JudgeOwner { proof, signed: self.owner_claim() }
            }
            Role::Agent | Role::Pads | Role::App => {
                Output::Judge { proof: frame.payload.clone(), binding: self.peer_binding() }
            }
        };
        Ok(vec![proof])
    }

    /// The peer's proof counts: a client is done, a server proves in its turn.
    fn accept(&mut self) -> Result<Vec<Output>, Violation> {
        let accepted = Output::Send(Frame::empty(Kind::Accepted));
        match self.settings.side {
            Side::Client { .. } => {
                self.state = State::Open;
                Ok(vec![accepted, Output::Open])
            }
            Side::Server { .. } => Ok(vec![accepted, self.prove()]),
        }
    }

    /// The peer accepts this side's proof: a server is done, a client awaits the server's.
    fn take_acceptance(&mut self) -> Vec<Output> {
        match self.settings.side {
            Side::Client { .. } => {
                self.state = State::PeerProof;
                Vec::new()
            }
            Side::Server { .. } => {
                self.state = State::Open;
                vec![Output::Open]
            }
        }
    }

    fn expected_proof(&self) -> Kind {
        proof_of(self.peer)
    }

    fn nonces(&self) -> ([u8; NONCE_BYTES], [u8; NONCE_BYTES]) {
        match self.settings.side {
            Side::Client { .. } => (self.own_nonce, self.peer_nonce),
            Side::Server { .. } => (self.peer_nonce, self.own_nonce),
        }
    }

    /// This connection as this side sees it.
    fn own_binding(&self) -> Binding {
        let (client_nonce, server_nonce) = self.nonces();
        Binding {
            alpn: self.session.alpn.clone(),
            own: self.settings.own,
            expected: self.peer,
            direction: self.settings.side.direction(),
            own_spki: self.session.own_spki.clone(),
            peer_spki: self.session.peer_spki.clone(),
            exporter: self.session.exporter,
            client_nonce,
            server_nonce,
        }
    }

    /// The same as the peer must see it: roles, direction and keys change places.
    fn peer_binding(&self) -> Binding {
        let own = self.own_binding();
        Binding {
            own: own.expected,
            expected: own.own,
            direction: match own.direction {
                Direction::ClientToServer => Direction::ServerToClient,
                Direction::ServerToClient => Direction::ClientToServer,
            },
            own_spki: own.peer_spki,
            peer_spki: own.own_spki,
            ..own
        }
    }

    fn owner_claim(&self) -> Vec<u8> {
        let (client_nonce, server_nonce) = self.nonces();
        OwnerClaim {
            alpn: &self.session.alpn,
            exporter: &self.session.exporter,
            client_nonce: &client_nonce,
            server_nonce: &server_nonce,
        }
        .signed_bytes()
    }
}

/// The frame in which a role proves.
fn proof_of(role: Role) -> Kind {
    match role {
        Role::Agent | Role::Pads | Role::App => Kind::Proof,
        Role::Unattested => Kind::Unattested,
        Role::Owner => Kind::Owner,
    }
}

fn unreadable(kind: Kind) -> impl FnOnce(MessageError) -> Violation {
    move |source| Violation::Message { kind, source }
}
