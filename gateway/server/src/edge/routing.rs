//! Whom a name means, and how one of its instances is reached.

use super::*;

use gateway_rules::choice;
use gateway_rules::custom::{Answer, CustomError, RecordNames};
use gateway_rules::guests::TunnelId;
use gateway_rules::limits::LimitError;
use gateway_rules::names::{self, Name, NameError, RouteId};
use protocol::digest::InstanceId;

use crate::own_pages::Page;
use crate::slots::{AppSlot, Load};

/// Why a client is not led anywhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// no name of this gateway
    #[error(transparent)]
    Name(#[from] NameError),
    /// a domain of others that leads nowhere
    #[error(transparent)]
    Custom(#[from] CustomError),
    /// no such app or instance
    #[error("no guest of app or instance {0} is known")]
    Unknown(RouteId),
    /// the app has too many connections
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// no instance answers
    #[error("no instance can be reached")]
    Unreachable,
}

/// Where a client is led.
pub(super) enum Target {
    /// A page of the gateway's own.
    Own(Page),
    /// An app: its instances, and the connection's slot among the app's.
    App(Destination, Vec<Candidate>, AppSlot),
}

/// A stream to an instance.
pub(super) struct Reached<S> {
    /// The stream.
    pub(super) stream: S,
    /// Whether the app wants to be told who connected.
    pub(super) header: bool,
    /// The connection among the instance's.
    pub(super) _load: Load,
}

impl<C: Carrier, T: Txt> Edge<C, T> {
    /// Whom a name means. The connection is counted for its app before anything else is done.
    pub(super) async fn target(&self, name: &DomainName, slot: &Slot) -> Result<Target, Refused> {
        let destination = match names::read(name, &self.settings.bases)? {
            Name::Gateway(base) => return Ok(Target::Own(Page::Gateway(base))),
            Name::Health(_) => return Ok(Target::Own(Page::Health)),
            Name::App(destination, _) => destination,
            Name::Custom(name) => self.custom(name).await?,
        };
        let found = locked(&self.guests).find(destination.id, destination.port);
        let (app, candidates) = found.ok_or(Refused::Unknown(destination.id))?;
        Ok(Target::App(destination, candidates, slot.of_app(app)?))
    }

    /// Where a domain of others leads, as its records say or said not long ago.
    async fn custom(&self, name: DomainName) -> Result<Destination, CustomError> {
        if let Some(known) = locked(&self.cache).get(&name, self.begun.elapsed()) {
            return known.clone();
        }
        let names = RecordNames::of(&name);
        let busy = || CustomError::Unanswered(name.to_string());
        let _room = self.lookups.try_acquire().map_err(|_| busy())?;
        let none = async {
            match &names.wildcard {
                Some(place) => self.txt.ask(place).await,
                None => (Answer::Records(Vec::new()), Duration::MAX),
            }
        };
        let asked =
            async { tokio::join!(self.txt.ask(&names.exact), self.txt.ask(&names.older), none) };
        let asked = timeout(self.settings.times.dns, asked).await;
        let failed = || (Answer::Failed, Duration::ZERO);
        let (exact, older, wildcard) = asked.unwrap_or_else(|_| (failed(), failed(), failed()));
        let ttl = exact.1.min(older.1).min(wildcard.1);
        let outcome = names.read(&exact.0, &older.0, &wildcard.0);
        locked(&self.cache).put(name, outcome.clone(), ttl, self.begun.elapsed());
        outcome
    }

    /// Opens a stream to the best instance that answers, all tries within one time.
    pub(super) async fn reach(
        &self,
        client: IpAddr,
        port: NonZeroU16,
        candidates: Vec<Candidate>,
    ) -> Result<Reached<C::Stream>, Refused> {
        let until = Instant::now() + self.settings.times.connect;
        let order = choice::order(client, candidates);
        for (index, instance) in order.iter().enumerate() {
            // One that does not answer leaves time for the next ones.
            let tries = (order.len() - index).min(budgets::NEAREST) as u32;
            let left = until.saturating_duration_since(Instant::now());
            let load = Load::on(&self.guests, *instance);
            match timeout(left / tries, self.try_one(*instance, port)).await {
                Ok(Some((stream, header))) => return Ok(Reached { stream, header, _load: load }),
                Ok(None) | Err(_) if left.is_zero() => break,
                Ok(None) | Err(_) => {}
            }
        }
        Err(Refused::Unreachable)
    }

    /// Tries one instance through each of its tunnels.
    async fn try_one(&self, instance: InstanceId, port: NonZeroU16) -> Option<(C::Stream, bool)> {
        let (tunnels, header): (Vec<TunnelId>, bool) = {
            let guests = locked(&self.guests);
            let (tunnels, header) = guests.way(instance, port)?;
            (tunnels.to_vec(), header)
        };
        for tunnel in tunnels {
            match self.carrier.open(tunnel, port).await {
                Ok(stream) => return Some((stream, header)),
                Err(error) => tracing::debug!("instance {instance}: {error}"),
            }
        }
        None
    }
}
