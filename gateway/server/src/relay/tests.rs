//! Relays between streams in memory, whose time is the test's.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

const IDLE: Duration = Duration::from_secs(600);
const TOTAL: Duration = Duration::from_secs(18000);

/// A relay, and the outer ends of its two sides.
fn begin(space: usize) -> (DuplexStream, DuplexStream, JoinHandle<(Ended, Carried)>) {
    let (client, mut inner) = duplex(space);
    let (app, mut outer) = duplex(space);
    let task = tokio::spawn(async move { relay(&mut inner, &mut outer, IDLE, TOTAL).await });
    (client, app, task)
}

#[tokio::test(start_paused = true)]
async fn a_half_that_has_ended_leaves_the_other_one_open() {
    for client_first in [true, false] {
        let (client, app, task) = begin(64);
        let (mut first, mut second) = if client_first { (client, app) } else { (app, client) };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut asked = Vec::new();
        second.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"question");
        tokio::time::sleep(Duration::from_secs(500)).await;
        second.write_all(b"a late answer").await.unwrap();
        second.shutdown().await.unwrap();
        let mut answered = Vec::new();
        first.read_to_end(&mut answered).await.unwrap();
        assert_eq!(answered, b"a late answer");
        assert!(matches!(task.await.unwrap().0, Ended::Both));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_relay_with_a_silent_app_ends_when_it_was_idle() {
    let (mut client, mut app, task) = begin(64);
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = Vec::new();
    app.read_to_end(&mut asked).await.unwrap();
    let begun = Instant::now();
    assert!(matches!(task.await.unwrap().0, Ended::Idle));
    assert_eq!(begun.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_relay_is_idle_only_if_both_ways_are_and_ends_after_its_whole_time() {
    let (mut client, mut app, task) = begin(64);
    let begun = Instant::now();
    let mut bytes = 0;
    // A server that sends an event now and then.
    while app.write_all(b"event").await.is_ok() {
        let mut event = [0; 5];
        if client.read_exact(&mut event).await.is_err() {
            break;
        }
        bytes += 5;
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    }
    let (ended, carried) = task.await.unwrap();
    assert!(matches!(ended, Ended::Total));
    assert_eq!(begun.elapsed().as_secs() / 600, TOTAL.as_secs() / 600);
    assert_eq!(carried, Carried { up: 0, down: bytes });
}

#[tokio::test(start_paused = true)]
async fn an_app_that_takes_no_more_still_has_its_answer_delivered() {
    let (client, mut inner) = duplex(64);
    let (mut app, mut outer) = duplex(64);
    // The app answers and goes away while the client still sends.
    app.write_all(b"too large").await.unwrap();
    drop(app);
    let task = tokio::spawn(async move { relay(&mut inner, &mut outer, IDLE, TOTAL).await });
    let (mut reads, mut writes) = tokio::io::split(client);
    let sends = tokio::spawn(async move { while writes.write_all(&[7; 32]).await.is_ok() {} });
    let mut answer = [0; 9];
    reads.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"too large");
    sends.abort();
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_read_stops_the_other_and_holds_one_read() {
    let (client, app, task) = begin(64);
    let (_, mut writes) = tokio::io::split(client);
    let mut sent = 0_usize;
    while tokio::time::timeout(Duration::from_secs(1), writes.write_all(&[7; 64])).await.is_ok() {
        sent += 64;
    }
    assert!(sent <= READ_BYTES, "{sent} bytes were taken");
    drop(app);
    drop(writes);
    task.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_relay_sees_a_byte_of_another(
        sizes in proptest::collection::vec((1_usize..5000, 1_usize..400), 2..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut ends = Vec::new();
            for (index, (bytes, space)) in sizes.into_iter().enumerate() {
                let (mut client, app, _task) = begin(space);
                let (mark, echo) = (index as u8, tokio::spawn(async move {
                    let (mut reads, mut writes) = tokio::io::split(app);
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                    let _ = writes.shutdown().await;
                }));
                ends.push(tokio::spawn(async move {
                    let (mut reads, mut writes) = tokio::io::split(&mut client);
                    let mut back = Vec::new();
                    let send = async {
                        writes.write_all(&vec![mark; bytes]).await.unwrap();
                        writes.shutdown().await.unwrap();
                    };
                    let (_, read) = tokio::join!(send, reads.read_to_end(&mut back));
                    assert_eq!((read.unwrap(), back), (bytes, vec![mark; bytes]));
                    echo.await.unwrap();
                }));
            }
            for end in ends {
                end.await.unwrap();
            }
        });
    }
}
