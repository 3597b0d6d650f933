//! Proves what holds of flows, connections, static secrets, tickets, and of their end.

use super::{
    Place,
    world::{World, later, name},
};
use nightlatch_domain::{
    chain::{Chain, ChainState, Flow, FlowOutcome, FlowStep},
    connection::{Connection, ConnectionHealth, Health, Source},
    id::{ChainId, ClientId, ConnectionId, FlowId},
    ports::store::{NewConnection, Settlement, StoreError},
    sealed::{SealContext, SecretKind, Wrapped},
};

fn answer(world: &World) -> (Wrapped, SealContext) {
    world.wrapped(SecretKind::Answer, "flow-answer")
}

fn connected(connection: ConnectionId) -> FlowOutcome {
    FlowOutcome::Connected { connection, account: "583231".into(), label: "dana".into() }
}

fn failed() -> FlowOutcome {
    FlowOutcome::Failed { reason: "wrong-account".into() }
}

/// Of eight redirects with one code, one redeems.
pub async fn a_step_of_a_flow_is_taken_once_under_a_race(place: &dyn Place) {
    let world = World::new(place).await;
    let flow = world.flow(world.registered().await.id, "57a7e");
    world.keeper.put_flow(flow.clone()).await.unwrap();
    let (tenant, id) = (world.tenant, flow.id);
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let keeper = world.keeper.clone();
            tokio::spawn(async move {
                keeper.advance_flow(tenant, id, FlowStep::Begun, FlowStep::Redeeming, None).await.unwrap()
            })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert!(world.keeper.open_flows().await.unwrap().is_empty());
    let journaled = Some(answer(&world));
    let step =
        world.keeper.advance_flow(tenant, id, FlowStep::Redeeming, FlowStep::Answered, journaled.clone());
    assert!(step.await.unwrap());
    let open = world.keeper.open_flows().await.unwrap();
    assert_eq!((open[0].step, &open[0].answer), (FlowStep::Answered, &journaled));
}

/// The first end counts; connection and outcome come together, and the journaled answer lives on as tokens.
pub async fn a_flow_ends_once_with_what_it_makes(place: &dyn Place) {
    let world = World::new(place).await;
    let client = world.registered().await.id;
    let flow = answered_flow(&world, client).await;
    let made = world.tokens("dana", client, "583231");
    let outcome = connected(made.connection.id);
    let is_read = async |flow| world.keeper.has_read_flow(world.tenant, flow).await.unwrap();
    assert!(!is_read(flow).await && !is_read(world.id(FlowId::new)).await, "nobody has read it yet");
    world.keeper.end_flow(world.tenant, flow, outcome.clone(), Some(made.clone())).await.unwrap();
    assert!(is_read(flow).await, "it became a connection");
    let second = world.tokens("second", client, "2");
    world.keeper.end_flow(world.tenant, flow, failed(), Some(second)).await.unwrap();
    let ended = world.control.flow(world.tenant, flow).await.unwrap().unwrap();
    assert_eq!((ended.step, ended.outcome, ended.answer), (FlowStep::Ended, Some(outcome), None));
    assert_eq!(world.control.connections(world.tenant).await.unwrap(), [made.connection]);
    assert!(world.keeper.open_flows().await.unwrap().is_empty());
    let unknown = world.keeper.end_flow(world.tenant, world.id(FlowId::new), failed(), None).await;
    assert_eq!(unknown, Err(StoreError::Missing("flow")));
}

async fn answered_flow(world: &World, client: ClientId) -> FlowId {
    let id = world.id(FlowId::new);
    let mut flow = world.flow(client, &id.to_string());
    flow.id = id;
    flow.step = FlowStep::Answered;
    flow.answer = Some(answer(world));
    world.keeper.put_flow(flow).await.unwrap();
    id
}

/// I4: the answer of a flow that failed may be the only copy of living tokens.
pub async fn a_flow_that_fails_keeps_its_answer(place: &dyn Place) {
    let world = World::new(place).await;
    let flow = answered_flow(&world, world.registered().await.id).await;
    world.keeper.end_flow(world.tenant, flow, failed(), None).await.unwrap();
    let ended = world.control.flow(world.tenant, flow).await.unwrap().unwrap();
    assert_eq!((ended.outcome, ended.answer), (Some(failed()), Some(answer(&world))));
    let is_read = async |flow| world.keeper.has_read_flow(world.tenant, flow).await.unwrap();
    assert!(is_read(flow).await, "its answer stands here");
    let unanswered = Flow { answer: None, ..world.flow(ended.client, "57a7e") };
    world.keeper.put_flow(unanswered.clone()).await.unwrap();
    world.keeper.end_flow(world.tenant, unanswered.id, failed(), None).await.unwrap();
    assert!(!is_read(unanswered.id).await, "what came of it lies somewhere else, if anywhere");
}

/// What a failed reconnect left goes with the connection that it was for.
pub async fn a_failed_reconnects_answer_goes_with_its_connection(place: &dyn Place) {
    let world = World::new(place).await;
    let connection = world.keyed("dana").await.id;
    let mut flow = world.flow(world.registered().await.id, "57a7e");
    flow.reconnect = Some(connection);
    flow.answer = Some(answer(&world));
    world.keeper.put_flow(flow.clone()).await.unwrap();
    world.keeper.end_flow(world.tenant, flow.id, failed(), None).await.unwrap();
    world.keeper.remove_connection(world.tenant, connection, later(1)).await.unwrap();
    let ended = world.control.flow(world.tenant, flow.id).await.unwrap().unwrap();
    assert_eq!((ended.outcome, ended.answer), (Some(failed()), None));
}

/// Outcome and connection are one transaction: neither without the other.
pub async fn a_flow_whose_connection_cannot_be_made_does_not_end(place: &dyn Place) {
    let world = World::new(place).await;
    let client = world.registered().await.id;
    world.keyed("dana").await;
    let flow = answered_flow(&world, client).await;
    let made = world.tokens("dana", client, "583231");
    let end = world.keeper.end_flow(world.tenant, flow, connected(made.connection.id), Some(made)).await;
    assert_eq!(end, Err(StoreError::Exists("connection")));
    assert_eq!(world.keeper.open_flows().await.unwrap()[0].answer, Some(answer(&world)));
    assert!(world.keeper.heads().await.unwrap().is_empty());
}

/// Two flows cannot be found by one `state`.
pub async fn a_state_is_unique(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    world.keeper.put_flow(world.flow(world.registered().await.id, "57a7e")).await.unwrap();
    let twin = other.flow(other.registered().await.id, "57a7e");
    assert_eq!(other.keeper.put_flow(twin).await, Err(StoreError::Exists("flow")));
}

/// Unique on (issuer, client, account), and found by it.
pub async fn an_account_has_one_chain(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let (chain, ..) = on.made.tokens.clone().unwrap();
    let twin = world.tokens("twin", chain.client, "583231");
    assert_eq!(world.keeper.put_connection(twin).await, Err(StoreError::Exists("chain")));
    let other_account = world.tokens("other", chain.client, "2");
    world.keeper.put_connection(other_account).await.unwrap();
    let found = |account: &str| {
        world.keeper.chain_of_account(world.tenant, chain.issuer.clone(), chain.client, account.into())
    };
    assert_eq!(found("583231").await.unwrap(), Some(chain.clone()));
    assert_eq!(found("3").await.unwrap(), None);
}

/// A new consent under a latched chain: same chain and connections, new family, nothing wrong any more.
pub async fn a_reconnect_revives_the_chain(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let second = world.second_connection(&on, "dana-2").await;
    let claim = world.claimed(on.chain).await;
    let latched = Settlement { ticket: Some(world.ticket(second)), ..world.settlement(ChainState::Latched) };
    world.keeper.settle(claim, latched).await.unwrap();
    let again = world.again(&on.made);
    world.keeper.put_connection(again.clone()).await.unwrap();
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    let (_, family, generation) = again.tokens.unwrap();
    assert_eq!((view.family, view.head, view.connections), (family, generation, vec![on.connection, second]));
    let row = view.chain;
    assert_eq!((row.state, row.failures, row.reason, row.ticket), (ChainState::Healthy, 0, None, None));
    assert_eq!((row.fence, row.owner, row.due_at), (claim.fence + 1, None, Some(later(1900))));
    assert!(world.control.tickets(world.tenant).await.unwrap().is_empty());
    assert_eq!(world.keeper.heads().await.unwrap().len(), 2, "the old family stays known");
}

/// Families of a chain are in order: of two consents that saw the same ones, one is refused whole.
pub async fn a_later_consent_has_a_higher_number(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let (first, twin) = (world.again(&on.made), world.again(&on.made));
    world.keeper.put_connection(first.clone()).await.unwrap();
    assert_eq!(world.keeper.put_connection(twin).await, Err(StoreError::Exists("family")));
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!(
        (view.chain.families, Some(view.family)),
        (2, first.tokens.clone().map(|(_, family, _)| family))
    );
    let second = world.again(&first);
    world.keeper.put_connection(second.clone()).await.unwrap();
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.chain.families, view.family.number), (3, 3));
    assert_eq!(view.family.id, second.tokens.unwrap().1.id);
}

/// The chain that a connection leaves for another ends like one whose last connection was removed.
pub async fn a_connection_that_moves_to_another_chain_retires_the_old_one(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let moved = world.tokens("dana", world.registered().await.id, "583231");
    let connection = Connection { id: on.connection, ..moved.connection.clone() };
    let new_chain = moved.tokens.clone().unwrap().0.id;
    world.keeper.put_connection(NewConnection { connection, ..moved }).await.unwrap();
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap(), None);
    assert_eq!(world.keeper.settle(claim, world.settlement(ChainState::Healthy)).await, Ok(false));
    let view = world.keeper.chain(world.tenant, new_chain).await.unwrap().unwrap();
    assert_eq!(view.connections, [on.connection]);
}

/// One of two connections goes and the chain lives; the last goes and so does every secret.
pub async fn a_chains_secrets_go_with_its_last_connection(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let second = world.second_connection(&on, "dana-2").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.answered(attempt, "answer").await;
    world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.connections, view.chain.owner), (vec![second], Some(claim.owner)));
    assert!(world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap().answer.is_some());
    world.keeper.raise(world.ticket(second)).await.unwrap();

    world.keeper.remove_connection(world.tenant, second, later(2)).await.unwrap();
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap(), None);
    assert_eq!(world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap().answer, None);
    assert_eq!(world.keeper.next_due().await.unwrap(), None);
    assert!(world.control.tickets(world.tenant).await.unwrap().is_empty());
    let (chain, ..) = on.made.tokens.clone().unwrap();
    let account = world.keeper.chain_of_account(world.tenant, chain.issuer, chain.client, chain.account);
    let row: Chain = account.await.unwrap().unwrap();
    assert_eq!((row.state, row.reason.as_deref()), (ChainState::Latched, Some("removed")));
    assert_eq!((row.fence, row.owner), (claim.fence + 1, None));

    let keyed = world.keyed("key").await.id;
    world.keeper.remove_connection(world.tenant, keyed, later(3)).await.unwrap();
    assert_eq!(world.keeper.static_secret(world.tenant, keyed).await.unwrap(), None);
    assert_eq!(world.keeper.connection(world.tenant, keyed).await.unwrap(), None);
}

/// I5: a removal is not undone by writing the row, nor by a flow that ends later.
pub async fn a_removed_connection_does_not_come_back(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
    let again = world.again(&on.made);
    let refused = Err(StoreError::Missing("connection"));
    assert_eq!(world.keeper.put_connection(again.clone()).await, refused);
    let (chain, ..) = on.made.tokens.clone().unwrap();
    let flow = answered_flow(&world, chain.client).await;
    let end = world.keeper.end_flow(world.tenant, flow, connected(on.connection), Some(again.clone())).await;
    assert_eq!(end, refused);
    assert_eq!(world.keeper.raise(world.ticket(on.connection)).await, Err(StoreError::Missing("ticket")));
    assert!(world.control.connections(world.tenant).await.unwrap().is_empty());
    let fresh = Connection { id: world.id(ConnectionId::new), ..again.connection.clone() };
    world.keeper.put_connection(NewConnection { connection: fresh.clone(), ..again }).await.unwrap();
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.connections, view.chain.state), (vec![fresh.id], ChainState::Healthy));
}

/// I5: an answer that comes after the removal is kept, for revocation only.
pub async fn a_late_answer_is_kept_after_the_removal(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
    world.answered(attempt, "late").await;
    let open = world.keeper.open_attempts().await.unwrap();
    assert_eq!(open[0].answer.as_ref().unwrap().0.ciphertext, "late");
}

/// A reconnect adds a generation; the same number twice is refused.
pub async fn the_newest_static_secret_counts(place: &dyn Place) {
    let world = World::new(place).await;
    let connection = world.keyed("key").await;
    world.keeper.raise(world.ticket(connection.id)).await.unwrap();
    let put = |generation| {
        let secret = Some(world.secret(connection.id, generation));
        world.keeper.put_connection(NewConnection { connection: connection.clone(), tokens: None, secret })
    };
    put(2).await.unwrap();
    assert_eq!(put(2).await, Err(StoreError::Exists("static_secret")));
    let newest = world.keeper.static_secret(world.tenant, connection.id).await.unwrap();
    assert_eq!(newest, Some(world.secret(connection.id, 2)));
    let all = world.keeper.static_secrets(world.tenant, connection.id, 9).await.unwrap();
    assert_eq!(all.iter().map(|secret| secret.generation).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(world.keeper.static_secrets(world.tenant, connection.id, 1).await.unwrap(), all[..1]);
    assert!(world.control.tickets(world.tenant).await.unwrap().is_empty());
}

/// Living connections of a tool do not share a name; a removed one gives it back.
pub async fn a_connections_name_is_unique_among_the_living(place: &dyn Place) {
    let world = World::new(place).await;
    let first = world.keyed("dana").await;
    let twin = world.connection("dana", Source::Static);
    let makes = NewConnection { connection: twin.clone(), tokens: None, secret: None };
    assert_eq!(world.keeper.put_connection(makes.clone()).await, Err(StoreError::Exists("connection")));
    let elsewhere = Connection { tool: name("gitlab"), ..world.connection("dana", Source::Static) };
    let elsewhere = NewConnection { connection: elsewhere, tokens: None, secret: None };
    world.keeper.put_connection(elsewhere).await.unwrap();
    world.keeper.remove_connection(world.tenant, first.id, later(1)).await.unwrap();
    world.keeper.put_connection(makes).await.unwrap();
    let dangling = world.connection("x", Source::Chain { chain: world.id(ChainId::new) });
    let dangling = NewConnection { connection: dangling, tokens: None, secret: None };
    assert_eq!(world.keeper.put_connection(dangling).await, Err(StoreError::Missing("connection")));
}

/// Eight alarms at once are one ticket.
pub async fn a_ticket_of_a_kind_is_open_once(place: &dyn Place) {
    let world = World::new(place).await;
    let connection = world.keyed("key").await.id;
    let raisers: Vec<_> = (0..8)
        .map(|_| {
            let (keeper, ticket) = (world.keeper.clone(), world.ticket(connection));
            tokio::spawn(async move { keeper.raise(ticket).await.unwrap() })
        })
        .collect();
    let mut raised = Vec::new();
    for raiser in raisers {
        raised.push(raiser.await.unwrap());
    }
    raised.dedup();
    let open = world.control.tickets(world.tenant).await.unwrap();
    assert_eq!(raised, [open[0].id]);
    assert_eq!(open.len(), 1);
}

/// Each state of a chain is one word for people; a static secret asks only by a ticket.
pub async fn health_says_what_chain_and_tickets_say(place: &dyn Place) {
    let world = World::new(place).await;
    let words = [
        (ChainState::Healthy, Health::Healthy),
        (ChainState::BackingOff, Health::Recovering),
        (ChainState::Uncertain, Health::NeedsYou),
        (ChainState::Latched, Health::NeedsYou),
        (ChainState::Quarantined, Health::NeedsYou),
    ];
    for (number, (state, word)) in (0u32..).zip(words) {
        let on = world.connected(&format!("c{number}"), &number.to_string()).await;
        let claim = world.claimed(on.chain).await;
        assert_eq!(health_of(&world, on.connection).await.health, Health::Healthy, "refreshing");
        let ticket = (word == Health::NeedsYou).then(|| world.ticket(on.connection));
        let asked = ticket.as_ref().map(|ticket| ticket.id);
        world.keeper.settle(claim, Settlement { ticket, ..world.settlement(state) }).await.unwrap();
        let shown = health_of(&world, on.connection).await;
        assert_eq!((shown.health, shown.ticket), (word, asked), "{state:?}");
        assert_eq!((shown.reason.as_deref(), shown.failed_at), (Some("invalid_grant"), Some(later(10))));
        assert_eq!(shown.access_until, Some(later(3600)));
    }
    let keyed = world.keyed("key").await.id;
    assert_eq!(health_of(&world, keyed).await.health, Health::Healthy);
    world.keeper.raise(world.ticket(keyed)).await.unwrap();
    let shown = health_of(&world, keyed).await;
    assert_eq!((shown.health, shown.reason.as_deref()), (Health::NeedsYou, Some("invalid_grant")));
}

async fn health_of(world: &World, connection: ConnectionId) -> ConnectionHealth {
    let shown = world.control.health(world.tenant).await.unwrap();
    shown.into_iter().find(|health| health.connection.id == connection).unwrap()
}
