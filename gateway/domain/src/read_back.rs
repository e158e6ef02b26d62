//! Whether records that were set are those that authorities will see.
//!
//! A provider's interface says what it was told; the host, or a network on the way, may answer
//! otherwise to the rest of the world. So the records are read through the provider, where it can
//! read, and from two resolvers that the measured file names, and all must agree.

use crate::caa::{Binding, Caa, CaaError, sorted};

/// Resolvers that are asked: one that is wrong is seen by the other.
pub const RESOLVERS: usize = 2;

/// What was read about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Views {
    /// From the provider of the zone; none where the zone is not in this gateway's hands.
    pub provider: Option<Vec<Caa>>,
    /// From each resolver.
    pub resolvers: [Vec<Caa>; RESOLVERS],
}

/// Records of a name that every view agrees on, among them exactly those that this gateway sets
/// for its account, and none of its earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    records: Vec<Caa>,
}

/// Why the records do not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// more records than a name has
    #[error(transparent)]
    Records(#[from] CaaError),
    /// a record of the account that a view does not have
    #[error("{view} does not have the record {record}")]
    Missing {
        /// The view.
        view: View,
        /// The record.
        record: String,
    },
    /// a record of a former account
    #[error("{view} still has the record {record}")]
    Stale {
        /// The view.
        view: View,
        /// The record.
        record: String,
    },
    /// records that only one view has
    #[error("{view} has other records than {other}: {record} is in one of them alone")]
    Differ {
        /// One view.
        view: View,
        /// Another one.
        other: View,
        /// A record that only one of them has.
        record: String,
    },
}

/// One of the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The provider of the zone.
    Provider,
    /// A resolver, counted from 1 as in the measured file.
    Resolver(usize),
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Provider => f.write_str("the zone's provider"),
            Self::Resolver(number) => write!(f, "resolver {number}"),
        }
    }
}

impl Agreed {
    /// All records of the name.
    pub fn records(&self) -> &[Caa] {
        &self.records
    }
}

/// Compares all views. `former` are addresses of this gateway's earlier accounts.
///
/// # Errors
/// At the first difference; a resolver that still has an earlier answer is asked again later.
pub fn agree(views: Views, binding: &Binding, former: &[String]) -> Result<Agreed, Disagreement> {
    let resolvers = views.resolvers.into_iter().enumerate();
    let resolvers = resolvers.map(|(index, records)| (View::Resolver(index + 1), records));
    let provider = views.provider.map(|records| (View::Provider, records));
    let mut all = Vec::new();
    for (view, records) in provider.into_iter().chain(resolvers) {
        let records = sorted(records)?;
        let plan = binding.plan(&records, former);
        if let Some(record) = plan.add.first() {
            return Err(Disagreement::Missing { view, record: record.to_string() });
        }
        if let Some(record) = plan.remove.first() {
            return Err(Disagreement::Stale { view, record: record.to_string() });
        }
        all.push((view, records));
    }
    let mut views = all.into_iter();
    let (first, records) = views.next().expect("two resolvers at least");
    for (view, others) in views {
        if let Some(record) = only_in_one(&records, &others) {
            return Err(Disagreement::Differ { view, other: first, record });
        }
    }
    Ok(Agreed { records })
}

fn only_in_one(some: &[Caa], others: &[Caa]) -> Option<String> {
    let missing = some.iter().find(|record| !others.contains(record));
    let extra = others.iter().find(|record| !some.contains(record));
    missing.or(extra).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(account: &str) -> Binding {
        let account_uri = format!("https://authority.example/{account}");
        Binding { issuer: "authority.example".parse().unwrap(), account_uri }
    }

    fn iodef() -> Caa {
        Caa::new(0, "iodef", b"mailto:a@example.org").unwrap()
    }

    fn own() -> Vec<Caa> {
        [binding("1").records().to_vec(), vec![iodef()]].concat()
    }

    fn judged(
        provider: Option<Vec<Caa>>,
        resolvers: [Vec<Caa>; 2],
    ) -> Result<Agreed, Disagreement> {
        agree(Views { provider, resolvers }, &binding("1"), &[binding("0").account_uri])
    }

    #[test]
    fn views_that_agree_count_in_any_order_with_foreign_records() {
        let mut other = own();
        other.reverse();
        let agreed = judged(Some(own()), [other.clone(), own()]).unwrap();
        assert_eq!(agreed.records().len(), 3);
        assert!(judged(None, [own(), other]).is_ok());
    }

    #[test]
    fn a_view_that_differs_in_anything_stops() {
        let missing = vec![binding("1").records()[0].clone(), iodef()];
        let stale = [own(), binding("0").records().to_vec()].concat();
        let foreign = [own(), vec![Caa::new(0, "issue", b"other.example").unwrap()]].concat();
        for wrong in [missing, stale, foreign, Vec::new(), own()[..2].to_vec()] {
            for position in 0..3 {
                let mut views = [own(), own(), own()];
                views[position] = wrong.clone();
                let [provider, first, second] = views;
                assert!(judged(Some(provider), [first, second]).is_err(), "{position} {wrong:?}");
            }
        }
    }

    #[test]
    fn the_refusal_says_which_view_lacks_what() {
        let lacking = judged(Some(own()), [own(), vec![iodef()]]).unwrap_err();
        assert_eq!(
            lacking.to_string(),
            "resolver 2 does not have the record 0 issue \"authority.example; \
             accounturi=https://authority.example/1; validationmethods=dns-01\""
        );
    }
}
