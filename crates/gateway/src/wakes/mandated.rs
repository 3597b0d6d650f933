//! The wake of one call that goes on without its agent: by a mandate, for one lease, and found by no other call.
//!
//! It is swept like any other (a killed task, a revoked grant, a disabled agent end it), but for one thing: that its
//! task sleeps is what it was given for.

use super::{Awake, End, Held, Kept, Wakes};
use crate::{
    corridor::Given,
    quick::{Quick, QuickSet},
};
use nightlatch_custody::ReplicaKey;
use nightlatch_domain::{
    exchange::Exchange,
    ports::gateway_keeper::{GatewayReply, GatewayRequest, KeeperRefusal, MandatedLease},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

impl Wakes {
    /// The one lease that a mandate is good for, and the wake that it is sealed to.
    ///
    /// # Errors
    /// The keeper's refusal; [`KeeperRefusal::MandateRejected`] where the mandate is another call's.
    pub(crate) async fn under_mandate(
        &self,
        exchange: &Exchange,
        given: &Given,
    ) -> Result<(Arc<Awake>, Arc<Kept>), KeeperRefusal> {
        let mandate = given.mandate.clone();
        let named = (mandate.call, mandate.grant, mandate.connection);
        if named != (exchange.call, exchange.grant, exchange.connection) {
            return Err(KeeperRefusal::MandateRejected);
        }
        let replica = ReplicaKey::generate(self.entropy.as_ref()).map_err(|_| KeeperRefusal::Unavailable)?;
        let (asked_after, asked) = (self.running.notices(), self.now());
        let for_request = Some(mandate.request_sha256.clone());
        let request = MandatedLease {
            mandate,
            public_key_spki: given.signed.0.clone(),
            signature: given.signed.1.clone(),
            replica_key: replica.sealing_key().clone(),
            patience_millis: u64::try_from(self.limits.patience.as_millis()).unwrap_or(u64::MAX),
        };
        let GatewayReply::Mandated { wake, lease } = self.ask(GatewayRequest::Mandate(request)).await? else {
            return Err(KeeperRefusal::Unavailable);
        };
        let ends = End::new(wake.ends_at, asked);
        let grants = QuickSet::from_iter([exchange.grant]);
        let held =
            Mutex::new(Held { key: Some(replica), leases: Quick::default(), grants, forgotten: false });
        let awake = Arc::new(Awake {
            caller: exchange.caller.clone(),
            wake: wake.wake,
            assurance: wake.assurance,
            ends,
            renews: ends,
            began_after: u64::MAX,
            for_request,
            held,
        });
        let stale = End::new(lease.fresh_until, asked);
        self.watch_mandated(&awake);
        // Whoever gave the mandate ends the wake.
        let _ = given.used.set(Arc::clone(&awake));
        Ok((awake, Arc::new(Kept::new(lease, asked_after, stale))))
    }

    fn watch_mandated(&self, awake: &Arc<Awake>) {
        let mut mandated = self.mandated();
        mandated.retain(|one| one.strong_count() > 0);
        mandated.push(Arc::downgrade(awake));
    }

    pub(super) fn mandated(&self) -> MutexGuard<'_, Vec<Weak<Awake>>> {
        self.mandated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
