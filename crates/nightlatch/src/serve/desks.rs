//! Who answers letters: a keeper gateways and control, a gateway keepers and control.
//!
//! What a sender may ask follows from its role, which its card proved: a gateway's letter is read as what a gateway may
//! ask, and as nothing else.

use super::{
    messages::{
        ControlAnswer, ControlToGateway, KeeperAnswer, OfControl, OfGateway, OfKeeper, read, written,
    },
    office::{Desk, Office},
};
use nightlatch_control::Settled;
use nightlatch_custody::{Secret, link::Known};
use nightlatch_domain::{
    id::InstallationId,
    ports::{
        Boxed,
        control_keeper::KeeperForControl,
        gateway_keeper::{DrainNotice, Drains, KeeperForGateway},
        mailbox::Role,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// The longest that a gateway is waited for beyond a drain's own bound.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// One wait for a gateway; control's own bound is longer and asks again.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);
/// A gateway that did not say so long that it lives denies every call by itself: its directory is too old.
const DENIES_AFTER: Duration = Duration::from_secs(40);

/// A keeper's desk.
pub(super) struct KeeperDesk {
    pub(super) installation: InstallationId,
    pub(super) for_gateways: Arc<dyn KeeperForGateway>,
    pub(super) for_control: Arc<dyn KeeperForControl>,
    /// Ends every wake.
    pub(super) end_wakes: Box<dyn Fn() + Send + Sync>,
}

impl Desk for KeeperDesk {
    /// Control does not ask a keeper that it takes for gone to end a wake.
    fn must_be_heard_by(&self, from: &Known) -> bool {
        from.role() == Role::Gateway
    }

    fn was_silent(&self) {
        tracing::warn!("this keeper was not heard for long: every task proves itself anew");
        (self.end_wakes)();
    }

    fn answer(&self, from: &Known, says: &Secret) -> Boxed<'_, Option<Vec<u8>>> {
        match from.role() {
            Role::Gateway => {
                let asked: Option<OfGateway> = read(says.expose());
                Box::pin(async move {
                    Some(match asked? {
                        OfGateway::Installation => written(&self.installation),
                        OfGateway::Ask(request) => {
                            let answer: KeeperAnswer = self.for_gateways.ask(*request).await;
                            written(&answer)
                        }
                    })
                })
            }
            Role::Control => {
                let asked: Option<OfControl> = read(says.expose());
                Box::pin(async move {
                    let answer: ControlAnswer = self.for_control.ask(asked?).await;
                    Some(written(&answer))
                })
            }
            Role::Keeper => Box::pin(std::future::ready(None)),
        }
    }
}

/// A gateway's desk.
pub(super) struct GatewayDesk {
    pub(super) drains: Arc<dyn Drains>,
    pub(super) settled: Arc<dyn Settled>,
}

impl Desk for GatewayDesk {
    fn answer(&self, from: &Known, says: &Secret) -> Boxed<'_, Option<Vec<u8>>> {
        match from.role() {
            Role::Keeper => {
                let notice: Option<OfKeeper> = read(says.expose());
                Box::pin(async move {
                    self.drains.drain(notice?).await;
                    Some(written(&()))
                })
            }
            Role::Control => {
                let asked: Option<ControlToGateway> = read(says.expose());
                Box::pin(async move {
                    let ControlToGateway::Settle { within_millis } = asked?;
                    let settled = timeout(Duration::from_millis(within_millis), self.settled.settled()).await;
                    Some(written(&settled.is_ok()))
                })
            }
            Role::Gateway => Box::pin(std::future::ready(None)),
        }
    }
}

/// Every gateway, to be asked to let running calls finish. One that does not answer is waited for no longer than the drain's bound.
pub(super) struct AllDrain(pub(super) Arc<Office>);

impl Drains for AllDrain {
    fn drain(&self, notice: DrainNotice) -> Boxed<'_, ()> {
        Box::pin(async move {
            let says = Arc::new(written(&notice));
            let within = Duration::from_millis(notice.within_millis) + DRAIN_GRACE;
            let mut asked = JoinSet::new();
            for gateway in self.0.living(Role::Gateway) {
                let (office, says) = (Arc::clone(&self.0), Arc::clone(&says));
                asked.spawn(async move { office.ask(&gateway, &says, within).await.is_ok() });
            }
            let drained = asked.join_all().await;
            if drained.contains(&false) {
                tracing::warn!(
                    "a gateway did not say that its calls are done; the provider cuts what still runs"
                );
            }
        })
    }
}

/// Every gateway, as far as control must wait for it.
pub(super) struct AllSettled(pub(super) Arc<Office>);

impl Settled for AllSettled {
    fn settled(&self) -> Boxed<'_, ()> {
        Box::pin(async move {
            // Who is silent that long denies by itself, and reads everything anew before it admits again.
            self.0.look().await;
            let mut left = self.0.heard_within(Role::Gateway, DENIES_AFTER);
            let within_millis = u64::try_from(SETTLE_WITHIN.as_millis()).unwrap_or(u64::MAX);
            let says = Arc::new(written(&ControlToGateway::Settle { within_millis }));
            while !left.is_empty() {
                let mut asked = JoinSet::new();
                for gateway in left {
                    let (office, says) = (Arc::clone(&self.0), Arc::clone(&says));
                    asked.spawn(async move {
                        let answer = office.ask(&gateway, &says, 2 * SETTLE_WITHIN).await;
                        let is_settled = answer.is_ok_and(|answer| read(answer.expose()) == Some(true));
                        (!is_settled).then_some(gateway)
                    });
                }
                left = asked.join_all().await.into_iter().flatten().collect();
                let heard = self.0.heard_within(Role::Gateway, DENIES_AFTER);
                left.retain(|gateway| heard.iter().any(|known| known.peer() == gateway.peer()));
            }
        })
    }
}
