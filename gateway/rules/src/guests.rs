//! The guests that may be reached: which instance of which app, and by which tunnels.
//!
//! What is known of a guest comes from its judged evidence and its KMS's release statement, never
//! from what it asks for. Two guests may show one identity, as a host can clone a disk: the newer
//! open counter, which the KMS gave, ends the older one's tunnels and keeps it out.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use protocol::app_compose::PortPolicy;
use protocol::digest::{AppId, InstanceId};

use crate::budgets::MAX_INSTANCES;
use crate::choice::Candidate;
use crate::names::RouteId;

/// Tunnels of one guest at a time: two to four to each of two or three gateways.
pub const MAX_TUNNELS: usize = 4;
/// How long the counter of a guest that is gone is remembered. Its release statement, without which
/// an older one cannot return, holds for an hour.
pub const REMEMBERED: Duration = Duration::from_secs(2 * 3600);

/// Why a guest is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// a newer guest of the same identity is known
    #[error("open counter {found} is older than {newest}, which this instance has shown")]
    Older {
        /// The guest's counter.
        found: u64,
        /// The newest one.
        newest: u64,
    },
    /// an app id that is an instance id, or the reverse
    #[error("app {app} and instance {instance} share a name with an instance or an app of others")]
    Ambiguous {
        /// The guest's app.
        app: AppId,
        /// The guest's instance.
        instance: InstanceId,
    },
    /// the instance is of another app
    #[error("instance {0} is of another app")]
    OtherApp(InstanceId),
    /// too many instances
    #[error("app {0} has {MAX_INSTANCES} instances, which is all that are routed")]
    Instances(AppId),
    /// too many tunnels
    #[error("the guest has {MAX_TUNNELS} tunnels, which is all that it may have")]
    Tunnels,
}

/// What was verified of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// The app.
    pub app: AppId,
    /// The instance.
    pub instance: InstanceId,
    /// What the KMS counted when this guest opened its disk.
    pub open_counter: u64,
    /// What the measured file says about ports.
    pub ports: PortPolicy,
}

/// One tunnel of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u64);

#[derive(Debug)]
struct Guest {
    facts: GuestFacts,
    tunnels: Vec<TunnelId>,
    ready: bool,
    load: u32,
    /// Since when it has no tunnel.
    gone: Option<Duration>,
}

/// All of them. Times are durations since the gateway's start.
#[derive(Debug, Default)]
pub struct Guests {
    instances: BTreeMap<InstanceId, Guest>,
    apps: BTreeMap<AppId, Vec<InstanceId>>,
}

impl Guests {
    /// Admits a guest's tunnel; gives the tunnels that end because an older guest had them.
    ///
    /// # Errors
    /// If it is not the newest guest of its identity, or its identity has two meanings.
    pub fn admit(
        &mut self,
        facts: GuestFacts,
        tunnel: TunnelId,
        now: Duration,
    ) -> Result<Vec<TunnelId>, AdmitError> {
        self.forget(now);
        let (app, instance) = (facts.app, facts.instance);
        self.check_names(app, instance)?;
        let Some(known) = self.instances.get_mut(&instance) else {
            let siblings = self.apps.entry(app).or_default();
            if siblings.len() >= MAX_INSTANCES {
                return Err(AdmitError::Instances(app));
            }
            siblings.push(instance);
            let tunnels = vec![tunnel];
            let guest = Guest { facts, tunnels, ready: false, load: 0, gone: None };
            self.instances.insert(instance, guest);
            return Ok(Vec::new());
        };
        let (found, newest) = (facts.open_counter, known.facts.open_counter);
        if found < newest {
            return Err(AdmitError::Older { found, newest });
        }
        let mut ended = Vec::new();
        if found > newest {
            ended = std::mem::take(&mut known.tunnels);
            known.ready = false;
        }
        if known.tunnels.len() >= MAX_TUNNELS {
            return Err(AdmitError::Tunnels);
        }
        known.facts = facts;
        known.tunnels.push(tunnel);
        known.gone = None;
        Ok(ended)
    }

    /// A name must not lead to an app and to an instance of another one.
    fn check_names(&self, app: AppId, instance: InstanceId) -> Result<(), AdmitError> {
        let known = self.instances.get(&instance);
        if known.is_some_and(|guest| guest.facts.app != app) {
            return Err(AdmitError::OtherApp(instance));
        }
        let shared = app.0 == instance.0
            || self.instances.contains_key(&InstanceId(app.0))
            || self.apps.contains_key(&AppId(instance.0));
        if shared { Err(AdmitError::Ambiguous { app, instance }) } else { Ok(()) }
    }

    /// A tunnel has ended.
    pub fn leave(&mut self, instance: InstanceId, tunnel: TunnelId, now: Duration) {
        if let Some(guest) = self.instances.get_mut(&instance) {
            guest.tunnels.retain(|known| *known != tunnel);
            if guest.tunnels.is_empty() && guest.gone.is_none() {
                guest.gone = Some(now);
                guest.ready = false;
            }
        }
    }

    /// The guest says whether its app is ready. A tunnel that has ended says nothing.
    pub fn ready(&mut self, instance: InstanceId, tunnel: TunnelId, ready: bool) {
        if let Some(guest) = self.instances.get_mut(&instance)
            && guest.tunnels.contains(&tunnel)
        {
            guest.ready = ready;
        }
    }

    /// A connection to an instance begins.
    pub fn begin(&mut self, instance: InstanceId) {
        if let Some(guest) = self.instances.get_mut(&instance) {
            guest.load = guest.load.saturating_add(1);
        }
    }

    /// It has ended.
    pub fn end(&mut self, instance: InstanceId) {
        if let Some(guest) = self.instances.get_mut(&instance) {
            guest.load = guest.load.saturating_sub(1);
        }
    }

    /// The app behind a name, and those of its instances that can be reached and allow the port.
    pub fn find(&self, id: RouteId, port: NonZeroU16) -> Option<(AppId, Vec<Candidate>)> {
        let one = InstanceId(id.0);
        let (app, instances) = match self.apps.get_key_value(&AppId(id.0)) {
            Some((app, instances)) => (*app, instances.as_slice()),
            None => (self.instances.get(&one)?.facts.app, std::slice::from_ref(&one)),
        };
        let guests = instances.iter().filter_map(|instance| self.instances.get(instance));
        let open =
            guests.filter(|guest| !guest.tunnels.is_empty() && guest.facts.ports.allows(port));
        let candidates = open.map(|guest| Candidate {
            id: guest.facts.instance,
            ready: guest.ready,
            load: guest.load,
        });
        Some((app, candidates.collect()))
    }

    /// Tunnels of an instance and whether its app wants a header on this port.
    pub fn way(&self, instance: InstanceId, port: NonZeroU16) -> Option<(&[TunnelId], bool)> {
        let guest = self.instances.get(&instance)?;
        Some((&guest.tunnels, guest.facts.ports.wants_proxy_header(port)))
    }

    /// Drops guests that are gone for long.
    fn forget(&mut self, now: Duration) {
        let over = |guest: &Guest| guest.gone.is_some_and(|gone| now >= gone + REMEMBERED);
        self.instances.retain(|_, guest| !over(guest));
        let instances = &self.instances;
        self.apps.retain(|_, siblings| {
            siblings.retain(|instance| instances.contains_key(instance));
            !siblings.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(app: u8, instance: u8, open_counter: u64) -> GuestFacts {
        let ports = PortPolicy::default();
        GuestFacts {
            app: AppId([app; 20]),
            instance: InstanceId([instance; 20]),
            open_counter,
            ports,
        }
    }

    fn port() -> NonZeroU16 {
        NonZeroU16::new(80).unwrap()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn found(guests: &Guests, id: u8) -> Vec<u8> {
        let (_, found) = guests.find(RouteId([id; 20]), port()).unwrap_or((AppId::ZERO, vec![]));
        found.iter().map(|candidate| candidate.id.0[0]).collect()
    }

    #[test]
    fn an_app_s_name_leads_to_all_its_instances_and_an_instance_s_to_itself() {
        let mut guests = Guests::default();
        for instance in [10, 11] {
            let tunnel = TunnelId(instance.into());
            assert_eq!(guests.admit(facts(1, instance, 5), tunnel, secs(0)), Ok(vec![]));
        }
        assert_eq!(found(&guests, 1), [10, 11]);
        assert_eq!(found(&guests, 11), [11]);
        assert_eq!(guests.find(RouteId([9; 20]), port()), None);
        guests.leave(InstanceId([10; 20]), TunnelId(10), secs(1));
        assert_eq!(found(&guests, 1), [11]);
    }

    #[test]
    fn a_newer_open_counter_ends_the_older_guest_s_tunnels_and_keeps_it_out() {
        let mut guests = Guests::default();
        guests.admit(facts(1, 10, 5), TunnelId(1), secs(0)).unwrap();
        guests.admit(facts(1, 10, 5), TunnelId(2), secs(0)).unwrap();
        let ended = guests.admit(facts(1, 10, 6), TunnelId(3), secs(1));
        assert_eq!(ended, Ok(vec![TunnelId(1), TunnelId(2)]));
        let older = Err(AdmitError::Older { found: 5, newest: 6 });
        assert_eq!(guests.admit(facts(1, 10, 5), TunnelId(4), secs(2)), older);
        // Not even after the newer one is gone, as long as its statement may hold.
        guests.leave(InstanceId([10; 20]), TunnelId(3), secs(3));
        assert_eq!(guests.admit(facts(1, 10, 5), TunnelId(4), secs(3600)), older);
        let later = secs(3) + REMEMBERED;
        assert_eq!(guests.admit(facts(1, 10, 5), TunnelId(4), later), Ok(vec![]));
    }

    #[test]
    fn a_tunnel_that_ended_late_changes_nothing_of_the_newer_guest() {
        let mut guests = Guests::default();
        guests.admit(facts(1, 10, 5), TunnelId(1), secs(0)).unwrap();
        guests.admit(facts(1, 10, 6), TunnelId(2), secs(0)).unwrap();
        guests.ready(InstanceId([10; 20]), TunnelId(1), true);
        guests.leave(InstanceId([10; 20]), TunnelId(1), secs(1));
        let (_, found) = guests.find(RouteId([1; 20]), port()).unwrap();
        assert_eq!((found.len(), found[0].ready), (1, false));
        guests.ready(InstanceId([10; 20]), TunnelId(2), true);
        assert!(guests.find(RouteId([1; 20]), port()).unwrap().1[0].ready);
    }

    #[test]
    fn an_app_id_that_is_an_instance_id_is_refused_and_the_reverse() {
        let mut guests = Guests::default();
        guests.admit(facts(1, 10, 5), TunnelId(1), secs(0)).unwrap();
        for (app, instance) in [(10, 11), (2, 1), (3, 3)] {
            let refused = guests.admit(facts(app, instance, 9), TunnelId(2), secs(0));
            assert!(matches!(refused, Err(AdmitError::Ambiguous { .. })), "{app} {instance}");
        }
        let stolen = guests.admit(facts(2, 10, 9), TunnelId(2), secs(0));
        assert_eq!(stolen, Err(AdmitError::OtherApp(InstanceId([10; 20]))));
        assert_eq!(found(&guests, 1), [10]);
    }

    #[test]
    fn tunnels_and_instances_are_bounded() {
        let mut guests = Guests::default();
        for tunnel in 0..MAX_TUNNELS as u64 {
            guests.admit(facts(1, 10, 5), TunnelId(tunnel), secs(0)).unwrap();
        }
        let more = guests.admit(facts(1, 10, 5), TunnelId(99), secs(0));
        assert_eq!(more, Err(AdmitError::Tunnels));
        // A newer guest has room at once.
        assert_eq!(
            guests.admit(facts(1, 10, 6), TunnelId(99), secs(0)).unwrap().len(),
            MAX_TUNNELS
        );
        let mut many = Guests::default();
        for index in 0..=MAX_INSTANCES {
            let mut guest = facts(1, 0, 1);
            guest.instance.0[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
            let admitted = many.admit(guest, TunnelId(index as u64), secs(0));
            assert_eq!(admitted.is_ok(), index < MAX_INSTANCES);
        }
    }

    #[test]
    fn ports_are_those_of_the_measured_file() {
        let mut guests = Guests::default();
        let json = br#"{"ports":[{"port":80,"pp":true}],"restrict_mode":true}"#;
        let ports = PortPolicy::parse(json).unwrap();
        guests.admit(GuestFacts { ports, ..facts(1, 10, 5) }, TunnelId(1), secs(0)).unwrap();
        assert_eq!(found(&guests, 1), [10]);
        let ssh = NonZeroU16::new(22).unwrap();
        assert!(guests.find(RouteId([1; 20]), ssh).unwrap().1.is_empty());
        let (tunnels, header) = guests.way(InstanceId([10; 20]), port()).unwrap();
        assert_eq!((tunnels, header), (&[TunnelId(1)][..], true));
    }
}
