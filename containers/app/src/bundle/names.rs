//! What a container finds in `/etc` about itself and others: `hosts`, `hostname`, `resolv.conf`.

use crate::launcher::ContainerRequest;

/// The kernel's longest host name.
const MAX_HOST_NAME_BYTES: usize = 64;

/// What the container calls itself: as the file says, else as its service; each of several by its
/// own id.
pub(super) fn host_name<'a>(container: &ContainerRequest<'a>) -> &'a str {
    let service = container.service;
    let several = service.replicas > 1 && container.id.len() <= MAX_HOST_NAME_BYTES;
    let own = if several { container.id } else { &service.name };
    service.names.hostname.as_deref().unwrap_or(own)
}

/// Path in the container and text of each file.
pub(super) fn files(container: &ContainerRequest<'_>) -> [(&'static str, String); 3] {
    [
        ("/etc/hosts", hosts(container)),
        ("/etc/hostname", format!("{}\n", host_name(container))),
        ("/etc/resolv.conf", container.network.resolv_conf.clone()),
    ]
}

fn hosts(container: &ContainerRequest<'_>) -> String {
    let mut hosts =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (address, names) in &container.network.hosts {
        hosts.push_str(&format!("{address}\t{names}\n"));
    }
    hosts
}
