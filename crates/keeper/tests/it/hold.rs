//! A refresh that is held at one of its steps.

use nightlatch_domain::ports::Boxed;
use nightlatch_keeper::{Watch, machine::Action};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The name of a step, without what it carries.
fn name(action: &Action) -> &'static str {
    match action {
        Action::Claim => "claim",
        Action::Drain => "drain",
        Action::Prepare { .. } => "prepare",
        Action::Intend => "intend",
        Action::Anchor => "anchor",
        Action::Send { .. } => "send",
        Action::Spool => "spool",
        Action::Insert => "insert",
        Action::Read => "read",
        Action::Adopt => "adopt",
        Action::Commit => "commit",
        Action::Resolve => "resolve",
        Action::AnchorHead => "anchor-head",
        Action::Void => "void",
        Action::Settle(_) => "settle",
        Action::Withdraw => "withdraw",
        Action::Release(_) => "release",
    }
}

/// Holds the first step of a name for ever: what a crash right there leaves behind.
pub(crate) struct HoldAt {
    step: &'static str,
    reached: AtomicBool,
}

impl HoldAt {
    pub(crate) fn step(step: &'static str) -> Arc<Self> {
        Arc::new(Self { step, reached: AtomicBool::new(false) })
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst)
    }
}

impl Watch for HoldAt {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        if name(action) == self.step {
            self.reached.store(true, Ordering::SeqCst);
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    }
}
