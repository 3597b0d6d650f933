//! Proves what holds of refresh tokens that are brought in: each is kept once, presented once, and ends once.

use super::{
    Place,
    world::{World, later},
};
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    id::{AttemptId, ClientId, FlowId, KeeperId, OwnerId, TenantId},
    import::{Import, ImportProgress},
    ports::store::{Brought, ImportEnd, ImportSeen, Kill, StoreError},
    sealed::{SealContext, SecretKind, Wrapped},
};

pub(crate) fn import(world: &World, client: ClientId, hash: &str) -> Import {
    Import {
        tenant: world.tenant,
        id: world.id(FlowId::new),
        token_hash: hash.to_owned(),
        client,
        tool: super::world::name("github"),
        token: Some(world.wrapped(SecretKind::Refresh, "brought")),
        access: Some(world.wrapped(SecretKind::Access, "brought-access")),
        plan: world.wrapped(SecretKind::Flow, "plan"),
        era: 1,
        progress: ImportProgress::begun(later(1)),
        answer: None,
        outcome: None,
        created_at: later(0),
    }
}

async fn brought(world: &World, import: &Import) {
    assert_eq!(world.keeper.put_imports(vec![import.clone()]).await, Ok(vec![Brought::New]));
}

async fn now(world: &World, import: &Import) -> Import {
    world.keeper.import(import.tenant, import.id).await.unwrap().unwrap()
}

fn seen(import: &Import) -> ImportSeen {
    ImportSeen { step: import.progress.step, attempt: import.progress.attempt }
}

fn presented(world: &World, again: bool) -> ImportProgress {
    ImportProgress {
        step: FlowStep::Redeeming,
        attempt: Some(world.id(AttemptId::new)),
        owner: Some(world.id(OwnerId::new)),
        again,
        presented_at: Some(later(2)),
        ..ImportProgress::begun(later(3))
    }
}

async fn advance(world: &World, import: &Import, to: &ImportProgress) -> bool {
    let from = seen(&now(world, import).await);
    world.keeper.advance_import(import.tenant, import.id, from, to.clone(), None).await.unwrap()
}

async fn answer(world: &World, import: &Import) -> (Wrapped, SealContext) {
    let answer = world.wrapped(SecretKind::Answer, "answer");
    let row = now(world, import).await;
    let to = ImportProgress { step: FlowStep::Answered, ..row.progress.clone() };
    let done =
        world.keeper.advance_import(import.tenant, import.id, seen(&row), to, Some(answer.clone())).await;
    assert_eq!(done, Ok(true));
    answer
}

/// Ends it from where it stands.
async fn end(world: &World, import: &Import, outcome: FlowOutcome, how: ImportEnd) -> Result<(), StoreError> {
    let from = seen(&now(world, import).await);
    world.keeper.end_import(import.tenant, import.id, from, outcome, how).await
}

fn failed(reason: &str) -> FlowOutcome {
    FlowOutcome::Failed { reason: reason.to_owned() }
}

/// Of eight batches with the same token one keeps it, and within one batch the first does; whoever brings it to another
/// tenant is refused, and nothing of the others is lost for it.
pub async fn a_token_is_kept_once_and_in_one_tenant_only(place: &dyn Place) {
    let world = World::new(place).await;
    let client = world.registered().await.id;
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (keeper, one) = (world.keeper.clone(), import(&world, client, "hash-1"));
            tokio::spawn(async move { keeper.put_imports(vec![one]).await.unwrap() })
        })
        .collect();
    let mut told = Vec::new();
    for racer in racers {
        told.extend(racer.await.unwrap());
    }
    assert_eq!(told.iter().filter(|one| **one == Brought::New).count(), 1);
    let due = world.keeper.due_imports(later(1), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(told.iter().filter(|one| **one == Brought::Known(due[0].id)).count(), 7);

    let (second, twin) = (import(&world, client, "hash-2"), import(&world, client, "hash-2"));
    let batch =
        vec![import(&world, client, "hash-1"), second.clone(), twin, import(&world, client, "hash-3")];
    let told = world.keeper.put_imports(batch).await.unwrap();
    assert_eq!(told, [Brought::Known(due[0].id), Brought::New, Brought::Known(second.id), Brought::New]);

    let other = world.neighbour().await;
    let theirs = other.registered().await.id;
    let batch = vec![import(&other, theirs, "hash-1"), import(&other, theirs, "hash-4")];
    assert_eq!(other.keeper.put_imports(batch).await.unwrap(), [Brought::Elsewhere, Brought::New]);
    assert_eq!(world.keeper.due_imports(later(1), 9).await.unwrap().len(), 4);

    let unregistered = import(&world, world.id(ClientId::new), "hash-5");
    assert_eq!(world.keeper.put_imports(vec![unregistered]).await, Err(StoreError::Missing("import")));
}

/// The soonest come first, those that wait or have ended do not come, and what comes is as it was written.
pub async fn imports_come_when_their_time_has_come(place: &dyn Place) {
    let world = World::new(place).await;
    let client = world.registered().await.id;
    assert_eq!(world.keeper.next_import().await, Ok(None));
    let mut rows = Vec::new();
    for (number, due) in [(1, 5), (2, 3), (3, 9)] {
        let mut row = import(&world, client, &format!("hash-{number}"));
        row.progress.due_at = later(due);
        brought(&world, &row).await;
        rows.push(row);
    }
    assert_eq!(world.keeper.due_imports(later(5), 9).await.unwrap(), [rows[1].clone(), rows[0].clone()]);
    assert_eq!(world.keeper.due_imports(later(5), 1).await.unwrap(), [rows[1].clone()]);
    assert_eq!(world.keeper.next_import().await, Ok(Some(later(3))));
    end(&world, &rows[1], failed("invalid_grant"), ImportEnd::Refused).await.unwrap();
    assert_eq!(world.keeper.next_import().await, Ok(Some(later(5))));
    let asked = vec![rows[2].id, world.id(FlowId::new), rows[0].id];
    let shown = world.control.imports(world.tenant, asked.clone()).await.unwrap();
    assert_eq!(shown, [rows[2].clone(), rows[0].clone()]);
    let stranger = world.id(TenantId::new);
    assert!(world.control.imports(stranger, asked).await.unwrap().is_empty());
    assert_eq!(world.keeper.import(stranger, rows[0].id).await, Ok(None));
    let step =
        world.keeper.advance_import(stranger, rows[0].id, seen(&rows[0]), presented(&world, false), None);
    assert_eq!(step.await, Ok(false));
    let end =
        world.keeper.end_import(stranger, rows[0].id, seen(&rows[0]), failed("forged"), ImportEnd::Failed);
    assert!(end.await.is_err());
    let world = world.reopened(place);
    assert_eq!(now(&world, &rows[0]).await, rows[0]);
}

/// I1: of eight keepers one presents it, the retry is spent once, and a presentation moves the feed's row.
pub async fn an_import_is_presented_once_and_retried_once(place: &dyn Place) {
    let world = World::new(place).await;
    let row = import(&world, world.registered().await.id, "hash-1");
    brought(&world, &row).await;
    assert!(!advance(&world, &row, &presented(&world, true)).await, "there is nothing to retry");
    let before = world.keeper.last_change().await.unwrap();
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (keeper, row, to) = (world.keeper.clone(), row.clone(), presented(&world, false));
            tokio::spawn(async move {
                keeper.advance_import(row.tenant, row.id, seen(&row), to, None).await.unwrap()
            })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_ne!(world.keeper.last_change().await.unwrap(), before);
    assert!(!advance(&world, &row, &presented(&world, false)).await, "a first presentation is one");
    let now_it = now(&world, &row).await.progress;
    let left = ImportProgress { due_at: later(9), reason: Some("answer-lost".into()), ..now_it };
    assert!(advance(&world, &row, &left).await, "it is left where it stands");
    assert_eq!(now(&world, &row).await.progress, left);
    assert!(advance(&world, &row, &presented(&world, true)).await);
    assert!(!advance(&world, &row, &presented(&world, true)).await, "the retry is spent");
    let other = import(&world, row.client, "hash-2");
    brought(&world, &other).await;
    assert!(advance(&world, &other, &presented(&world, false)).await);
    answer(&world, &other).await;
    assert!(!advance(&world, &other, &presented(&world, false)).await, "it was presented");
    assert!(advance(&world, &other, &ImportProgress::begun(later(4))).await, "it was no presentation");
    assert_eq!(now(&world, &other).await.answer, None, "and what answered it says nothing");
    assert!(advance(&world, &other, &presented(&world, false)).await);
    answer(&world, &other).await;
    assert!(advance(&world, &other, &presented(&world, true)).await, "an answer may say nothing either");
    let stale = ImportSeen { step: FlowStep::Redeeming, attempt: None };
    let to = ImportProgress { step: FlowStep::Answered, ..presented(&world, true) };
    assert_eq!(world.keeper.advance_import(row.tenant, row.id, stale, to, None).await, Ok(false));
    let kept = answer(&world, &row).await;
    assert_eq!(now(&world, &row).await.answer, Some(kept));
}

/// Tokens were presented here though there is no chain yet: a keeper with an empty log knows nothing of it.
pub async fn imports_are_a_history_that_a_new_keeper_does_not_know(place: &dyn Place) {
    let world = World::new(place).await;
    let (first, second) = (world.id(KeeperId::new), world.id(KeeperId::new));
    let vouched = async |keeper| {
        let keepers = world.keeper.standing().await.unwrap().keepers;
        keepers.into_iter().find(|row| row.keeper == keeper).unwrap().vouched
    };
    world.keeper.register(first, true, false).await.unwrap();
    assert!(vouched(first).await, "it is new, and so is its keeper");
    brought(&world, &import(&world, world.registered().await.id, "hash-1")).await;
    world.keeper.register(second, true, false).await.unwrap();
    assert!(!vouched(second).await);
}

/// In a later era nobody knows any more whether it was presented.
pub async fn an_import_of_an_earlier_era_is_not_presented(place: &dyn Place) {
    let world = World::new(place).await;
    let row = import(&world, world.registered().await.id, "hash-1");
    brought(&world, &row).await;
    assert_eq!(world.keeper.raise_era(1).await, Ok(true));
    let before = world.keeper.last_change().await;
    assert!(!advance(&world, &row, &presented(&world, false)).await);
    assert_eq!(world.keeper.last_change().await, before, "nothing was written");
    assert_eq!(now(&world, &row).await, row);
}

/// Connection, outcome and the end of the secrets are one transaction; the first end counts.
pub async fn an_import_ends_once_with_what_it_makes(place: &dyn Place) {
    let world = World::new(place).await;
    let client = world.registered().await.id;
    let row = import(&world, client, "hash-1");
    brought(&world, &row).await;
    assert!(advance(&world, &row, &presented(&world, false)).await);
    let kept = answer(&world, &row).await;
    world.keyed("dana").await;
    let made = world.tokens("dana", client, "583231");
    let outcome = FlowOutcome::Connected {
        connection: made.connection.id,
        account: "583231".into(),
        label: "dana".into(),
    };
    let from = seen(&now(&world, &row).await);
    let ends = |from, makes| {
        let end = ImportEnd::Made(Box::new(makes));
        world.keeper.end_import(world.tenant, row.id, from, outcome.clone(), end)
    };
    assert_eq!(ends(from, made.clone()).await, Err(StoreError::Exists("connection")), "the name is taken");
    assert_eq!(now(&world, &row).await.answer, Some(kept));
    let other = world.neighbour().await;
    let across = other.tokens("dana", client, "583231");
    assert_eq!(
        ends(from, across).await,
        Err(StoreError::Missing("import")),
        "it makes nothing in another tenant"
    );
    let mut free = made;
    free.connection.name = super::world::name("dana-2");
    let elsewhere = [
        ImportSeen { step: FlowStep::Redeeming, ..from },
        ImportSeen { attempt: Some(world.id(AttemptId::new)), ..from },
        ImportSeen { attempt: None, ..from },
    ];
    for elsewhere in elsewhere {
        let missing = Err(StoreError::Missing("import"));
        assert_eq!(ends(elsewhere, free.clone()).await, missing, "it was seen elsewhere: {elsewhere:?}");
        let fails =
            world.keeper.end_import(world.tenant, row.id, elsewhere, failed("stale"), ImportEnd::Failed);
        assert_eq!(fails.await, missing, "it was seen elsewhere: {elsewhere:?}");
    }
    assert!(
        world
            .control
            .connections(world.tenant)
            .await
            .unwrap()
            .iter()
            .all(|one| one.name != free.connection.name)
    );
    ends(from, free.clone()).await.unwrap();
    assert_eq!(ends(from, free.clone()).await, Ok(()), "it has ended so");
    for from in [from, seen(&now(&world, &row).await)] {
        let later = world.keeper.end_import(world.tenant, row.id, from, failed("later"), ImportEnd::Failed);
        assert_eq!(later.await, Err(StoreError::Missing("import")), "it has ended otherwise");
    }
    let ended = now(&world, &row).await;
    assert_eq!((ended.progress.step, ended.outcome), (FlowStep::Ended, Some(outcome)));
    assert_eq!((ended.token, ended.access, ended.answer), (None, None, None));
    assert!(!advance(&world, &row, &presented(&world, false)).await, "it has ended");
    let again = import(&world, client, "hash-1");
    assert_eq!(world.keeper.put_imports(vec![again]).await.unwrap(), [Brought::Known(row.id)]);
    let chain = free.tokens.unwrap().0;
    assert_eq!(world.chain_row(chain.id).await.account, "583231");
}

/// I4: what failed may hold the only copy of living tokens.
pub async fn an_import_that_fails_keeps_its_secrets(place: &dyn Place) {
    let world = World::new(place).await;
    let row = import(&world, world.registered().await.id, "hash-1");
    brought(&world, &row).await;
    assert!(advance(&world, &row, &presented(&world, false)).await);
    let kept = answer(&world, &row).await;
    end(&world, &row, failed("wrong-account"), ImportEnd::Failed).await.unwrap();
    let ended = now(&world, &row).await;
    assert_eq!((ended.token, ended.access, ended.answer), (row.token, row.access, Some(kept)));
    assert_eq!(ended.outcome, Some(failed("wrong-account")));
}

/// A file that was imported under the wrong registration is imported again under the right one, but for what is under way,
/// brought tokens, or lives.
pub async fn what_came_to_nothing_gives_way_to_another_registration(place: &dyn Place) {
    let world = World::new(place).await;
    let (wrong, right) = (world.registered().await.id, world.registered().await.id);
    let rows: Vec<_> = (0..5).map(|number| import(&world, wrong, &format!("hash-{number}"))).collect();
    for row in &rows {
        brought(&world, row).await;
    }
    for row in &rows[1..5] {
        assert!(advance(&world, row, &presented(&world, false)).await);
    }
    let untouched = import(&world, wrong, "hash-untouched");
    brought(&world, &untouched).await;
    end(&world, &untouched, failed("wrong-account"), ImportEnd::Failed).await.unwrap();
    brought(&world, &import(&world, wrong, "hash-untouched")).await;
    let refused = failed("invalid_grant");
    end(&world, &rows[2], refused.clone(), ImportEnd::Refused).await.unwrap();
    // One was refused, and its provider's words say no more; one brought tokens that nobody could use yet.
    for row in [&rows[3], &rows[4]] {
        answer(&world, row).await;
    }
    end(&world, &rows[3], failed("wrong-account"), ImportEnd::Failed).await.unwrap();
    end(&world, &rows[4], refused, ImportEnd::Refused).await.unwrap();
    assert_eq!(now(&world, &rows[4]).await.answer, None);
    let again: Vec<_> = (0..5).map(|number| import(&world, right, &format!("hash-{number}"))).collect();
    let same =
        world.keeper.put_imports((0..5).map(|n| import(&world, wrong, &format!("hash-{n}"))).collect());
    assert!(same.await.unwrap().iter().all(|told| *told != Brought::New), "under the same one nothing does");
    let told = world.keeper.put_imports(again.clone()).await.unwrap();
    let (under_way, has_answer) = (Brought::Known(rows[1].id), Brought::Known(rows[3].id));
    assert_eq!(told, [Brought::New, under_way, Brought::New, has_answer, Brought::New]);
    assert_eq!(world.keeper.import(world.tenant, rows[0].id).await, Ok(None));
    assert_eq!(now(&world, &again[0]).await, again[0]);
}

/// I2: what a log knows as presented, or may know, is not begun anew under another flow or registration, though its own row
/// was never presented.
pub async fn what_may_have_been_presented_does_not_give_way(place: &dyn Place) {
    let world = World::new(place).await;
    let (client, other) = (world.registered().await.id, world.registered().await.id);
    for reason in ["answer-lost", "database-put-back", "presented-before", "concluded-before"] {
        let row = import(&world, client, reason);
        brought(&world, &row).await;
        end(&world, &row, failed(reason), ImportEnd::Failed).await.unwrap();
        let again = vec![import(&world, client, reason), import(&world, other, reason)];
        let known = vec![Brought::Known(row.id); 2];
        assert_eq!(world.keeper.put_imports(again).await, Ok(known), "{reason}");
    }
    // Nor does one that a kill met while its token was on its way: its answer is still to come.
    let row = import(&world, client, "killed");
    brought(&world, &row).await;
    assert!(advance(&world, &row, &presented(&world, false)).await);
    world.keeper.kill(Kill::Client { tenant: world.tenant, client }, later(4)).await.unwrap();
    assert_eq!(world.keeper.clear_killed(later(5), 9).await, Ok(5), "and what failed before");
    let again = vec![import(&world, other, "killed")];
    assert_eq!(world.keeper.put_imports(again.clone()).await, Ok(vec![Brought::Known(row.id)]));
    // Nor when it came, and was taken: what it consumed is consumed.
    answer(&world, &row).await;
    world.keeper.clear_killed(later(6), 9).await.unwrap();
    assert_eq!(now(&world, &row).await.progress.step, FlowStep::Ended);
    assert_eq!(world.keeper.put_imports(again).await, Ok(vec![Brought::Known(row.id)]));
}

/// I5: each scope that covers it ends it, a later one is not covered, and what lives on at the provider is revoked.
pub async fn a_killed_import_is_not_presented_and_makes_nothing(place: &dyn Place) {
    let world = World::new(place).await;
    let (client, other) = (world.registered().await.id, world.registered().await.id);
    let tenant = world.tenant;
    let revocable = |kind, text: &str| {
        let (wrapped, context) = world.wrapped(kind, text);
        let revocation_endpoint = Some("https://github.com/revoke".to_owned());
        (wrapped, SealContext { revocation_endpoint, ..context })
    };
    let mut rows: Vec<_> = (0..3).map(|number| import(&world, client, &format!("hash-{number}"))).collect();
    for row in &mut rows {
        row.token = Some(revocable(SecretKind::Refresh, &row.token_hash));
        brought(&world, row).await;
    }
    let spared = import(&world, other, "hash-other");
    brought(&world, &spared).await;
    let made = world.tokens("dana", client, "583231");
    assert!(advance(&world, &rows[1], &presented(&world, false)).await);
    assert!(advance(&world, &rows[2], &presented(&world, false)).await);
    answer(&world, &rows[2]).await;
    world.keeper.kill(Kill::Client { tenant, client }, later(4)).await.unwrap();

    assert_eq!(world.keeper.due_imports(later(9), 9).await.unwrap(), [spared]);
    assert!(!advance(&world, &rows[0], &presented(&world, false)).await);
    let outcome = failed("never");
    let made = end(&world, &rows[2], outcome, ImportEnd::Made(Box::new(made))).await;
    assert_eq!(made, Err(StoreError::Missing("import")));
    assert!(world.control.connections(tenant).await.unwrap().is_empty());

    assert_eq!(world.keeper.clear_killed(later(5), 9).await, Ok(3));
    let due = world.keeper.revocations(later(5), 9).await.unwrap();
    let mut revoked: Vec<_> = due.into_iter().map(|one| one.secret.0.ciphertext).collect();
    revoked.sort();
    assert_eq!(revoked, ["hash-0", "hash-1", "hash-2"]);
    // The one whose token was on its way has its answer journaled all the same, and that is taken next.
    answer(&world, &rows[1]).await;
    assert_eq!(world.keeper.clear_killed(later(6), 9).await, Ok(1));
    assert_eq!(world.keeper.clear_killed(later(6), 9).await, Ok(0));
    for row in &rows {
        let row = now(&world, row).await;
        assert_eq!((row.token, row.access, row.answer), (None, None, None));
        assert_eq!((row.progress.step, row.outcome), (FlowStep::Ended, Some(failed("killed"))));
    }

    for kill in [Kill::Tenant { tenant }, Kill::Installation] {
        let row = import(&world, client, &format!("{kill:?}"));
        brought(&world, &row).await;
        assert!(
            world.keeper.due_imports(later(9), 9).await.unwrap().contains(&row),
            "it came after the kill"
        );
        world.keeper.kill(kill, later(7)).await.unwrap();
        assert!(world.keeper.due_imports(later(9), 9).await.unwrap().is_empty(), "{kill:?}");
    }
}
