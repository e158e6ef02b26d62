//! Bounds of a gateway, each with its reason.

use std::time::Duration;

/// How long a client may take for its hello. It sends one packet or a few at once; who needs longer
/// keeps a slot that others wait for.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long the rest of a handshake may take: two round trips of a slow network.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long all tries to reach an instance may take together: a browser shows nothing meanwhile.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the domain name system may take: as long as a client waits for a connection.
pub const DNS_WITHIN: Duration = Duration::from_secs(5);
/// How long a relay may carry nothing. Programs that wait for events send something more often.
pub const IDLE: Duration = Duration::from_secs(600);
/// How long a relay may last: what is revoked meanwhile ends then at the latest.
pub const TOTAL: Duration = Duration::from_secs(5 * 3600);
/// How long relays may go on after the gateway was told to end.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Largest hello, without the headers of records: what a length of 16 bits can say. Hellos with
/// post-quantum keys have about 2 KiB; those with several such keys and certificates' names more.
pub const MAX_HELLO_BYTES: usize = 0xffff;
/// Bytes that are read for a hello, with the headers of its records: 64 KiB in records of 6 bytes.
pub const MAX_HELLO_WIRE_BYTES: usize = 128 << 10;

/// Connections of one app at a time; dstack's figure.
pub const MAX_PER_APP: u32 = 2000;
/// Connections at a time whose hello is not complete. Each holds its hello, and 5 s at most.
pub const MAX_OPENINGS: usize = 1024;

/// Instances of an app among which load decides.
pub const NEAREST: usize = 3;
/// Instances of one app that a route knows; more would make a choice slow.
pub const MAX_INSTANCES: usize = 1024;

/// Names of custom domains that are remembered.
pub const MAX_CACHED: usize = 4096;
/// Shortest memory of an answer, however short its time to live: look-ups must not follow the pace
/// of clients.
pub const MIN_TTL: Duration = Duration::from_secs(5);
/// Longest memory of an answer: an owner who moves a domain waits that long.
pub const MAX_TTL: Duration = Duration::from_secs(300);
/// Longest memory of an answer that leads nowhere: who has just made a record waits that long.
pub const MAX_REFUSAL_TTL: Duration = Duration::from_secs(30);
