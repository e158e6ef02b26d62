//! Which crate may depend on which: the directions of ARCHITECTURE.md.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Package};

use crate::{command, pads};

/// A crate and the crates of the workspace that it may use outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("attestation", &["protocol", "measurement"]),
    ("channel", &["protocol"]),
    ("environment", &["protocol"]),
    ("measurement", &["protocol"]),
    ("pccs", &["protocol", "attestation"]),
    ("kms-rules", &["protocol", "attestation", "pad-format", "pad-rules"]),
    ("agent-client", &["protocol", "attestation", "service"]),
    (
        "kms",
        &[
            "protocol",
            "agent-client",
            "attestation",
            "channel",
            "service",
            "pccs",
            "kms-rules",
            "pad-format",
        ],
    ),
    ("gateway-rules", &["protocol"]),
    ("gateway-domain", &["protocol"]),
    ("gateway-acme", &["protocol", "gateway-domain"]),
    ("gateway-audit", &["protocol", "attestation", "gateway-domain"]),
    (
        "gateway",
        &[
            "protocol",
            "agent-client",
            "attestation",
            "channel",
            "service",
            "pccs",
            "gateway-acme",
            "tunnel",
            "gateway-rules",
            "gateway-domain",
        ],
    ),
    ("pad-run", &["protocol"]),
    ("pad-pipeline", &["protocol", "pad-cbor", "pad-format", "pad-rules", "pad-run"]),
    ("pad-runner", &["protocol", "pad-format", "pad-pipeline", "pad-run"]),
    ("pad-supervisor", &["pad-format", "pad-pipeline", "pad-run"]),
    ("tee", &["protocol"]),
    ("service", &["protocol"]),
    ("tunnel", &[]),
    ("compose", &["protocol"]),
    ("container-tree", &[]),
    ("container-images", &["protocol", "compose", "container-tree"]),
    ("container-helper", &["protocol", "container-tree"]),
    ("containers", &["compose", "container-images", "container-helper", "container-tree"]),
    ("reproducible-build", &["protocol"]),
    ("image", &["protocol", "measurement", "attestation", "reproducible-build", "pad-component"]),
    ("vmm-configs", &["protocol"]),
    ("pad-cbor", &[]),
    ("pad-component", &[]),
    ("pad-guest", &[]),
    ("share", &["pad-guest", "pad-rules"]),
    ("mean", &["pad-guest"]),
    ("pad-format", &["protocol", "pad-cbor"]),
    ("pad-rules", &["pad-cbor"]),
    ("pad-policy-file", &["protocol", "pad-format", "pad-rules"]),
    ("init", &["protocol", "tee"]),
    (
        "guest-agent",
        &[
            "protocol",
            "attestation",
            "channel",
            "environment",
            "tee",
            "service",
            "tunnel",
            "compose",
            "container-images",
            "container-helper",
            "containers",
            "pad-format",
            "pad-pipeline",
            "pad-run",
            "pad-supervisor",
        ],
    ),
    (
        "cli",
        &[
            "protocol",
            "attestation",
            "measurement",
            "pccs",
            "image",
            "reproducible-build",
            "vmm-configs",
            "compose",
            "container-images",
            "channel",
            "environment",
            "gateway-audit",
            "gateway-domain",
            "gateway-rules",
            "kms-rules",
            "pad-component",
            "pad-format",
            "pad-pipeline",
            "pad-policy-file",
            "pad-rules",
            "pad-run",
            "pad-supervisor",
        ],
    ),
    ("tdx-emulator", &["protocol"]),
    (
        "tests",
        &[
            "protocol",
            "attestation",
            "channel",
            "kms-rules",
            "measurement",
            "image",
            "reproducible-build",
            "vmm-configs",
            "compose",
            "container-images",
            "container-helper",
            "containers",
            "tee",
            "tdx-emulator",
        ],
    ),
    ("xtask", &[]),
    ("hello", &[]),
    ("notes", &[]),
    ("relay", &[]),
];

/// External crates that a crate must never pull in, at any depth.
const NEVER: &[(&str, &[&str])] = &[
    ("init", &["tokio", "rustls", "aws-lc-sys", "reqwest", "hyper"]),
    // The helper forks, which a program with threads must not do, and is the parent of containers.
    (
        "container-helper",
        &["tokio", "rustls", "aws-lc-sys", "ring", "openssl-sys", "reqwest", "hyper", "compose"],
    ),
    ("compose", &["tokio", "rustix", "nix", "reqwest"]),
    // One cryptographic library in C: aws-lc.
    ("guest-agent", &["ring", "openssl-sys"]),
    ("cli", &["ring", "openssl-sys"]),
    ("kms", &["ring", "openssl-sys"]),
    ("kms-rules", &["tokio", "reqwest", "ureq"]),
    ("gateway", &["ring", "openssl-sys"]),
    ("gateway-rules", &["ring", "openssl-sys", "tokio", "rustix", "nix", "ureq"]),
    ("gateway-domain", &["ring", "openssl-sys", "tokio", "rustix", "nix", "ureq"]),
    ("gateway-acme", &["ring", "openssl-sys"]),
    ("gateway-audit", &["ring", "openssl-sys", "tokio", "ureq"]),
    ("pccs", &["ring", "openssl-sys", "tokio"]),
    // It runs as an engine inside a sandbox.
    ("pad-rules", &["protocol", "getrandom", "sha2", "hex", "serde", "aws-lc-sys"]),
    ("pad-format", &["ring", "openssl-sys", "tokio", "rustix", "nix", "ureq"]),
    ("pad-run", &["tokio", "rustix", "nix", "ureq", "wasmtime"]),
    ("pad-pipeline", &["ring", "openssl-sys", "tokio", "rustix", "nix", "ureq", "wasmtime"]),
    // No WASI: neither wasmtime's nor any other; what is not linked is offered to no program.
    ("pad-runner", &["tokio", "rustls", "wasmtime-wasi", "wasi-common", "wasmtime-wasi-http"]),
    ("protocol", &["tokio", "rustix", "nix", "ureq"]),
    ("attestation", &["tokio", "reqwest", "ureq"]),
    ("measurement", &["tokio", "reqwest", "ureq"]),
];

/// The feature by which a crate gives values to tests of others.
const FIXTURES: &str = "fixtures";

/// The crate that is a workspace of its own.
const RUNNER: &str = "pad-runner";

/// Longest chain of internal crates, each of which uses the next one.
const MAX_CHAIN: usize = 5;
/// Crates that end no chain: nothing of the product uses them.
const NO_PRODUCT: &[&str] = &["tests", "xtask"];

/// Checks direct edges inside the workspace and forbidden crates behind it.
pub fn check() -> Vec<String> {
    let workspaces = match super::workspaces() {
        Ok(workspaces) => workspaces,
        Err(error) => return vec![error],
    };
    let members: Vec<_> =
        workspaces.iter().flat_map(|workspace| workspace.workspace_packages()).collect();
    let mut findings: Vec<String> =
        members.iter().flat_map(|package| wrong_edges(package)).collect();
    let edges: Edges = members.iter().map(|package| direct(package)).collect();
    let longest = longest_chain(&edges);
    println!("tidy: the longest chain of crates: {}", longest.join(" → "));
    if longest.len() > MAX_CHAIN {
        findings.push(format!(
            "{} crates in a chain, at most {MAX_CHAIN}: {}",
            longest.len(),
            longest.join(" → ")
        ));
    }
    for (name, forbidden) in NEVER {
        findings.extend(wrong_tree(name, forbidden));
    }
    findings
}

/// A crate and those of the workspace that it uses outside its tests.
type Edges = BTreeMap<String, Vec<String>>;

fn direct(package: &Package) -> (String, Vec<String>) {
    let normal =
        package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    let ours = normal.filter(|dependency| dependency.path.is_some());
    (package.name.to_string(), ours.map(|dependency| dependency.name.clone()).collect())
}

/// From the crate that is used to the one that nothing uses.
fn longest_chain(edges: &Edges) -> Vec<String> {
    let ends = edges.keys().filter(|name| !NO_PRODUCT.contains(&name.as_str()));
    ends.map(|name| chain_to(edges, name)).max_by_key(Vec::len).unwrap_or_default()
}

/// Cargo refuses circles of crates, so this ends.
fn chain_to(edges: &Edges, name: &str) -> Vec<String> {
    let used = edges.get(name).into_iter().flatten();
    let mut chain = used.map(|used| chain_to(edges, used)).max_by_key(Vec::len).unwrap_or_default();
    chain.push(name.to_owned());
    chain
}

fn wrong_edges(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "crate {name} is new: add its edges to xtask/src/tidy/edges.rs and a decision file"
        )];
    };
    let ours = |dependency: &&str| ALLOWED.iter().any(|(known, _)| known == dependency);
    let normal =
        package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    let fixtures = normal.clone().filter(|dependency| {
        name != "tests" && dependency.features.iter().any(|feature| feature == FIXTURES)
    });
    let fixtures = fixtures.map(|dependency| {
        format!("crate {name} uses {FIXTURES} of {} outside its tests", dependency.name)
    });
    let wrong = normal
        .map(|dependency| dependency.name.as_str())
        .filter(ours)
        .filter(|dependency| !allowed.contains(dependency))
        .map(|dependency| format!("crate {name} may not depend on {dependency}"));
    fixtures.chain(wrong).collect()
}

fn wrong_tree(name: &str, forbidden: &[&str]) -> Vec<String> {
    let mut tree =
        command::cargo(&["tree", "--package", name, "--edges", "normal", "--prefix", "none"]);
    if name == RUNNER {
        tree.current_dir(pads::directory());
    }
    let listing = match command::capture(&mut tree) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return vec![error],
    };
    let found =
        |crate_name: &&&str| listing.lines().any(|line| line.split(' ').next() == Some(crate_name));
    forbidden
        .iter()
        .filter(found)
        .map(|crate_name| format!("crate {name} pulls in {crate_name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_chain_leaves_tests_out() {
        let edge = |(name, used): (&str, &[&str])| {
            (name.to_owned(), used.iter().map(|&name| name.to_owned()).collect())
        };
        let graph: [(&str, &[&str]); 4] = [
            ("base", &[]),
            ("middle", &["base"]),
            ("cli", &["base", "middle"]),
            ("tests", &["cli"]),
        ];
        let edges: Edges = graph.into_iter().map(edge).collect();
        assert_eq!(longest_chain(&edges), ["base", "middle", "cli"]);
    }
}
