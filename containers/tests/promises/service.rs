//! Services as the compose file's reader would make them.

use containers::compose::ImageReference;
use containers::compose::model::{
    Health, Logging, Names, NetworkMode, Privileges, Process, Resources, Restart, RestartWhen, Service, Stop,
};

/// A service with defaults.
pub fn service(name: &str, network: NetworkMode) -> Service {
    let digest = format!("example.org/probe@sha256:{}", "0".repeat(64));
    Service {
        name: name.to_owned(),
        line: 1,
        image: ImageReference::parse(&digest).expect("reference"),
        replicas: 1,
        process: Process::default(),
        privileges: Privileges::default(),
        resources: Resources::default(),
        mounts: Vec::new(),
        read_only: false,
        network,
        names: Names::default(),
        ports: Vec::new(),
        depends_on: Vec::new(),
        health: Health::default(),
        restart: Restart { when: RestartWhen::Never, attempts: None, delay: None, window: None },
        stop: Stop::default(),
        logging: Logging { max_bytes: 1 << 20, max_files: 2, none: false },
        labels: Vec::new(),
    }
}
