//! dstack's authorisation webhook as a second source of a policy: it can take away, and adds
//! nothing.
//!
//! Its calls and their JSON are dstack's. The webhook and the network to it are the attacker: the
//! worst of its answers is a yes, which leaves what the owners' policy says, or a no, which denies
//! service. It is asked about guests that the policy allows, and its answer is passed in to the
//! decision.

use attestation::policy::TcbStatus;
use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, Sha256Digest};
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize, Serializer};

use crate::guest::Guest;
use crate::measurements::BootMeasurements;
use crate::refused::Refused;

/// Largest answer: a yes or a no, an app id and a reason.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Longest reason that is passed on to a guest and into the ledger.
const MAX_REASON_CHARS: usize = 200;
/// The webhook's name of a platform with TDX.
const TEE_VARIANT: &str = "dstack-tdx";

/// What the webhook is told of a guest; hex without a prefix, as dstack's KMS writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BootInfo<'a> {
    tee_variant: &'static str,
    mr_aggregated: Sha256Digest,
    os_image_hash: OsImageHash,
    mr_system: Sha256Digest,
    app_id: AppId,
    compose_hash: ComposeHash,
    #[serde(serialize_with = "hex_or_empty")]
    instance_id: Option<InstanceId>,
    device_id: Sha256Digest,
    key_provider_info: String,
    #[serde(serialize_with = "displayed")]
    tcb_status: TcbStatus,
    advisory_ids: &'a [String],
}

/// What the webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It does not object.
    Allows,
    /// It refuses, for this reason.
    Refuses(String),
    /// It gives no answer that can be understood, for this reason.
    Silent(String),
}

/// The answer as it comes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAnswer {
    is_allowed: bool,
    /// The policy names the gateway; what the webhook names counts for nothing.
    #[serde(default, rename = "gatewayAppId")]
    _gateway_app_id: String,
    #[serde(default)]
    reason: String,
}

impl<'a> BootInfo<'a> {
    /// Of a guest, or of another process of the KMS.
    pub fn of(guest: &'a Guest) -> Self {
        let BootMeasurements { mr_aggregated, mr_system, key_provider_info } = &guest.measurements;
        // The last id of a platform is its PPID, whose hash dstack calls the device.
        let ppid = guest.platform_ids.last().map(|id| id.0);
        Self {
            tee_variant: TEE_VARIANT,
            mr_aggregated: mr_aggregated.unwrap_or(Sha256Digest::ZERO),
            os_image_hash: guest.os_image_hash,
            mr_system: mr_system.unwrap_or(Sha256Digest::ZERO),
            app_id: guest.app_id,
            compose_hash: guest.compose_hash,
            instance_id: guest.instance_id,
            device_id: Sha256Digest::of(ppid.as_ref().map_or(&[], |id| &id[..])),
            key_provider_info: hex::encode(key_provider_info),
            tcb_status: guest.tcb_status,
            advisory_ids: &guest.advisory_ids,
        }
    }

    /// The body of the request.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and lists serialise")
    }
}

impl Word {
    /// Reads an answer.
    ///
    /// # Errors
    /// If it is not dstack's, has another field, or is too large.
    pub fn parse(answer: &[u8]) -> Result<Self, JsonError> {
        let answer: RawAnswer = strict_json::parse(answer, MAX_ANSWER_BYTES)?;
        Ok(match answer.is_allowed {
            true => Self::Allows,
            false => Self::Refuses(shown(&answer.reason)),
        })
    }

    /// There is no answer, for this reason.
    pub fn silent(reason: &str) -> Self {
        Self::Silent(shown(reason))
    }

    /// The decision with this word behind it: a refusal stays one, whatever the webhook says.
    ///
    /// # Errors
    /// The decision's own refusal, or the webhook's.
    pub fn narrow<T>(&self, decided: Result<T, Refused>) -> Result<T, Refused> {
        let decided = decided?;
        match self {
            Self::Allows => Ok(decided),
            Self::Refuses(reason) => Err(Refused::BootAuth(reason.clone())),
            Self::Silent(reason) => Err(Refused::BootAuthSilent(reason.clone())),
        }
    }
}

/// A text of strangers, for a person: bounded, and without what moves a terminal's cursor.
fn shown(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_REASON_CHARS).map(printable).collect()
}

fn hex_or_empty<S: Serializer>(id: &Option<InstanceId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => id.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

fn displayed<S: Serializer>(status: &TcbStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::guest;

    #[test]
    fn a_guest_is_told_of_in_dstacks_json() {
        let (mr_aggregated, mr_system) = (Sha256Digest([8; 32]), Sha256Digest([9; 32]));
        let measurements = BootMeasurements {
            mr_aggregated: Some(mr_aggregated),
            mr_system: Some(mr_system),
            key_provider_info: String::new(),
        };
        let guest = Guest { measurements, advisory_ids: vec!["INTEL-SA-00001".into()], ..guest() };
        let expected = serde_json::json!({
            "teeVariant": "dstack-tdx",
            "mrAggregated": mr_aggregated,
            "osImageHash": "03".repeat(32),
            "mrSystem": mr_system,
            "appId": "aa".repeat(20),
            "composeHash": "01".repeat(32),
            "instanceId": "bb".repeat(20),
            "deviceId": Sha256Digest::of(&[6; 16]),
            "keyProviderInfo": "",
            "tcbStatus": "UpToDate",
            "advisoryIds": ["INTEL-SA-00001"],
        });
        let told: serde_json::Value =
            serde_json::from_slice(&BootInfo::of(&guest).to_json()).unwrap();
        assert_eq!(told, expected);
        let without = Guest { instance_id: None, ..guest };
        let told = String::from_utf8(BootInfo::of(&without).to_json()).unwrap();
        assert!(told.contains(r#""instanceId":"""#), "{told}");
    }

    #[test]
    fn an_answer_is_dstacks_or_none() {
        let yes = br#"{"isAllowed":true,"gatewayAppId":"0xaa","reason":""}"#;
        assert_eq!(Word::parse(yes), Ok(Word::Allows));
        assert_eq!(Word::parse(br#"{"isAllowed":true}"#), Ok(Word::Allows));
        let no = br#"{"isAllowed":false,"reason":"not \u001b[2J today"}"#;
        assert_eq!(Word::parse(no), Ok(Word::Refuses("not  [2J today".into())));
        let long = format!(r#"{{"isAllowed":false,"reason":"{}"}}"#, "x".repeat(1000));
        let Ok(Word::Refuses(reason)) = Word::parse(long.as_bytes()) else { panic!("a refusal") };
        assert_eq!(reason.len(), MAX_REASON_CHARS);
        let large = format!(r#"{{"isAllowed":true,"reason":"{}"}}"#, "x".repeat(MAX_ANSWER_BYTES));
        for wrong in [
            "",
            "true",
            "{}",
            r#"{"isAllowed":"true"}"#,
            r#"{"isAllowed":1}"#,
            r#"{"is_allowed":true}"#,
            r#"{"isAllowed":false,"isAllowed":true}"#,
            r#"{"isAllowed":true,"more":1}"#,
            r#"{"isAllowed":true} {}"#,
            &large,
        ] {
            assert!(Word::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_word_takes_away_and_adds_nothing() {
        let refused = || Err::<u8, _>(Refused::NoPolicy);
        for word in [Word::Allows, Word::Refuses("no".into()), Word::silent("away")] {
            assert_eq!(word.narrow(refused()), Err(Refused::NoPolicy));
        }
        assert_eq!(Word::Allows.narrow(Ok(7)), Ok(7));
        let no = Word::Refuses("no".into()).narrow(Ok(7));
        assert_eq!(no, Err(Refused::BootAuth("no".into())));
        let silent = Word::silent("away").narrow(Ok(7));
        assert_eq!(silent, Err(Refused::BootAuthSilent("away".into())));
    }
}
