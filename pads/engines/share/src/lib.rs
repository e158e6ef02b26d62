//! The policy engine `share`: the rules of `pads/rules` as a component.
//!
//! It decides for each Pad by those of its policies that name this very engine; all of them have to
//! agree. Of Pads it reads these policies and the numbers among the attributes. A Pad without a
//! policy of this engine, and a constraint that is not the one encoding of rules, are refused.
//! `docs/pad-rules.md` is the specification.

#![forbid(unsafe_code)]

use pad_guest::engine::types::{Digest, Policy};
use pad_guest::engine::view::{Answer, Output, Pad, Run, Update};
use pad_guest::engine::{Guest, proposed};
use pad_rules::{Code, InputCheck, Proposal, Refusal, SharePolicy};

mod view;

/// Bytes of proposed data that are read at once; more are not given.
const WINDOW_BYTES: u64 = 1 << 20;

struct Share;

pad_guest::engine::export!(Share);

impl Guest for Share {
    fn check_input(run: Run, pads: Vec<Pad>, asked: Vec<u32>) -> Vec<Answer> {
        let set = view::data_set(&run, &pads);
        let policies = asked_policies(run.engine, &pads, &asked);
        let mut check = InputCheck::new(&set);
        let answers = asked.iter().zip(&policies).map(|(index, policies)| {
            let mut uses = Vec::new();
            for policy in policies.as_ref().map_err(|refusal| *refusal)? {
                uses.extend(check.check(policy, &set.pads[*index as usize].id)?);
            }
            Ok(uses)
        });
        answers.map(view::answer).collect()
    }

    fn check_output(run: Run, pads: Vec<Pad>, asked: Vec<u32>, output: Output) -> Vec<Answer> {
        let set = view::data_set(&run, &pads);
        let (proposal, data);
        let output = match output.custodian {
            Some(custodian) => {
                let own = output.policies.iter().filter(|policy| policy.engine == run.engine);
                let policies = own.map(view::constraints).collect();
                proposal = Proposal { custodian: view::owner(custodian), policies };
                pad_rules::Output::Pad(&proposal)
            }
            None => {
                data = proposed_data();
                pad_rules::Output::Plain(&data)
            }
        };
        let answers = asked_policies(run.engine, &pads, &asked).into_iter().map(|policies| {
            for policy in policies? {
                pad_rules::check_output(&policy, &set, output)?;
            }
            Ok(Vec::new())
        });
        answers.map(view::answer).collect()
    }

    fn check_update(update: Update) -> Answer {
        let signers: Vec<_> = update.owners.iter().copied().map(view::owner).collect();
        let decide = || {
            for policy in own_policies(update.engine, &update.pad.policies)? {
                pad_rules::check_update(&policy, &signers)?;
            }
            Ok(Vec::new())
        };
        view::answer(decide())
    }
}

/// What decides for each Pad that is asked about.
fn asked_policies(
    engine: Digest,
    pads: &[Pad],
    asked: &[u32],
) -> Vec<Result<Vec<SharePolicy>, Refusal>> {
    let of_pad = |index: &u32| match pads.get(*index as usize) {
        Some(pad) => own_policies(engine, &pad.policies),
        None => Err(Refusal { code: Code::DataSet, rule: None }),
    };
    asked.iter().map(of_pad).collect()
}

/// The policies that name this engine, of which there is at least one.
fn own_policies(engine: Digest, policies: &[Policy]) -> Result<Vec<SharePolicy>, Refusal> {
    let own = policies.iter().filter(|policy| policy.engine == engine);
    let parsed = own.map(|policy| SharePolicy::parse(&view::constraints(policy)));
    let refusal = Refusal { code: Code::Policy, rule: None };
    let parsed = parsed.collect::<Result<Vec<_>, _>>().map_err(|_| refusal)?;
    if parsed.is_empty() { Err(refusal) } else { Ok(parsed) }
}

/// All data of the proposed output.
fn proposed_data() -> Vec<u8> {
    let size = proposed::size();
    let mut data = Vec::new();
    while let left @ 1.. = size - data.len() as u64 {
        data.extend(proposed::read(data.len() as u64, left.min(WINDOW_BYTES) as u32));
    }
    data
}
