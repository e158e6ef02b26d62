//! Bytes a second from container to container over a compose network, beside a bare pair of links,
//! in turns.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use compose::{ComposeFile, Inputs};
use containers::network::Networks;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{LinkUnspec, LinkVeth};

use super::{median, row};

/// Transfers of each kind, interleaved.
const TRANSFERS: usize = 7;
/// Long enough that TCP's window is open most of the time.
const BURST: Duration = Duration::from_millis(700);
/// As much as a program that copies hands over at a time.
const BLOCK: usize = 128 << 10;
const PORT: u16 = 5001;

/// Prints the row; needs root.
pub fn bridges() {
    if !nix::unistd::geteuid().is_root() {
        println!("NOT RUN bridge beside bare veth: it needs root");
        return;
    }
    // A thread of its own, which leaves the host's network and its mounts.
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(measure());
    })
    .join()
    .unwrap();
}

async fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let digest = "0".repeat(64);
    let service = |name: &str| format!("  {name}: {{image: 'example.org/x@sha256:{digest}'}}\n");
    let text = format!("services:\n{}{}", service("one"), service("two"));
    let compose = ComposeFile::read(text.as_bytes(), &Inputs::default()).unwrap();
    let networks = Networks::open(
        &compose,
        &directory.path().join("run"),
        &directory.path().join("resolv.conf"),
    )
    .await
    .unwrap();
    let (one, two) = (networks.join("one-1").await.unwrap(), networks.join("two-1").await.unwrap());
    let open = |joined: &containers::network::Joined| {
        File::open(joined.namespace.as_ref().unwrap()).unwrap()
    };
    let bridged = (open(&one), open(&two), two.addresses[0]);
    let bare = bare_pair().await;
    let runs: Vec<_> = (0..TRANSFERS).map(|_| (transfer(&bridged), transfer(&bare))).collect();
    networks.close().await.unwrap();
    let bridged = median(runs.iter().map(|(bridged, _)| *bridged));
    let bare = median(runs.iter().map(|(_, bare)| *bare));
    let rate = |time: Duration| format!("{:.1} Gbit/s", 8.0 / time.as_secs_f64());
    let ratio = bare.as_secs_f64() / bridged.as_secs_f64();
    row(
        "container to container",
        &rate(bridged),
        &format!("bare veth: {}", rate(bare)),
        Some(ratio),
        "",
    );
}

/// Two namespaces joined by nothing but a pair of links.
async fn bare_pair() -> (File, File, IpAddr) {
    let (connection, netlink, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let (one, two) = (namespace(), namespace());
    netlink.link().add(LinkVeth::new("bare0", "bare1").build()).execute().await.unwrap();
    for (name, namespace, address) in
        [("bare0", &one, [192, 0, 2, 1]), ("bare1", &two, [192, 0, 2, 2])]
    {
        let moved = LinkUnspec::new_with_name(name).setns_by_fd(namespace.as_raw_fd()).build();
        netlink.link().set(moved).execute().await.unwrap();
        inside(namespace, || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(configure(name, address.into()));
        });
    }
    (one, two, IpAddr::from([192, 0, 2, 2]))
}

async fn configure(link: &str, address: Ipv4Addr) {
    let (connection, netlink, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let index = nix::net::if_::if_nametoindex(link).unwrap();
    netlink.address().add(index, address.into(), 24).execute().await.unwrap();
    netlink.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.unwrap();
}

fn namespace() -> File {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    made.join().unwrap()
}

fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        entered.join().unwrap()
    })
}

/// Time a gigabyte, from the first namespace to the address in the second.
fn transfer((from, to, address): &(File, File, IpAddr)) -> Duration {
    let listener = inside(to, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap());
    let receiver = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut buffer, mut bytes) = (vec![0; BLOCK], 0_usize);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return bytes,
                length => bytes += length,
            }
        }
    });
    let mut stream = inside(from, || TcpStream::connect(SocketAddr::new(*address, PORT)).unwrap());
    let (start, block) = (Instant::now(), vec![0x5a; BLOCK]);
    while start.elapsed() < BURST {
        stream.write_all(&block).unwrap();
    }
    drop(stream);
    let bytes = receiver.join().unwrap();
    Duration::from_secs_f64(start.elapsed().as_secs_f64() / bytes as f64 * 1e9)
}
