//! Consumers, a dispatcher and a pool of key delegators, as events.
//!
//! A consumer comes at a random moment of the spread, opens an attested channel to the delegator
//! that has the fewest consumers, and asks for the keys of its Pads, call by call. A delegator
//! works on one thing at a time, first come, first served; so do the consumers' cores. A channel is
//! half of the consumer's work, then the delegator's, then the other half.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::latencies::Latencies;

/// Most Pads of one call (`protocol::kms::MAX_PADS_A_CALL`).
const PADS_A_CALL: u32 = 256;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many consumers.
    pub consumers: u32,
    /// Pads of each.
    pub pads: u32,
    /// Size of the pool.
    pub delegators: u32,
    /// Cores that the consumers share; as many as consumers at most count.
    pub consumer_cores: u32,
    /// In which time all consumers come.
    pub spread_micros: f64,
}

impl Default for Load {
    /// One consumer with one Pad, each consumer on a machine of its own, all within a second.
    fn default() -> Self {
        let (consumers, pads, delegators, consumer_cores) = (1, 1, 1, u32::MAX);
        Self { consumers, pads, delegators, consumer_cores, spread_micros: 1e6 }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How long each consumer waited for the last of its keys.
    pub waits_micros: Vec<f64>,
    /// How long each delegator worked.
    pub busy_micros: Vec<f64>,
    /// Mean number of consumers that waited or were served, while there were any.
    pub present: f64,
    /// From the first arrival to the last key.
    pub span_micros: f64,
    pads: u32,
}

impl Outcome {
    /// How long a Pad's key took in the mean.
    pub fn pad_wait_micros(&self) -> f64 {
        let sum: f64 = self.waits_micros.iter().sum();
        sum / self.waits_micros.len() as f64 / f64::from(self.pads)
    }
}

/// What a consumer does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Work on one of the consumers' cores.
    Consume(f64),
    /// Work of its delegator.
    Serve(f64),
    /// Time in which neither works.
    Wait(f64),
}

/// One after the other.
fn steps(latencies: &Latencies, pads: u32) -> VecDeque<Step> {
    let mut steps = VecDeque::from([
        Step::Consume(latencies.channel_consumer / 2.0),
        Step::Serve(latencies.channel_delegator),
        Step::Wait(latencies.channel_wait),
        Step::Consume(latencies.channel_consumer / 2.0),
    ]);
    let mut left = pads;
    while left > 0 {
        let call = left.min(PADS_A_CALL);
        let of = |fixed: f64, each: f64| fixed + each * f64::from(call);
        let serve = of(latencies.fetch_delegator, latencies.fetch_delegator_pad);
        let consume = of(latencies.fetch_consumer, latencies.fetch_consumer_pad);
        steps.extend([Step::Serve(serve), Step::Consume(consume)]);
        left -= call;
    }
    steps
}

/// Some servers with one queue.
struct Station {
    free: u32,
    queue: VecDeque<(usize, f64)>,
    busy_micros: f64,
}

impl Station {
    fn new(servers: u32) -> Self {
        Self { free: servers, queue: VecDeque::new(), busy_micros: 0.0 }
    }

    /// Takes work in; it begins at once if a server is free.
    fn take(&mut self, consumer: usize, work: f64) -> Option<(usize, f64)> {
        self.queue.push_back((consumer, work));
        self.next()
    }

    /// Begins what is first in the queue, if a server is free.
    fn next(&mut self) -> Option<(usize, f64)> {
        if self.free == 0 {
            return None;
        }
        let begun = self.queue.pop_front()?;
        self.free -= 1;
        self.busy_micros += begun.1;
        Some(begun)
    }
}

/// Where a consumer is.
struct Consumer {
    arrival: f64,
    steps: VecDeque<Step>,
    delegator: usize,
    /// The station whose server works for it.
    at: Option<usize>,
}

/// The state: the station 0 is the consumers' cores, the others are delegators.
struct Simulation {
    consumers: Vec<Consumer>,
    stations: Vec<Station>,
    /// Consumers of each delegator, for the dispatcher.
    assigned: Vec<u32>,
    events: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    sequence: u64,
    ended: Vec<f64>,
}

/// A time that is ordered: none is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Lets all consumers come and get their keys.
pub fn simulate(latencies: &Latencies, load: &Load, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let consumers = (0..load.consumers).map(|_| Consumer {
        arrival: random.unit() * load.spread_micros,
        steps: steps(latencies, load.pads),
        delegator: 0,
        at: None,
    });
    let consumers: Vec<_> = consumers.collect();
    let cores = load.consumer_cores.min(load.consumers);
    let delegators = (0..load.delegators).map(|_| Station::new(1));
    let mut simulation = Simulation {
        ended: vec![0.0; consumers.len()],
        consumers,
        stations: std::iter::once(Station::new(cores)).chain(delegators).collect(),
        assigned: vec![0; load.delegators as usize],
        events: BinaryHeap::new(),
        sequence: 0,
    };
    for consumer in 0..simulation.consumers.len() {
        simulation.at(simulation.consumers[consumer].arrival, consumer);
    }
    while let Some(Reverse((Moment(now), _, consumer))) = simulation.events.pop() {
        simulation.go_on(now, consumer);
    }
    simulation.outcome(load.pads)
}

impl Simulation {
    fn at(&mut self, time: f64, consumer: usize) {
        self.sequence += 1;
        self.events.push(Reverse((Moment(time), self.sequence, consumer)));
    }

    /// A consumer came, or what it waited for is done.
    fn go_on(&mut self, now: f64, consumer: usize) {
        match self.consumers[consumer].at.take() {
            Some(station) => {
                self.stations[station].free += 1;
                let next = self.stations[station].next();
                self.begin(now, station, next);
            }
            None => self.dispatch(consumer),
        }
        let delegator = self.consumers[consumer].delegator;
        match self.consumers[consumer].steps.pop_front() {
            Some(Step::Consume(work)) => self.enter(now, 0, consumer, work),
            Some(Step::Serve(work)) => self.enter(now, delegator, consumer, work),
            Some(Step::Wait(time)) => self.at(now + time, consumer),
            None => {
                self.assigned[delegator - 1] -= 1;
                self.ended[consumer] = now;
            }
        }
    }

    /// Gives a consumer that just came to the delegator with the fewest.
    fn dispatch(&mut self, consumer: usize) {
        if self.consumers[consumer].delegator > 0 {
            return;
        }
        let fewest = (0..self.assigned.len()).min_by_key(|place| self.assigned[*place]);
        let place = fewest.unwrap_or(0);
        self.assigned[place] += 1;
        self.consumers[consumer].delegator = place + 1;
    }

    fn enter(&mut self, now: f64, station: usize, consumer: usize, work: f64) {
        let begun = self.stations[station].take(consumer, work);
        self.begin(now, station, begun);
    }

    fn begin(&mut self, now: f64, station: usize, begun: Option<(usize, f64)>) {
        if let Some((consumer, work)) = begun {
            self.consumers[consumer].at = Some(station);
            self.at(now + work, consumer);
        }
    }

    fn outcome(self, pads: u32) -> Outcome {
        let waits: Vec<_> = self
            .consumers
            .iter()
            .zip(&self.ended)
            .map(|(one, ended)| ended - one.arrival)
            .collect();
        let first = self.consumers.iter().map(|one| one.arrival).fold(f64::INFINITY, f64::min);
        let span = self.ended.iter().copied().fold(0.0, f64::max) - first;
        Outcome {
            present: waits.iter().sum::<f64>() / span,
            waits_micros: waits,
            busy_micros: self.stations[1..].iter().map(|station| station.busy_micros).collect(),
            span_micros: span,
            pads,
        }
    }
}

/// A generator of pseudo-random numbers (SplitMix64), the same in every run.
struct Random(u64);

impl Random {
    /// At least 0 and below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / 2_f64.powi(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies() -> Latencies {
        Latencies {
            channel_consumer: 2000.0,
            channel_delegator: 1500.0,
            channel_wait: 100.0,
            fetch_consumer: 50.0,
            fetch_consumer_pad: 1.0,
            fetch_delegator: 300.0,
            fetch_delegator_pad: 2.0,
            ..Latencies::default()
        }
    }

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected.abs() * 1e-9
    }

    #[test]
    fn one_consumer_with_one_pad_waits_for_the_sum_of_all_latencies() {
        let outcome = simulate(&latencies(), &Load::default(), 7);
        let sum = 2000.0 + 1500.0 + 100.0 + 50.0 + 1.0 + 300.0 + 2.0;
        assert!(is_near(outcome.pad_wait_micros(), sum), "{outcome:?}");
    }

    #[test]
    fn a_pad_waits_less_the_more_there_are_of_one_consumer() {
        let wait =
            |pads| simulate(&latencies(), &Load { pads, ..Load::default() }, 1).pad_wait_micros();
        let waits = [1, 2, 64, 256, 1024].map(wait);
        assert!(waits.windows(2).all(|pair| pair[1] < pair[0]), "{waits:?}");
        // At the end each Pad costs what it adds, and its part of a call.
        let least = 3.0 + 350.0 / 256.0;
        assert!(waits[4] > least && waits[4] < least + 4.0, "{waits:?}");
    }

    /// Utilisation is throughput by demand, and presence is throughput by wait (Little).
    #[test]
    fn utilisation_and_presence_follow_from_throughput() {
        for delegators in [1, 3, 16] {
            let load = Load { consumers: 200, pads: 300, delegators, ..Load::default() };
            let outcome = simulate(&latencies(), &load, 3);
            let throughput = 200.0 / outcome.span_micros;
            let demand = 1500.0 + 2.0 * 300.0 + 300.0 * 2.0;
            let utilisation = outcome.busy_micros.iter().sum::<f64>() / outcome.span_micros;
            assert!(is_near(utilisation, throughput * demand), "{utilisation}");
            assert!(outcome.busy_micros.iter().all(|busy| *busy <= outcome.span_micros));
            let mean = outcome.waits_micros.iter().sum::<f64>() / 200.0;
            assert!(is_near(outcome.present, throughput * mean));
        }
    }

    #[test]
    fn what_all_need_bounds_how_soon_all_have_their_keys() {
        let load = Load { consumers: 100, pads: 1, spread_micros: 0.0, ..Load::default() };
        let outcome = simulate(&latencies(), &load, 1);
        let demand = 1500.0 + 302.0;
        assert!(outcome.span_micros >= 100.0 * demand, "{}", outcome.span_micros);
        let shared = simulate(&latencies(), &Load { consumer_cores: 1, ..load }, 1);
        assert!(shared.span_micros >= 100.0 * 2051.0, "{}", shared.span_micros);
        let pool = simulate(&latencies(), &Load { delegators: 100, ..load }, 1);
        assert!(is_near(pool.span_micros, 2000.0 + 1500.0 + 100.0 + 51.0 + 302.0));
    }

    #[test]
    fn one_seed_gives_one_outcome() {
        let load = Load { consumers: 50, pads: 10, delegators: 2, ..Load::default() };
        let outcome = |seed| simulate(&latencies(), &load, seed);
        assert_eq!(outcome(1), outcome(1));
        assert_ne!(outcome(1), outcome(2));
    }
}
