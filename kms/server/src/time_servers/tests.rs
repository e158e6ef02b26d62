//! Real servers of Network Time Security on loopback, with an authority of the test's own.

use ::tests::chrony::{Chrony, now_secs};
use ::time::OffsetDateTime;
use kms_rules::nts::AnswerError;
use kms_rules::time::{Reading, SampleRefused};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::query::QueryError;
use super::*;

/// The name of every server.
const NAME: &str = "localhost";
const DAY_SECS: u64 = 24 * 3600;
/// Nothing has passed.
const PASSED: Passed = Passed { not_before_secs: 0, newest_collateral_secs: 0 };

/// Who certifies servers.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> Roots {
        Roots::Only(vec![self.0.der().clone()])
    }

    /// A server with a certificate of this name, valid between these days from now.
    fn server(&self, name: &str, days: [i64; 2]) -> Chrony {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        [params.not_before, params.not_after] = days.map(|days| {
            let secs = now_secs().checked_add_signed(days * DAY_SECS.cast_signed()).unwrap();
            OffsetDateTime::from_unix_timestamp(secs.cast_signed()).unwrap()
        });
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Chrony::start(&certificate.pem(), &key.serialize_pem())
    }

    /// Three servers with years of validity.
    fn three(&self) -> [Chrony; 3] {
        [(); 3].map(|()| self.server(NAME, [-1000, 1000]))
    }

    fn servers(&self, servers: &[Chrony]) -> TimeServers {
        TimeServers::new(servers.iter().map(named).collect(), self.roots())
    }

    fn asking(&self, server: &Chrony, not_before_secs: u64) -> Asking {
        let started = std::time::Instant::now();
        Asking { server: named(server), roots: self.roots(), started, not_before_secs }
    }
}

fn named(server: &Chrony) -> TimeServer {
    TimeServer { host: NAME.to_owned(), port: server.port() }
}

/// How many servers agreed, on a time that is right within its bound.
fn agreeing(clock: &Clock) -> usize {
    let reading = clock.reading();
    let Some(Reading::Servers { time_ms, bound_ms, agreeing, named: 3 }) = reading else {
        panic!("{reading:?}")
    };
    assert!((500..3_000).contains(&bound_ms), "{bound_ms}");
    // This machine's seconds have no fraction here.
    assert!((now_secs() * 1000 + 500).abs_diff(time_ms) < bound_ms + 1_000, "{reading:?}");
    agreeing
}

#[tokio::test]
async fn servers_give_the_time_a_wrong_one_is_outvoted_and_two_are_refused() {
    let authority = Authority::new();
    let servers = authority.three();
    let (asked, clock) = (authority.servers(&servers), Clock::of_servers());
    assert_eq!(clock.reading(), None);
    asked.ask(&clock, PASSED).await.unwrap();
    assert_eq!(agreeing(&clock), 3);

    servers[2].tell(now_secs() - 30 * DAY_SECS);
    asked.ask(&clock, PASSED).await.unwrap();
    assert_eq!(agreeing(&clock), 2);

    // Two that lie differently.
    servers[1].tell(now_secs() + 30 * DAY_SECS);
    let refused = asked.ask(&clock, PASSED).await;
    assert!(matches!(refused, Err(TimeError::None(NoTime::Disagree { .. }))), "{refused:?}");
    assert_eq!(agreeing(&clock), 2, "what was agreed before is kept");

    // Two that lie together.
    servers[1].tell(now_secs() - 30 * DAY_SECS);
    let refused = asked.ask(&clock, PASSED).await;
    assert!(matches!(refused, Err(TimeError::Step(StepRefused::Step { .. }))), "{refused:?}");
    assert_eq!(agreeing(&clock), 2);
    // Without a time before, collateral that Intel has issued since then says so.
    let fresh = Clock::of_servers();
    let newest_collateral_secs = now_secs() - 20 * DAY_SECS;
    let refused = asked.ask(&fresh, Passed { newest_collateral_secs, ..PASSED }).await;
    let expected = matches!(refused, Err(TimeError::Step(StepRefused::BeforeCollateral { .. })));
    assert!(expected && fresh.reading().is_none(), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_is_silent_is_not_waited_for_and_two_leave_no_time() {
    let authority = Authority::new();
    let servers = authority.three();
    let (asked, clock) = (authority.servers(&servers), Clock::of_servers());
    let silent = authority.asking(&servers[2], 0);
    let keys = silent.exchange().await.unwrap();
    servers[2].pause();
    let late = silent.query(&keys).await;
    assert!(matches!(late, Err(QueryError::Late("answer"))), "{late:?}");
    asked.ask(&clock, PASSED).await.unwrap();
    assert_eq!(agreeing(&clock), 2);
    servers[1].pause();
    let few = asked.ask(&clock, PASSED).await;
    let expected = NoTime::Few { answered: 1, named: 3, needed: 2 };
    assert!(matches!(&few, Err(TimeError::None(none)) if *none == expected), "{few:?}");
}

#[tokio::test]
async fn a_certificate_of_another_name_authority_or_time_is_refused() {
    let authority = Authority::new();
    let good = authority.server(NAME, [-1, 1]);
    authority.asking(&good, 0).sample().await.unwrap();
    let strange = Authority::new().asking(&good, 0).exchange().await;
    assert!(matches!(strange.map(drop), Err(QueryError::Io(_))));
    let other = authority.server("time.example", [-1, 1]);
    let refused = authority.asking(&other, 0).exchange().await;
    assert!(matches!(refused.map(drop), Err(QueryError::Io(_))));
    // One that has expired for certain opens nothing; else what its server says decides.
    let expired = authority.server(NAME, [-20, -10]);
    let refused = authority.asking(&expired, now_secs()).exchange().await;
    assert!(matches!(refused.map(drop), Err(QueryError::Io(_))));
    for server in [expired, authority.server(NAME, [10, 20])] {
        let refused = authority.asking(&server, 0).sample().await;
        let refused = refused.map(drop);
        assert!(
            matches!(refused, Err(QueryError::Sample(SampleRefused::Certificate { .. }))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_cookie_from_before_the_server_lost_its_keys_gives_no_time() {
    let authority = Authority::new();
    let mut server = authority.server(NAME, [-1, 1]);
    let asking = authority.asking(&server, 0);
    let keys = asking.exchange().await.unwrap();
    asking.query(&keys).await.unwrap();
    server.forget_keys();
    let refused = asking.query(&keys).await.map(drop);
    assert!(
        matches!(&refused, Err(QueryError::Answer(AnswerError::Kiss(code))) if code == "NTSN"),
        "{refused:?}"
    );
    asking.sample().await.unwrap();
}
