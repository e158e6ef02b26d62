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
    ($($variant:ident = $name:literal, $link:ident, [$($property:ident),*], $refusal:literal;)*) => {
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

            /// The link of the chain of trust that it holds.
            pub fn link(self) -> Link {
                match self { $(Self::$variant => Link::$link,)* }
            }

            fn properties(self) -> &'static [Property] {
                match self { $(Self::$variant => &[$(Property::$property),*],)* }
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

            /// Whether this is no verdict about the evidence: the collateral cannot be used now,
            /// and by other collateral the same evidence might pass.
            pub fn is_about_collateral(&self) -> bool {
                let check = self.check();
                check.is(Property::Collateral)
                    && (check.is(Property::Kept) || matches!(self, Self::NotJudged { .. }))
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
    TeeType = "tee-type", Quote, [], "the quote is not that of a TDX guest";
    QuoteFormat = "quote-format", Quote, [], "the quote cannot be read as version 4 or 5";
    QuoteHeader = "quote-header", Quote, [], "the quote names another signature scheme or another quoting enclave's vendor";
    QuoteSignature = "quote-signature", Quote, [], "the attestation key did not sign this quote";
    AttestationKey = "attestation-key", QuotingEnclave, [], "the quoting enclave did not vouch for the attestation key";
    QeReportSignature = "qe-report-signature", QuotingEnclave, [], "the platform's PCK certificate did not sign the quoting enclave's report";
    // The platform's certificates.
    TrustAnchor = "trust-anchor", Root, [Kept], "the PCK certificates lead to another root";
    PckCertificates = "pck-certificates", Certificates, [Kept], "the PCK certificates are absent, unreadable or do not sign one another";
    CertificateValidity = "certificate-validity", Certificates, [Kept], "a certificate is not valid at this time";
    // The collateral: what Intel says today about that platform.
    CollateralFormat = "collateral-format", Certificates, [Collateral, Kept], "a part of the collateral cannot be read";
    CollateralSigners = "collateral-signers", Certificates, [Collateral, Kept], "the collateral's signers do not lead to the trust anchor";
    CrlIssuer = "crl-issuer", Certificates, [Collateral, Kept], "a revocation list is not by the CA that it is used for";
    CrlComplete = "crl-complete", Certificates, [Collateral, Kept], "a revocation list covers only a part of what its CA issued";
    CrlCurrent = "crl-current", Certificates, [Collateral, Kept], "a revocation list is expired or not valid yet";
    Revocation = "revocation", Certificates, [Collateral], "a certificate was revoked";
    TcbInfoSignature = "tcb-info-signature", Processor, [Collateral, Kept], "the TCB info is not signed by its issuer";
    TcbInfoCurrent = "tcb-info-current", Processor, [Collateral, Kept], "the TCB info is expired or not valid yet";
    TcbInfoPlatform = "tcb-info-platform", Processor, [Collateral, Kept], "the TCB info belongs to another platform";
    QeIdentitySignature = "qe-identity-signature", QuotingEnclave, [Collateral, Kept], "the QE identity is not signed by its issuer";
    QeIdentityCurrent = "qe-identity-current", QuotingEnclave, [Collateral, Kept], "the QE identity is expired or not valid yet";
    QeIdentity = "qe-identity", QuotingEnclave, [Collateral], "the quoting enclave is not Intel's TD quoting enclave";
    TdxModule = "tdx-module", TdxModule, [Collateral], "the TDX module is none that the TCB info knows";
    // What the TD is.
    Debug = "debug", TrustDomain, [Attribute], "the TD is in debug mode: its host reads and writes its memory";
    TdAttributes = "td-attributes", TrustDomain, [Attribute], "TD_ATTRIBUTES has a bit that is unknown or not accepted";
    SeptVeDisable = "sept-ve-disable", TrustDomain, [Attribute], "SEPT_VE_DISABLE is 0: the host can cause #VE in the guest by removing pages";
    Migratable = "migratable", TrustDomain, [Attribute], "the TD can be migrated to another host";
    ServiceTd = "service-td", TrustDomain, [Attribute], "a service TD is bound to the TD";
    TdPartition = "td-partition", TrustDomain, [Attribute], "the report is of a virtual machine inside the TD, or of a TD with attached devices";
    Pks = "pks", TrustDomain, [Attribute], "PKS is set, which the guest does not use";
    Xfam = "xfam", TrustDomain, [Attribute], "XFAM has a bit that is unknown";
    SeamAttributes = "seam-attributes", TdxModule, [Attribute], "SEAMATTRIBUTES is not zero";
    MrSignerSeam = "mrsignerseam", TdxModule, [Attribute], "MRSIGNERSEAM is not zero: the TDX module is not Intel's";
    // What Intel's rules say to all of it, by an independent implementation.
    QuoteVerification = "quote-verification", Quote, [], "the second implementation of Intel's rules refuses what the first accepted";
    TcbStatus = "tcb-status", Processor, [Status], "the platform's TCB status is not accepted";
    TcbAdvisories = "tcb-advisories", Processor, [Status], "the platform has an advisory that the policy does not tolerate";
    // Optional rules about the platform.
    MinimumTcbDate = "minimum-tcb-date", Processor, [Optional], "the platform's TCB is older than the policy wants";
    EvaluationNumber = "tcb-evaluation-number", Processor, [Optional], "the collateral's TCB evaluation data number is lower than the policy wants";
    CollateralAge = "collateral-age", Processor, [Optional], "the collateral is older than the policy wants";
    Fmspc = "fmspc", Processor, [Optional], "the platform's FMSPC is not on the policy's list";
    PlatformId = "platform-id", Processor, [Optional], "the platform's id is not on the policy's list";
    // What ran in the TD.
    EventLog = "event-log", Events, [], "the event log cannot be read";
    EventPayload = "event-payload", Events, [], "an event's payload does not hash to its digest";
    EventMissing = "event-missing", Events, [], "an event that every boot has is absent";
    EventOrder = "event-order", Events, [], "an event stands at another place than a boot puts it";
    EventRepeated = "event-repeated", Events, [], "an event that occurs once a boot occurs twice";
    EventLate = "event-late", Events, [], "a boot event's name was used after the boot";
    BootStage = "boot-stage", Events, [], "the boot is at another stage than was asked for";
    EventSeparator = "event-separator", Events, [Optional], "a register has a second separator in the firmware's log";
    FirmwareLog = "firmware-log", Events, [Optional], "the firmware's log does not replay to RTMR0 to 2";
    Rtmr3 = "rtmr3", Events, [], "the event log does not replay to RTMR3";
    ReportData = "report-data", Quote, [], "the quote was not made for this nonce";
    MeasuredFacts = "measured-facts", Events, [], "a measured fact is absent or malformed";
    RequiredEvents = "required-events", Events, [Optional], "an event that the policy requires is absent or has another payload";
    ForbiddenEvents = "forbidden-events", Events, [Optional], "an event that the policy forbids is in the log";
    // What should have run.
    ImageList = "image-list", Firmware, [Optional], "the image that the guest is judged by is not on the policy's list";
    Mrtd = "mrtd", Firmware, [Predicted], "MRTD is not that of the image's firmware";
    Rtmr0 = "rtmr0", Machine, [Predicted], "RTMR0 is not that of the image's firmware in a machine of this shape";
    Rtmr1 = "rtmr1", Kernel, [Predicted], "RTMR1 is not that of the image's kernel";
    Rtmr2 = "rtmr2", Loaded, [Predicted], "RTMR2 is not that of the image's command line and initrd";
    PublishedCompose = "published-compose", App, [Optional], "the published app-compose.json is not the measured one";
    ComposeHash = "compose-hash", App, [], "another app-compose.json was measured";
    AppList = "app-list", App, [Optional], "the measured app is not on the policy's list";
    AppId = "app-id", App, [Optional], "another app id was measured";
    InstanceId = "instance-id", App, [Optional], "another instance id was measured";
    MrConfigId = "mrconfigid", App, [], "MRCONFIGID does not belong to the measured app";
}

impl CheckName {
    /// Whether the check has a property.
    pub(crate) fn is(self, property: Property) -> bool {
        self.properties().contains(&property)
    }

    /// Every check that has a property, in order.
    pub(crate) fn all_with(property: Property) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |check| check.is(property))
    }
}

/// What the judgement must know of a check besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    /// It reads the collateral, and is skipped where there is none.
    Collateral,
    /// Collateral is kept only where it passes. The platform's certificates are among these checks:
    /// whoever makes them up also signs revocation lists for them.
    Kept,
    /// It reads TD and module attributes in the report alone.
    Attribute,
    /// It judges the TCB status.
    Status,
    /// It compares a register with a prediction.
    Predicted,
    /// It gives a row only where the policy or the evidence asks for it.
    Optional,
}

/// A link of the chain of trust, from the hardware's root to the app; each check holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The root of trust.
    Root,
    /// Certificates and revocation.
    Certificates,
    /// The processor and its patch level.
    Processor,
    /// The quoting enclave.
    QuotingEnclave,
    /// The quote.
    Quote,
    /// The TDX module.
    TdxModule,
    /// The trust domain.
    TrustDomain,
    /// The firmware: MRTD.
    Firmware,
    /// The machine and its ACPI tables: RTMR0.
    Machine,
    /// The kernel: RTMR1.
    Kernel,
    /// The command line and the initrd: RTMR2.
    Loaded,
    /// What the guest recorded: RTMR3.
    Events,
    /// The app and its compose file.
    App,
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

    #[test]
    fn a_verdict_about_the_platform_is_none_about_the_collateral() {
        let refused = |check| Refusal::of(check, Finding::default()).is_about_collateral();
        for check in
            [CheckName::TcbInfoCurrent, CheckName::CrlCurrent, CheckName::QeIdentityCurrent]
        {
            assert!(refused(check), "{check:?}");
        }
        for check in [
            CheckName::Revocation,
            CheckName::CertificateValidity,
            CheckName::TcbStatus,
            CheckName::QeIdentity,
            CheckName::PlatformId,
            CheckName::AppList,
        ] {
            assert!(!refused(check), "{check:?}");
        }
        let skipped = |check| Refusal::NotJudged { check, why: String::new() };
        assert!(skipped(CheckName::Revocation).is_about_collateral());
        assert!(!skipped(CheckName::Rtmr0).is_about_collateral());
    }
}
