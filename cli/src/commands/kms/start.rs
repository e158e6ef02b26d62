//! `dstyx kms start`: this user's KMS, or the machine of a cluster of several owners.

use std::path::Path;
use std::process::ExitCode;

use protocol::digest::Ed25519Key;
use protocol::kms::{Address, Cluster, EtcdEndpoints, StatusResponse, TimeServer, WebhookAddress};
use protocol::prpc::Empty;
use serde_json::json;

use super::{accelerator, shown};
use crate::app::APP_COMPOSE_FILE;
use crate::args::KmsStart;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::kms::channel::Calls as _;
use crate::kms::local::{Found, Local, Place, Published, Start, started_machine};
use crate::kms::named::Measured;
use crate::launch::for_guest;
use crate::output::Output;
use crate::parts::Overrides;
use crate::platform;

/// Starts what was asked for.
pub fn run(options: &KmsStart, output: &Output) -> Outcome<ExitCode> {
    let choice = platform::choose(platform::asked(options.tdx, options.emulate))?;
    let place = match &options.cluster {
        Some(name) => Some(place(name, options)?),
        None => None,
    };
    output.step(choice.announcement());
    let start = Start {
        overrides: Overrides { image: options.image.as_deref(), qemu: options.qemu.as_deref() },
        choice,
        accelerator: accelerator(options.accel),
    };
    if let Some(place) = place {
        return cluster(start, &place, output);
    }
    let mut local = Local::serving(start, output)?;
    let status: StatusResponse = local.kms.connection.call("Status", &Empty {})?;
    shown(&local.kms, &status, output);
    Ok(ExitCode::SUCCESS)
}

fn place(name: &str, options: &KmsStart) -> Outcome<Place> {
    let KmsStart { bind, port, collateral_port, .. } = *options;
    Place::of(name, Published { bind, port, collateral_port }, |directory| {
        let asked = asked(name, options)?;
        match (known(directory)?, asked) {
            (Some(known), Some(asked)) if known != asked => Err(Failure::new(
                format!(
                    "the cluster {name} was started with other owners, peers, etcd, webhook or time servers, as {}",
                    known.cluster.id()
                ),
                format!(
                    "leave --owner, --threshold, --etcd, --peer, --boot-auth and --time-server out, or move {} away",
                    directory.display()
                ),
            )),
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) => Err(Failure::new(
                format!("the cluster {name} was never started here"),
                "give --owner for each of its owners, and --threshold",
            )),
        }
    })
}

/// What the measured file of its last start says.
fn known(directory: &Path) -> Outcome<Option<Found>> {
    if !directory.join(APP_COMPOSE_FILE).exists() {
        return Ok(None);
    }
    let Measured { cluster, etcd, peers, boot_auth, time_servers, .. } = Measured::read(directory)?;
    Ok(Some(Found { cluster, etcd, peers, boot_auth, time_servers }))
}

fn asked(name: &str, options: &KmsStart) -> Outcome<Option<Found>> {
    if options.owner.is_empty() {
        return Ok(None);
    }
    let key = |text: &String| {
        Ed25519Key::from_hex(text).hint("--owner", "`dstyx kms init` prints an owner's key")
    };
    let mut owners = options.owner.iter().map(key).collect::<Outcome<Vec<_>>>()?;
    owners.sort();
    let threshold = options.threshold.ok_or_else(|| {
        Failure::new("--threshold is missing", "state how many of the owners decide together")
    })?;
    let cluster = Cluster { name: name.to_owned(), owners, threshold };
    cluster.check().hint("the cluster", "name each owner once, and how many of them decide")?;
    let peers = options.peer.iter().map(|url| Address::parse(&for_guest(url)));
    let peers = peers.collect::<Result<_, _>>();
    let peers = peers.hint("--peer", "write https://HOST:PORT, once for each process")?;
    let boot_auth = options.boot_auth.as_ref();
    let boot_auth = boot_auth.map(|url| WebhookAddress::parse(&for_guest(url))).transpose();
    let boot_auth = boot_auth.hint("--boot-auth", "write http://HOST:PORT, without /bootAuth")?;
    let etcd = etcd(&options.etcd)?;
    let time_servers = match options.time_server.is_empty() {
        true => Vec::new(),
        false => TimeServer::parse_all(&options.time_server.join(","))
            .hint("--time-server", "write HOST:PORT, once for each of three to seven servers")?,
    };
    Ok(Some(Found { cluster, etcd, peers, boot_auth, time_servers }))
}

/// The members as the KMS's guest reaches them.
fn etcd(urls: &[String]) -> Outcome<Option<EtcdEndpoints>> {
    if urls.is_empty() {
        return Ok(None);
    }
    let urls: Vec<String> = urls.iter().map(|url| for_guest(url)).collect();
    let etcd = EtcdEndpoints::parse(&urls.join(","));
    etcd.map(Some).hint("--etcd", "write http://HOST:PORT, once for each member")
}

/// The machine of a cluster; who leads it are its owners, of whom this user may be none.
fn cluster(start: Start<'_>, place: &Place, output: &Output) -> Outcome<ExitCode> {
    let address = started_machine(start, place, output)?;
    let id = place.cluster.id();
    let app = place.directory.join(APP_COMPOSE_FILE);
    let (url, machine) = (format!("https://{address}"), &place.machine);
    let document = json!({
        "machine": machine, "url": url, "key_provider_id": id, "cluster": place.cluster,
        "app_compose": app,
    });
    output.result(&document, || {
        let Cluster { threshold, owners, .. } = &place.cluster;
        let count = owners.len();
        format!(
            "{machine} runs at {url}\n\
             key_provider_id {id}: {threshold} of {count} owners decide\n\
             each owner, with a copy of {} and the image's directory:\n  \
             dstyx kms next --kms URL --kms-app app-compose.json --kms-image DIR\n",
            app.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}
