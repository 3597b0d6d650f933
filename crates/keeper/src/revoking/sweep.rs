//! What kills ended gives its secrets up.
//!
//! A kill is one row, however much it ends, and takes effect with that row; the secrets are taken afterwards. That is
//! looked for at the start (a process may have died in between), when a kill was written since, when an answer came to a chain
//! that nobody lives on, and now and then. To look means to look through everything, so it is not done without a reason.

use crate::{core::Core, machine::Moment};
use nightlatch_domain::{clock::Boot, ports::store::StoreError};
use std::{sync::atomic::Ordering, time::Duration};

/// Chains, connections and imports whose secrets are taken in one transaction, of each.
const STEP: u32 = 256;
/// So often everything is looked through without another reason.
const NOW_AND_THEN: Duration = Duration::from_secs(3600);

/// Up to where everything was looked through.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// The last move of the feed's counter row before it.
    to: u64,
    at: Option<Boot>,
}

impl Swept {
    /// Takes the secrets of what was ended since, in steps.
    pub(super) async fn sweep(&mut self, core: &Core) -> Result<(), StoreError> {
        let now = core.now();
        if !self.has_reason(core, now).await? {
            return Ok(());
        }
        let last = core.store().last_change().await?.number;
        core.revoking.is_left.store(false, Ordering::SeqCst);
        while !core.stopping.load(Ordering::SeqCst) {
            let taken = core.store().clear_killed(core.now().wall, STEP).await;
            if *taken.as_ref().unwrap_or(&0) > 0 {
                continue;
            }
            if taken.is_err() {
                core.revoking.is_left.store(true, Ordering::SeqCst);
            }
            taken?;
            *self = Self { to: last, at: Some(now.boot) };
            break;
        }
        Ok(())
    }

    async fn has_reason(&self, core: &Core, now: Moment) -> Result<bool, StoreError> {
        let is_long_ago = self.at.is_none_or(|at| now.boot.since(at) >= NOW_AND_THEN);
        Ok(is_long_ago
            || core.revoking.is_left.load(Ordering::SeqCst)
            || !core.store().kills(self.to, 1).await?.is_empty())
    }
}
