//! The machine `local-gateway` of this user: started where an app asks for a gateway and none is
//! named.
//!
//! It is the checkout's gateway in a guest like any other, which gets keys from this user's KMS;
//! the owner's policy names it as the one gateway. Its certificates are of a local authority, for
//! trials on this machine: they say so, and so does every line about them here.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use attestation::TrustAnchor;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::digest::{AppId, Sha256Digest};
use serde_json::json;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::app::{APP_COMPOSE_FILE, App, Asked};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::judge;
use crate::kept::Kept;
use crate::kms::allow;
use crate::kms::local::{Local, Start, collateral_for_guests};
use crate::kms::policy::Wanted;
use crate::launch::{Launch, MachineSettings, Speaks, for_guest};
use crate::output::{Output, note};
use crate::parts::{Images, Parts};
use crate::platform::Choice;
use crate::vm::Vm;
use crate::{build, files, paths, private, watch};

/// Name of the machine.
const MACHINE: &str = "local-gateway";
/// Its base domain: browsers lead all names below it to this machine, without a resolver.
const BASE: &str = "apps.localhost";
/// Where the checkout has its app.
const SOURCE: &str = "gateway/deploy/docker-compose.yml";
/// Its port for clients, as its compose file publishes it.
const CLIENTS: u16 = 443;
/// Its port for guests.
const GUESTS: u16 = protocol::gateway::TUNNEL_PORT;
/// It relays bytes and judges a guest now and then.
const SHAPE: (u32, u64) = (1, 1024);
/// Its certificates, the evidence of their keys, and its image.
const DISK_GIB: u64 = 2;
/// How long it may take from then on until it has a certificate.
const SERVES_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two questions whether it has.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// A compose file of one service.
const MAX_COMPOSE_BYTES: u64 = 64 << 10;
/// A certificate.
const MAX_PEM_BYTES: u64 = 16 << 10;

/// This user's gateway, serving.
#[derive(Debug)]
pub struct LocalGateway {
    vm: Vm,
    /// The certificate of its local authority, as a file.
    ca: PathBuf,
}

impl LocalGateway {
    /// Starts the machine if it does not run, with this user's KMS, and waits until it serves.
    pub fn serving(start: Start<'_>, output: &Output) -> Outcome<Self> {
        let vm = match Vm::load(MACHINE) {
            Ok(vm) if vm.qemu.alive() => {
                if vm.emulated != (start.choice == Choice::Emulated) {
                    return Err(Failure::new(
                        format!("{MACHINE} runs on another platform than was asked for"),
                        format!("`dstyx down {MACHINE}` first, or name another one with --gateway"),
                    ));
                }
                vm
            }
            Ok(vm) => {
                vm.end()?;
                started(start, output)?
            }
            Err(_) => started(start, output)?,
        };
        let ca = paths::data_directory()?.join("danger-local-gateway-ca.pem");
        let pem = local_ca(address(&vm, CLIENTS)?, &vm)?;
        private::replace(&ca, &pem).hint(ca.display(), "is the directory writable?")?;
        note(&format!(
            "danger: the certificates of {BASE} are of a local authority, for trials on this machine"
        ));
        Ok(Self { vm, ca })
    }

    /// The address that guests on this host are told.
    pub fn url_for_guests(&self) -> Outcome<String> {
        Ok(for_guest(&format!("https://{}", address(&self.vm, GUESTS)?)))
    }

    /// The link to the first published port of an app in a machine, and how a client comes to
    /// believe its certificate.
    pub fn told(&self, app: AppId, machine: &Vm) -> Outcome<String> {
        let named = match machine.ports.keys().next() {
            None | Some(80) => String::new(),
            Some(port) => format!("-{port}"),
        };
        let port = match address(&self.vm, CLIENTS)?.port() {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let (link, ca) = (format!("https://{app}{named}.{BASE}{port}/"), self.ca.display());
        Ok(format!(
            "danger: by a local gateway, whose authority is for trials, it is at\n  {link}\n\
             \x20 curl --cacert {ca} {link}\n\
             \x20 certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n dstyx-trials -i {ca}   # browsers\n"
        ))
    }
}

fn started(start: Start<'_>, output: &Output) -> Outcome<Vm> {
    let directory = paths::vm_directory(MACHINE)?;
    if directory.exists() {
        fs::remove_dir_all(&directory).hint(directory.display(), "remove it by hand")?;
    }
    let mut kms = Local::serving(start, output)?;
    let id = kms.kms.owner.key_provider_id();
    let app = app(start, id)?;
    let parts = Parts::of(start.overrides, start.choice, &app, Images::Gateway)?;
    let mut kept = Kept::for_any_version(MACHINE, app.settings.hash)?;
    let mut wanted = Wanted::of(&app.settings, Some(&kept.record), parts.os_image_hash)?;
    wanted.gateway = true;
    let image_json = files::read_image_json(&parts.image)?;
    allow::allow(&mut kms.kms, &wanted, &image_json, output)?;
    let (vcpus, memory_mib) = SHAPE;
    let kms_urls = [kms.url_for_guests()?];
    let launch = Launch {
        machine: MachineSettings {
            vcpus,
            memory_mib,
            disk_gib: DISK_GIB,
            accelerator: start.accelerator,
        },
        registry_mirrors: &[],
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        choice: start.choice,
        app: &app,
        parts: &parts,
        kept: Some(&kept),
        kms_urls: &kms_urls,
        gateway_urls: &[],
        encrypted_env: None,
        collateral_port: None,
        speaks: Speaks::Tls,
    };
    output.step(&format!("starting this user's gateway, the machine {MACHINE}"));
    let vm = launch.start(MACHINE, &directory)?;
    kept.remember_ports(&vm)?;
    watch::until_app_runs(&vm, &directory, output)?;
    Ok(vm)
}

/// Makes the app directory anew, and its measured file, which pins this user's KMS.
fn app(start: Start<'_>, kms: Sha256Digest) -> Outcome<App> {
    let checkout = paths::checkout().map_err(|failure| {
        let hint = "start it in a checkout of dstyx, or name another gateway with --gateway";
        Failure::new(format!("{MACHINE} does not run, and {failure}"), hint)
    })?;
    let directory = paths::data_directory()?.join("gateway-app");
    fs::create_dir_all(&directory).hint(directory.display(), "is the directory writable?")?;
    let image = match start.overrides.image {
        Some(image) => image.to_owned(),
        None => build::image(&build::open()?, start.choice.flavour())?.directory,
    };
    let compose = files::read_bounded(&checkout.join(SOURCE), MAX_COMPOSE_BYTES)?;
    let emulated = start.choice == Choice::Emulated;
    let pccs = collateral_for_guests(emulated)?;
    for (name, bytes) in [
        ("docker-compose.yml", compose),
        ("image.json", files::read_image_json(&image)?),
        ("policy.toml", policy(&judge::anchor_if(emulated)).into_bytes()),
        ("gateway.json", file(pccs.as_deref()).into_bytes()),
    ] {
        fs::write(directory.join(name), bytes).hint(directory.display(), "is it writable?")?;
    }
    let measured = directory.join(APP_COMPOSE_FILE);
    if measured.exists() {
        fs::remove_file(&measured).hint(measured.display(), "is the directory writable?")?;
    }
    let keys = || Ok(Some(kms));
    App::read_or_make(&directory, Asked { keys_for_data: Some(&keys), ..Asked::default() })
}

/// Its measured file: one base domain with a local authority.
fn file(pccs: Option<&str>) -> String {
    let mut file = json!({
        "base_domains": [{ "name": BASE, "danger_local_ca": true }],
        "listen": { "clients": "0.0.0.0:8444", "guests": "0.0.0.0:8443" },
        "guests": { "images": ["/image.json"], "policy": "/policy.toml" },
    });
    if let Some(pccs) = pccs {
        file["pccs"] = pccs.into();
    }
    file.to_string()
}

/// Which platforms count, as a text of docs/policy.md.
fn policy(anchor: &TrustAnchor) -> String {
    let root = match anchor {
        TrustAnchor::Intel => String::new(),
        TrustAnchor::DangerEmulated(der) => {
            let text = STANDARD.encode(der);
            let lines: Vec<&str> = (0..text.len())
                .step_by(64)
                .map(|from| &text[from..text.len().min(from + 64)])
                .collect();
            let body = lines.join("\n");
            format!(
                "danger_root = \"\"\"\n-----BEGIN CERTIFICATE-----\n{body}\n\
                 -----END CERTIFICATE-----\n\"\"\"\n"
            )
        }
    };
    format!("version = 1\n{root}")
}

/// Where a port of the machine is on this host.
fn address(vm: &Vm, port: u16) -> Outcome<SocketAddr> {
    vm.ports.get(&port).copied().ok_or_else(|| {
        Failure::new(
            format!("the machine {} publishes no port {port}", vm.name),
            format!("is it another app? `dstyx down {}` ends it", vm.name),
        )
    })
}

/// The certificate of its local authority in PEM, as soon as it serves. It is asked on loopback,
/// of the machine that this command started, and nothing else vouches for it.
fn local_ca(address: SocketAddr, vm: &Vm) -> Outcome<Vec<u8>> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = ureq::tls::TlsConfig::builder()
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(ASK_TIMEOUT))
        .proxy(None)
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::new(), Known(address));
    let url = format!("https://gateway.{BASE}:{}/.dstyx/local-ca.pem", address.port());
    let deadline = Instant::now() + SERVES_TIMEOUT;
    loop {
        let read = agent.get(&url).call().and_then(|mut answer| {
            answer.body_mut().with_config().limit(MAX_PEM_BYTES).read_to_vec()
        });
        match read {
            Ok(pem) => return Ok(pem),
            Err(error) if Instant::now() > deadline => {
                return Err(Failure::new(
                    format!("{} serves no certificate: {error}", vm.name),
                    format!("see `dstyx logs {} --console`", vm.name),
                ));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Leads every name to one address: not every machine's resolver knows names below `localhost`.
#[derive(Debug)]
struct Known(SocketAddr);

impl Resolver for Known {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        found.push(self.0);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use attestation::policy::{ExpectedReportData, Rules};

    use super::*;

    #[test]
    fn its_policy_is_one_and_has_the_emulators_root_only_where_it_is_emulated() {
        for emulated in [false, true] {
            let anchor = judge::anchor_if(emulated);
            let rules = Rules::parse(policy(&anchor).as_bytes()).unwrap();
            let unstated = ExpectedReportData::Unstated(String::new());
            assert_eq!(rules.into_policy(TrustAnchor::Intel, unstated).anchor, anchor);
        }
    }
}
