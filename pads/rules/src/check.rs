//! The decisions: may this Pad be part of this data set, may that come of it, may its policy
//! change.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::data_set::{DataSet, Output, Pad, PlainInput, Proposal};
use crate::policy::SharePolicy;
use crate::refusal::{Code, Refusal};
use crate::rule::{
    BASIS_POINTS, InputRule, OutputRule, OwnerId, ProgramRule, Quota, QuotaId, Schema, Share,
};

/// Longest number that is a plain result: more digits would carry anything.
const MAX_NUMBER_BYTES: usize = 24;

/// A use that has to be counted before anything is given out. Several of one account in a run are
/// one use, which all their rules have to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    /// The account.
    pub id: QuotaId,
    /// Whose it is, and how much.
    pub quota: Quota,
}

/// The check of one data set by all of its Pads' policies. What several rules ask for is computed
/// once, so that the work grows with the Pads and not with their square.
pub struct InputCheck<'a> {
    set: &'a DataSet,
    /// By their ids; `None` if one is there twice, which would make the share of all others
    /// smaller.
    pads: Option<BTreeMap<&'a [u8; 16], &'a Pad>>,
    sums: BTreeMap<(&'a str, &'a [OwnerId]), Option<Sums>>,
}

/// The numbers of the custodians that count.
struct Sums {
    each: BTreeMap<OwnerId, u128>,
    all: u128,
}

impl<'a> InputCheck<'a> {
    /// Begins with nothing decided.
    pub fn new(set: &'a DataSet) -> Self {
        let pads: BTreeMap<_, _> = set.pads.iter().map(|pad| (&pad.id, pad)).collect();
        let pads = (pads.len() == set.pads.len()).then_some(pads);
        Self { set, pads, sums: BTreeMap::new() }
    }

    /// Whether the Pad with this id and policy may be read by the program of the data set, together
    /// with all other Pads of it.
    ///
    /// # Errors
    /// If a rule refuses it, or none grants it.
    pub fn check(
        &mut self,
        policy: &'a SharePolicy,
        pad_id: &[u8; 16],
    ) -> Result<Vec<QuotaUse>, Refusal> {
        let this = self.pads.as_ref().and_then(|pads| pads.get(pad_id).copied());
        let this = this.ok_or(Refusal::missing(Code::DataSet))?;
        check_program(policy, self.set)?;
        for (index, rule) in policy.input.iter().enumerate() {
            self.check_share(rule, this).map_err(|code| Refusal::at(code, index))?;
        }
        if let Some(input) = &self.set.plain_input {
            granted(&policy.input, Code::PlainInput, |rule| allows_plain(rule, input))?;
        }
        quota_uses(policy, self.set)
    }

    fn check_share(&mut self, rule: &'a InputRule, this: &Pad) -> Result<(), Code> {
        let (share, code) = match rule {
            InputRule::MaxShare(share) => (share, Code::MaxShare),
            InputRule::MinShare(share) => (share, Code::MinShare),
            InputRule::PlainInput { .. } => return Ok(()),
        };
        let key = (share.attribute.as_str(), share.among.as_slice());
        let sums = self.sums.entry(key).or_insert_with(|| Sums::of(share, self.set));
        let sums = sums.as_ref().ok_or(Code::Unsigned)?;
        // The Pad's own custodian has to count too.
        let own = *sums.each.get(&this.custodian).ok_or(Code::Unsigned)?;
        let holds = match code {
            Code::MaxShare => is_at_most(own, sums.all, share.basis_points),
            _ => is_at_least(own, sums.all, share.basis_points),
        };
        if holds { Ok(()) } else { Err(code) }
    }
}

impl Sums {
    /// `None` if a Pad that counts has no number that its custodian signed: leaving it out would
    /// make another one's share larger than it is.
    fn of(share: &Share, set: &DataSet) -> Option<Self> {
        let counts = |pad: &&Pad| share.among.binary_search(&pad.custodian).is_ok();
        let mut each: BTreeMap<_, u128> = BTreeMap::new();
        for pad in set.pads.iter().filter(counts) {
            let number = u128::from(pad.signed(&share.attribute)?);
            *each.entry(pad.custodian).or_default() += number;
        }
        let all = each.values().sum();
        Some(Self { each, all })
    }
}

/// How much of a share's number the Pad's custodian has, and all that count together; `None` if the
/// rule cannot be computed. It explains a refusal, and decides nothing.
pub fn counted(share: &Share, pad_id: &[u8; 16], set: &DataSet) -> Option<(u128, u128)> {
    let pad = set.pads.iter().find(|pad| pad.id == *pad_id)?;
    let sums = Sums::of(share, set)?;
    Some((*sums.each.get(&pad.custodian)?, sums.all))
}

/// The check by the policy of one Pad.
///
/// # Errors
/// As [`InputCheck::check`].
pub fn check_input(
    policy: &SharePolicy,
    pad_id: &[u8; 16],
    set: &DataSet,
) -> Result<Vec<QuotaUse>, Refusal> {
    InputCheck::new(set).check(policy, pad_id)
}

/// Whether this may come of a data set with the Pad that has this policy.
///
/// # Errors
/// If a rule refuses it, or none grants it.
pub fn check_output(
    policy: &SharePolicy,
    set: &DataSet,
    output: Output<'_>,
) -> Result<(), Refusal> {
    match output {
        Output::Pad(proposal) => check_proposal(policy, proposal),
        Output::Plain(result) => {
            // It is sealed to the key of the owner, who therefore has to be known.
            set.owner.ok_or(Refusal::missing(Code::Owner))?;
            granted(&policy.output, Code::PlainResult, |rule| match rule {
                OutputRule::PlainResult { schema, max_bytes } => {
                    Some(result.len() as u64 <= *max_bytes && has_form(result, schema))
                }
                _ => None,
            })
        }
    }
}

/// Whether those who signed other policies for the Pad with this policy are enough.
///
/// # Errors
/// If they are not, or no rule lets anybody agree on others.
pub fn check_update(policy: &SharePolicy, signers: &[OwnerId]) -> Result<(), Refusal> {
    granted(&policy.output, Code::Update, |rule| match rule {
        OutputRule::UpdateBy { basis_points, weights } => {
            let sum = |counts: &dyn Fn(&OwnerId) -> bool| -> u128 {
                let counted = weights.iter().filter(|(owner, _)| counts(owner));
                counted.map(|(_, weight)| u128::from(*weight)).sum()
            };
            let (agreed, all) = (sum(&|owner| signers.contains(owner)), sum(&|_| true));
            Some(is_at_least(agreed, all, *basis_points))
        }
        _ => None,
    })
}

fn check_program(policy: &SharePolicy, set: &DataSet) -> Result<(), Refusal> {
    granted(&policy.program, Code::Program, |rule| match rule {
        ProgramRule::ProgramIn(programs) => Some(programs.binary_search(&set.program).is_ok()),
        _ => None,
    })?;
    if !set.helpers.is_empty() {
        granted(&policy.program, Code::Helper, |rule| match rule {
            ProgramRule::HelperIn(helpers) => {
                Some(set.helpers.iter().all(|used| helpers.binary_search(used).is_ok()))
            }
            _ => None,
        })?;
    }
    for (index, rule) in policy.program.iter().enumerate() {
        let ProgramRule::AuthUser(owners) = rule else { continue };
        let is_listed = set.owner.is_some_and(|owner| owners.binary_search(&owner).is_ok());
        if !is_listed {
            return Err(Refusal::at(Code::Owner, index));
        }
    }
    Ok(())
}

fn quota_uses(policy: &SharePolicy, set: &DataSet) -> Result<Vec<QuotaUse>, Refusal> {
    let mut uses = Vec::new();
    for (index, rule) in policy.program.iter().enumerate() {
        let ProgramRule::RateLimit { quota: id, owners } = rule else { continue };
        let refused = Refusal::at(Code::Quota, index);
        let owner = set.owner.ok_or(refused)?;
        let quota = owners.iter().find(|quota| quota.owner == owner).ok_or(refused)?;
        uses.push(QuotaUse { id: *id, quota: *quota });
    }
    Ok(uses)
}

/// Compared without a division, so that no fraction is lost. Of nothing there is no share.
fn is_at_most(part: u128, all: u128, basis_points: u64) -> bool {
    all > 0 && part * u128::from(BASIS_POINTS) <= all * u128::from(basis_points)
}

fn is_at_least(part: u128, all: u128, basis_points: u64) -> bool {
    all > 0 && part * u128::from(BASIS_POINTS) >= all * u128::from(basis_points)
}

fn allows_plain(rule: &InputRule, input: &PlainInput) -> Option<bool> {
    match rule {
        InputRule::PlainInput { max_bytes } => Some(input.bytes <= *max_bytes),
        InputRule::MaxShare(_) | InputRule::MinShare(_) => None,
    }
}

fn check_proposal(policy: &SharePolicy, proposal: &Proposal) -> Result<(), Refusal> {
    granted(&policy.output, Code::Custodian, |rule| match rule {
        OutputRule::Custodian(owner) => Some(*owner == proposal.custodian),
        _ => None,
    })?;
    let same = policy.output.iter().position(|rule| *rule == OutputRule::SamePolicy);
    let Some(index) = same else { return Ok(()) };
    let is_kept = proposal.policies.iter().any(|constraints| {
        SharePolicy::parse(constraints).is_ok_and(|new| new.is_at_least_as_strict_as(policy))
    });
    if is_kept { Ok(()) } else { Err(Refusal::at(Code::SamePolicy, index)) }
}

/// Accepts if there is a rule of this kind, and all of this kind hold. `holds` gives `None` for
/// rules of other kinds.
fn granted<R>(rules: &[R], code: Code, holds: impl Fn(&R) -> Option<bool>) -> Result<(), Refusal> {
    let mut is_there = false;
    for (index, rule) in rules.iter().enumerate() {
        match holds(rule) {
            Some(true) => is_there = true,
            Some(false) => return Err(Refusal::at(code, index)),
            None => {}
        }
    }
    if is_there { Ok(()) } else { Err(Refusal::missing(code)) }
}

fn has_form(result: &[u8], schema: &Schema) -> bool {
    match schema {
        Schema::Any => true,
        Schema::Label(labels) => labels.iter().any(|label| label.as_bytes() == result),
        Schema::Number => result.len() <= MAX_NUMBER_BYTES && is_number(result),
    }
}

/// A sign or none, digits without a zero before them, and a fraction or none.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next());
    let is_shortest = whole.len() == 1 || !whole.starts_with(b"0");
    digits(whole) && is_shortest && fraction.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_number_and_nothing_else() {
        for text in ["0", "7", "-7", "0.5", "12.250", "-0.001"] {
            assert!(has_form(text.as_bytes(), &Schema::Number), "{text}");
        }
        for text in
            ["", "-", ".5", "5.", "007", "1e9", "+1", " 1", "1 ", "1,5", "--1", "1.2.3", "NaN", "٣"]
        {
            assert!(!has_form(text.as_bytes(), &Schema::Number), "{text}");
        }
        assert!(!has_form(&[b'1'; MAX_NUMBER_BYTES + 1], &Schema::Number));
    }

    #[test]
    fn a_share_is_exact() {
        let most = u128::from(u64::MAX) * 10_000;
        assert!(is_at_most(1, 3, 3334) && !is_at_most(1, 3, 3333));
        assert!(is_at_least(1, 3, 3333) && !is_at_least(1, 3, 3334));
        assert!(is_at_most(most, most, 10_000) && !is_at_most(most, most, 9_999));
        assert!(!is_at_most(0, 0, 10_000) && !is_at_least(0, 0, 0));
    }
}
