//! What waits for one webhook, as far as it was looked at: the store is asked only when a place is free and something
//! may be there that is not known yet.

use super::{again, turns::Turns};
use crate::calls::Calls;
use nightlatch_domain::{call::CallPlace, clock::Timestamp, id::CallId, tool::Name};
use std::collections::HashSet;

/// Rows of one task that are looked at together: those under way stand first among them, and more than as many are
/// there.
pub(super) const LOOKED_AT: u32 = 16;
/// And of all tasks: the first of more tasks than wait for one webhook in a day.
pub(super) const LOOKED_AT_MAX: u32 = 4096;

/// The line before a webhook.
pub(super) struct Line {
    /// Those that were found, but for those under way, and when they are due.
    untold: Vec<(CallPlace, Timestamp)>,
    /// There may be others.
    is_stale: bool,
    under_way: HashSet<CallId>,
    turns: Turns,
}

impl Default for Line {
    fn default() -> Self {
        Self { untold: Vec::new(), is_stale: true, under_way: HashSet::new(), turns: Turns::default() }
    }
}

impl Line {
    /// The call whose turn it is, which is under way from now on; none where none is due.
    pub(super) async fn next(&mut self, calls: &Calls, hook: &Name) -> Option<CallPlace> {
        loop {
            let was_stale = std::mem::take(&mut self.is_stale);
            if was_stale {
                let owner = || calls.owner.clone();
                self.untold =
                    again(|| calls.store.untold_calls(owner(), hook.clone(), LOOKED_AT, LOOKED_AT_MAX)).await;
                self.untold.retain(|(place, _)| !self.under_way.contains(&place.call));
            }
            let now = calls.clock.now();
            let due = self.untold.iter().filter(|(_, at)| *at <= now);
            match self.turns.take(due.map(|(place, _)| *place)) {
                Some(next) => {
                    self.untold.retain(|(place, _)| *place != next);
                    self.under_way.insert(next.call);
                    return Some(next);
                }
                None if was_stale => return None,
                // What was known is used up.
                None => self.is_stale = true,
            }
        }
    }

    /// More may wait.
    pub(super) const fn stir(&mut self) {
        self.is_stale = true;
    }

    /// It is under way no more.
    pub(super) fn let_go(&mut self, call: CallId) {
        self.under_way.remove(&call);
    }

    /// When the first is due.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        self.untold.iter().map(|(_, at)| *at).min()
    }
}
