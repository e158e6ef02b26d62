//! The table, in the form of the other benches' of this project.

use std::time::{Duration, Instant};

/// Prints its head.
pub fn head() {
    println!("| figure | value | beside it | ratio | aim |\n|---|---|---|---|---|");
}

/// Prints one line; `aim` as the reader shall see it.
pub fn row(figure: &str, value: &str, peer: &str, ratio: Option<f64>, aim: &str) {
    let ratio = ratio.map(ratio_text).unwrap_or_default();
    println!("| {figure} | {value} | {peer} | {ratio} | {aim} |");
}

/// Small ratios with as many digits as they need.
fn ratio_text(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.4}x") } else { format!("{ratio:.2}x") }
}

/// What some rounds took.
pub struct Times(Vec<Duration>);

impl Times {
    /// Times that were taken elsewhere.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort();
        Self(times)
    }

    /// The one in the middle.
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// The median in microseconds.
    pub fn micros(&self) -> f64 {
        self.median().as_secs_f64() * 1e6
    }

    /// The median, and from which to which nine in ten are.
    pub fn shown(&self) -> String {
        let part = |percent: usize| self.0[(self.0.len() - 1) * percent / 100];
        format!("{} ({} to {})", time(self.median()), time(part(5)), time(part(95)))
    }
}

/// A time in the unit in which it has three digits.
pub fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 0.1 {
        format!("{:.0} ns", micros * 1e3)
    } else if micros < 1000.0 {
        format!("{micros:.2} µs")
    } else {
        format!("{:.2} ms", micros / 1e3)
    }
}

/// What some work takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}
