//! Counters, as Prometheus reads them.
//!
//! No label has a value of a client's: neither a name nor an address.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::relay::{Carried, Ended};

/// Why a client was not served, or a relay ended otherwise than by its two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All connections that there may be were taken.
    Full,
    /// Its place among those without a hello went to another one.
    Displaced,
    /// No header of the PROXY protocol, where one is required.
    ProxyHeader,
    /// No hello in time.
    Late,
    /// No hello.
    Hello,
    /// A name that leads nowhere.
    Name,
    /// The app has as many connections as it may have.
    AppFull,
    /// No instance of the app could be reached.
    Unreachable,
    /// The handshake failed.
    Handshake,
    /// The relay carried nothing for too long.
    Idle,
    /// The relay lasted as long as it may.
    Total,
    /// A side broke off.
    Broken,
}

const REASONS: [(Reason, &str); 12] = [
    (Reason::Full, "full"),
    (Reason::Displaced, "displaced"),
    (Reason::ProxyHeader, "proxy_header"),
    (Reason::Late, "late"),
    (Reason::Hello, "hello"),
    (Reason::Name, "name"),
    (Reason::AppFull, "app_full"),
    (Reason::Unreachable, "unreachable"),
    (Reason::Handshake, "handshake"),
    (Reason::Idle, "idle"),
    (Reason::Total, "total"),
    (Reason::Broken, "broken"),
];

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    accepted: AtomicU64,
    relayed: AtomicU64,
    reasons: [AtomicU64; REASONS.len()],
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
}

impl Metrics {
    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended for a reason.
    pub fn ended(&self, reason: Reason) {
        self.reasons[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A relay ended.
    pub fn relayed(&self, ended: &Ended, carried: Carried) {
        self.relayed.fetch_add(1, Ordering::Relaxed);
        self.up_bytes.fetch_add(carried.up, Ordering::Relaxed);
        self.down_bytes.fetch_add(carried.down, Ordering::Relaxed);
        match ended {
            Ended::Both => {}
            Ended::Idle => self.ended(Reason::Idle),
            Ended::Total => self.ended(Reason::Total),
            Ended::Broken(_) => self.ended(Reason::Broken),
        }
    }

    /// How often connections ended for a reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].load(Ordering::Relaxed)
    }

    /// The text that Prometheus reads, with the connections that are open now.
    pub fn text(&self, open: u32) -> String {
        let mut text = String::new();
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let plain = [
            ("connections_accepted_total", "counter", value(&self.accepted)),
            ("connections_open", "gauge", open.into()),
            ("relays_ended_total", "counter", value(&self.relayed)),
        ];
        for (name, kind, value) in plain {
            let _ =
                write!(text, "# TYPE dstyx_gateway_{name} {kind}\ndstyx_gateway_{name} {value}\n");
        }
        let _ = writeln!(text, "# TYPE dstyx_gateway_connections_ended_total counter");
        for (reason, name) in REASONS {
            let count = self.count(reason);
            let _ = writeln!(
                text,
                "dstyx_gateway_connections_ended_total{{reason=\"{name}\"}} {count}"
            );
        }
        let _ = writeln!(text, "# TYPE dstyx_gateway_relayed_bytes_total counter");
        for (way, counter) in [("up", &self.up_bytes), ("down", &self.down_bytes)] {
            let bytes = value(counter);
            let _ = writeln!(text, "dstyx_gateway_relayed_bytes_total{{way=\"{way}\"}} {bytes}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_line() {
        let metrics = Metrics::default();
        for (index, (reason, _)) in REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            (0..=index).for_each(|_| metrics.ended(*reason));
        }
        metrics.relayed(&Ended::Idle, Carried { up: 3, down: 4 });
        let text = metrics.text(5);
        assert!(text.contains("dstyx_gateway_connections_ended_total{reason=\"full\"} 1\n"));
        assert!(text.contains("dstyx_gateway_connections_ended_total{reason=\"idle\"} 11\n"));
        assert!(text.contains("dstyx_gateway_relayed_bytes_total{way=\"down\"} 4\n"));
        assert!(text.contains("dstyx_gateway_connections_open 5\n"));
    }
}
