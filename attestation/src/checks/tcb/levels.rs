//! The levels that the parts of a platform's TCB have: platform and TDX module, at launch and now,
//! and the QE.
//!
//! dcap-qvl merges them into one status as Intel's library does. That merge hides parts: it looks
//! at the current level only where the launch level is out of date, and a QE changes it only by
//! `OutOfDate` and `Revoked`. So each part is looked up and judged by itself.

use dcap_qvl::intel::PckExtension;
use dcap_qvl::{QeIdentity, TcbInfo, TcbStatus};

use super::super::quote::ReadQuote;
use crate::policy::AcceptedTcb;

/// One part of the TCB and the level that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The part, for a person.
    name: &'static str,
    /// Whether the part counted at launch only: a TD 1.5 says what runs it now as well.
    at_launch: bool,
    status: TcbStatus,
    advisories: Vec<String>,
}

/// Every part of a TCB; none of them is below all levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts(Vec<Part>);

/// Why a part has no level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoLevel {
    /// It is below every level that Intel lists; a sentence that names it.
    Below(String),
    /// The TCB info does not know the TDX module, or has levels that cannot be compared: other rows
    /// say so.
    Unknown,
}

/// The names of platform level and module level.
struct Names(&'static str, &'static str);

const ONLY: Names = Names("platform level", "TDX module");
const LAUNCH: Names = Names("launch level", "TDX module at launch");
const CURRENT: Names = Names("current level", "current TDX module");

impl Parts {
    /// Looks every part up.
    ///
    /// # Errors
    /// If a part has no level.
    pub(crate) fn of(
        tcb_info: &TcbInfo,
        qe_identity: &QeIdentity,
        pck: &PckExtension,
        read: &ReadQuote<'_>,
    ) -> Result<Self, NoLevel> {
        let report = &read.quote.report;
        let launch = &report.tee_tcb_svn;
        let mut parts = Vec::new();
        match report.td15.as_ref().map(|fields| &fields.tee_tcb_svn2) {
            None => parts.extend(with_module(tcb_info, pck, launch, &ONLY, false)?),
            Some(current) => {
                parts.extend(with_module(tcb_info, pck, launch, &LAUNCH, true)?);
                parts.extend(with_module(tcb_info, pck, current, &CURRENT, false)?);
            }
        }
        parts.push(qe(qe_identity, read.signature_data.qe_report().isv_svn)?);
        Ok(Self(parts))
    }

    /// The first part that is revoked, if one is.
    pub(crate) fn revoked(&self) -> Option<String> {
        let revoked = self.0.iter().find(|part| part.status == TcbStatus::Revoked);
        revoked.map(|part| format!("{}: Revoked", part.name))
    }

    /// Whether no part needs to be tolerated.
    pub(crate) fn up_to_date(&self) -> bool {
        self.behind().next().is_none()
    }

    /// Parts that are not up to date.
    pub(crate) fn behind(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().filter(|part| part.status != TcbStatus::UpToDate)
    }

    /// One status for all parts: Intel's merged one, unless that hides a part.
    pub(crate) fn status(&self, merged: TcbStatus) -> TcbStatus {
        match merged {
            TcbStatus::UpToDate => self.behind().next().map_or(merged, |part| part.status),
            _ => merged,
        }
    }

    /// The advisories of all parts, each once.
    pub(crate) fn advisories(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for id in self.0.iter().flat_map(|part| &part.advisories) {
            if !all.contains(id) {
                all.push(id.clone());
            }
        }
        all
    }

    /// Whether a rule tolerates the status of a part, whatever its date and advisories.
    ///
    /// A rule for `TDRelaunchAdvised` is about a TD that was launched on an out-of-date TCB and
    /// runs on one that is not. It covers the launch alone, and only while that is so.
    pub(crate) fn tolerates(&self, rule: &AcceptedTcb, part: &Part) -> bool {
        use TcbStatus::*;
        let relaunch: &[TcbStatus] = match rule.status {
            TDRelaunchAdvised => &[OutOfDate],
            TDRelaunchAdvisedConfigurationNeeded => &[OutOfDate, OutOfDateConfigurationNeeded],
            status => return status == part.status && status != Revoked,
        };
        let old = |part: &Part| matches!(part.status, OutOfDate | OutOfDateConfigurationNeeded);
        let current = self.0.iter().filter(|part| !part.at_launch && part.name != QE);
        part.at_launch && relaunch.contains(&part.status) && !current.into_iter().any(old)
    }
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.up_to_date() {
            return f.write_str("UpToDate");
        }
        let part = |part: &Part| match part.advisories[..] {
            [] => format!("{} {}", part.name, part.status),
            _ => format!("{} {} ({})", part.name, part.status, part.advisories.join(", ")),
        };
        f.write_str(&self.behind().map(part).collect::<Vec<_>>().join("; "))
    }
}

const QE: &str = "QE";

/// The platform's level at these SVNs, and that of the module that they name.
fn with_module(
    tcb_info: &TcbInfo,
    pck: &PckExtension,
    svn: &[u8; 16],
    names: &Names,
    at_launch: bool,
) -> Result<Vec<Part>, NoLevel> {
    let mut parts = vec![platform(tcb_info, pck, svn, names.0)?];
    parts.extend(module(tcb_info, svn, names.1)?);
    Ok(parts.into_iter().map(|part| Part { at_launch, ..part }).collect())
}

fn platform(
    tcb_info: &TcbInfo,
    pck: &PckExtension,
    svn: &[u8; 16],
    name: &'static str,
) -> Result<Part, NoLevel> {
    let mut nearest: Option<(usize, String)> = None;
    for level in &tcb_info.tcb_levels {
        let missing =
            level.shortfalls(&pck.cpu_svn, pck.pce_svn, Some(svn)).map_err(|_| NoLevel::Unknown)?;
        if missing.is_empty() {
            return Ok(part(name, level.tcb_status, &level.advisory_ids));
        }
        if nearest.as_ref().is_none_or(|(fewest, _)| missing.len() < *fewest) {
            let short = missing.iter().map(|short| {
                format!("{:?} is {}, needs {}", short.component, short.have, short.needs)
            });
            let short = short.collect::<Vec<_>>().join("; ");
            nearest = Some((missing.len(), format!("to that of {}: {short}", level.tcb_date)));
        }
    }
    Err(NoLevel::Below(match nearest {
        Some((_, nearest)) => format!("below every TCB level of the TCB info; {nearest}"),
        None => "the TCB info has no level".to_owned(),
    }))
}

/// The level of a TDX module; `None` if the SVNs name no module, whose SVN is then the platform's.
fn module(tcb_info: &TcbInfo, svn: &[u8; 16], name: &'static str) -> Result<Option<Part>, NoLevel> {
    let identity = tcb_info.tdx_module_identity(svn).map_err(|_| NoLevel::Unknown)?;
    let Some(identity) = identity else { return Ok(None) };
    let level = identity.tcb_levels.iter().find(|level| level.shortfall(svn).is_none());
    let level = level.ok_or_else(|| {
        let (id, svn) = (&identity.id, svn[0]);
        NoLevel::Below(format!("TDX module {id} is below every level: its SVN is {svn}"))
    })?;
    Ok(Some(part(name, level.tcb_status, &level.advisory_ids)))
}

fn qe(identity: &QeIdentity, svn: u16) -> Result<Part, NoLevel> {
    let level = identity.tcb_levels.iter().find(|level| level.tcb.isvsvn <= svn);
    let level = level
        .ok_or_else(|| NoLevel::Below(format!("the QE is below every level: its SVN is {svn}")))?;
    Ok(part(QE, level.tcb_status, &level.advisory_ids))
}

fn part(name: &'static str, status: TcbStatus, advisories: &[String]) -> Part {
    Part { name, at_launch: false, status, advisories: advisories.to_vec() }
}
