//! `dstyx pad inspect`: what a Pad claims, and with its key what was sealed in it.

use std::process::ExitCode;

use pad_format::contents::{Origin, Value};
use pad_format::{Attribute, Contents, CustodianId, Metadata, PadDigest, Policy};
use pad_policy_file::{Names, explain, to_toml};
use pad_rules::{OwnerId, ProgramDigest};
use serde_json::{Value as Json, json};

use super::{deciding, shown};
use crate::args::PadInspect;
use crate::failure::Outcome;
use crate::output::{Output, named};
use crate::pad::data_key::DataKeyFile;
use crate::pad::policies;
use crate::pad::sealed;
use crate::printable;

/// Bytes of an attribute that are shown to a person.
const MAX_SHOWN_BYTES: usize = 32;

/// Does what was asked for.
pub fn run(options: &PadInspect, output: &Output) -> Outcome<ExitCode> {
    let Some(key) = &options.key else {
        let sealed = sealed::claimed(&options.file)?;
        let (metadata, digest) = (sealed.claimed(), sealed.digest());
        output.result(&document(metadata, digest, false), || {
            named(rows(metadata, digest))
                + "nothing of this is proved: it is what whoever carried the Pad may have written\n"
        });
        return Ok(ExitCode::SUCCESS);
    };
    let names = policies::names(options.names.as_deref(), Names::default())?;
    let opened = sealed::opened(&options.file, &DataKeyFile::load(key)?)?;
    let (metadata, digest) = (opened.metadata().clone(), opened.digest());
    let contents = opened.contents().clone();
    let data = opened.into_data().map_err(|error| sealed::refused(&options.file, &error))?;
    let mut document = document(&metadata, digest, true);
    document["data_bytes"] = data.data_bytes().into();
    document["contents"] = contents_document(&contents, &names);
    output.result(&document, || {
        let mut rows = rows(&metadata, digest);
        rows.push(("data", format!("{} bytes", data.data_bytes())));
        rows.push(("decided by", deciding(&contents.custodian)));
        rows.push(("policies", format!("version {}", contents.policy_version)));
        named(rows) + &contents_text(&contents, &names)
    });
    Ok(ExitCode::SUCCESS)
}

fn document(metadata: &Metadata, digest: PadDigest, is_proved: bool) -> Json {
    let Metadata { pad_id, custodian, delegator, crypto } = metadata;
    json!({
        "pad_id": pad_id.to_string(), "digest": digest.0, "custodian": custodian.0,
        "custodian_shown": custodian.shown().to_string(),
        "delegator": delegator.key_provider_id, "address": delegator.uri.as_str(),
        "algorithm": crypto.algorithm.name(), "key_id": hex::encode(crypto.key_id.as_bytes()),
        "chunk_bytes": crypto.chunk.bytes(), "opened": is_proved,
    })
}

fn rows(metadata: &Metadata, digest: PadDigest) -> Vec<(&'static str, String)> {
    let Metadata { pad_id, custodian, delegator, crypto } = metadata;
    vec![
        ("id", pad_id.to_string()),
        ("digest", digest.0.to_string()),
        ("custodian", shown(custodian)),
        ("delegator", delegator.key_provider_id.to_string()),
        ("address", format!("{} (a hint)", delegator.uri.as_str())),
        ("key", hex::encode(crypto.key_id.as_bytes())),
        ("sealed by", format!("{}, chunks of {}", crypto.algorithm.name(), crypto.chunk.bytes())),
    ]
}

fn contents_document(contents: &Contents, names: &Names) -> Json {
    let policy = |policy: &Policy| {
        json!({
            "type": policy.policy_type.to_string(), "engine": policy.engine,
            "input_id": policy.input_id.as_str(), "toml": to_toml(policy, names).ok(),
            "compiled": hex::encode(policy.to_bytes()),
        })
    };
    let attribute = |Attribute { name, value, origin }: &Attribute| {
        let value = match value {
            Value::Integer(number) => json!(number),
            Value::Text(text) => json!({ "text": text }),
            Value::Bytes(bytes) => json!({ "hex": hex::encode(bytes) }),
        };
        let program = match origin {
            Origin::Custodian(_) => None,
            Origin::Program(digest) => Some(digest),
        };
        json!({ "name": name.as_str(), "value": value, "program": program })
    };
    json!({
        "policy_version": contents.policy_version, "threshold": contents.custodian.threshold(),
        "members": contents.custodian.members(),
        "policies": contents.policies.iter().map(policy).collect::<Vec<_>>(),
        "policies_digest": contents.policies_digest(),
        "attributes": contents.attributes.iter().map(attribute).collect::<Vec<_>>(),
    })
}

fn contents_text(contents: &Contents, names: &Names) -> String {
    let custodian = contents.custodian.id();
    let mut text = String::from("\nAttributes:\n");
    for attribute in &contents.attributes {
        text += &format!("  - {}\n", attribute_text(attribute, &custodian, names));
    }
    if contents.attributes.is_empty() {
        text += "  - none\n";
    }
    for policy in &contents.policies {
        text += "\n";
        text += &explain(policy, names).unwrap_or_else(|_| {
            format!(
                "Policy of the input {}, decided by the engine {}: its constraints are not those \
                 of `share` and are not shown.\n",
                policy.input_id.as_str(),
                policy.engine
            )
        });
    }
    text
}

fn attribute_text(attribute: &Attribute, custodian: &CustodianId, names: &Names) -> String {
    let value = match &attribute.value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("{:?}", printable::line(text)),
        Value::Bytes(bytes) if bytes.len() <= MAX_SHOWN_BYTES => hex::encode(bytes),
        Value::Bytes(bytes) => {
            format!("{}… of {} bytes", hex::encode(&bytes[..MAX_SHOWN_BYTES]), bytes.len())
        }
    };
    let origin = match &attribute.origin {
        Origin::Custodian(_) => {
            let name = names.custodian(&OwnerId(custodian.0.0));
            format!("signed by {}", name.map_or_else(|| "its custodian".into(), str::to_owned))
        }
        Origin::Program(digest) => {
            let name = names.program(&ProgramDigest(digest.0));
            format!(
                "stated by the program {}",
                name.map_or_else(|| digest.to_string(), str::to_owned)
            )
        }
    };
    format!("{} = {value} ({origin})", attribute.name.as_str())
}
