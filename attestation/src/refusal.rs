//! The vocabulary of the judgement: every check by name, and one refusal for each.
//!
//! Names are stable: they appear in verdict tables and JSON, and programs match on them or on the
//! variants of [`Refusal`], never on text. The order here is the order of the judgement: what a
//! later check reads has been judged by an earlier one.

use serde::{Serialize, Serializer};

/// What a check compared and what to try when it fails; texts for a person, digests as lower-case
/// hex.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// What the check wants.
    pub expected: String,
    /// What the evidence or collateral has.
    pub found: String,
    /// Where `expected` comes from, what a difference means, what to try, or why a check was
    /// skipped.
    pub hint: String,
}

impl Finding {
    /// A finding from anything printable.
    pub fn new(expected: impl ToString, found: impl ToString, hint: impl ToString) -> Self {
        Self { expected: expected.to_string(), found: found.to_string(), hint: hint.to_string() }
    }
}

macro_rules! checks {
    ($($variant:ident = $name:literal, $refusal:literal;)*) => {
        /// A check of the judgement, in its order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CheckName {
            $(#[doc = concat!("`", $name, "`; it fails if ", $refusal, ".")] $variant,)*
        }

        impl CheckName {
            /// Every check, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What is wrong when it fails, as a clause without final dot.
            pub fn refusal(self) -> &'static str {
                match self { $(Self::$variant => $refusal,)* }
            }
        }

        /// Why evidence was refused: the check that failed, and what it found.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum Refusal {
            $(
                #[doc = $refusal]
                #[error("{}: {}: expected {}, found {}", $name, $refusal, .0.expected, .0.found)]
                $variant(Finding),
            )*
            /// no check failed, but one could not be made
            #[error("{}: not judged: {why}", .check.name())]
            NotJudged {
                /// The check.
                check: CheckName,
                /// Why it was skipped.
                why: String,
            },
        }

        impl Refusal {
            /// The refusal of a check that failed with this finding.
            pub(crate) fn of(check: CheckName, finding: Finding) -> Self {
                match check { $(CheckName::$variant => Self::$variant(finding),)* }
            }

            /// The check that refused.
            pub fn check(&self) -> CheckName {
                match self {
                    $(Self::$variant(_) => CheckName::$variant,)*
                    Self::NotJudged { check, .. } => *check,
                }
            }

            /// What to try.
            pub fn hint(&self) -> &str {
                match self {
                    $(Self::$variant(finding) => &finding.hint,)*
                    Self::NotJudged { why, .. } => why,
                }
            }
        }
    };
}

checks! {
    // The quote by itself.
    TeeType = "tee-type", "the quote is not that of a TDX guest";
    QuoteFormat = "quote-format", "the quote cannot be read as version 4 or 5";
    QuoteHeader = "quote-header", "the quote names another signature scheme or another quoting enclave's vendor";
    QuoteSignature = "quote-signature", "the attestation key did not sign this quote";
    AttestationKey = "attestation-key", "the quoting enclave did not vouch for the attestation key";
    QeReportSignature = "qe-report-signature", "the platform's PCK certificate did not sign the quoting enclave's report";
    // The platform's certificates.
    TrustAnchor = "trust-anchor", "the PCK certificates lead to another root";
    PckCertificates = "pck-certificates", "the PCK certificates are absent, unreadable or do not sign one another";
    CertificateValidity = "certificate-validity", "a certificate is not valid at this time";
    // The collateral: what Intel says today about that platform.
    CollateralFormat = "collateral-format", "a part of the collateral cannot be read";
    CollateralSigners = "collateral-signers", "the collateral's signers do not lead to the trust anchor";
    CrlIssuer = "crl-issuer", "a revocation list is not by the CA that it is used for";
    CrlComplete = "crl-complete", "a revocation list covers only a part of what its CA issued";
    CrlCurrent = "crl-current", "a revocation list is expired or not valid yet";
    Revocation = "revocation", "a certificate was revoked";
    TcbInfoSignature = "tcb-info-signature", "the TCB info is not signed by its issuer";
    TcbInfoCurrent = "tcb-info-current", "the TCB info is expired or not valid yet";
    TcbInfoPlatform = "tcb-info-platform", "the TCB info belongs to another platform";
    QeIdentitySignature = "qe-identity-signature", "the QE identity is not signed by its issuer";
    QeIdentityCurrent = "qe-identity-current", "the QE identity is expired or not valid yet";
    QeIdentity = "qe-identity", "the quoting enclave is not Intel's TD quoting enclave";
    TdxModule = "tdx-module", "the TDX module is none that the TCB info knows";
    // What the TD is.
    Debug = "debug", "the TD is in debug mode: its host reads and writes its memory";
    TdAttributes = "td-attributes", "TD_ATTRIBUTES has a bit that is unknown or not accepted";
    SeptVeDisable = "sept-ve-disable", "SEPT_VE_DISABLE is 0: the host can cause #VE in the guest by removing pages";
    Migratable = "migratable", "the TD can be migrated to another host";
    ServiceTd = "service-td", "a service TD is bound to the TD";
    TdPartition = "td-partition", "the report is of a virtual machine inside the TD, or of a TD with attached devices";
    Pks = "pks", "PKS is set, which the guest does not use";
    Xfam = "xfam", "XFAM has a bit that is unknown";
    SeamAttributes = "seam-attributes", "SEAMATTRIBUTES is not zero";
    MrSignerSeam = "mrsignerseam", "MRSIGNERSEAM is not zero: the TDX module is not Intel's";
    // What Intel's rules say to all of it, by an independent implementation.
    QuoteVerification = "quote-verification", "the second implementation of Intel's rules refuses what the first accepted";
    TcbStatus = "tcb-status", "the platform's TCB status is not accepted";
    TcbAdvisories = "tcb-advisories", "the platform has an advisory that the policy does not tolerate";
    // Optional rules about the platform.
    MinimumTcbDate = "minimum-tcb-date", "the platform's TCB is older than the policy wants";
    EvaluationNumber = "tcb-evaluation-number", "the collateral's TCB evaluation data number is lower than the policy wants";
    CollateralAge = "collateral-age", "the collateral is older than the policy wants";
    Fmspc = "fmspc", "the platform's FMSPC is not on the policy's list";
    PlatformId = "platform-id", "the platform's id is not on the policy's list";
    // What ran in the TD.
    EventLog = "event-log", "the event log cannot be read";
    EventPayload = "event-payload", "an event's payload does not hash to its digest";
    EventMissing = "event-missing", "an event that every boot has is absent";
    EventOrder = "event-order", "an event stands at another place than a boot puts it";
    EventRepeated = "event-repeated", "an event that occurs once a boot occurs twice";
    EventLate = "event-late", "a boot event's name was used after the boot";
    BootStage = "boot-stage", "the boot is at another stage than was asked for";
    EventSeparator = "event-separator", "a register has a second separator in the firmware's log";
    FirmwareLog = "firmware-log", "the firmware's log does not replay to RTMR0 to 2";
    Rtmr3 = "rtmr3", "the event log does not replay to RTMR3";
    ReportData = "report-data", "the quote was not made for this nonce";
    MeasuredFacts = "measured-facts", "a measured fact is absent or malformed";
    RequiredEvents = "required-events", "an event that the policy requires is absent or has another payload";
    ForbiddenEvents = "forbidden-events", "an event that the policy forbids is in the log";
    // What should have run.
    ImageList = "image-list", "the image that the guest is judged by is not on the policy's list";
    Mrtd = "mrtd", "MRTD is not that of the image's firmware";
    Rtmr0 = "rtmr0", "RTMR0 is not that of the image's firmware in a machine of this shape";
    Rtmr1 = "rtmr1", "RTMR1 is not that of the image's kernel";
    Rtmr2 = "rtmr2", "RTMR2 is not that of the image's command line and initrd";
    PublishedCompose = "published-compose", "the published app-compose.json is not the measured one";
    ComposeHash = "compose-hash", "another app-compose.json was measured";
    AppList = "app-list", "the measured app is not on the policy's list";
    AppId = "app-id", "another app id was measured";
    InstanceId = "instance-id", "another instance id was measured";
    MrConfigId = "mrconfigid", "MRCONFIGID does not belong to the measured app";
}

impl CheckName {
    /// Rules that give a row only where the policy or the evidence asks for them.
    pub(crate) const OPTIONAL: [Self; 14] = [
        Self::MinimumTcbDate,
        Self::EvaluationNumber,
        Self::CollateralAge,
        Self::Fmspc,
        Self::PlatformId,
        Self::EventSeparator,
        Self::FirmwareLog,
        Self::RequiredEvents,
        Self::ForbiddenEvents,
        Self::ImageList,
        Self::PublishedCompose,
        Self::AppList,
        Self::AppId,
        Self::InstanceId,
    ];
}

impl Serialize for CheckName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_refusals_are_distinct_and_every_check_has_its_own() {
        let names: BTreeSet<_> = CheckName::ALL.iter().map(|check| check.name()).collect();
        let clauses: BTreeSet<_> = CheckName::ALL.iter().map(|check| check.refusal()).collect();
        assert_eq!((names.len(), clauses.len()), (CheckName::ALL.len(), CheckName::ALL.len()));
        for check in CheckName::ALL {
            assert_eq!(Refusal::of(*check, Finding::default()).check(), *check);
        }
    }
}
