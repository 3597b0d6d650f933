//! Proves what holds of kills (I5): each ends its scope and nothing else, none is lost, and what lives on at a
//! provider waits to be revoked.

use super::{
    Place,
    importing::import,
    world::{CLAIMABLE, Connected, NOW, World, later, name},
};
use nightlatch_domain::{
    chain::{ChainState, Client, FlowOutcome, FlowStep},
    clock::Timestamp,
    connection::Connection,
    id::{ChainId, ClientId, ConnectionId, FamilyId, OwnerId, RevocationId},
    ports::store::{
        Committed, Entity, EntityId, Kill, NewConnection, REDEEMED_WITHIN, Revocation, Seen, StoreError,
        Whose,
    },
    sealed::{SealContext, SecretKind, Wrapped},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Chains that are refreshed without a pause while kills are written.
const COMMITTERS: u64 = 16;

/// From the narrowest scope to the widest: what is not in it goes on.
pub async fn a_kill_ends_its_scope_and_nothing_else(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    let on = world.connected("a", "1").await;
    let shared = world.second_connection(&on, "b").await;
    let (chain, ..) = on.made.tokens.clone().unwrap();
    let same_client = world.tokens("c", chain.client, "2");
    world.keeper.put_connection(same_client.clone()).await.unwrap();
    let (elsewhere, keyed) = (world.connected("d", "3").await, world.keyed("e").await.id);
    let (theirs, their_key) = (other.connected("a", "1").await, other.keyed("b").await.id);
    let (tenant, same_client) = (world.tenant, same_client.connection.id);
    let all = [on.connection, shared, same_client, elsewhere.connection, keyed, theirs.connection, their_key];

    let steps = [
        (Kill::Connection { tenant, connection: on.connection }, &all[1..]),
        (Kill::Chain { tenant, chain: on.chain }, &all[2..]),
        (Kill::Client { tenant, client: chain.client }, &all[3..]),
        (Kill::Tenant { tenant }, &all[5..]),
        (Kill::Installation, &all[7..]),
    ];
    assert_eq!(living(&world).await, sorted(&all));
    for (kill, left) in steps {
        let before = world.directory.snapshot().await.unwrap().0;
        world.keeper.kill(kill, later(1)).await.unwrap();
        assert_eq!(living(&world).await, sorted(left), "{kill:?}");
        let told = world.directory.changes(before, 9).await.unwrap();
        let told: Vec<_> = told.iter().map(|change| change.entity).collect();
        let expected = match kill {
            Kill::Connection { connection, .. } => EntityId::Connection(connection),
            _ => EntityId::Everything,
        };
        assert_eq!(told, [expected], "every gateway is told of {kill:?}");
    }
    assert_eq!(world.keeper.chain(tenant, elsewhere.chain).await, Ok(None));
    assert_eq!(world.keeper.static_secret(tenant, keyed).await, Ok(None));
    assert_eq!(world.keeper.static_secrets(tenant, keyed, 9).await, Ok(vec![]));
    assert_eq!(world.keeper.connection(tenant, keyed).await, Ok(None));
    assert!(world.control.connections(tenant).await.unwrap().is_empty());
    assert_eq!(world.keeper.raise(world.ticket(keyed)).await, Err(StoreError::Missing("ticket")));
}

/// The connections that a gateway is shown.
async fn living(world: &World) -> Vec<ConnectionId> {
    let (_, shown) = world.directory.snapshot().await.unwrap();
    let mut living = Vec::new();
    for entity in shown {
        if let Entity::Connection(row) = entity {
            let id = EntityId::Connection(row.id);
            let alone = world.directory.entity(row.tenant, id).await.unwrap();
            assert_eq!(alone, Some(Entity::Connection(row.clone())));
            living.push(row.id);
        }
    }
    sorted(&living)
}

fn sorted(connections: &[ConnectionId]) -> Vec<ConnectionId> {
    let mut sorted = connections.to_vec();
    sorted.sort();
    sorted
}

/// Before each step of a refresh a kill comes first, and the step is not taken. The answer is kept.
pub async fn a_killed_chain_gets_no_claim_no_intent_and_no_head(place: &dyn Place) {
    let world = World::new(place).await;
    let kill = |on: &Connected| {
        let kill = Kill::Chain { tenant: world.tenant, chain: on.chain };
        world.keeper.kill(kill, later(1))
    };
    let unclaimed = world.connected("a", "1").await;
    let seen = world.seen(unclaimed.chain).await;
    kill(&unclaimed).await.unwrap();
    let owner = world.id(OwnerId::new);
    let claim = world.keeper.claim(world.tenant, unclaimed.chain, seen, owner, CLAIMABLE.to_vec()).await;
    assert_eq!(claim, Ok(None));

    let claimed = world.connected("b", "2").await;
    let claim = world.claimed(claimed.chain).await;
    kill(&claimed).await.unwrap();
    assert_eq!(world.keeper.intend(claim, world.attempt(claim, claimed.family, 1)).await, Ok(false));

    let sent = world.connected("c", "3").await;
    let claim = world.claimed(sent.chain).await;
    let attempt = world.intended(claim, sent.family, 1).await;
    kill(&sent).await.unwrap();
    world.answered(attempt, "late").await;
    let commit = world.keeper.commit(claim, world.head(attempt, sent.family, 2)).await;
    assert_eq!(commit, Ok(Committed::Removed));
    let heads = world.keeper.heads().await.unwrap();
    assert!(heads.iter().all(|(_, _, head)| *head == 1));
    let kept = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!(kept.answer.unwrap().0.ciphertext, "late");
}

/// A kill ends what was there: a human's later consent for the same account lives, and so does a new key. What only joins
/// a killed chain does not bring it back.
pub async fn what_is_connected_after_a_kill_lives(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("a", "1").await;
    let second = world.second_connection(&on, "b").await;
    world.keeper.kill(Kill::Tenant { tenant: world.tenant }, later(1)).await.unwrap();
    let joins = world.connection("c", nightlatch_domain::connection::Source::Chain { chain: on.chain });
    let joins = NewConnection { connection: joins, tokens: None, secret: None };
    assert_eq!(world.keeper.put_connection(joins).await, Err(StoreError::Missing("connection")));
    world.keeper.put_connection(world.again(&on.made)).await.unwrap();
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.connections, view.chain.state), (vec![on.connection], ChainState::Healthy));
    assert_eq!(world.keeper.connection(world.tenant, second).await, Ok(None));
    world.claimed(on.chain).await;
    let keyed = world.keyed("d").await.id;
    assert!(world.keeper.static_secret(world.tenant, keyed).await.unwrap().is_some());
    world.keeper.kill(Kill::Tenant { tenant: world.tenant }, later(2)).await.unwrap();
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await, Ok(None), "a second kill ends that too");
}

/// A removal is a kill of its connection; of one scope the last kill stands.
pub async fn kills_are_listed_in_the_order_of_the_feed(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("a", "1").await;
    let tenant = world.tenant;
    let whole = Kill::Tenant { tenant };
    let chain = Kill::Chain { tenant, chain: on.chain };
    let first = world.keeper.kill(whole, later(1)).await.unwrap();
    let second = world.keeper.kill(chain, later(2)).await.unwrap();
    let keyed = world.keyed("b").await.id;
    world.keeper.remove_connection(tenant, keyed, later(3)).await.unwrap();
    let third = world.keeper.last_change().await.unwrap().number;
    let fourth = world.keeper.kill(whole, later(4)).await.unwrap();
    assert!(first < second && second < third && third < fourth);
    let world = world.reopened(place);
    let listed = world.keeper.kills(0, 9).await.unwrap();
    let rows: Vec<_> = listed.iter().map(|killed| (killed.number, killed.kill, killed.at)).collect();
    let removed = Kill::Connection { tenant, connection: keyed };
    assert_eq!(rows, [(second, chain, later(2)), (third, removed, later(3)), (fourth, whole, later(4))]);
    assert_eq!(world.keeper.kills(second, 1).await.unwrap(), listed[1..2]);
}

/// Sixteen chains are refreshed without a pause while one after the other is killed. No head moves after its kill was
/// confirmed.
pub async fn no_kill_is_lost_under_sixteen_committers(place: &dyn Place) {
    let world = Arc::new(World::new(place).await);
    let mut running = Vec::new();
    for number in 0..COMMITTERS {
        let on = world.connected(&format!("c{number}"), &number.to_string()).await;
        let (world, killed) = (Arc::clone(&world), Arc::new(AtomicBool::new(false)));
        let (chain, family, told) = (on.chain, on.family, Arc::clone(&killed));
        let committer = tokio::spawn(async move { commit_until_killed(&world, chain, family, &told).await });
        running.push((chain, family, killed, committer));
    }
    let mut has_moved = false;
    for (chain, family, killed, committer) in running {
        world.keeper.kill(Kill::Chain { tenant: world.tenant, chain }, later(1)).await.unwrap();
        let at_the_kill = head_of(&world, family).await;
        has_moved |= at_the_kill > 1;
        killed.store(true, Ordering::SeqCst);
        committer.await.unwrap();
        assert_eq!(head_of(&world, family).await, at_the_kill, "a head moved after its kill was confirmed");
    }
    assert!(has_moved, "nobody was under way when the kills came");
}

/// Refreshes a chain without a pause. Once a step is refused the kill came first.
async fn commit_until_killed(world: &World, chain: ChainId, family: FamilyId, killed: &AtomicBool) {
    let mut head = 1;
    loop {
        let seen = Seen { era: 1, fence: head - 1, family, head };
        let owner = world.id(OwnerId::new);
        let claim = world.keeper.claim(world.tenant, chain, seen, owner, CLAIMABLE.to_vec()).await.unwrap();
        let Some(claim) = claim else { return };
        let attempt = world.attempt(claim, family, head);
        if !world.keeper.intend(claim, attempt.clone()).await.unwrap() {
            return;
        }
        world.answered(attempt.id, "answer").await;
        let was_killed = killed.load(Ordering::SeqCst);
        let committed = world.keeper.commit(claim, world.head(attempt.id, family, head + 1)).await.unwrap();
        assert_ne!(committed, Committed::Lost, "nobody else claims this chain");
        if committed == Committed::Removed {
            return;
        }
        assert!(!was_killed, "a commit began after the kill, and moved the head");
        head += 1;
    }
}

async fn head_of(world: &World, family: FamilyId) -> u64 {
    let heads = world.keeper.heads().await.unwrap();
    heads.into_iter().find(|(_, id, _)| *id == family).unwrap().2
}

/// The secret, with a seal that names where it can be revoked.
fn revocable(secret: (Wrapped, SealContext)) -> (Wrapped, SealContext) {
    let endpoint = Some("https://github.com/revoke".to_owned());
    (secret.0, SealContext { revocation_endpoint: endpoint, ..secret.1 })
}

/// A chain whose tokens can be revoked: its refresh token is `refresh`.
async fn revocable_chain(world: &World, called: &str, account: &str, refresh: &str) -> Connected {
    let client = world.registered().await.id;
    let mut made = world.tokens(called, client, account);
    let (chain, family, mut generation) = made.tokens.unwrap();
    generation.refresh = Some(revocable(world.wrapped(SecretKind::Refresh, refresh)));
    let (chain_id, family_id) = (chain.id, family.id);
    made.tokens = Some((chain, family, generation));
    world.keeper.put_connection(made.clone()).await.unwrap();
    Connected { connection: made.connection.id, chain: chain_id, family: family_id, made }
}

async fn waiting(world: &World) -> Vec<String> {
    let mut waiting: Vec<_> = world.keeper.revocations(later(9999), 99).await.unwrap();
    waiting.sort_by(|one, other| one.secret.0.ciphertext.cmp(&other.secret.0.ciphertext));
    waiting.into_iter().map(|row| row.secret.0.ciphertext).collect()
}

/// With the last connection: the refresh token at the head and answers that were not read wait to be revoked; what names no
/// endpoint, what was consumed and what is dead is deleted.
pub async fn what_can_be_revoked_waits_for_that_and_the_rest_goes(place: &dyn Place) {
    let world = World::new(place).await;
    let on = revocable_chain(&world, "a", "1", "consumed").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    let mut head = world.head(attempt, on.family, 2);
    head.generation.refresh = Some(revocable(world.wrapped(SecretKind::Refresh, "living")));
    head.generation.access = revocable(world.wrapped(SecretKind::Access, "living access"));
    head.generation.access_until = Some(later(3600));
    assert_eq!(world.keeper.commit(claim, head).await, Ok(Committed::Moved));
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 2).await;
    let (wrapped, context) = revocable(world.wrapped(SecretKind::Answer, "unread answer"));
    let unread = (wrapped, SealContext { chain: Some(on.chain), ..context });
    world.keeper.answer(world.tenant, attempt, unread).await.unwrap();
    let second = world.second_connection(&on, "b").await;
    world.keeper.remove_connection(world.tenant, on.connection, later(60)).await.unwrap();
    assert_eq!(waiting(&world).await, [""; 0], "somebody lives on it");
    world.keeper.remove_connection(world.tenant, second, later(60)).await.unwrap();
    assert_eq!(waiting(&world).await, ["living", "living access", "unread answer"]);
    assert_eq!(world.keeper.generations(world.tenant, on.chain, 9).await, Ok(vec![]));
    assert_eq!(world.keeper.answers(world.tenant, on.chain).await, Ok(vec![]));

    let plain = world.connected("c", "2").await;
    world.keeper.remove_connection(world.tenant, plain.connection, later(60)).await.unwrap();
    assert_eq!(waiting(&world).await.len(), 3, "no endpoint is named, so nobody could revoke it");
    let dead = revocable_chain(&world, "d", "3", "refresh").await;
    world.keeper.remove_connection(world.tenant, dead.connection, later(9000)).await.unwrap();
    assert_eq!(waiting(&world).await, ["living", "living access", "refresh", "unread answer"]);
}

/// A kill is one row; the secrets are taken after it, as many at a time as is asked for.
pub async fn the_secrets_of_what_was_killed_are_taken_afterwards(place: &dyn Place) {
    let world = World::new(place).await;
    let one = revocable_chain(&world, "a", "1", "first").await;
    revocable_chain(&world, "b", "2", "second").await;
    let keyed = world.keyed("c").await.id;
    assert_eq!(world.keeper.clear_killed(later(1), 9).await, Ok(0));
    world.keeper.kill(Kill::Installation, later(1)).await.unwrap();
    let after = world.keyed("d").await.id;
    assert_eq!(waiting(&world).await, [""; 0]);
    assert_eq!(world.keeper.clear_killed(later(2), 1).await, Ok(2), "a chain and a connection");
    assert_eq!(world.keeper.clear_killed(later(2), 9).await, Ok(3));
    assert_eq!(world.keeper.clear_killed(later(2), 9).await, Ok(0));
    assert_eq!(waiting(&world).await, ["first", "second"]);
    assert_eq!(world.keeper.generations(world.tenant, one.chain, 9).await, Ok(vec![]));
    assert_eq!(world.keeper.next_due().await, Ok(None));
    assert_eq!(world.keeper.static_secret(world.tenant, keyed).await, Ok(None));
    assert!(world.keeper.static_secret(world.tenant, after).await.unwrap().is_some());
    world.keyed("c").await;
}

/// Its tries are counted one by one; only the confirmation deletes it.
pub async fn a_revocation_is_tried_until_it_is_confirmed(place: &dyn Place) {
    let world = World::new(place).await;
    let row = |id, secret: &str, not_before| Revocation {
        tenant: world.tenant,
        id,
        chain: None,
        secret: revocable(world.wrapped(SecretKind::Refresh, secret)),
        tries: 0,
        not_before,
    };
    let first = row(world.id(RevocationId::new), "first", NOW);
    let second = row(world.id(RevocationId::new), "second", later(5));
    for revocation in [&first, &second, &first] {
        world.keeper.put_revocation(revocation.clone()).await.unwrap();
    }
    let keeper = &world.keeper;
    assert_eq!(keeper.revocations(later(4), 9).await, Ok(vec![first.clone()]));
    assert_eq!(keeper.postpone_revocation(world.tenant, first.id, 2, later(9)).await, Ok(false));
    assert_eq!(keeper.postpone_revocation(world.tenant, first.id, 1, later(9)).await, Ok(true));
    assert_eq!(keeper.postpone_revocation(world.tenant, first.id, 1, later(9)).await, Ok(false));
    let postponed = Revocation { tries: 1, not_before: later(9), ..first.clone() };
    assert_eq!(keeper.revocations(later(9), 9).await, Ok(vec![second.clone(), postponed]));
    assert_eq!(keeper.revocations(later(9), 1).await, Ok(vec![second.clone()]));
    let stranger = world.neighbour().await.tenant;
    keeper.confirm_revocation(stranger, first.id).await.unwrap();
    assert_eq!(waiting(&world).await, ["first", "second"]);
    keeper.confirm_revocation(world.tenant, first.id).await.unwrap();
    assert_eq!(waiting(&world).await, ["second"]);
}

/// What lives under the same registration, of an account that may be the same, keeps a token from being revoked; nothing
/// else does.
pub async fn what_may_still_be_lived_on_is_said(place: &dyn Place) {
    let world = World::new(place).await;
    let (tenant, keeper) = (world.tenant, &world.keeper);
    let ours = Client { client_id: "ours".to_owned(), ..world.registered().await };
    keeper.put_client(ours.clone()).await.unwrap();
    let connect = async |called: &str, client: &Client, account: &str| {
        let made = world.tokens(called, client.id, account);
        keeper.put_connection(made.clone()).await.unwrap();
        made
    };
    let gone = connect("gone", &ours, "1").await;
    let (chain, family, _) = gone.tokens.clone().unwrap();
    let whose = Whose {
        tenant,
        client: ours.id,
        chain: Some(chain.id),
        connection: Some(gone.connection.id),
        family: Some(family.id),
    };
    let nobody = Whose { chain: None, family: None, ..whose };
    let asked = async |whose| keeper.may_be_lived_on(whose, NOW).await.unwrap();
    assert!(asked(whose).await && asked(nobody).await);
    keeper.remove_connection(tenant, gone.connection.id, later(1)).await.unwrap();
    assert!(!asked(whose).await && !asked(nobody).await);
    assert!(!asked(Whose { family: None, ..whose }).await);
    assert!(asked(Whose { family: Some(world.id(FamilyId::new)), ..whose }).await, "a log knows more");
    assert!(asked(Whose { client: world.id(ClientId::new), ..whose }).await, "nobody knows whose it is");

    // Another account, and the same one elsewhere, are no business of this token; of one without an account they are.
    let elsewhere = Client { client_id: "another".to_owned(), ..world.registered().await };
    keeper.put_client(elsewhere.clone()).await.unwrap();
    connect("elsewhere", &elsewhere, "1").await;
    assert!(!asked(nobody).await);
    let other = connect("other", &ours, "2").await;
    assert!(!asked(whose).await && asked(nobody).await);
    keeper.remove_connection(tenant, other.connection.id, later(2)).await.unwrap();

    // The same registration by another row, in another tenant, and an account that nobody could name.
    let twin = Client { client_id: ours.client_id.clone(), ..world.registered().await };
    keeper.put_client(twin.clone()).await.unwrap();
    let neighbour = world.neighbour().await;
    let theirs = Client { tenant: neighbour.tenant, id: neighbour.id(ClientId::new), ..ours.clone() };
    keeper.put_client(theirs.clone()).await.unwrap();
    let unnamed = world.id(FamilyId::new).to_string();
    for (client, account) in [(&twin, "1"), (&ours, unnamed.as_str())] {
        let made = connect("beside", client, account).await;
        assert!(asked(whose).await, "{account}");
        keeper.remove_connection(tenant, made.connection.id, later(3)).await.unwrap();
        assert!(!asked(whose).await, "{account}");
    }
    let back = world.again(&gone);
    let connection = Connection { id: world.id(ConnectionId::new), ..back.connection.clone() };
    keeper.put_connection(NewConnection { connection: connection.clone(), ..back }).await.unwrap();
    assert!(asked(whose).await, "the account is connected again");
    keeper.remove_connection(tenant, connection.id, later(3)).await.unwrap();
    let made = neighbour.tokens("beside", theirs.id, "1");
    keeper.put_connection(made.clone()).await.unwrap();
    assert!(asked(whose).await, "another tenant's");
    keeper.kill(Kill::Tenant { tenant: neighbour.tenant }, later(4)).await.unwrap();
    assert!(!asked(whose).await, "what a kill ended does not live");
    let unnamed = connect("unnamed", &ours, &world.id(FamilyId::new).to_string()).await;
    keeper.remove_connection(tenant, unnamed.connection.id, later(5)).await.unwrap();
    let by = Some(unnamed.connection.id);
    let (unnamed, ..) = unnamed.tokens.unwrap();
    let unnamed = Whose { chain: Some(unnamed.id), connection: by, family: None, ..whose };
    assert!(!asked(unnamed).await);
    connect("third", &ours, "3").await;
    assert!(asked(unnamed).await && !asked(whose).await, "it may be that one's");
}

/// Two tools of one provider may call one account differently: only one tool's names tell two accounts apart.
pub async fn what_another_tool_lives_on_may_be_the_same_account(place: &dyn Place) {
    let world = World::new(place).await;
    let (tenant, keeper) = (world.tenant, &world.keeper);
    let client = world.registered().await.id;
    let connect = async |tool: &str, client: ClientId, account: &str| {
        let mut made = world.tokens("dana", client, account);
        made.connection.tool = name(tool);
        keeper.put_connection(made.clone()).await.unwrap();
        made
    };
    let gone = connect("gmail", client, "dana@example.com").await;
    keeper.remove_connection(tenant, gone.connection.id, later(1)).await.unwrap();
    let (chain, family, _) = gone.tokens.unwrap();
    let (chain, family) = (Some(chain.id), Some(family.id));
    let whose = Whose { tenant, client, chain, connection: Some(gone.connection.id), family };
    let asked = async |whose| keeper.may_be_lived_on(whose, NOW).await.unwrap();
    assert!(!asked(whose).await);
    let erin = connect("gmail", client, "erin@example.com").await;
    assert!(!asked(whose).await, "the same tool calls it another one");
    let stranger = Some(world.id(ConnectionId::new));
    for connection in [None, stranger, Some(world.keyed("key").await.id)] {
        assert!(asked(Whose { connection, ..whose }).await, "nobody knows which tool named it");
    }
    let drive = connect("drive", client, "117").await;
    assert!(asked(whose).await, "it may be the same under another name");
    keeper.remove_connection(tenant, drive.connection.id, later(2)).await.unwrap();
    assert!(!asked(whose).await);
    keeper.remove_connection(tenant, erin.connection.id, later(2)).await.unwrap();

    // The same registered id is the same registration, whatever its rows call provider and issuer.
    let sibling =
        Client { provider: name("github-too"), issuer: "https://too.example".to_owned(), ..world.client() };
    keeper.put_client(sibling.clone()).await.unwrap();
    let mut made = world.tokens("beside", sibling.id, "dana@example.com");
    made.connection.tool = name("gmail");
    if let Some((chain, ..)) = &mut made.tokens {
        (chain.provider, chain.issuer) = (sibling.provider.clone(), sibling.issuer.clone());
    }
    keeper.put_connection(made.clone()).await.unwrap();
    assert!(asked(whose).await, "a sibling under another name");
    keeper.remove_connection(tenant, made.connection.id, later(3)).await.unwrap();
    assert!(!asked(whose).await);
}

/// A consent that is under way, a code that is being redeemed, and an import that waits may bring the account of any token.
pub async fn what_is_about_to_be_lived_on_is_said(place: &dyn Place) {
    let world = World::new(place).await;
    let (tenant, keeper) = (world.tenant, &world.keeper);
    let client = world.registered().await.id;
    let whose = Whose { tenant, client, chain: None, connection: None, family: None };
    let asked_at = async |now| keeper.may_be_lived_on(whose, now).await.unwrap();
    let asked = async || asked_at(NOW).await;
    assert!(!asked().await);
    let flow = world.flow(client, "57a7e");
    keeper.put_flow(flow.clone()).await.unwrap();
    let end = flow.expires_at;
    let before = |at: Timestamp| at.minus(Duration::from_millis(1));
    assert!(asked().await && asked_at(before(end)).await, "a human looks at the provider's page");
    assert!(!asked_at(end).await, "past its end it is void");
    let step = async |from, to| keeper.advance_flow(tenant, flow.id, from, to, None).await.unwrap();
    assert!(step(FlowStep::Begun, FlowStep::Redeeming).await && asked().await);
    let cut_off = end.plus(REDEEMED_WITHIN);
    assert!(asked_at(before(cut_off)).await, "it may have been redeemed at the last moment");
    assert!(!asked_at(cut_off).await, "whoever redeemed it is gone");
    assert!(step(FlowStep::Redeeming, FlowStep::Answered).await && asked_at(cut_off).await, "it has tokens");
    let failed = FlowOutcome::Failed { reason: "no".to_owned() };
    keeper.end_flow(tenant, flow.id, failed, None).await.unwrap();
    assert!(!asked().await);
    keeper.put_imports(vec![import(&world, client, "hash")]).await.unwrap();
    assert!(asked().await);
    keeper.kill(Kill::Client { tenant, client }, later(1)).await.unwrap();
    assert!(!asked().await);
}

/// An answer that comes after the end is not left lying.
pub async fn an_answer_that_comes_after_the_end_waits_to_be_revoked(place: &dyn Place) {
    let world = World::new(place).await;
    let on = revocable_chain(&world, "a", "1", "head").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
    assert_eq!(world.keeper.clear_killed(later(2), 9).await, Ok(0));
    let (wrapped, context) = revocable(world.wrapped(SecretKind::Answer, "late"));
    let answer = (wrapped, SealContext { chain: Some(on.chain), ..context });
    world.keeper.answer(world.tenant, attempt, answer).await.unwrap();
    assert_eq!(world.keeper.clear_killed(later(3), 9).await, Ok(1));
    assert_eq!(world.keeper.clear_killed(later(3), 9).await, Ok(0));
    assert_eq!(waiting(&world).await, ["head", "late"]);
    assert_eq!(world.keeper.answers(world.tenant, on.chain).await, Ok(vec![]));
}

/// Nobody can claim it: it stands before nobody else.
pub async fn what_nobody_lives_on_is_not_due(place: &dyn Place) {
    let world = World::new(place).await;
    let (on, other) = (world.connected("a", "1").await, world.connected("b", "2").await);
    let due = async || {
        let due = world.keeper.due(later(9000), 9).await.unwrap();
        due.into_iter().map(|(_, chain, _)| chain).collect::<Vec<_>>()
    };
    assert_eq!(due().await.len(), 2);
    world.keeper.kill(Kill::Chain { tenant: world.tenant, chain: on.chain }, later(1)).await.unwrap();
    assert_eq!(due().await, [other.chain]);
    let limited = world.keeper.due(later(9000), 1).await.unwrap();
    assert_eq!(limited.iter().map(|(_, chain, _)| *chain).collect::<Vec<_>>(), [other.chain]);
    world.keeper.kill(Kill::Tenant { tenant: world.tenant }, later(2)).await.unwrap();
    assert_eq!((due().await, world.keeper.next_due().await), (Vec::new(), Ok(None)));
}
