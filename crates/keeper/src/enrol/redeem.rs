//! The exchange of a code: once, and journaled before anything is known about what it brought.
//!
//! The order is that of a refresh. What can fail without harm comes first (the data key, the slot, the connection); then
//! the step is taken, so that no second exchange can begin; then the keeper's log learns which family is
//! about to come into being; then the code is sent. The answer lies sealed in spool and database before it
//! is read, and it stays there when a check fails: nothing that a provider gave is thrown away.

use super::{
    conclude::{conclude, fail},
    flow::Remembered,
    refusal, store_refusal,
    target::{By, Exchanged},
};
use crate::{
    core::Core,
    error::KeeperError,
    machine::{ANSWER_WITHIN, SEND_WITHIN},
    refresh::{
        material::{destination, registered},
        sealer::Sealer,
    },
    schedule,
    spool::{Asked, Slot, SpooledAnswer},
    token::{self, ANSWER_MAX_BYTES, Presented},
};
use nightlatch_catalog::profile::Endpoint;
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::{Flow, FlowStep},
    ports::control_keeper::{ControlRefusal, ControlReply},
    sealed::{SealContext, SecretKind},
};
use nightlatch_egress::{Line, SendError, SendWindow};
use std::sync::Arc;

pub(super) async fn redeem(
    core: &Arc<Core>,
    flow: Flow,
    remembered: Remembered,
    code: Secret,
) -> Result<ControlReply, ControlRefusal> {
    let exchanged = || Exchanged {
        tenant: flow.tenant,
        context: flow.secrets.1.clone(),
        target: remembered.target.clone(),
        by: By::Login,
    };
    let context = flow.secrets.1.clone();
    let request = request(core, &flow, &remembered, &code).await.map_err(refusal)?;
    let sealer = Sealer::to(core, SealContext { kind: SecretKind::Answer, ..context.clone() });
    let sealer = sealer.map_err(refusal)?;
    let asked = Asked::Flow(flow.id);
    let slot = core.on_disk(move |core| core.spool.reserve(asked)).await.map_err(|error| match error {
        KeeperError::SlotTaken => ControlRefusal::FlowMismatch,
        other => refusal(other),
    })?;
    let send_by = core.now().boot.plus(SEND_WITHIN);
    // Nothing was said yet: the page can be called again.
    let Ok(dialled) = dial(core, &context, send_by).await else {
        forget(core, asked).await;
        return Err(ControlRefusal::Unreachable);
    };
    let (begun, redeeming) = (FlowStep::Begun, FlowStep::Redeeming);
    if !core
        .store()
        .advance_flow(flow.tenant, flow.id, begun, redeeming, None)
        .await
        .map_err(store_refusal)?
    {
        forget(core, asked).await;
        return Err(ControlRefusal::FlowMismatch);
    }
    let (id, family) = (flow.id, remembered.target.family);
    if core.on_disk(move |core| core.anchor.redeem(id, family)).await.is_err() {
        forget(core, asked).await;
        return fail(core, &exchanged(), "anchor-log-unavailable", ControlRefusal::Unavailable).await;
    }
    let window = SendWindow { send_by, answer_by: core.now().boot.plus(ANSWER_WITHIN) };
    let answer = match dialled.send(request, ANSWER_MAX_BYTES, window).await {
        Ok(answer) => answer,
        Err(SendError::NothingWritten(_)) => {
            forget(core, asked).await;
            return fail(core, &exchanged(), "provider-unreachable", ControlRefusal::Unreachable).await;
        }
        Err(SendError::AfterFirstByte { .. }) => {
            forget(core, asked).await;
            return fail(core, &exchanged(), "answer-lost", ControlRefusal::Unreachable).await;
        }
    };
    let raw = token::raw(answer.status.as_u16(), &answer.headers, answer.body, core.now().wall);
    let (answer, context) = sealer.seal(&raw).map_err(refusal)?;
    let spooled = SpooledAnswer { tenant: flow.tenant, asked, answer, context };
    journal(core, &flow, slot, spooled).await;
    conclude(core, exchanged(), &raw).await
}

/// A slot that nothing was written to.
async fn forget(core: &Arc<Core>, asked: Asked) {
    let forgotten = core.on_disk(move |core| {
        core.spool.forget(asked);
        Ok(())
    });
    let _ = forgotten.await;
}

async fn request(
    core: &Core,
    flow: &Flow,
    remembered: &Remembered,
    code: &Secret,
) -> Result<http::Request<bytes::Bytes>, KeeperError> {
    let context = &flow.secrets.1;
    let missing = KeeperError::Registration;
    let profile = context.provider.as_ref().and_then(|name| core.profile(name));
    let profile = profile.ok_or(missing("its provider's profile is gone"))?;
    let endpoint = endpoint(context)?;
    let client = context.client.ok_or(missing("the flow names no client"))?;
    let client = core.store().client(flow.tenant, client).await?.ok_or(missing("it was removed"))?;
    let client = registered(core, &client, context);
    let client = client.map_err(|_| missing("its registration could not be opened"))?;
    let auth = context.client_auth.ok_or(missing("it says not how to authenticate"))?;
    let verifier = remembered.verifier.clone().map(Secret::from_string);
    let presented =
        Presented::Code { code, redirect_uri: &remembered.redirect_uri, verifier: verifier.as_ref() };
    token::request(&endpoint, profile.body, &client.with(auth), &presented)
}

fn endpoint(context: &SealContext) -> Result<Endpoint, KeeperError> {
    let text = context.token_endpoint.as_deref().ok_or(KeeperError::Registration("no token endpoint"))?;
    Endpoint::parse(text).map_err(|_| KeeperError::Registration("its token endpoint is no address"))
}

async fn dial(
    core: &Core,
    context: &SealContext,
    send_by: nightlatch_domain::clock::Boot,
) -> Result<Box<dyn Line>, KeeperError> {
    let to = destination(&endpoint(context)?)?;
    core.parts.wire.dial(&to, send_by).await.map_err(|error| {
        tracing::info!(%error, "the provider could not be reached");
        KeeperError::Registration("its provider could not be reached")
    })
}

/// Until database or spool has it, and then until the database has it: the answer exists once.
async fn journal(core: &Arc<Core>, flow: &Flow, slot: Slot, spooled: SpooledAnswer) {
    let slot = Arc::new(slot);
    for tries in 0.. {
        let (at, kept) = (Arc::clone(&slot), spooled.clone());
        if let Err(error) = core.on_disk(move |_| at.write(&kept)).await {
            tracing::warn!(%error, "an answer could not be spooled");
        }
        let answer = Some((spooled.answer.clone(), spooled.context.clone()));
        let (from, to) = (FlowStep::Redeeming, FlowStep::Answered);
        match core.store().advance_flow(flow.tenant, flow.id, from, to, answer).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "an answer could not be stored; trying again"),
        }
        core.pause(schedule::local_retry(tries)).await;
    }
}
