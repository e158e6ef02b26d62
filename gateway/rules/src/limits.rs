//! How many connections there may be, in all and for each app; counted before they are passed.
//!
//! A connection is counted before anything is done for it, so that connects at the same time cannot
//! pass a limit together, and one app's clients take nothing from another one's share beyond the
//! whole.

use std::collections::BTreeMap;

use protocol::digest::AppId;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// all descriptors are taken
    #[error("the gateway has {0} connections, which is all that it may have")]
    Gateway(u32),
    /// the app's share is taken
    #[error("the app has {0} connections, which is all that it may have")]
    App(u32),
}

/// Counts of connections.
#[derive(Debug)]
pub struct Counts {
    most: u32,
    most_per_app: u32,
    all: u32,
    apps: BTreeMap<AppId, u32>,
}

impl Counts {
    /// None yet, and so many at most.
    pub fn new(most: u32, most_per_app: u32) -> Self {
        Self { most, most_per_app, all: 0, apps: BTreeMap::new() }
    }

    /// Counts a connection that was accepted.
    ///
    /// # Errors
    /// If there are as many as there may be; then nothing is counted.
    pub fn accept(&mut self) -> Result<(), LimitError> {
        if self.all >= self.most {
            return Err(LimitError::Gateway(self.most));
        }
        self.all += 1;
        Ok(())
    }

    /// Counts it for its app.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn route(&mut self, app: AppId) -> Result<(), LimitError> {
        let count = self.apps.entry(app).or_default();
        if *count >= self.most_per_app {
            return Err(LimitError::App(self.most_per_app));
        }
        *count += 1;
        Ok(())
    }

    /// Forgets one that was counted for its app.
    pub fn unroute(&mut self, app: AppId) {
        if let Some(count) = self.apps.get_mut(&app) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.apps.remove(&app);
            }
        }
    }

    /// Forgets one that was accepted.
    pub fn end(&mut self) {
        self.all = self.all.saturating_sub(1);
    }

    /// Connections now.
    pub fn all(&self) -> u32 {
        self.all
    }

    /// Connections of an app now.
    pub fn of_app(&self, app: &AppId) -> u32 {
        self.apps.get(app).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: AppId = AppId([1; 20]);
    const TWO: AppId = AppId([2; 20]);

    #[test]
    fn an_app_at_its_limit_keeps_no_other_app_out() {
        let mut counts = Counts::new(10, 2);
        assert_eq!((counts.route(ONE), counts.route(ONE)), (Ok(()), Ok(())));
        assert_eq!(counts.route(ONE), Err(LimitError::App(2)));
        assert_eq!(counts.route(TWO), Ok(()));
        counts.unroute(ONE);
        assert_eq!(counts.route(ONE), Ok(()));
    }

    #[test]
    fn the_whole_has_a_limit_and_goes_on_below_it() {
        let mut counts = Counts::new(2, 2);
        assert_eq!((counts.accept(), counts.accept()), (Ok(()), Ok(())));
        assert_eq!(counts.accept(), Err(LimitError::Gateway(2)));
        counts.end();
        assert_eq!(counts.accept(), Ok(()));
    }

    proptest! {
        #[test]
        fn counts_are_those_of_what_is_open(steps: Vec<(bool, u8)>) {
            let mut counts = Counts::new(u32::MAX, 3);
            let mut open = BTreeMap::<u8, u32>::new();
            for (begins, app) in steps {
                let (app, count) = (app % 3, open.entry(app % 3).or_default());
                let id = AppId([app; 20]);
                if begins {
                    prop_assert_eq!(counts.route(id).is_ok(), *count < 3);
                    *count = (*count + 1).min(3);
                } else if *count > 0 {
                    counts.unroute(id);
                    *count -= 1;
                }
                prop_assert_eq!(counts.of_app(&id), *count);
            }
            let some = open.values().filter(|count| **count > 0).count();
            prop_assert_eq!(counts.apps.len(), some, "an app without connections takes no memory");
        }
    }
}
