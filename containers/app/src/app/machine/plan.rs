//! What the machine must know of a compose file: services, what they need of each other, and how
//! each is kept.

use std::time::Duration;

use compose::model::{self, Condition, Dependency, Health, HealthCheck, NetworkMode, Restart};

/// Docker's defaults, by the names of [`HealthCheck`]'s fields.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
const START_INTERVAL: Duration = Duration::from_secs(5);
/// Docker refuses less; a check costs a process.
const SHORTEST: Duration = Duration::from_millis(1);
/// Docker's time between asking and killing.
const GRACE: Duration = Duration::from_secs(10);

/// The services of an app, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names are all different, and no chain of needs is a cycle.
    pub services: Vec<ServicePlan>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// How many containers it has.
    pub replicas: u16,
    /// What must be before it starts.
    pub needs: Vec<Need>,
    /// When a container of it is started again.
    pub restart: Restart,
    /// Time between asking a container to end and killing it.
    pub grace: Duration,
}

/// What a service needs of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Place of the other one in the plan.
    pub service: usize,
    /// How far it must have come.
    pub condition: Condition,
    /// Whether this one starts again when the other one has.
    pub restart: bool,
    /// Whether this one fails with the other one.
    pub required: bool,
}

impl Plan {
    /// What `services` say; a dependency on one that is not there is left out (the reader of the
    /// file made sure).
    pub fn of(services: &[model::Service]) -> Self {
        let place = |name: &str| services.iter().position(|service| service.name == name);
        let need = |dependency: &Dependency| {
            let Dependency { condition, restart, required, .. } = *dependency;
            Some(Need { service: place(&dependency.service)?, condition, restart, required })
        };
        let plan = |service: &model::Service| ServicePlan {
            name: service.name.clone(),
            replicas: service.replicas,
            needs: service
                .depends_on
                .iter()
                .filter_map(need)
                .chain(shared_network(service, place))
                .collect(),
            restart: service.restart.clone(),
            grace: service.stop.grace.unwrap_or(GRACE),
        };
        Self { services: services.iter().map(plan).collect() }
    }

    /// How many services after one another each service waits for, at most.
    ///
    /// The time is that of all needs times the longest chain: following each path of needs by
    /// itself would double with every pair of services that both wait for the pair before them.
    pub fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.services.len()];
        // A chain without a cycle has as many services as there are, at most.
        for _ in 0..self.services.len() {
            let before = depths.clone();
            for (service, plan) in self.services.iter().enumerate() {
                let deepest = plan.needs.iter().map(|need| 1 + depths[need.service]).max();
                depths[service] = deepest.unwrap_or(0);
            }
            if depths == before {
                break;
            }
        }
        depths
    }
}

/// A service in another one's network namespace needs it to run before, and as long.
fn shared_network(service: &model::Service, place: impl Fn(&str) -> Option<usize>) -> Option<Need> {
    let NetworkMode::Service(other) = &service.network else { return None };
    Some(Need {
        service: place(other)?,
        condition: Condition::Started,
        restart: false,
        required: true,
    })
}

/// A health check with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Check {
    /// Program and arguments; run in the container.
    pub test: Vec<String>,
    /// Time from the end of a check to the next.
    pub interval: Duration,
    /// Time that a check may take.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy, 1 and up.
    pub retries: u32,
    /// Time in which failures do not count.
    pub start_period: Duration,
    /// Time between checks meanwhile.
    pub start_interval: Duration,
}

impl Check {
    /// What `service` says over what its image says; `None` if nothing is to be checked.
    pub fn of(service: &Health, image: Option<&HealthCheck>) -> Option<Self> {
        let none = HealthCheck::default();
        let own = match service {
            Health::Disabled => return None,
            Health::Image => &none,
            Health::Check(check) => check,
        };
        let image = image.unwrap_or(&none);
        let test = own.test.as_ref().or(image.test.as_ref()).filter(|test| !test.is_empty())?;
        let time = |own: Option<Duration>, image: Option<Duration>, default: Duration| {
            own.or(image).filter(|time| !time.is_zero()).unwrap_or(default).max(SHORTEST)
        };
        Some(Self {
            test: test.clone(),
            interval: time(own.interval, image.interval, INTERVAL),
            timeout: time(own.timeout, image.timeout, TIMEOUT),
            retries: own
                .retries
                .or(image.retries)
                .filter(|retries| *retries > 0)
                .unwrap_or(RETRIES),
            start_period: own.start_period.or(image.start_period).unwrap_or_default(),
            start_interval: time(own.start_interval, image.start_interval, START_INTERVAL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_speaks_before_its_image_and_both_before_docker() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let image = HealthCheck {
            test: Some(vec!["image".into()]),
            interval: seconds(7),
            retries: Some(0),
            ..HealthCheck::default()
        };
        let own =
            HealthCheck { interval: seconds(9), timeout: seconds(1), ..HealthCheck::default() };
        let both = Check::of(&Health::Check(own), Some(&image)).expect("checked");
        assert_eq!(
            (both.test, both.interval, both.timeout),
            (vec!["image".to_owned()], INTERVAL * 3 / 10, SECOND)
        );
        assert_eq!(
            (both.retries, both.start_period, both.start_interval),
            (3, Duration::ZERO, START_INTERVAL)
        );
        let alone = Check::of(&Health::Image, Some(&image)).expect("checked");
        assert_eq!((alone.interval, alone.timeout), (Duration::from_secs(7), TIMEOUT));
        assert_eq!(Check::of(&Health::Disabled, Some(&image)), None);
        assert_eq!(Check::of(&Health::Image, None), None);
        let none = HealthCheck { test: Some(vec![]), ..HealthCheck::default() };
        assert_eq!(Check::of(&Health::Image, Some(&none)), None);
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn depths_of_a_lattice_take_no_time() {
        // Each service waits for both of the layer below: 2^31 ways lead from the last to the
        // first.
        let service = |index: usize| {
            let layer = index / 2;
            let below = layer.checked_sub(1).map(|below| [2 * below, 2 * below + 1]);
            let need = |service| Need {
                service,
                condition: Condition::Started,
                restart: false,
                required: true,
            };
            ServicePlan {
                name: format!("s{index}"),
                replicas: 1,
                needs: below.into_iter().flatten().map(need).collect(),
                restart: Restart {
                    when: model::RestartWhen::Never,
                    attempts: None,
                    delay: None,
                    window: None,
                },
                grace: GRACE,
            }
        };
        // In the other order too, so that needs stand behind those that need them.
        let plan = Plan { services: (0..64).map(service).collect() };
        assert_eq!(plan.depths(), (0..64).map(|index| index / 2).collect::<Vec<_>>());
        let mut reversed: Vec<_> = plan.services.into_iter().rev().collect();
        for need in reversed.iter_mut().flat_map(|service| &mut service.needs) {
            need.service = 63 - need.service;
        }
        let depths = Plan { services: reversed }.depths();
        assert_eq!(depths, (0..64).rev().map(|index| index / 2).collect::<Vec<_>>());
    }
}
