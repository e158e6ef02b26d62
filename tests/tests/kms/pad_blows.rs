//! What is killed or cut in the middle of a run on Pads, and when.

use std::time::Duration;

use tests::dice::Dice;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A result in plain, by a program that is a service.
    Plain,
    /// A new Pad.
    Pad,
    /// Other policies for a Pad.
    Update,
}

impl Kind {
    /// Each kind.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Pad, Self::Update];
}

/// What ends in the middle of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Guest,
    Delegator,
    Runner,
    Program,
    Agent,
    Network,
    Caller,
}

impl Victim {
    /// Each of them, in the order in which they are struck.
    pub const ALL: [Self; 7] = [
        Self::Guest,
        Self::Runner,
        Self::Network,
        Self::Delegator,
        Self::Program,
        Self::Agent,
        Self::Caller,
    ];

    /// What the privileged service calls it, if that strikes.
    pub fn inside(self) -> Option<&'static str> {
        match self {
            Self::Runner => Some("runner"),
            Self::Program => Some("program"),
            Self::Agent => Some("agent"),
            _ => None,
        }
    }
}

/// What is done to a run.
#[derive(Debug, Clone, Copy)]
pub struct Blow {
    /// What ends.
    pub victim: Victim,
    /// In which run.
    pub kind: Kind,
    /// When: so many thousandths of the time that such a run takes, or of the bytes to the
    /// delegator.
    pub part: usize,
    /// By which signal, if it is a process.
    pub signal: &'static str,
    /// Whether a cut network is mended while the agent asks again.
    pub is_mended_soon: bool,
}

impl Blow {
    /// One of random choices.
    pub fn of(number: usize, victim: Victim, dice: &mut Dice) -> Self {
        // Each victim meets each kind; no program runs where policies are replaced.
        let kind = match victim {
            Victim::Program => [Kind::Plain, Kind::Pad][number % 2],
            _ => Kind::ALL[(number + number / Victim::ALL.len()) % Kind::ALL.len()],
        };
        let signal =
            if victim == Victim::Agent { "SIGKILL" } else { *dice.one(&["SIGKILL", "SIGABRT"]) };
        Self { victim, kind, part: dice.below(1000), signal, is_mended_soon: number / 2 % 2 == 1 }
    }

    /// When it is struck.
    pub fn of_time(&self, usual: Duration) -> Duration {
        usual.mul_f64(self.part as f64 / 1000.0)
    }
}
