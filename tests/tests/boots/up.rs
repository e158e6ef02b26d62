//! `dstyx up` and what a person does next, with the real program and one boot.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use protocol::image::Flavour;
use serde_json::Value;
use tests::dstyx::User;
use tests::registry::Registry;
use tests::{app, http, lab};

use crate::real_app;

const NAME: &str = "promise-up";
/// The machine of a host that gives it another shape than it says.
const OTHER_MACHINE: &str = "promise-other-machine";
/// The machine of a whole app.
const WHOLE: &str = "promise-whole";
/// What the data disk of a test's machine may grow to: enough for the example, on a host that has
/// little room left.
const DISK_GIB: &str = "1";
/// From command to verdict with everything cached, on a machine with nothing else to do; printed,
/// not required.
const AIM: Duration = Duration::from_secs(60);

/// A machine that is stopped even if the test fails.
struct Running<'a>(&'a User, &'static str);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dstyx(["down", self.1]);
    }
}

pub fn boots_verifies_and_answers() {
    let user = User::default();
    // Everything is built before the clock starts.
    image::apps::EXAMPLES[0].build(lab::builder(), lab::checkout()).unwrap();
    let started = Instant::now();
    let running = Running(&user, NAME);
    let up =
        user.dstyx(["up", "examples/hello", "--emulate", "--name", NAME, "--disk-gib", DISK_GIB]);
    println!("up took {:.1} s (aim {} s)", started.elapsed().as_secs_f64(), AIM.as_secs());
    assert_eq!(up.code, 0, "{up:#?}");
    assert_eq!(
        (up.text("/name"), up.text("/verdict"), up.text("/trust_anchor")),
        (NAME, "pass", "emulated")
    );

    the_link_answers(up.text("/urls/0"), &user);
    every_register_equals_what_measure_predicts(&user);
    wrong_shapes_fail_at_rtmr0(&user);
    another_compose_file_fails_at_compose_hash(&user);
    saved_evidence_is_judged_like_fresh(&user, up.text("/agent"));
    ps_and_logs_tell(&user);
    its_owner_sees_what_it_does_not_publish(&user, up.text("/agent"));

    drop(running);
    assert_eq!(user.dstyx(["ps"]).json, serde_json::json!([]));
    assert!(!user.machine(NAME).exists());
}

/// A host that gives the guest another machine than it says: the command prints the verdict and
/// ends, and nobody waits for the app.
pub fn ends_where_the_guest_is_not_verified() {
    let user = User::default();
    image::apps::EXAMPLES[0].build(lab::builder(), lab::checkout()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let one_processor = r#"[ "$before" = -smp ] && argument=1"#;
    let qemu = lab::changed_qemu(directory.path(), one_processor).display().to_string();
    let _running = Running(&user, OTHER_MACHINE);
    let up = user.dstyx([
        "up",
        "examples/hello",
        "--emulate",
        "--vcpus",
        "2",
        "--name",
        OTHER_MACHINE,
        "--disk-gib",
        DISK_GIB,
        "--qemu",
        &qemu,
    ]);
    assert_eq!((up.code, up.text("/verdict")), (1, "fail"), "{up:#?}");
    assert_eq!(up.text("/app"), "not waited for");
    assert!(!up.stderr.contains("the guest was verified"), "{}", up.stderr);
    assert!(up.stderr.contains("danger: the emulator's root is accepted"), "{}", up.stderr);
    user.dstyx(["verify", "--vm", OTHER_MACHINE, "--vcpus", "2"]).fails(&["rtmr0"]);
    user.dstyx(["verify", "--vm", OTHER_MACHINE, "--vcpus", "1"]).passes();
}

/// A QEMU of the locked version that gives its guest one processor, whatever it is asked for.
fn the_link_answers(link: &str, user: &User) {
    let page = String::from_utf8(get(link)).unwrap();
    let verdict = user.dstyx(["verify", "--vm", NAME]);
    verdict.passes();
    assert!(page.contains("Hello from a dstyx guest"), "{page}");
    for fact in ["/facts/compose_hash", "/facts/mrtd", "/facts/rtmr0", "/facts/rtmr3"] {
        assert!(page.contains(verdict.text(fact)), "{fact} is not on the page");
    }
}

fn every_register_equals_what_measure_predicts(user: &User) {
    let verdict = user.dstyx(["verify", "--vm", NAME]);
    let image = lab::image(Flavour::Dev).display().to_string();
    let instance = verdict.text("/facts/instance_id");
    let predicted = user.dstyx([
        "measure",
        "--image",
        &image,
        "--vcpus",
        "2",
        "--memory",
        "2048",
        "--app",
        "examples/hello",
        "--instance-id",
        instance,
        "--until",
        "system-ready",
    ]);
    for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "compose_hash"] {
        assert_eq!(
            predicted.text(&format!("/{register}")),
            verdict.text(&format!("/facts/{register}")),
            "{register}"
        );
    }
}

fn wrong_shapes_fail_at_rtmr0(user: &User) {
    for stated in
        [["--vcpus", "4"], ["--memory", "1024"], ["--memory", "3072"], ["--root-slots", "6"]]
    {
        let verdict = user.dstyx(["verify", "--vm", NAME].into_iter().chain(stated));
        verdict.fails(&["rtmr0"]);
        assert!(verdict.hint("rtmr0").contains("(stated)"), "{}", verdict.hint("rtmr0"));
    }
}

fn another_compose_file_fails_at_compose_hash(user: &User) {
    let directory = tempfile::tempdir().unwrap();
    let compose =
        fs::read_to_string(lab::checkout().join("examples/hello/docker-compose.yml")).unwrap();
    let changed = compose.replacen("One container", "one container", 1);
    assert_ne!(changed, compose);
    fs::write(directory.path().join("docker-compose.yml"), changed).unwrap();
    let app = directory.path().display().to_string();
    let verdict = user.dstyx(["verify", "--vm", NAME, "--app", &app]);
    verdict.fails(&["compose-hash", "app-id"]);
    assert!(verdict.hint("compose-hash").contains("docker_compose_file, line "), "{verdict:?}");
}

fn saved_evidence_is_judged_like_fresh(user: &User, agent: &str) {
    let directory = tempfile::tempdir().unwrap();
    let evidence = directory.path().join("evidence.json");
    let nonce = "5a".repeat(32);
    fs::write(&evidence, get(&format!("{agent}/evidence?nonce={nonce}"))).unwrap();
    let collateral = user.machine(NAME).join("collateral.json");
    let paths = [evidence, collateral, lab::image(Flavour::Dev), lab::image(Flavour::Release)];
    let [evidence, collateral, dev, release] = paths.map(|path| path.display().to_string());
    let verify = |image: &str, more: &[&str]| {
        let fixed =
            ["verify", "--evidence", &evidence, "--app", "examples/hello", "--image", image];
        user.dstyx(fixed.into_iter().chain(more.iter().copied()))
    };
    let emulated = ["--danger-accept-emulated", "--nonce", &nonce, "--collateral", &collateral];
    verify(&dev, &emulated).passes();
    let no_collateral = verify(&dev, &emulated[..3]);
    assert_eq!(no_collateral.code, 2, "nothing says yet what Intel would say of the platform");
    let old = verify(&dev, &["--danger-accept-emulated", "--collateral", &collateral]);
    assert_eq!((old.code, old.verdict("report-data")), (2, "skipped"), "the nonce is the sender's");
    let believed = verify(&dev, &["--nonce", &nonce, "--collateral", &collateral]);
    assert_eq!(
        (believed.code, believed.text("/trust_anchor")),
        (1, "intel"),
        "no dev image vouches"
    );
    let not_intels = verify(&release, &["--collateral", &collateral]);
    assert_eq!((not_intels.code, not_intels.text("/trust_anchor")), (1, "intel"));
    assert!(not_intels.failed().contains(&"trust-anchor"), "{:?}", not_intels.failed());
    let other_kernel = verify(&release, &["--collateral", &collateral, "--danger-accept-emulated"]);
    assert_eq!((other_kernel.code, other_kernel.failed().contains(&"rtmr1")), (1, true));
    assert!(other_kernel.text("/facts/notices/0").starts_with("EMULATED"), "{other_kernel:#?}");
}

fn ps_and_logs_tell(user: &User) {
    let ps = user.dstyx(["ps"]);
    assert_eq!(
        (ps.text("/0/name"), ps.text("/0/state"), ps.text("/0/platform")),
        (NAME, "running", "emulated")
    );
    let logs = user.dstyx(["logs", NAME, "--console"]);
    let records = logs.json["status"].as_array().unwrap();
    let phases: Vec<_> = records.iter().filter_map(|record| record["phase"].as_str()).collect();
    let boot = [
        "Started",
        "Mounted",
        "CommandLineChecked",
        "LaunchRead",
        "TimeFloored",
        "AppMeasured",
        "Networked",
        "AgentStarted",
        "DiskOpened",
        "SystemReady",
        "AppRunning",
    ];
    assert_eq!(phases, boot);
    assert!(records.iter().all(|record| record["refusal"] == "None"), "{records:#?}");
}

/// Over a channel of their own; the public port says as little as before.
fn its_owner_sees_what_it_does_not_publish(user: &User, agent: &str) {
    let ps = user.dstyx(["ps", NAME]);
    assert_eq!((ps.code, ps.text("/state")), (0, "running"), "{ps:#?}");
    let container = ps.text("/containers/0/service");
    let logs = user.dstyx(["logs", NAME, container]);
    assert_eq!((logs.code, logs.text("/service")), (0, container), "{logs:#?}");
    for command in ["stats", "events"] {
        let told = user.dstyx([command, NAME]);
        assert_eq!(told.code, 0, "{told:#?}");
    }
    for path in ["/ps", "/stats", "/events"] {
        let public = http::get(agent.trim_start_matches("http://"), path);
        assert!(public.is_err_and(|error| error.to_string().starts_with("403")), "{path}");
    }
}

/// What README tells: tags pinned, one command, links that answer. The guest publishes no more of
/// it than its file says.
pub fn runs_a_whole_app() {
    let registry = Registry::of(&real_app::IMAGES);
    let directory = tempfile::tempdir().unwrap();
    let source = lab::checkout().join("tests/vectors/apps/counter");
    let copied =
        Command::new("cp").arg("-r").arg(source.join(".")).arg(directory.path()).status().unwrap();
    assert!(copied.success());
    app::pin(&directory.path().join("docker-compose.yml"), &registry);
    let user = User::default();
    let _running = Running(&user, WHOLE);
    let directory = directory.path().display().to_string();
    let fixed = ["up", &directory, "--emulate", "--name", WHOLE, "--memory", "3072"];
    let up = user.dstyx(fixed.into_iter().chain([
        "--disk-gib",
        "4",
        "--danger-privileged",
        "--no-kms",
        "--no-owner",
        "--registry-mirror",
        &registry.url(),
    ]));
    assert_eq!(up.code, 0, "{up:#?}");
    assert_eq!((up.text("/verdict"), up.text("/app")), ("pass", "running"));
    for told in ["danger_privileged", "lasts for one boot", "redis.conf"] {
        assert!(up.stderr.contains(told), "{told} is not told of: {}", up.stderr);
    }
    let links = up.json["urls"].as_array().unwrap().iter().filter_map(Value::as_str);
    let page = links
        .map(get)
        .find_map(|page| serde_json::from_slice::<Value>(&page).ok()?["counted"].as_u64());
    assert!(page.is_some_and(|counted| counted > 0), "{up:#?}");
    let ps = user.dstyx(["ps", WHOLE]);
    assert!(ps.code == 3 && ps.stderr.contains("public_sysinfo"), "{ps:#?}");
    let logs = user.dstyx(["logs", WHOLE, "front"]);
    assert!(logs.code == 3 && logs.stderr.contains("public_logs"), "{logs:#?}");
}

pub fn refuses_before_the_boot() {
    let digest = "ab".repeat(32);
    let cases = [
        ("services:\n  web:\n    image: nginx:latest\n".to_owned(), "services.web.image"),
        (
            format!(
                "services:\n  web:\n    image: x.local/web@sha256:{digest}\n    privileged: true\n"
            ),
            "services.web.privileged",
        ),
        (
            format!("services:\n  web:\n    image: x.local/web@sha256:{digest}\n    colour: red\n"),
            "services.web.colour",
        ),
    ];
    // No allowance of the measured file gives a container the guest's disks or registers, or new
    // privileges.
    let never = [
        ("devices: [/dev/vdc]", "services.web.devices[0]"),
        ("devices: [\"/dev/tdx_guest:/dev/harmless\"]", "services.web.devices[0]"),
        ("security_opt: [\"no-new-privileges:false\"]", "services.web.security_opt[0]"),
    ];
    for (compose, path) in cases {
        is_refused(&compose, &[], path);
    }
    for (key, path) in never {
        let compose =
            format!("services:\n  web:\n    image: x.local/web@sha256:{digest}\n    {key}\n");
        is_refused(&compose, &["--danger-privileged"], path);
    }
}

fn is_refused(compose: &str, options: &[&str], path: &str) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("docker-compose.yml"), compose).unwrap();
    let app = directory.path().display().to_string();
    let up = ["up", app.as_str(), "--emulate"].into_iter().chain(options.iter().copied());
    let answer = User::default().dstyx(up);
    assert_eq!(answer.code, 3, "{answer:#?}");
    assert!(answer.stderr.contains(path), "{path} is not named: {}", answer.stderr);
}

/// Body of `GET url`, which must be answered with 200.
fn get(url: &str) -> Vec<u8> {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    http::get(host, &format!("/{path}")).unwrap()
}
