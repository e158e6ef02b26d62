//! A file that uses every key a guest runs gives the model that it describes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use compose::model::*;
use compose::{ComposeFile, Environment, Inputs, Protocol, PublishedPort};

use super::PIN;

const TEXT: &str = r#"
name: shop
x-common: &common
  restart: unless-stopped
  environment: &env { A: "1", B: two }
services:
  web:
    <<: *common
    image: ghcr.io/me/web:${TAG:-1.2}@PIN
    command: serve --root '/srv/a b' "$$HOME"
    entrypoint: ["/bin/web"]
    environment: { <<: *env, B: three, SHARED }
    env_file: [base.env, { path: none.env, required: false }, { path: raw.env, format: raw }]
    working_dir: /srv//www/
    user: "1000:www"
    group_add: [adm, 7]
    init: true
    tty: false
    stdin_open: true
    hostname: web-1
    domainname: shop.example
    container_name: front
    extra_hosts: ["a.example=10.0.0.1", "b:::1", "gate:host-gateway"]
    dns: 9.9.9.9
    dns_search: [shop.example]
    dns_opt: ["ndots:2"]
    ports: ["8080-8081:80-81/tcp", "127.0.0.1:53:5353/udp", { target: 70, published: "7000", host_ip: "::1", mode: host }]
    networks:
      back: { aliases: [www], ipv4_address: 10.5.0.9, priority: 1 }
      front: { priority: 10 }
    depends_on:
      db: { condition: service_healthy, restart: true }
      init: { condition: service_completed_successfully }
      cache: { condition: service_started, required: false }
    volumes:
      - data:/data/sub:ro
      - ./run.sh:/run.sh:ro
      - ./conf:/conf:ro
      - ./kept/deep:/kept
      - ./start:/start
      - /var/run/dstack.sock:/var/run/dstack.sock
      - /scratch
      - { type: tmpfs, target: /mem, tmpfs: { size: 1m, mode: 0700 } }
      - { type: volume, source: data, target: /data, volume: { nocopy: true, subpath: a/b } }
    tmpfs: /tmp:size=64m,mode=1777,exec,uid=70,gid=70,nosuid
    configs: [plain, { source: plain, target: /etc/app.conf, uid: "10", gid: "11", mode: 0440 }]
    secrets: [token, { source: token, target: other }]
    read_only: true
    cap_drop: [ALL]
    cap_add: [cap_chown]
    security_opt: ["no-new-privileges:true"]
    sysctls: { net.core.somaxconn: 1024 }
    ulimits: { nofile: { soft: 1024, hard: -1 }, core: 0 }
    shm_size: 128m
    oom_score_adj: 100
    cpus: 1.5
    cpu_shares: 512
    cpuset: 0-1
    deploy:
      resources:
        limits: { memory: 256M, pids: 100 }
        reservations: { memory: 64M }
    healthcheck: { test: curl -f localhost, interval: 1m30s, timeout: 5s, retries: 2, start_period: 10s, start_interval: 1s }
    stop_signal: SIGINT
    stop_grace_period: 30s
    logging: { driver: json-file, options: { max-size: 10m, max-file: "3" } }
    labels: [a=b, bare]
    platform: linux/amd64
    pull_policy: always
  db:
    image: postgres@PIN
    scale: 2
    deploy: { restart_policy: { condition: on-failure, delay: 5s, max_attempts: 3, window: 1m } }
    healthcheck: { test: ["CMD", "pg_isready"] }
    networks: [back]
  init:
    image: busybox@PIN
    network_mode: none
    healthcheck: { disable: true }
    restart: on-failure:2
  side:
    image: busybox@PIN
    profiles: [full]
    network_mode: service:web
  cache:
    image: redis@PIN
    profiles: [never]
networks:
  back: { internal: true, ipam: { config: [{ subnet: 10.5.0.0/24 }] } }
  front: { enable_ipv6: true }
  unused:
volumes:
  unused: {}
  data:
configs:
  plain: { content: "tag ${TAG:-1.2}\n" }
secrets:
  token: { environment: TOKEN }
x-dstyx: { danger_public_secrets: true, data: [./kept], seed: ./start }
"#;

fn read() -> ComposeFile {
    let environment: Environment =
        [("COMPOSE_PROFILES", "full,other"), ("TOKEN", "t0p"), ("SHARED", "s")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
    let files: BTreeMap<String, Vec<u8>> = [
        ("base.env", "C=${A:-x}\nB=base\n"),
        ("raw.env", "R='$x'\n"),
        ("run.sh", "#!/bin/sh\n"),
        ("conf/a", "a"),
        ("conf/b/c", "c"),
        ("start/a", "#!"),
    ]
    .map(|(path, content)| (path.to_owned(), content.into()))
    .into();
    let inputs = Inputs { files: &files, environment: &environment, ..Inputs::default() };
    let text = TEXT.replace("@PIN", PIN).replace("SHARED }", "SHARED: }");
    ComposeFile::read(text.as_bytes(), &inputs).unwrap_or_else(|error| panic!("{error}"))
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[test]
fn the_file_keeps_what_is_used() {
    let file = read();
    assert_eq!(file.name.as_deref(), Some("shop"));
    let names: Vec<&str> = file.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["web", "db", "init", "side"]);
    assert_eq!(file.volumes, ["data"]);
    assert_eq!(file.data, ["kept/deep", "start"]);
    let back: IpAddr = "10.5.0.0".parse().expect("address");
    assert_eq!(
        file.networks,
        [
            Network { name: "back".into(), internal: true, ipv6: false, subnets: vec![(back, 24)] },
            Network { name: "front".into(), internal: false, ipv6: true, subnets: vec![] },
        ]
    );
    assert!(file.dangers.is_empty());
}

#[test]
fn processes_are_what_the_file_says() {
    let web = &read().services[0];
    assert_eq!(web.image.to_string(), format!("ghcr.io/me/web:1.2{PIN}"));
    let process = Process {
        entrypoint: Some(texts(["/bin/web"])),
        command: Some(texts(["serve", "--root", "/srv/a b", "$HOME"])),
        environment: pairs([
            ("C", "1"),
            ("B", "three"),
            ("R", "'$x'"),
            ("SHARED", "s"),
            ("A", "1"),
        ]),
        working_dir: Some("/srv/www".into()),
        user: Some("1000:www".into()),
        group_add: texts(["adm", "7"]),
        init: true,
        tty: false,
        stdin_open: true,
    };
    assert_eq!(web.process, process);
    let privileges = Privileges {
        cap_add: texts(["CHOWN"]),
        cap_drop: texts(["ALL"]),
        sysctls: pairs([("net.core.somaxconn", "1024")]),
        ..Privileges::default()
    };
    assert_eq!(web.privileges, privileges);
    assert!(web.read_only);
    assert_eq!(web.labels, pairs([("a", "b"), ("bare", "")]));
}

#[test]
fn limits_are_what_the_file_says() {
    let resources = Resources {
        memory_bytes: Some(256 << 20),
        memory_reservation_bytes: Some(64 << 20),
        cpu_millis: Some(1500),
        cpu_shares: Some(512),
        cpuset: Some("0-1".into()),
        pids: Some(100),
        shm_bytes: Some(128 << 20),
        ulimits: vec![("nofile".into(), 1024, u64::MAX), ("core".into(), 0, 0)],
        oom_score_adj: Some(100),
    };
    assert_eq!(read().services[0].resources, resources);
}

#[test]
fn mounts_are_what_the_file_says() {
    let file = |content: &str, uid, gid, mode| MountSource::File {
        content: content.into(),
        uid,
        gid,
        mode,
    };
    let mount =
        |target: &str, read_only, source| Mount { target: target.into(), read_only, source };
    let volume = |subpath: Option<&str>, nocopy| MountSource::Volume {
        name: "data".into(),
        subpath: subpath.map(str::to_owned),
        nocopy,
    };
    let in_directory = |path: &str, content: &str| DirectoryFile {
        path: path.into(),
        content: content.into(),
        mode: 0o444,
    };
    let tmpfs = |size_bytes, mode, uid, exec| {
        MountSource::Tmpfs(Tmpfs {
            size_bytes: Some(size_bytes),
            mode: Some(mode),
            uid,
            gid: uid,
            exec,
        })
    };
    let expected = [
        mount("/run.sh", true, file("#!/bin/sh\n", 0, 0, 0o555)),
        mount(
            "/conf",
            true,
            MountSource::Directory {
                files: vec![in_directory("a", "a"), in_directory("b/c", "c")],
            },
        ),
        mount("/kept", false, MountSource::Data { path: "kept/deep".into(), seed: vec![] }),
        mount(
            "/start",
            false,
            MountSource::Data {
                path: "start".into(),
                seed: vec![DirectoryFile { path: "a".into(), content: b"#!".into(), mode: 0o555 }],
            },
        ),
        mount("/scratch", false, MountSource::Anonymous),
        mount("/mem", false, tmpfs(1 << 20, 0o700, 0, false)),
        mount("/data", false, volume(Some("a/b"), true)),
        mount("/tmp", false, tmpfs(64 << 20, 0o1777, 70, true)),
        mount("/plain", true, file("tag 1.2\n", 0, 0, 0o444)),
        mount("/data/sub", true, volume(None, false)),
        mount("/etc/app.conf", true, file("tag 1.2\n", 10, 11, 0o440)),
        mount("/var/run/dstack.sock", false, MountSource::Socket(AgentSocket::Dstack)),
        mount("/run/secrets/token", true, file("t0p", 0, 0, 0o444)),
        mount("/run/secrets/other", true, file("t0p", 0, 0, 0o444)),
    ];
    assert_eq!(read().services[0].mounts, expected);
}

#[test]
fn connections_are_what_the_file_says() {
    let file = read();
    let address = |text: &str| -> IpAddr { text.parse().expect("address") };
    let attachment = |network: &str, aliases: Vec<String>, addresses: Vec<IpAddr>| Attachment {
        network: network.into(),
        aliases,
        addresses,
    };
    let web = &file.services[0];
    let networks = vec![
        attachment("front", vec![], vec![]),
        attachment("back", texts(["www"]), vec![address("10.5.0.9")]),
    ];
    assert_eq!(web.network, NetworkMode::Networks(networks));
    assert_eq!(file.services[2].network, NetworkMode::None);
    assert_eq!(file.services[3].network, NetworkMode::Service("web".into()));
    let names = Names {
        hostname: Some("web-1".into()),
        domainname: Some("shop.example".into()),
        container_name: Some("front".into()),
        extra_hosts: vec![
            ("a.example".into(), Some(address("10.0.0.1"))),
            ("b".into(), Some(address("::1"))),
            ("gate".into(), None),
        ],
        dns: vec![address("9.9.9.9")],
        dns_search: texts(["shop.example"]),
        dns_options: texts(["ndots:2"]),
    };
    assert_eq!(web.names, names);
    let port = |host_ip: Option<&str>, published, target, protocol| PublishedPort {
        host_ip: host_ip.map(address),
        published,
        target,
        protocol,
        line: web.ports[0].line,
    };
    let ports = [
        port(None, 8080, 80, Protocol::Tcp),
        port(None, 8081, 81, Protocol::Tcp),
        port(Some("127.0.0.1"), 53, 5353, Protocol::Udp),
        port(Some("::1"), 7000, 70, Protocol::Tcp),
    ];
    assert_eq!(web.ports, ports);
}

#[test]
fn lives_are_what_the_file_says() {
    let file = read();
    let [web, db, init, _] = &file.services[..] else { panic!("{file:?}") };
    let needs = |service: &str, condition, restart| Dependency {
        service: service.into(),
        condition,
        restart,
        required: true,
    };
    let needed = [
        needs("db", Condition::Healthy, true),
        needs("init", Condition::CompletedSuccessfully, false),
    ];
    assert_eq!(web.depends_on, needed, "cache is not active and not required");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let check = HealthCheck {
        test: Some(texts(["/bin/sh", "-c", "curl -f localhost"])),
        interval: seconds(90),
        timeout: seconds(5),
        retries: Some(2),
        start_period: seconds(10),
        start_interval: seconds(1),
    };
    assert_eq!(web.health, Health::Check(check));
    assert_eq!(
        db.health,
        Health::Check(HealthCheck { test: Some(texts(["pg_isready"])), ..HealthCheck::default() })
    );
    assert_eq!(init.health, Health::Disabled);
    let restart = |when, attempts, delay, window| Restart { when, attempts, delay, window };
    assert_eq!(web.restart, restart(RestartWhen::Always, None, None, None));
    assert_eq!(db.restart, restart(RestartWhen::OnFailure, Some(3), seconds(5), seconds(60)));
    assert_eq!(init.restart, restart(RestartWhen::OnFailure, Some(2), None, None));
    assert_eq!(web.stop, Stop { signal: Some("SIGINT".into()), grace: seconds(30) });
    assert_eq!(web.logging, Logging { max_bytes: 10_000_000, max_files: 3, none: false });
    assert_eq!((db.replicas, init.logging.max_files), (2, 2));
}

#[test]
fn a_program_for_the_sandbox_of_pads_is_none_of_the_containers() {
    let text = format!(
        "services:\n  web:\n    image: nginx{PIN}\n  mean:\n    image: ghcr.io/a/mean:1{PIN}\n    \
         platform: wasi/wasm\n    pull_policy: missing\n    labels: [b=c]\n    annotations: {{a: b}}\n    \
         x-mine: 1\n  more:\n    image: more{PIN}\n    platform: ${{WHERE}}\n    profiles: [full]\n"
    );
    let read = |variables: &str| {
        let files = BTreeMap::from([(".env".to_owned(), variables.into())]);
        let environment = Environment::of_directory(&files).expect("variables");
        let inputs = Inputs { files: &files, environment: &environment, ..Inputs::default() };
        ComposeFile::read(text.as_bytes(), &inputs).expect("read")
    };
    let file = read("WHERE=wasi/wasm\n");
    let services: Vec<&str> = file.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(services, ["web"]);
    let [program] = &file.programs[..] else { panic!("{:?}", file.programs) };
    assert_eq!((program.name.as_str(), program.line), ("mean", 4));
    assert_eq!(program.image.to_string(), format!("ghcr.io/a/mean:1{PIN}"));
    assert_eq!(program.labels, [("b".to_owned(), "c".to_owned())]);
    let notes: Vec<&str> = file.notes.iter().map(|note| note.path.as_str()).collect();
    assert_eq!(notes, ["services.mean.annotations", "services.more"]);
    // What a service is, is measured: the variable is one of `.env`.
    let file = read("WHERE=wasi/wasm\nCOMPOSE_PROFILES=full\n");
    assert_eq!(file.programs[1].name, "more");
    let file = read("WHERE=linux/amd64\nCOMPOSE_PROFILES=full\n");
    assert_eq!((file.services.len(), file.programs.len()), (2, 1));
}

#[test]
fn every_key_of_a_container_is_refused_for_a_program() {
    let list = include_str!("../../../../tests/vectors/compose/keys.txt");
    let (_, rest) = list.split_once("\nservice:").expect("services");
    let keys = rest.split_whitespace().take_while(|word| !word.ends_with(':'));
    let taken = ["image", "labels", "platform", "profiles", "pull_policy"];
    for key in keys.filter(|key| !taken.contains(key)) {
        let program = format!("  mean:\n    image: x{PIN}\n    platform: wasi/wasm\n");
        let text = format!("{}{program}    {key}: a\n", super::service(""));
        match ComposeFile::read(text.as_bytes(), &Inputs::default()) {
            Ok(file) => assert_eq!(file.notes[0].path, format!("services.mean.{key}")),
            Err(error) => {
                let said = error.to_string();
                assert!(
                    said.starts_with(&format!("services.mean.{key} (line 7): not supp")),
                    "{said}"
                );
            }
        }
    }
}
