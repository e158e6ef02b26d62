//! What a container finds in `/etc` about itself and others: `hosts`, `hostname`, `resolv.conf`.

use crate::compose::model::Service;
use crate::container::ContainerRequest;

/// What the container calls itself.
pub(super) fn host_name(service: &Service) -> &str {
    service.names.hostname.as_deref().unwrap_or(&service.name)
}

/// Path in the container and text of each file.
pub(super) fn files(container: &ContainerRequest<'_>) -> [(&'static str, String); 3] {
    [
        ("/etc/hosts", hosts(container)),
        ("/etc/hostname", format!("{}\n", host_name(container.service))),
        ("/etc/resolv.conf", container.network.resolv_conf.clone()),
    ]
}

fn hosts(container: &ContainerRequest<'_>) -> String {
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (address, names) in &container.network.hosts {
        hosts.push_str(&format!("{address}\t{names}\n"));
    }
    hosts
}
