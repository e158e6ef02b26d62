//! The guest's end of the tunnels by which gateways lead clients to the app, where the measured
//! file says `gateway_enabled`.
//!
//! The guest dials, so neither addresses that are translated nor a gateway that is away keep it
//! from being reached later, and nothing of it waits for one. Where gateways are, the host says;
//! which app is the gateway, the KMS said with the keys, and what answers must prove that it is
//! that app. A gateway is believed no more than it needs: it opens streams to ports that the app
//! publishes and its policy allows, and to no others.

mod candidates;
mod dialler;
mod judge;
mod ports;

use std::io;
use std::sync::Arc;

use attestation::policy::PlatformRules;
use attestation::release_statement::ReleaseRules;
use attestation::released::ReleasedRules;
use channel::{Attester, Party, Settings, Side, TlsKey};
use containers::app::App;
use protocol::app_compose::KeyProvider;
use protocol::channel::{Binding, Proof, Role};
use protocol::digest::AppId;
use protocol::gateway::TunnelStatement;
use protocol::kms::Address;
use tokio::task::JoinSet;

use crate::anchors::Anchors;
use crate::boot::Boot;
use crate::kms_client::{AgentProof, trust_anchor};
use crate::quotes::QuoteDesk;

use candidates::Candidates;
use dialler::Dialler;
use judge::TheGateway;
use ports::Ports;

/// Dials gateways until its task is ended, if the measured file asks for it; a guest that cannot
/// says why and goes on.
pub fn serve(boot: &Boot, desk: &Arc<QuoteDesk>, app: &App, tasks: &mut JoinSet<()>) {
    if !boot.app.gateway_enabled {
        return;
    }
    match dialler(boot, desk, app) {
        Ok(dialler) => drop(tasks.spawn(dialler.run())),
        Err(reason) => tracing::warn!("no gateway leads to this app: {reason}"),
    }
}

/// What dials, or why nothing can.
fn dialler(
    boot: &Boot,
    desk: &Arc<QuoteDesk>,
    app: &App,
) -> Result<Arc<Dialler<GuestProof>>, String> {
    let kept = boot.keys.as_ref().zip(boot.kms.as_ref()).zip(boot.anchors.as_ref());
    let (((keys, kms), anchors), instance) =
        kept.zip(boot.handover.instance_id).ok_or("the guest has no keys of a KMS")?;
    let gateway = AppId::from_hex(&keys.gateway_app_id)
        .map_err(|_| "the owners' policy names no gateway_app_id")?;
    let addresses = addresses(&boot.handover.gateway_urls);
    if addresses.is_empty() {
        return Err("the launch block names no address of one".into());
    }
    let KeyProvider::Kms { id: key_provider_id } = boot.app.key_provider else {
        return Err("the measured file pins no KMS".into());
    };
    let rules = ReleasedRules {
        anchor: trust_anchor().map_err(|error: io::Error| error.to_string())?,
        // Roots before that of this guest's own keys vouch for nobody any more.
        release: ReleaseRules { key_provider_id, minimum_epoch: keys.epoch },
        platform: PlatformRules {
            minimum_evaluation_number: Some(boot.app.kms_bounds.tcb_evaluation()),
            ..PlatformRules::default()
        },
    };
    let attester = GuestProof {
        agent: AgentProof {
            desk: Arc::clone(desk),
            claims: boot.handover.claims.clone(),
            app_compose: Arc::clone(&boot.app_compose),
        },
        anchors: Arc::clone(anchors),
    };
    let (now, told) = (Arc::clone(kms), Arc::clone(anchors));
    Ok(Arc::new(Dialler {
        party: party(kms.key(), attester, TheGateway::new(gateway, rules, move || now.now_secs())),
        release: Box::new(move || told.release()),
        app: app.states(),
        ports: Ports::of(boot.compose.as_deref().ok(), &boot.app.port_policy),
        candidates: Candidates::of(addresses, &instance),
        streams: dialler::streams(),
    }))
}

/// On its channels to gateways the agent shows the key that the KMS saw and stated.
fn party<A: Attester>(key: TlsKey, attester: A, judge: TheGateway) -> Party<A, TheGateway> {
    let settings = Settings { own: Role::Agent, side: Side::Client { server: Role::App } };
    let (attester, judge) = (Arc::new(attester), Arc::new(judge));
    Party { settings, alpn: tunnel::ALPN, key, attester, judge }
}

/// Hints that are no addresses are left out.
fn addresses(urls: &[String]) -> Vec<Address> {
    let understood = |url: &String| {
        Address::parse(url).inspect_err(|error| tracing::warn!("gateway_urls: {error}")).ok()
    };
    urls.iter().filter_map(understood).collect()
}

/// What this guest proves to a gateway: what it proves to its KMS, and what that says of it.
struct GuestProof {
    agent: AgentProof,
    anchors: Arc<Anchors>,
}

impl Attester for GuestProof {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let release = self.anchors.release().ok_or("the KMS has stated nothing of this guest")?;
        let statement =
            TunnelStatement { release: release.to_string(), image: None, collateral: None };
        let proof = self.agent.prove(binding).await?;
        Ok(Proof { statement: statement.to_json(), ..proof })
    }
}

#[cfg(test)]
mod tests;
