//! An exchange whose chain may be left before its answer comes.
//!
//! A provider that is slower than a claim would lose us its answer, and with it the family, only because we stopped
//! listening. So the exchange is a task of its own. Who began it waits as long as the claim allows, then leaves the
//! chain as uncertain; the task listens on, and what comes is journaled by the attempt's id as ever. Somebody then
//! looks at the chain again, and finds an answer that nobody read.

use super::{Wanted, refresh};
use crate::{
    core::Core,
    schedule,
    spool::{Asked, Slot, SpooledAnswer},
    token,
};
use nightlatch_domain::{
    id::{AttemptId, ChainId, TenantId},
    ports::work::within,
    sealed::SealContext,
};
use nightlatch_egress::{RawAnswer, SendError};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A late answer is sealed and brought to the database for so many rounds; what only the spool has by then, the next
/// look at the chain brings there.
const ROUNDS: u32 = 12;

type Told = Result<RawAnswer, SendError>;

/// Whose answer it is.
pub(super) struct Late {
    pub(super) core: Arc<Core>,
    pub(super) tenant: TenantId,
    pub(super) chain: ChainId,
    pub(super) attempt: AttemptId,
    pub(super) context: SealContext,
}

/// The waiting end of an exchange.
pub(super) struct Listening {
    core: Arc<Core>,
    told: oneshot::Receiver<Told>,
    leave: oneshot::Sender<OwnedSemaphorePermit>,
}

impl Late {
    /// Begins the exchange.
    pub(super) fn listen(
        self,
        slot: Arc<Slot>,
        exchange: impl Future<Output = Told> + Send + 'static,
    ) -> Listening {
        let (tell, told) = oneshot::channel();
        let (leave, left) = oneshot::channel();
        let core = Arc::clone(&self.core);
        core.parts.work.spawn(Box::pin(self.carry(slot, exchange, tell, left)));
        Listening { core, told, leave }
    }

    async fn carry(
        self,
        slot: Arc<Slot>,
        exchange: impl Future<Output = Told> + Send,
        tell: oneshot::Sender<Told>,
        mut left: oneshot::Receiver<OwnedSemaphorePermit>,
    ) {
        let mut exchange = pin!(exchange);
        let (told, _place) = tokio::select! {
            biased;
            told = &mut exchange => match tell.send(told) {
                Ok(()) => return,
                // It came in the moment in which the other end left.
                Err(told) => (told, left.await.ok()),
            },
            place = &mut left => {
                let Ok(place) = place else { return };
                (exchange.await, Some(place))
            }
        };
        match told {
            Ok(answer) => self.bring(&slot, answer).await,
            Err(error) => self.give_up(&error).await,
        }
    }

    async fn bring(self, slot: &Arc<Slot>, answer: RawAnswer) {
        let at = self.core.now().wall;
        let raw = token::raw(answer.status.as_u16(), &answer.headers, answer.body, at);
        let (mut sealed, mut is_spooled) = (None, false);
        for round in 0..ROUNDS {
            sealed = sealed.or_else(|| self.core.parts.keys.wrap(&raw, &self.context).ok());
            if let Some(answer) = &sealed {
                let kept = (answer.clone(), self.context.clone());
                is_spooled = is_spooled || self.spool(slot, &kept).await;
                if self.core.store().answer(self.tenant, self.attempt, kept).await.is_ok() {
                    break;
                }
            }
            self.core.pause(schedule::local_retry(round)).await;
        }
        tracing::info!(chain = %self.chain, "the answer of a refresh came late");
        drop(refresh(&self.core, self.tenant, self.chain, Wanted::Timer));
    }

    async fn spool(
        &self,
        slot: &Arc<Slot>,
        kept: &(nightlatch_domain::sealed::Wrapped, SealContext),
    ) -> bool {
        let asked = Asked::Attempt(self.attempt);
        let (answer, context) = kept.clone();
        let (slot, kept) = (Arc::clone(slot), SpooledAnswer { tenant: self.tenant, asked, answer, context });
        self.core.on_disk(move |_| slot.write(&kept)).await.is_ok()
    }

    /// No answer comes any more. Where nothing was written after all, that is said.
    async fn give_up(self, error: &SendError) {
        tracing::info!(%error, chain = %self.chain, "nobody listens for the answer of a refresh any more");
        let (tenant, attempt) = (self.tenant, self.attempt);
        self.core.spool.forget(Asked::Attempt(attempt));
        if matches!(error, SendError::NothingWritten(_))
            && self.core.on_disk(move |core| core.anchor.void(attempt)).await.is_ok()
            && self.core.store().withdraw(tenant, attempt).await == Ok(true)
        {
            drop(refresh(&self.core, tenant, self.chain, Wanted::Timer));
        }
    }
}

impl Listening {
    /// What came of the exchange, if that is known within this time.
    pub(super) async fn within(&mut self, patience: Duration) -> Option<Told> {
        if let Some(told) = within(&*self.core.parts.work, patience, &mut self.told).await {
            return told.ok();
        }
        self.told.close();
        self.told.try_recv().ok()
    }

    /// Leaves it to itself; whether it listens on.
    pub(super) fn leave(self) -> bool {
        let place = Arc::clone(&self.core.listening).try_acquire_owned();
        place.is_ok_and(|place| self.leave.send(place).is_ok())
    }
}
