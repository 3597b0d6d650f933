//! Proves that the simulated store keeps what every store promises: the suite of all of them, over it.

use nightlatch_domain::ports::{Boxed, work::Work};
use nightlatch_simulator::world::{World, store::Database};
use nightlatch_store::conformance::{Place, Planes};
use std::{sync::Arc, time::Duration};

/// A runtime for what waits in the store: the suite knows real time only.
struct Real;

impl Work for Real {
    fn spawn(&self, task: Boxed<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, span: Duration) -> Boxed<'static, ()> {
        // tidy: sleeps because a runtime's timer is what it stands for
        Box::pin(tokio::time::sleep(span))
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> Boxed<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

pub(crate) struct Memory(Database);

impl Place for Memory {
    fn open(&self) -> Planes {
        let session = Arc::new(self.0.at_hand(Arc::new(Real)));
        Planes {
            control: session.clone(),
            directory: session.clone(),
            calls: session.clone(),
            budgets: session.clone(),
            keeper: session.clone(),
            ledger: session,
        }
    }
}

pub(crate) fn fresh() -> Memory {
    Memory(Database::new(&World::new(1)).with_clock())
}

nightlatch_store::conformance!(crate::memory::fresh);
