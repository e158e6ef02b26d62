//! Latencies that were measured, as a file of `name = number` lines in microseconds.

use std::collections::BTreeMap;

/// What getting keys takes, in microseconds; shares of the consumer and of the delegator, and the
/// time in which neither works.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latencies {
    /// Where and when they were measured.
    pub source: String,
    /// Of an attested channel.
    pub channel_consumer: f64,
    /// The same, of the delegator.
    pub channel_delegator: f64,
    /// The same, of neither.
    pub channel_wait: f64,
    /// Of a call for keys, whatever it asks for.
    pub fetch_consumer: f64,
    /// More for each Pad of the call.
    pub fetch_consumer_pad: f64,
    /// Of the delegator, which decides about one call at a time: its ledger is one.
    pub fetch_delegator: f64,
    /// More for each Pad of the call.
    pub fetch_delegator_pad: f64,
    /// Consumers of the measured point.
    pub check_consumers: f64,
    /// Pads of each of them.
    pub check_pads: f64,
    /// How long a Pad's key took there, in the mean.
    pub check_pad_wait: f64,
}

impl Latencies {
    /// Reads the file; its first line is a comment with the source.
    pub fn parse(text: &str) -> Result<Self, String> {
        let source = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let source = source.ok_or("the file of latencies does not begin with its source")?;
        let values: BTreeMap<_, _> =
            text.lines().filter_map(|line| line.split_once(" = ")).collect();
        let value = |name: &str| {
            let value = values.get(name).ok_or(format!("the latencies lack {name}"))?;
            let value = value.parse::<f64>().map_err(|error| format!("{name}: {error}"))?;
            match value.is_finite() && value >= 0.0 {
                true => Ok(value),
                false => Err(format!("{name} is {value}, expected a number of microseconds")),
            }
        };
        Ok(Self {
            source: source.to_owned(),
            channel_consumer: value("channel_consumer")?,
            channel_delegator: value("channel_delegator")?,
            channel_wait: value("channel_wait")?,
            fetch_consumer: value("fetch_consumer")?,
            fetch_consumer_pad: value("fetch_consumer_pad")?,
            fetch_delegator: value("fetch_delegator")?,
            fetch_delegator_pad: value("fetch_delegator_pad")?,
            check_consumers: value("check_consumers")?,
            check_pads: value("check_pads")?,
            check_pad_wait: value("check_pad_wait")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Measured by hand\nchannel_consumer = 1\nchannel_delegator = 2\n\
        channel_wait = 3\nfetch_consumer = 4\nfetch_consumer_pad = 5\nfetch_delegator = 6\n\
        fetch_delegator_pad = 7.5\ncheck_consumers = 8\ncheck_pads = 9\ncheck_pad_wait = 10\n";

    #[test]
    fn a_file_of_latencies_is_read_or_says_what_it_lacks() {
        let latencies = Latencies::parse(FILE).unwrap();
        assert_eq!(
            (latencies.fetch_delegator_pad, latencies.source),
            (7.5, "Measured by hand".into())
        );
        let lacking = FILE.replace("check_pads = 9\n", "");
        assert_eq!(Latencies::parse(&lacking).unwrap_err(), "the latencies lack check_pads");
        for wrong in ["-1", "NaN", "x"] {
            assert!(Latencies::parse(&FILE.replace("7.5", wrong)).is_err(), "{wrong}");
        }
        assert!(Latencies::parse("channel_consumer = 1\n").is_err());
    }
}
