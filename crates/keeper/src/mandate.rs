//! Mandates: one lease, once, for one call that goes on without its agent.
//!
//! Nobody proves presence here, so everything that a wake would have proved stands in the signed text instead, and is
//! held against what the keeper itself vouches for: the key against the enrolment, task and agent, the grant and its
//! connection, the time. The gateway chooses nothing but the key that the lease is sealed to, and learns a lease that
//! is bound to the hash of the one request. That it was given stands in a row of the database, which every keeper asks, and in the
//! keeper's own log before the lease is sealed: a database that is put back brings no second one. What is older than the log is not given at all.

use crate::{
    core::Core,
    error::KeeperError,
    lease::lease_once,
    wake::{self, Awake, sha256, unavailable},
};
use nightlatch_custody::signature::{decoded, is_signed};
use nightlatch_domain::{
    call::Mandate,
    id::WakeId,
    ports::{
        control_keeper::Statement,
        gateway_keeper::{GatewayReply, KeeperRefusal, LeaseRequest, MandatedLease, WakeGranted},
    },
    principal::{Binding, Enrolment},
    task::Assurance,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{sync::Arc, time::Duration};

/// How long it is known beyond its end that a mandate was acted on: no clock is off by as much.
const REMEMBERED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a call that goes on without its agent may run: as long as a tool may take to answer.
const ONE_CALL: Duration = Duration::from_secs(900);

/// The lease that a mandate is for, if it holds.
pub(crate) async fn mandated(core: &Arc<Core>, asked: MandatedLease) -> Result<GatewayReply, KeeperRefusal> {
    let awake = Arc::new(verified(core, &asked).await?);
    let mandate = asked.mandate;
    let request = LeaseRequest {
        tenant: mandate.tenant,
        wake: awake.wake(),
        grant: mandate.grant,
        connection: mandate.connection,
        patience_millis: asked.patience_millis,
    };
    let holds = || match mandate.is_timely(core.now().wall) {
        true => Ok(Arc::clone(&awake)),
        false => Err(KeeperRefusal::MandateRejected),
    };
    let spend = spend(core, &awake, &mandate);
    let lease = lease_once(core, &request, mandate.request_sha256.clone(), holds, spend).await?;
    Ok(GatewayReply::Mandated { wake: awake.granted().clone(), lease })
}

/// The agent behind a signature, as the keeper itself enrolled it.
async fn verified(core: &Core, asked: &MandatedLease) -> Result<Awake, KeeperRefusal> {
    let (mandate, now) = (&asked.mandate, core.now());
    let rejected = KeeperRefusal::MandateRejected;
    let binding = signer(core, asked).filter(|_| mandate.is_timely(now.wall)).ok_or(rejected)?;
    let enrolment = core.store().enrolment(binding.clone()).await.map_err(unavailable)?;
    let enrolment = enrolment.ok_or(KeeperRefusal::MandateRejected)?;
    if !core.vouches(Statement::Enrolment(enrolment.clone())) {
        return Err(wake::refused(core, mandate.tenant, mandate.task, "enrolment-unverified").await);
    }
    if !belongs(&enrolment, mandate, &binding) {
        return Err(KeeperRefusal::MandateRejected);
    }
    let random = core.ten().map_err(|_| KeeperRefusal::Unavailable)?;
    let ends_at = now.wall.plus(ONE_CALL);
    let granted = WakeGranted { wake: WakeId::new(now.wall, random), assurance: Assurance::Signed, ends_at };
    let whose = (mandate.tenant, enrolment.agent, mandate.task);
    Ok(Awake::of_one_call(whose, (binding, asked.replica_key.clone()), granted, now.boot.plus(ONE_CALL)))
}

/// The key that signed, as a binding; none where none did, or not for this installation.
fn signer(core: &Core, asked: &MandatedLease) -> Option<Binding> {
    let (key, signature) = (decoded(&asked.public_key_spki)?, decoded(&asked.signature)?);
    let is_ours = asked.mandate.installation == core.installation.id;
    let holds = is_ours && is_signed(&asked.mandate.statement()?, &key, &signature);
    holds.then(|| Binding::Key { spki_sha256: sha256(&key) })
}

fn belongs(enrolment: &Enrolment, mandate: &Mandate, binding: &Binding) -> bool {
    enrolment.tenant == mandate.tenant && enrolment.task == mandate.task && enrolment.binding == *binding
}

/// Makes durable that this mandate was acted on, once.
async fn spend(core: &Arc<Core>, awake: &Awake, mandate: &Mandate) -> Result<(), KeeperRefusal> {
    let (tenant, call, until) = (mandate.tenant, mandate.call, mandate.not_after);
    // The row first: it is every keeper's, the log only this one's. A row that was put back is caught by the log.
    let forget_before = core.now().wall.minus(REMEMBERED_FOR);
    let row = core.store().spend_mandate(tenant, call, until, forget_before).await;
    let spent = match row {
        Ok(true) => core.on_disk(move |core| core.anchor.spend(call, until)).await,
        Ok(false) => Err(KeeperError::MandateSpent),
        Err(error) => Err(error.into()),
    };
    let (event, reason) = match &spent {
        Ok(()) => (EventName::MandateUsed, None),
        Err(KeeperError::MandateSpent) => (EventName::LeaseRefused, Some("mandate-replayed")),
        Err(_) => return Err(KeeperRefusal::Unavailable),
    };
    core.note(EventFacts {
        tenant: Some(mandate.tenant),
        call: Some(mandate.call),
        agent: Some(awake.agent()),
        task: Some(mandate.task),
        grant: Some(mandate.grant),
        connection: Some(mandate.connection),
        wake: Some(awake.wake()),
        assurance: Some(Assurance::Signed),
        reason,
        ..EventFacts::new(event)
    })
    .await;
    spent.map_err(|_| KeeperRefusal::MandateRejected)
}
