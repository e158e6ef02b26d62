//! A policy as its owner writes it: a small strict TOML text, turned into rules.
//!
//! Each key makes the judgement stricter, or tolerates one thing by name and until a date. There is
//! no key that turns a check off. What is absent asks for nothing; a list that is there and empty
//! refuses everybody. Another root than Intel's stands under a key with `danger` in its name.

use protocol::digest::{AppId, ComposeHash, OsImageHash};
use protocol::event_name;
use serde::Deserialize;
use toml::value::{Datetime, Offset};

use super::{
    AcceptedApp, AcceptedAttribute, AcceptedTcb, ExpectedReportData, PlatformRules, Policy,
    RequiredEvent, TcbStatus, TdAttribute, TdRules,
};
use crate::anchor::TrustAnchor;
use crate::certificate::Certificate;
use crate::time::parse_rfc3339;

/// Largest text: a thousand platform ids have 35 KiB.
pub const MAX_RULES_BYTES: usize = 64 * 1024;
/// The only version.
const VERSION: u32 = 1;
/// Seconds of a day.
const DAY_SECS: u64 = 24 * 3600;
/// Longest age that a policy may ask for, in days: more than any collateral's validity, and no
/// overflow.
const MAX_AGE_DAYS: u32 = 3660;
/// How Intel names advisories, before their number.
const ADVISORY_PREFIX: &str = "INTEL-SA-";

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// larger than the budget
    #[error("policy: {0} bytes, at most {MAX_RULES_BYTES} are accepted")]
    TooLarge(usize),
    /// not UTF-8
    #[error("policy: not UTF-8 text")]
    Encoding,
    /// not the TOML of a policy: message with key, line and column
    #[error("policy: {0}")]
    Toml(String),
    /// a value that means nothing
    #[error("policy: {key}: {what}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and what is legal.
        what: String,
    },
}

/// Rules that a policy's owner has set; everything else is as strict as without them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    danger_root: Option<Vec<u8>>,
    td: TdRules,
    platform: PlatformRules,
    images: Option<Vec<OsImageHash>>,
    apps: Option<Vec<AcceptedApp>>,
    required_events: Vec<RequiredEvent>,
    forbidden_events: Vec<String>,
}

/// The text's keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    version: u32,
    danger_root: Option<String>,
    fmspcs: Option<Vec<String>>,
    platform_ids: Option<Vec<String>>,
    minimum_tcb_date: Option<Datetime>,
    minimum_tcb_evaluation_number: Option<u32>,
    maximum_collateral_age_days: Option<u32>,
    os_image_hashes: Option<Vec<String>>,
    compose_hashes: Option<Vec<String>>,
    accept_app: Option<Vec<RawApp>>,
    #[serde(default)]
    require_event: Vec<RawEvent>,
    #[serde(default)]
    forbid_event: Vec<RawName>,
    #[serde(default)]
    tolerate_tcb: Vec<RawTcb>,
    #[serde(default)]
    tolerate_attribute: Vec<RawAttribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    name: String,
    payload: Option<String>,
    payload_hex: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApp {
    compose_hash: String,
    app_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawName {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcb {
    status: TcbStatus,
    advisories: Vec<String>,
    until: Datetime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttribute {
    name: TdAttribute,
    until: Datetime,
}

impl Rules {
    /// Parses the TOML text of a policy.
    pub fn parse(text: &[u8]) -> Result<Self, RulesError> {
        if text.len() > MAX_RULES_BYTES {
            return Err(RulesError::TooLarge(text.len()));
        }
        let text = std::str::from_utf8(text).map_err(|_| RulesError::Encoding)?;
        let raw: RawRules =
            toml::from_str(text).map_err(|error| RulesError::Toml(error.to_string()))?;
        if raw.version != VERSION {
            return Err(wrong(
                "version",
                format!("{} is unknown, expected {VERSION}", raw.version),
            ));
        }
        raw.resolve()
    }

    /// The policy of these rules; `default_anchor` counts where they name no root of their own.
    pub fn into_policy(
        self,
        default_anchor: TrustAnchor,
        report_data: ExpectedReportData,
    ) -> Policy {
        let anchor = self.danger_root.map_or(default_anchor, TrustAnchor::DangerEmulated);
        Policy {
            td: self.td,
            platform: self.platform,
            images: self.images,
            apps: self.apps,
            required_events: self.required_events,
            forbidden_events: self.forbidden_events,
            ..Policy::strict(anchor, report_data)
        }
    }
}

impl RawRules {
    fn resolve(self) -> Result<Rules, RulesError> {
        let images = hex_list("os_image_hashes", self.os_image_hashes)?;
        let apps = apps(self.compose_hashes, self.accept_app)?;
        let accepted = self.tolerate_attribute.into_iter().map(|raw| {
            Ok(AcceptedAttribute {
                attribute: raw.name,
                until_secs: seconds("tolerate_attribute.until", &raw.until)?,
            })
        });
        Ok(Rules {
            danger_root: self.danger_root.map(|text| root(&text)).transpose()?,
            td: TdRules { accepted: accepted.collect::<Result<_, _>>()? },
            platform: PlatformRules {
                accepted_tcb: self
                    .tolerate_tcb
                    .into_iter()
                    .map(accepted_tcb)
                    .collect::<Result<_, _>>()?,
                minimum_tcb_date_secs: self
                    .minimum_tcb_date
                    .map(|date| seconds("minimum_tcb_date", &date))
                    .transpose()?,
                minimum_evaluation_number: self.minimum_tcb_evaluation_number,
                maximum_collateral_age_secs: self
                    .maximum_collateral_age_days
                    .map(age)
                    .transpose()?,
                fmspcs: hex_list("fmspcs", self.fmspcs)?,
                platform_ids: hex_list("platform_ids", self.platform_ids)?,
            },
            images: images.map(|list| list.into_iter().map(OsImageHash).collect()),
            apps,
            required_events: self
                .require_event
                .into_iter()
                .map(required_event)
                .collect::<Result<_, _>>()?,
            forbidden_events: self
                .forbid_event
                .into_iter()
                .map(|event| named("forbid_event.name", event.name))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// One certificate in PEM.
fn root(text: &str) -> Result<Vec<u8>, RulesError> {
    let chain = Certificate::parse_chain(text.as_bytes())
        .map_err(|error| wrong("danger_root", error.to_string()))?;
    match &chain[..] {
        [root] => Ok(root.der.clone()),
        _ => Err(wrong("danger_root", format!("{} certificates, expected one", chain.len()))),
    }
}

fn accepted_tcb(raw: RawTcb) -> Result<AcceptedTcb, RulesError> {
    if matches!(raw.status, TcbStatus::UpToDate | TcbStatus::Revoked) {
        let what = format!("{} is always accepted or never; name another status", raw.status);
        return Err(wrong("tolerate_tcb.status", what));
    }
    if let Some(other) = raw.advisories.iter().find(|id| !is_advisory(id)) {
        return Err(wrong(
            "tolerate_tcb.advisories",
            format!("{other:?} is no advisory such as {ADVISORY_PREFIX}00123"),
        ));
    }
    Ok(AcceptedTcb {
        status: raw.status,
        advisory_ids: raw.advisories,
        until_secs: seconds("tolerate_tcb.until", &raw.until)?,
    })
}

fn is_advisory(id: &str) -> bool {
    let number = id.strip_prefix(ADVISORY_PREFIX);
    number
        .is_some_and(|number| number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn required_event(raw: RawEvent) -> Result<RequiredEvent, RulesError> {
    let payload = match (raw.payload, raw.payload_hex) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                "require_event",
                "payload and payload_hex, expected one of them".into(),
            ));
        }
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(text)) => Some(
            hex::decode(&text)
                .map_err(|error| wrong("require_event.payload_hex", error.to_string()))?,
        ),
        (None, None) => None,
    };
    Ok(RequiredEvent { name: named("require_event.name", raw.name)?, payload })
}

fn named(key: &'static str, name: String) -> Result<String, RulesError> {
    if name.is_empty() || !event_name::is_unambiguous(&name) {
        let what = format!("{name:?}, expected a name without colon and control character");
        return Err(wrong(key, what));
    }
    Ok(name)
}

/// The apps of both keys; a hash of the list stands for the app under its own id.
fn apps(
    hashes: Option<Vec<String>>,
    pairs: Option<Vec<RawApp>>,
) -> Result<Option<Vec<AcceptedApp>>, RulesError> {
    let hashes = hex_list("compose_hashes", hashes)?;
    let own = hashes.map(|list| {
        list.into_iter().map(|hash| AcceptedApp::of(ComposeHash(hash))).collect::<Vec<_>>()
    });
    let pair = |raw: RawApp| {
        Ok(AcceptedApp {
            compose_hash: ComposeHash(hex_bytes("accept_app.compose_hash", &raw.compose_hash)?),
            app_id: AppId(hex_bytes("accept_app.app_id", &raw.app_id)?),
        })
    };
    let pairs =
        pairs.map(|list| list.into_iter().map(pair).collect::<Result<Vec<_>, _>>()).transpose()?;
    Ok(match (own, pairs) {
        (None, None) => None,
        (own, pairs) => Some(own.into_iter().chain(pairs).flatten().collect()),
    })
}

fn age(days: u32) -> Result<u64, RulesError> {
    match days {
        1..=MAX_AGE_DAYS => Ok(u64::from(days) * DAY_SECS),
        _ => Err(wrong(
            "maximum_collateral_age_days",
            format!("{days}, expected 1 to {MAX_AGE_DAYS}"),
        )),
    }
}

/// A list of ids or digests of `N` bytes each, in hex of either case.
fn hex_list<const N: usize>(
    key: &'static str,
    list: Option<Vec<String>>,
) -> Result<Option<Vec<[u8; N]>>, RulesError> {
    list.map(|list| list.iter().map(|text| hex_bytes(key, text)).collect()).transpose()
}

fn hex_bytes<const N: usize>(key: &'static str, text: &str) -> Result<[u8; N], RulesError> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| wrong(key, format!("{text:?}, expected {} hex digits", 2 * N)))
}

/// A point in time in UTC, in seconds since 1970.
fn seconds(key: &'static str, time: &Datetime) -> Result<u64, RulesError> {
    let utc = time.date.is_some() && time.time.is_some() && time.offset == Some(Offset::Z);
    let secs = if utc { parse_rfc3339(&time.to_string()) } else { None };
    secs.ok_or_else(|| {
        wrong(key, format!("{time}, expected a time in UTC such as 2026-11-21T12:00:00Z"))
    })
}

fn wrong(key: &'static str, what: String) -> RulesError {
    RulesError::Value { key, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Rules, RulesError> {
        Rules::parse(format!("version = 1\n{rules}").as_bytes())
    }

    fn refused_key(rules: &str) -> &'static str {
        match parse(rules) {
            Err(RulesError::Value { key, .. }) => key,
            other => panic!("{rules}: {other:?}"),
        }
    }

    #[test]
    fn no_rules_are_the_strict_policy() {
        let nonce = ExpectedReportData::Nonce([1; 32]);
        let policy = parse("").unwrap().into_policy(TrustAnchor::Intel, nonce.clone());
        assert_eq!(policy, Policy::strict(TrustAnchor::Intel, nonce));
    }

    #[test]
    fn unknown_keys_repeated_keys_and_other_versions_are_refused() {
        let texts = [
            "skip = true",
            "fmspcs = []\nfmspcs = []",
            "[td]",
            "root = ''",
            "version = 1",
            "fmspcs = ['0'",
        ];
        for text in texts {
            assert!(matches!(parse(text), Err(RulesError::Toml(_))), "{text}");
        }
        assert!(matches!(Rules::parse(b""), Err(RulesError::Toml(_))));
        assert!(matches!(
            Rules::parse(b"version = 2"),
            Err(RulesError::Value { key: "version", .. })
        ));
        assert_eq!(Rules::parse(&[0xff]), Err(RulesError::Encoding));
        assert_eq!(
            Rules::parse(&[b' '; MAX_RULES_BYTES + 1]),
            Err(RulesError::TooLarge(MAX_RULES_BYTES + 1))
        );
    }

    #[test]
    fn values_that_mean_nothing_are_refused_by_their_key() {
        assert_eq!(refused_key("fmspcs = ['b0c06f0000']"), "fmspcs");
        assert_eq!(refused_key("platform_ids = ['zz']"), "platform_ids");
        assert_eq!(refused_key("os_image_hashes = ['00']"), "os_image_hashes");
        assert_eq!(refused_key("compose_hashes = ['']"), "compose_hashes");
        let app = "[[accept_app]]\ncompose_hash = '00'\napp_id = '00'";
        assert_eq!(refused_key(app), "accept_app.compose_hash");
        assert_eq!(refused_key("[[forbid_event]]\nname = ''"), "forbid_event.name");
        assert_eq!(refused_key("minimum_tcb_date = 2025-01-01"), "minimum_tcb_date");
        assert_eq!(refused_key("minimum_tcb_date = 2025-01-01T00:00:00+01:00"), "minimum_tcb_date");
        assert_eq!(refused_key("maximum_collateral_age_days = 0"), "maximum_collateral_age_days");
        assert_eq!(refused_key("danger_root = 'x'"), "danger_root");
        assert_eq!(refused_key("[[require_event]]\nname = ''"), "require_event.name");
        assert_eq!(
            refused_key("[[require_event]]\nname = 'a'\npayload = ''\npayload_hex = ''"),
            "require_event"
        );
        let tcb = |status: &str, advisory: &str| {
            format!(
                "[[tolerate_tcb]]\nstatus = '{status}'\nadvisories = ['{advisory}']\nuntil = 2027-01-01T00:00:00Z"
            )
        };
        assert_eq!(refused_key(&tcb("Revoked", "INTEL-SA-00001")), "tolerate_tcb.status");
        assert_eq!(refused_key(&tcb("UpToDate", "INTEL-SA-00001")), "tolerate_tcb.status");
        assert_eq!(refused_key(&tcb("OutOfDate", "*")), "tolerate_tcb.advisories");
        assert!(parse(&tcb("OutOfDate", "INTEL-SA-00001")).is_ok());
    }

    #[test]
    fn an_app_is_a_hash_with_an_id() {
        let hash = "11".repeat(32);
        let apps = |text: String| parse(&text).unwrap().apps.unwrap();
        let own = AcceptedApp { compose_hash: ComposeHash([0x11; 32]), app_id: AppId([0x11; 20]) };
        assert_eq!(apps(format!("compose_hashes = ['{hash}']")), [own]);
        let id = "22".repeat(20);
        let pair = format!("[[accept_app]]\ncompose_hash = '{hash}'\napp_id = '{id}'");
        assert_eq!(apps(pair.clone()), [AcceptedApp { app_id: AppId([0x22; 20]), ..own }]);
        assert_eq!(apps(format!("compose_hashes = []\n{pair}")).len(), 1);
        assert!(parse(&format!("[[accept_app]]\ncompose_hash = '{hash}'")).is_err());
    }

    #[test]
    fn whatever_is_tolerated_has_a_name_and_a_date() {
        for text in [
            "[[tolerate_tcb]]\nstatus = 'OutOfDate'\nadvisories = []",
            "[[tolerate_tcb]]\nadvisories = []\nuntil = 2027-01-01T00:00:00Z",
            "[[tolerate_tcb]]\nstatus = 'OutOfDate'\nuntil = 2027-01-01T00:00:00Z",
            "[[tolerate_attribute]]\nname = 'PKS'",
            "[[tolerate_attribute]]\nname = 'DEBUG'\nuntil = 2027-01-01T00:00:00Z",
            "[[tolerate_attribute]]\nname = 'MIGRATABLE'\nuntil = 2027-01-01T00:00:00Z",
        ] {
            assert!(matches!(parse(text), Err(RulesError::Toml(_))), "{text}");
        }
    }
}
