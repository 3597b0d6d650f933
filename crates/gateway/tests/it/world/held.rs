//! A ledger that waits.

use super::World;
use nightlatch_ledger::{facts::EventFacts, record::EventName};

impl World {
    /// Keeps the ledger's thread at an entry that waits for the disk, and with it all that comes after, until
    /// [`Hand::hold_writer`] lets it go.
    pub(crate) async fn hold_ledger(&self) {
        self.clock.hold_writer(true);
        drop(self.ledger.event(EventFacts::new(EventName::HumanAdded)));
        self.eventually("the writer", || async { self.clock.writer_waits() }).await;
    }

    /// Whether more waits behind that than the question for the head, which comes every second.
    pub(crate) fn ledger_holds_another(&self) -> bool {
        self.ledger.queued() > 2
    }
}
