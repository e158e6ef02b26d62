//! The gateway's published evidence: read, and each line judged at its own time with the collateral
//! beside it.

use attestation::policy::{ExpectedApp, ExpectedReportData, Policy, Rules};
use attestation::{Collateral, Image, StatedFirmware, StatedImage, StatedMachine, TrustAnchor};
use gateway_audit::attested::{Attested, Gateway};
use gateway_domain::published::{Entry, MAX_LINE_BYTES};
use protocol::error::chain;

use super::{Asker, EvidenceSource};
use crate::failure::{Failure, Outcome};
use crate::files;

/// Largest file: far more lines than a gateway writes in a year.
const MAX_BYTES: usize = 256 * MAX_LINE_BYTES;

/// By what a line's evidence is judged.
#[derive(Debug)]
pub struct Judge {
    /// The image that the gateway must run.
    pub image: Image,
    /// Whose signatures count.
    pub anchor: TrustAnchor,
    /// What the verifier asks for besides.
    pub rules: Option<Rules>,
    /// The app that must run, unless the rules list apps.
    pub app: Option<ExpectedApp>,
}

/// The text of published evidence.
pub fn read(source: &EvidenceSource, asker: &Asker) -> Outcome<String> {
    let bytes = match source {
        EvidenceSource::File(path) => files::read_bounded(path, MAX_BYTES as u64)?,
        EvidenceSource::Url(url) => asker.get(url, MAX_BYTES).map_err(|why| {
            Failure::new(why, "is this a gateway's name? name its evidence with --evidence")
        })?,
    };
    String::from_utf8(bytes)
        .map_err(|_| Failure::new("published evidence that is no text", "is it a gateway's?"))
}

impl Judge {
    /// Takes the key of a line whose evidence passes; otherwise says why it does not count.
    pub fn attest(
        &self,
        entry: &Entry,
        gateway: &Gateway,
        attested: &mut Attested,
    ) -> Outcome<Result<(), String>> {
        let collateral = match Collateral::parse(entry.collateral.as_bytes()) {
            Ok(collateral) => collateral,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let report_data = ExpectedReportData::Exactly(entry.subject.report_data());
        let mut policy = match &self.rules {
            Some(rules) => rules.clone().into_policy(self.anchor.clone(), report_data),
            None => Policy::strict(self.anchor.clone(), report_data),
        };
        policy.app.clone_from(&self.app);
        let stated = StatedImage {
            image: &self.image,
            machine: &StatedMachine::default(),
            firmware: &StatedFirmware::default(),
            others: &[],
            firmware_log: &[],
        };
        let (evidence, made_secs) = (&entry.evidence, entry.made_secs);
        let appraisal =
            attestation::appraise(evidence, Some(&stated), policy, Some(&collateral), made_secs)
                .map_err(|fault| {
                    Failure::new(fault, "take the image's directory as it was built")
                })?;
        let verified = match appraisal.into_verified() {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        let added = attested.add(entry, &verified, gateway);
        Ok(added.map_err(|error| chain(&error)))
    }
}
