//! What containers are kept in, as they see it from inside a booted guest: capabilities, paths,
//! calls, devices, namespaces.
//!
//! Three containers say it of themselves: one with nothing but the default, one that shares what a
//! measured file may share, and the privileged one. What only the guest can see, the privileged one
//! reads, which shares its process ids.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::guest::Guest;

use crate::real_app::{CHAOS, json_of, processes};

#[path = "sandbox/bounds.rs"]
mod bounds;

/// Where the containers say what they see.
pub const CONFINED: u16 = 8084;
pub const SHARED: u16 = 8085;
/// Where the one without limits takes what there is.
pub const GREEDY: u16 = 8086;
/// Docker's fourteen capabilities, and all that there are.
const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";
const ALL_CAPABILITIES: &str = "000001ffffffffff";
/// Calls that no filter is about.
const HARMLESS: [&str; 2] = ["getppid", "socket AF_UNIX"];
/// Whoever has the guest's own ids has them all.
const GUESTS_IDS: [&str; 3] = ["0", "0", "4294967295"];
/// Devices that have to be among those that are tried: the emulated TDX device, disks, the log,
/// memory, the port behind which the emulator is.
const TRIED: [&str; 8] = ["tdx_guest", "vda", "vdb", "vdc", "dm-0", "kmsg", "mem", "ttyS1"];
/// Paths that every kernel has.
const THERE: [&str; 7] = [
    "/proc/sys/kernel/hostname",
    "/proc/sys",
    "/sys",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/cgroup.procs",
    "/etc/hosts",
    "/etc/resolv.conf",
];
/// The device that one container is given: harmless, and no other container's.
const GIVEN: &str = "cpu_dma_latency";
/// A node on a file system without devices, and one that the filter refuses.
const NOT_OPENED: [&str; 2] = ["EACCES", "EPERM"];

/// Every container in what it is to be kept in, then every bound reached.
pub fn keeps_in(guest: &Guest) {
    let slow = bounds::Slow::begun(guest);
    let confined = report(guest, CONFINED, "/");
    let shared = report(guest, SHARED, "/");
    let privileged = report(guest, CHAOS, "/sees");
    holds(&confined, DEFAULT_CAPABILITIES);
    holds(&shared, DEFAULT_CAPABILITIES);
    holds(&privileged, ALL_CAPABILITIES);
    calls_are_denied(&confined);
    calls_are_denied(&shared);
    assert_eq!(
        (&privileged["status"]["Seccomp"], &privileged["calls"]["unshare nothing"]),
        (&json!("0"), &json!(0))
    );
    no_socket_leads_to_the_host(&privileged);
    the_disk_keeps_its_promises(&confined, &privileged);
    the_disk_keeps_its_promises(&shared, &privileged);
    paths_are_hidden(&confined, &privileged);
    paths_are_hidden(&shared, &privileged);
    paths_are_read_only(&confined, &["EROFS", "EACCES"]);
    paths_are_read_only(&shared, &["EROFS"]);
    no_device_of_the_guest_opens(&confined, "EPERM", &["/", "/dev", "/scratch", "/kept"]);
    no_device_of_the_guest_opens(&shared, "made", &["/", "/dev", "/scratch", "/kept"]);
    no_device_of_the_guest_opens(&privileged, "made", &["/", "/dev"]);
    a_named_device_is_given_as_named(&shared, &confined);
    namespaces_are_own_or_shared(guest, &confined, &shared);
    no_two_containers_share_ids(guest);
    bounds::of_processes(guest, &confined);
    the_kernel_is_set(guest);
    bounds::bite(guest);
    bounds::an_init_reaps_and_a_terminal_is_one(guest);
    slow.ends(guest);
    bounds::one_does_not_take_the_guest(guest);
    println!("every container is kept in, {:.0} s", guest.age().as_secs_f64());
}

/// What a container says that it sees.
fn report(guest: &Guest, port: u16, path: &str) -> Value {
    guest.until("a container does not say what it sees", || json_of(guest, port, path))
}

/// A file of the guest, or where a link there leads.
fn read(guest: &Guest, path: &str) -> String {
    let text = || json_of(guest, CHAOS, &format!("/read?path={path}"));
    guest.until("the guest's files are not shown", text).as_str().unwrap().to_owned()
}

/// Process 1 of a container, in the guest's numbering.
fn first(guest: &Guest, id: &str) -> u64 {
    crate::real_app::first_process(&processes(guest, "/"), id)
        .unwrap_or_else(|| panic!("{id} does not run"))
}

/// Root has these capabilities, passes none of them on, and gains none.
fn holds(report: &Value, capabilities: &str) {
    let status = &report["status"];
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status[set], capabilities, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status[set], "0".repeat(16), "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
}

fn calls_are_denied(report: &Value) {
    let filters: u32 = report["status"]["Seccomp_filters"].as_str().unwrap().parse().unwrap();
    assert_eq!((&report["status"]["Seccomp"], filters > 0), (&json!("2"), true));
    for (name, outcome) in report["calls"].as_object().unwrap() {
        let expected = match name.as_str() {
            name if HARMLESS.contains(&name) => json!(0),
            "clone3" => json!("ENOSYS"),
            _ => json!("EPERM"),
        };
        assert_eq!(*outcome, expected, "{name}");
    }
}

/// The kernel has no such sockets: a container without a filter gets none either.
fn no_socket_leads_to_the_host(privileged: &Value) {
    for call in ["socket AF_VSOCK", "socket AF_VSOCK above 32 bits"] {
        assert_eq!(privileged["calls"][call], "EAFNOSUPPORT", "{call}");
    }
}

/// No flag takes a file's checksums, whoever asks; no container makes or changes a subvolume, while
/// clones of files are a file's own business.
fn the_disk_keeps_its_promises(report: &Value, privileged: &Value) {
    for disk in [&report["disk"], &privileged["disk"]] {
        let refused = disk["no copy on write"].as_str().unwrap_or_default();
        assert!(["EOPNOTSUPP", "ENOTSUP"].contains(&refused), "{disk}");
        assert_eq!(disk["is copied on write"], true, "{disk}");
    }
    assert_eq!(report["disk"]["file_setattr"], "EPERM");
    for (request, outcome) in report["disk"]["requests"].as_object().unwrap() {
        let is_clone = request.starts_with("FICLONE");
        assert_eq!(*outcome == "ENOTTY", !is_clone, "{request}: {outcome}");
        assert_ne!(*outcome, "EPERM", "{request}");
    }
    let known = &privileged["disk"]["requests"]["SUBVOL_CREATE"];
    assert_ne!(known, "ENOTTY", "the disk is not btrfs, or the privileged are filtered too");
}

/// What is masked reads as empty, and some of it is not empty for the privileged.
fn paths_are_hidden(report: &Value, privileged: &Value) {
    for (path, content) in report["masked"].as_object().unwrap() {
        assert!(*content == json!([]) || *content == "ENOENT", "{path}: {content}");
    }
    for path in ["/proc/interrupts", "/proc/timer_list", "/sys/firmware"] {
        let (hidden, seen) = (&report["masked"][path], &privileged["masked"][path]);
        assert!(
            *hidden == json!([]) && seen.as_array().is_some_and(|seen| !seen.is_empty()),
            "{path}: {hidden} {seen}"
        );
    }
    for path in
        ["/sys/devices/virtual/misc/tdx_guest", "/sys/kernel/config", "/sys/kernel/security"]
    {
        let (hidden, seen) = (&report["masked"][path], &privileged["masked"][path]);
        assert_eq!((hidden, seen), (&json!([]), &json!([])), "{path} is for nobody");
    }
}

/// Some of these paths this kernel does not have.
fn paths_are_read_only(report: &Value, refusals: &[&str]) {
    let (unwritable, read_only) =
        (report["unwritable"].as_object().unwrap(), report["read_only"].as_object().unwrap());
    for (path, outcome) in unwritable {
        let refused = refusals.contains(&outcome.as_str().unwrap());
        assert!(
            refused || (*outcome == "ENOENT" && !THERE.contains(&path.as_str())),
            "{path}: {outcome}"
        );
    }
    for (path, outcome) in read_only {
        assert!(
            *outcome == true || (*outcome == "ENOENT" && !THERE.contains(&path.as_str())),
            "{path}: {outcome}"
        );
    }
}

/// Nodes can be made by who has the guest's ids, and by nobody else; none opens, wherever it is.
fn no_device_of_the_guest_opens(report: &Value, made: &str, directories: &[&str]) {
    let nodes = report["nodes"].as_array().unwrap();
    for place in directories {
        for name in TRIED {
            let node = nodes.iter().find(|node| node["name"] == name && node["place"] == *place);
            assert!(node.is_some(), "{name} is not tried in {place}: {report}");
        }
    }
    let is_given = |node: &Value| node["name"] == GIVEN && report["given"]["r"] == "opened";
    for node in nodes.iter().filter(|node| !is_given(node)) {
        assert_eq!(node["made"], made, "{node}");
        let refusals: &[&str] = match made {
            // By the filter alone.
            "made" if node["place"] == "/dev" => &["EPERM"],
            "made" => &NOT_OPENED,
            _ => &["ENOENT"],
        };
        assert!(refusals.contains(&node["opened"].as_str().unwrap()), "{node}");
    }
}

/// For reading alone, and for nobody else.
fn a_named_device_is_given_as_named(shared: &Value, confined: &Value) {
    assert_eq!(shared["given"], json!({ "r": "opened", "w": "EPERM" }));
    assert_eq!(confined["given"], json!({ "r": "ENOENT", "w": "ENOENT" }));
}

fn namespaces_are_own_or_shared(guest: &Guest, confined: &Value, shared: &Value) {
    let of_web = first(guest, "web-1");
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let of_guest = read(guest, &format!("/proc/1/ns/{kind}"));
        let of_other = read(guest, &format!("/proc/{of_web}/ns/{kind}"));
        let (own, asked) = (&confined["namespaces"][kind], &shared["namespaces"][kind]);
        assert!(*own != of_guest && *own != of_other, "{kind}: {own} {of_guest} {of_other}");
        // The process ids and the mounts are a container's own unless a file says otherwise.
        assert_eq!(
            *asked == of_guest,
            !["mnt", "pid"].contains(&kind),
            "{kind}: {asked} {of_guest}"
        );
    }
    let [inside, outside, count] = [0, 1, 2].map(|index| confined["ids"][index].as_str().unwrap());
    assert!(inside == "0" && outside != "0" && count == "65536", "{}", confined["ids"]);
    assert_eq!(shared["ids"], json!(GUESTS_IDS));
}

/// The guest's settings, as init made them.
fn the_kernel_is_set(guest: &Guest) {
    for (path, expected) in [
        ("fs/protected_symlinks", "1"),
        ("fs/protected_hardlinks", "1"),
        ("fs/protected_fifos", "2"),
        ("fs/protected_regular", "2"),
        ("net/core/bpf_jit_harden", "2"),
        // Elasticsearch starts with 262,144 and more.
        ("vm/max_map_count", "1048576"),
        ("kernel/pid_max", "4194304"),
    ] {
        assert_eq!(read(guest, &format!("/proc/sys/{path}")).trim(), expected, "{path}");
    }
}

/// As the guest sees it: every container that does not share the guest's ids has a range of its
/// own.
fn no_two_containers_share_ids(guest: &Guest) {
    let processes = processes(guest, "/");
    let firsts =
        processes.iter().filter(|process| process["inside"] == 1 && process["contained"] == true);
    let maps: Vec<_> =
        firsts.map(|first| read(guest, &format!("/proc/{}/uid_map", first["pid"]))).collect();
    let maps: Vec<Vec<&str>> = maps.iter().map(|map| map.split_whitespace().collect()).collect();
    let own: Vec<_> = maps.iter().filter(|map| **map != GUESTS_IDS).collect();
    let ranges: BTreeSet<_> = own.iter().map(|map| map[1]).collect();
    assert!(own.iter().all(|map| map[0] == "0" && map[2] == "65536"), "{maps:?}");
    assert!(own.len() > 2 && ranges.len() == own.len() && !ranges.contains("0"), "{maps:?}");
}
