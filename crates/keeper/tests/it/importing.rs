//! Refresh tokens that another system held: each is presented once, what came of it is durable before it is read, and
//! nobody who carries a row or writes the database gives one token another's place.

use crate::{
    provider::Act,
    world::{Running, World, eventually, ten},
};
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    clock::Clock as _,
    id::{ClientId, FlowId, TenantId},
    import::Import,
    ports::{
        control_keeper::{
            ControlRefusal, ControlReply, ControlRequest, ImportBatch, ImportFacts, ImportPart, ImportRow,
            Imported, import_context,
        },
        store::{ControlStore as _, KeeperStore as _, Kill},
    },
};
use std::{fs, sync::atomic::Ordering, time::Duration};

/// A row as the command line makes it.
pub(crate) struct Line {
    facts: ImportFacts,
    refresh: String,
    access: Option<String>,
}

pub(crate) fn line(client: ClientId, refresh: &str) -> Line {
    let facts = ImportFacts { tool: "tool".parse().unwrap(), client, name: None, account: None, host: None };
    Line { facts, refresh: refresh.to_owned(), access: None }
}

async fn sealed(world: &World, running: &Running, line: &Line) -> ImportRow {
    let context = |part| import_context(world.tenant, part, &line.facts);
    let token = running.seal(&context(ImportPart::Refresh), &line.refresh).await;
    let access = match &line.access {
        Some(access) => Some(running.seal(&context(ImportPart::Access), access).await),
        None => None,
    };
    ImportRow { facts: line.facts.clone(), token, access, access_until: None }
}

async fn hand_in(running: &Running, tenant: TenantId, rows: Vec<ImportRow>) -> Vec<Imported> {
    match running.control.ask(ControlRequest::Import(ImportBatch { tenant, rows })).await.unwrap() {
        ControlReply::Imported { rows } => rows,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn bring(world: &World, running: &Running, lines: &[Line]) -> Vec<Imported> {
    let mut rows = Vec::new();
    for line in lines {
        rows.push(sealed(world, running, line).await);
    }
    hand_in(running, world.tenant, rows).await
}

pub(crate) fn accepted(told: &[Imported]) -> Vec<FlowId> {
    let flow = |one: &Imported| match one {
        Imported::Accepted { flow } => *flow,
        other => panic!("{other:?}"),
    };
    told.iter().map(flow).collect()
}

pub(crate) async fn now(world: &World, running: &Running, flow: FlowId) -> Import {
    running.store.import(world.tenant, flow).await.unwrap().unwrap()
}

/// How each ended: the account's label, or the reason.
pub(crate) async fn ended(world: &World, running: &Running, flows: &[FlowId]) -> Vec<Result<String, String>> {
    eventually(|| async {
        let rows = running.store.imports(world.tenant, flows.to_vec()).await.unwrap();
        rows.iter().all(|row| row.progress.step == FlowStep::Ended)
    })
    .await;
    let mut outcomes = Vec::new();
    for flow in flows {
        outcomes.push(match now(world, running, *flow).await.outcome.unwrap() {
            FlowOutcome::Connected { label, .. } => Ok(label),
            FlowOutcome::Failed { reason } => Err(reason),
        });
    }
    outcomes
}

/// Waits until one is left for this reason.
pub(crate) async fn waits(world: &World, running: &Running, flow: FlowId, reason: &str) {
    eventually(|| async { now(world, running, flow).await.progress.reason.as_deref() == Some(reason) }).await;
}

pub(crate) struct At {
    pub(crate) world: World,
    pub(crate) running: Running,
    pub(crate) client: ClientId,
}

pub(crate) async fn at(runs: bool, profile: &str) -> At {
    let world = World::with(runs, profile);
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, None).await;
    At { world, running, client }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_become_connections_few_at_a_time_and_each_is_presented_once() {
    let At { world, running, client } = at(false, "").await;
    let mut lines: Vec<_> =
        (0..40).map(|n| line(client, &world.provider.hands_out(&format!("a{n}")))).collect();
    lines[1].facts.name = Some("dana".parse().unwrap());
    // It takes its time, so that those who are there at once are seen to be.
    (0..40).for_each(|_| world.provider.next(Act::Late(Duration::from_millis(50))));
    let told = bring(&world, &running, &lines).await;
    let flows = accepted(&told);
    let outcomes = ended(&world, &running, &flows).await;
    let expected: Vec<_> = (0..40).map(|n| Ok(format!("a{n}@example.com"))).collect();
    assert_eq!(outcomes, expected);
    assert_eq!((world.provider.refreshes(), world.provider.most_presented()), (40, 1));
    assert!(world.provider.most_at_once() <= 4, "{} at once", world.provider.most_at_once());
    let shown = running.store.connections(world.tenant).await.unwrap();
    let names: Vec<_> = shown.iter().map(|row| row.name.to_string()).collect();
    assert!(names.contains(&"a0-example-com".to_owned()) && names.contains(&"dana".to_owned()), "{names:?}");
    for flow in &flows {
        let row = now(&world, &running, *flow).await;
        assert_eq!(
            (row.token, row.access, row.answer),
            (None, None, None),
            "its secrets are a generation's now"
        );
    }
    // The same again, in another batch and another order, under another start of the keeper.
    running.end().await;
    let running = world.start().await;
    lines.reverse();
    let again = bring(&world, &running, &lines).await;
    let known: Vec<_> = flows.iter().rev().map(|flow| Imported::Known { flow: *flow }).collect();
    assert_eq!(again, known);
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (40, 0));
    assert_eq!(running.store.connections(world.tenant).await.unwrap().len(), 40);
    // What the keeper made of them is refreshed and leased like any other.
    let connection = running.store.connections(world.tenant).await.unwrap()[0].id;
    world.clock.forward(Duration::from_secs(3600));
    let grant = world.grant(&running, connection).await;
    let woken = world.wake(&running).await.unwrap();
    let lease = woken.lease(&running, grant, connection, 20_000).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
    assert_eq!(lease.lease.binding.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_provider_does_not_replace_lives_on() {
    let At { world, running, client } = at(false, "").await;
    world.provider.next(Act::KeepRefresh);
    let told = bring(&world, &running, &[line(client, &world.provider.hands_out("dana"))]).await;
    assert_eq!(ended(&world, &running, &accepted(&told)).await, [Ok("dana@example.com".to_owned())]);
    let connection = running.store.connections(world.tenant).await.unwrap()[0].id;
    world.clock.forward(Duration::from_secs(3600));
    let grant = world.grant(&running, connection).await;
    let woken = world.wake(&running).await.unwrap();
    let lease = woken.lease(&running, grant, connection, 20_000).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_seen_work_is_tried_one_at_a_time_and_then_waits() {
    let At { world, running, client } = at(false, "").await;
    let dead: Vec<_> = (0..20).map(|n| line(client, &format!("dead-{n}"))).collect();
    let told = bring(&world, &running, &dead).await;
    let flows = accepted(&told);
    eventually(|| async { reasons(&world, &running, &flows, "others-refused").await == 15 }).await;
    assert_eq!(world.provider.token_calls(), 5);
    // The right registration, and the tokens are good there: what waits gives way, and what was refused is tried anew.
    let right = world.client_called(&running, "their-id", None).await;
    let good: Vec<_> = (0..20).map(|n| line(right, &format!("dead-{n}"))).collect();
    (0..20).for_each(|n| world.provider.knows_as(&format!("dead-{n}"), &format!("a{n}")));
    let told = bring(&world, &running, &good).await;
    let outcomes = ended(&world, &running, &accepted(&told)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.provider.reuses(), 0);
}

async fn reasons(world: &World, running: &Running, flows: &[FlowId], reason: &str) -> usize {
    let rows = running.store.imports(world.tenant, flows.to_vec()).await.unwrap();
    rows.iter().filter(|row| row.progress.reason.as_deref() == Some(reason)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_is_one_connection_and_another_account_is_none() {
    let At { world, running, client } = at(false, "").await;
    let mut twice =
        [line(client, &world.provider.hands_out("dana")), line(client, &world.provider.hands_out("dana"))];
    twice[0].facts.name = Some("first".parse().unwrap());
    twice[1].facts.account = Some("dana".to_owned());
    let told = bring(&world, &running, &twice).await;
    let outcomes = ended(&world, &running, &accepted(&told)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(running.store.connections(world.tenant).await.unwrap().len(), 1);

    // An access token tells whose it is before anything is spent.
    let calls = world.provider.token_calls();
    let (refresh, access) = world.provider.hands_out_both("eve");
    let mut row = line(client, &refresh);
    row.facts.account = Some("dana".to_owned());
    row.access = Some(access);
    let told = bring(&world, &running, &[row]).await;
    assert_eq!(ended(&world, &running, &accepted(&told)).await, [Err("wrong-account".to_owned())]);
    assert_eq!(world.provider.token_calls(), calls);
    // Corrected, it is taken: it was never presented.
    let mut row = line(client, &refresh);
    row.facts.account = Some("eve".to_owned());
    let told = bring(&world, &running, &[row]).await;
    assert_eq!(ended(&world, &running, &accepted(&told)).await, [Ok("eve@example.com".to_owned())]);

    // Without one the answer says it, and stays sealed: it is the only copy of living tokens.
    let mut row = line(client, &world.provider.hands_out("mallory"));
    row.facts.account = Some("dana".to_owned());
    let flows = accepted(&bring(&world, &running, &[row]).await);
    assert_eq!(ended(&world, &running, &flows).await, [Err("wrong-account".to_owned())]);
    assert!(now(&world, &running, flows[0]).await.answer.is_some());
    assert_eq!(running.store.connections(world.tenant).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_identity_endpoint_each_is_a_chain_of_its_own() {
    let At { world, running, client } = at(false, "").await;
    let mut lines =
        [line(client, &world.provider.hands_out("a")), line(client, &world.provider.hands_out("a"))];
    for line in &mut lines {
        line.facts.tool = "mute".parse().unwrap();
    }
    let told = bring(&world, &running, &lines).await;
    assert!(ended(&world, &running, &accepted(&told)).await.iter().all(Result::is_ok));
    let shown = running.store.connections(world.tenant).await.unwrap();
    assert_eq!((shown.len(), shown[0].account.as_ref()), (2, None));
    assert_ne!(shown[0].name, shown[1].name);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_row_is_named_and_stops_no_other() {
    let At { world, running, client } = at(false, "").await;
    let mut bad: Vec<_> = (0..5).map(|n| line(client, &world.provider.hands_out(&format!("a{n}")))).collect();
    bad[0].facts.tool = "nowhere".parse().unwrap();
    bad[1].facts.client = ClientId::new(world.clock.now(), ten());
    bad[2].facts.host = Some("https://evil.example".to_owned());
    bad[3].refresh = "two words".to_owned();
    let told = bring(&world, &running, &bad).await;
    let why = |one: &Imported| match one {
        Imported::Refused { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&told[0]), ControlRefusal::Unknown { what: "tool".to_owned() });
    assert_eq!(why(&told[1]), ControlRefusal::Unknown { what: "client".to_owned() });
    assert_eq!((why(&told[2]), why(&told[3])), (ControlRefusal::Host, ControlRefusal::NoToken));
    assert_eq!(ended(&world, &running, &accepted(&told[4..])).await, [Ok("a4@example.com".to_owned())]);
}

/// Control and whoever sits between it and the command line carry rows and cannot open them.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_token_is_good_for_its_own_row_alone() {
    let At { world, running, client } = at(false, "").await;
    let mut line = line(client, &world.provider.hands_out("dana"));
    line.facts.account = Some("dana".to_owned());
    line.facts.name = Some("dana".parse().unwrap());
    line.access = Some(world.provider.hands_out("dana"));
    let row = sealed(&world, &running, &line).await;
    let other_client = world.client(&running, None).await;
    let changes: [fn(&mut ImportRow, ClientId); 6] = [
        |row, _| row.facts.tool = "other".parse().unwrap(),
        |row, client| row.facts.client = client,
        |row, _| row.facts.name = Some("eve".parse().unwrap()),
        |row, _| row.facts.account = None,
        |row, _| row.facts.host = Some("http://127.0.0.1".to_owned()),
        |row, _| row.token = row.access.clone().unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = row.clone();
        change(&mut changed, other_client);
        let told = hand_in(&running, world.tenant, vec![changed]).await;
        let refused =
            matches!(told[0], Imported::Refused { why: ControlRefusal::Intake | ControlRefusal::Host });
        assert!(refused, "change {number}: {told:?}");
    }
    let elsewhere = hand_in(&running, TenantId::new(world.clock.now(), ten()), vec![row.clone()]).await;
    assert!(matches!(elsewhere[0], Imported::Refused { .. }), "{elsewhere:?}");
    assert_eq!(world.provider.token_calls(), 0);
    let told = hand_in(&running, world.tenant, vec![row]).await;
    assert_eq!(ended(&world, &running, &accepted(&told)).await, [Ok("dana@example.com".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_one_tenants() {
    let At { mut world, running, client } = at(false, "").await;
    let token = world.provider.hands_out("dana");
    let told = bring(&world, &running, &[line(client, &token)]).await;
    assert_eq!(ended(&world, &running, &accepted(&told)).await, [Ok("dana@example.com".to_owned())]);
    world.tenant = TenantId::new(world.clock.now(), ten());
    let theirs = world.client(&running, None).await;
    let told =
        bring(&world, &running, &[line(theirs, &token), line(theirs, &world.provider.hands_out("eve"))])
            .await;
    assert_eq!(told[0], Imported::Refused { why: ControlRefusal::Elsewhere });
    assert_eq!(ended(&world, &running, &accepted(&told[1..])).await, [Ok("eve@example.com".to_owned())]);
    assert_eq!((world.provider.most_presented(), world.provider.reuses()), (1, 0));
}

/// Holds everything but the first: its provider asks for time.
pub(crate) async fn held(at: &At, accounts: &[&str]) -> Vec<FlowId> {
    let At { world, running, client } = at;
    world.provider.next(Act::Answer(503, &[("retry-after", "600")], ""));
    let lines: Vec<_> = accounts.iter().map(|one| line(*client, &world.provider.hands_out(one))).collect();
    let told = bring(world, running, &lines).await;
    let flows = accepted(&told);
    for flow in &flows {
        eventually(|| async { now(world, running, *flow).await.progress.reason.is_some() }).await;
    }
    assert_eq!(world.provider.refreshes(), 0);
    flows
}

/// Whoever writes the database gives no row another's token, tenant or plan, and has nothing presented twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_row_is_not_presented() {
    let at = at(false, "").await;
    let flows = held(&at, &["a", "b", "c", "d"]).await;
    let At { world, running, .. } = &at;
    let other = TenantId::new(world.clock.now(), ten());
    let rest = "due_at, failures, reason, answer, outcome, created_at, noted";
    for sql in [
        format!("UPDATE import SET token = (SELECT token FROM import WHERE flow_id = '{}') WHERE flow_id = '{}'", flows[1], flows[0]),
        format!("UPDATE import SET plan = (SELECT plan FROM import WHERE flow_id = '{}') WHERE flow_id = '{}'", flows[2], flows[1]),
        format!("UPDATE import SET tenant_id = '{other}' WHERE flow_id = '{}'", flows[2]),
        format!(
            "INSERT INTO import SELECT tenant_id, '{}', 'forged', client_id, tool, token, access, plan, era, step,
                 attempt_id, owner_id, again, presented_at, {rest} FROM import WHERE flow_id = '{}'",
            FlowId::new(world.clock.now(), ten()),
            flows[3]
        ),
    ] {
        assert_eq!(world.forge(&sql), 1, "{sql}");
    }
    world.clock.forward(Duration::from_secs(900));
    let outcomes = ended(world, running, &[flows[0], flows[1], flows[3]]).await;
    let unreadable = || Err("import-unreadable".to_owned());
    assert_eq!(outcomes, [unreadable(), unreadable(), Ok("d@example.com".to_owned())]);
    eventually(|| async { world.look("SELECT count(*) || '' FROM import WHERE step <> 'ended'") == "0" })
        .await;
    assert_eq!((world.provider.refreshes(), world.provider.most_presented()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presented_token_that_is_set_back_is_not_presented_again() {
    let At { world, running, client } = at(false, "").await;
    let told = bring(&world, &running, &[line(client, "dead-token")]).await;
    let flows = accepted(&told);
    assert_eq!(ended(&world, &running, &flows).await, [Err("invalid_grant".to_owned())]);
    let set_back = "UPDATE import SET step = 'begun', attempt_id = NULL, presented_at = NULL, outcome = NULL, answer = NULL, due_at = 0";
    assert_eq!(world.forge(set_back), 1);
    running.end().await;
    let running = world.start().await;
    assert_eq!(ended(&world, &running, &flows).await, [Err("presented-before".to_owned())]);
    assert_eq!(world.provider.token_calls(), 1);
}

/// I1, I2: the log knows each token again, whatever became of the database, and under whatever flow it is brought.
#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_database_and_the_same_file_present_nothing_twice() {
    let At { world, running, client } = at(false, "").await;
    running.end().await;
    let copy = |from: &str, to: &str| fs::copy(world.path(from), world.path(to)).unwrap();
    copy("db.sqlite", "yesterday");
    let running = world.start().await;
    let lines: Vec<_> = (0..3).map(|n| line(client, &world.provider.hands_out(&format!("a{n}")))).collect();
    let told = bring(&world, &running, &lines).await;
    assert!(ended(&world, &running, &accepted(&told)).await.iter().all(Result::is_ok));
    running.end().await;
    copy("yesterday", "db.sqlite");
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(world.path(&format!("db.sqlite{ending}")));
    }
    let running = world.start().await;
    let told = bring(&world, &running, &lines).await;
    let flows = accepted(&told);
    let outcomes = ended(&world, &running, &flows).await;
    assert_eq!(outcomes, vec![Err("presented-before".to_owned()); 3]);
    // Nor does it help to bring them once more: what the log knows makes no room.
    let again = bring(&world, &running, &lines).await;
    let known: Vec<_> = flows.iter().map(|flow| Imported::Known { flow: *flow }).collect();
    assert_eq!(again, known);
    assert_eq!((world.provider.most_presented(), world.provider.reuses()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_did_not_look_at_is_presented_when_its_time_has_come() {
    let at = at(false, "").await;
    let flows = held(&at, &["a", "b"]).await;
    let At { world, running, .. } = &at;
    assert_eq!(world.provider.token_calls(), 1, "who asked for time gets it from all");
    world.clock.forward(Duration::from_secs(900));
    let outcomes = ended(world, running, &flows).await;
    assert_eq!(outcomes, [Ok("a@example.com".to_owned()), Ok("b@example.com".to_owned())]);
    assert_eq!((world.provider.refreshes(), world.provider.token_calls()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_presented_again_at_a_provider_that_nobody_looked_up() {
    let At { world, running, client } = at(true, "").await;
    world.provider.next(Act::Vanish);
    let told = bring(&world, &running, &[line(client, &world.provider.hands_out("dana"))]).await;
    let flows = accepted(&told);
    assert_eq!(ended(&world, &running, &flows).await, [Err("answer-lost".to_owned())]);
    assert_eq!((world.provider.most_presented(), world.provider.reuses()), (1, 0));
    assert!(now(&world, &running, flows[0]).await.token.is_some(), "what may live is kept");
}

pub(crate) fn graceful(confidence: &str) -> String {
    format!(
        r#"
second_presentation = "both_live"
reuse = {{ grace_secs = 60 }}

[[fact]]
covers = ["second_presentation", "reuse.grace_secs"]
source = "this provider takes a used token again"
confidence = "{confidence}"
checked_at = "2026-11-29"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_verified_grace_a_lost_answer_is_presented_once_more() {
    for (confidence, act) in
        [("verified", Act::Vanish), ("verified", Act::Garble("<html>")), ("unverified", Act::Vanish)]
    {
        let At { world, running, client } = at(true, &graceful(confidence)).await;
        world.provider.is_graceful();
        world.provider.next(act);
        let told = bring(&world, &running, &[line(client, &world.provider.hands_out("dana"))]).await;
        let flows = accepted(&told);
        if confidence == "unverified" {
            assert_eq!(ended(&world, &running, &flows).await, [Err("answer-lost".to_owned())]);
            assert_eq!(world.provider.most_presented(), 1);
            continue;
        }
        waits(&world, &running, flows[0], "answer-lost").await;
        world.clock.forward(Duration::from_secs(5));
        // The host lost an answer, and is left alone for a while; the grace does not wait for that.
        assert_eq!(ended(&world, &running, &flows).await, [Ok("dana@example.com".to_owned())]);
        assert_eq!(world.provider.most_presented(), 2);
    }
}

/// A token whose answer is lost, inside a verified grace.
async fn lost_inside_a_grace() -> (At, Vec<FlowId>) {
    let lost = at(true, &graceful("verified")).await;
    let At { world, running, client } = &lost;
    world.provider.is_graceful();
    world.provider.next(Act::Vanish);
    let told = bring(world, running, &[line(*client, &world.provider.hands_out("dana"))]).await;
    let flows = accepted(&told);
    waits(world, running, flows[0], "answer-lost").await;
    (lost, flows)
}

/// The boot clock of a machine that is stopped whole stands still, and the wall clock tells.
#[tokio::test(flavor = "multi_thread")]
async fn no_retry_leaves_when_its_grace_ended_while_the_provider_was_dialled() {
    let (At { world, running, .. }, flows) = lost_inside_a_grace().await;
    let dials = || world.meddling.dials.load(Ordering::SeqCst);
    let before = dials();
    world.meddling.dial_millis.store(1500, Ordering::SeqCst);
    world.clock.forward(Duration::from_secs(5));
    eventually(|| async { dials() > before }).await;
    world.clock.wall_ahead(Duration::from_secs(120));
    let failed = now(&world, &running, flows[0]).await.progress.failures;
    eventually(|| async { now(&world, &running, flows[0]).await.progress.failures > failed }).await;
    let is_spent = now(&world, &running, flows[0]).await.progress.again;
    assert_eq!((world.provider.most_presented(), is_spent), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_retry_leaves_when_its_grace_ended_while_it_was_written_down() {
    let (At { world, running, .. }, flows) = lost_inside_a_grace().await;
    world.meddling.line_millis.store(1500, Ordering::SeqCst);
    world.clock.forward(Duration::from_secs(5));
    eventually(|| async { now(&world, &running, flows[0]).await.progress.again }).await;
    world.clock.wall_ahead(Duration::from_secs(120));
    assert_eq!(ended(&world, &running, &flows).await, [Err("answer-lost".to_owned())]);
    assert_eq!(world.provider.most_presented(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_whose_answer_is_lost_too_is_the_last() {
    let At { world, running, client } = at(true, &graceful("verified")).await;
    world.provider.is_graceful();
    world.provider.next(Act::Vanish);
    world.provider.next(Act::Vanish);
    let told = bring(&world, &running, &[line(client, &world.provider.hands_out("dana"))]).await;
    let flows = accepted(&told);
    waits(&world, &running, flows[0], "answer-lost").await;
    world.clock.forward(Duration::from_secs(5));
    assert_eq!(ended(&world, &running, &flows).await, [Err("answer-lost".to_owned())]);
    assert_eq!(world.provider.most_presented(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_account_the_tool_does_not_say_is_kept_and_asked_about_again() {
    let At { world, running, client } = at(false, "").await;
    world.provider.probe_answers(Some(500));
    let told = bring(&world, &running, &[line(client, &world.provider.hands_out("dana"))]).await;
    let flows = accepted(&told);
    waits(&world, &running, flows[0], "account-not-probed").await;
    // Nor does a restart lose it.
    running.end().await;
    let running = world.start().await;
    world.provider.probe_answers(None);
    world.clock.forward(Duration::from_secs(60));
    assert_eq!(ended(&world, &running, &flows).await, [Ok("dana@example.com".to_owned())]);
    assert_eq!(world.provider.most_presented(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_ended_is_not_presented() {
    let at = at(false, "").await;
    let flows = held(&at, &["a", "b"]).await;
    let At { world, running, client } = &at;
    let kill = Kill::Client { tenant: world.tenant, client: *client };
    running.store.kill(kill, world.clock.now()).await.unwrap();
    world.clock.forward(Duration::from_secs(900));
    // One that comes after the kill lives: it shows that the others had their turn.
    let later = accepted(&bring(world, running, &[line(*client, &world.provider.hands_out("c"))]).await);
    assert_eq!(ended(world, running, &later).await, [Ok("c@example.com".to_owned())]);
    assert_eq!(world.provider.refreshes(), 1);
    for flow in flows {
        assert_eq!(now(world, running, flow).await.progress.step, FlowStep::Begun);
    }
}

/// What a provider said of one presentation is not taken for what it says of another: whoever kept what the database once
/// held has nothing presented again by it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_earlier_presentation_takes_nothing_back() {
    let at = at(false, "").await;
    let stolen = "CREATE TABLE stolen AS SELECT * FROM import WHERE false";
    at.world.forge(stolen);
    at.world.forge(
        "CREATE TRIGGER thief AFTER UPDATE ON import WHEN NEW.step = 'answered'
         BEGIN INSERT INTO stolen SELECT * FROM import WHERE flow_id = NEW.flow_id; END",
    );
    // It asks for time, and then takes the token.
    let flows = held(&at, &["dana"]).await;
    let At { world, running, .. } = at;
    world.clock.forward(Duration::from_secs(900));
    assert_eq!(ended(&world, &running, &flows).await, [Ok("dana@example.com".to_owned())]);
    running.end().await;
    world.forge("DROP TRIGGER thief");
    assert_eq!(world.look("SELECT count(*) || '' FROM stolen"), "2");
    let earlier = "SELECT answer FROM stolen ORDER BY rowid LIMIT 1";
    let later = "SELECT attempt_id FROM stolen ORDER BY rowid DESC LIMIT 1";
    let set_back = format!(
        "UPDATE import SET step = 'answered', outcome = NULL, due_at = 0, token = (SELECT token FROM stolen LIMIT 1),
             attempt_id = ({later}), answer = ({earlier})"
    );
    assert_eq!(world.forge(&set_back), 1);
    let running = world.start().await;
    assert_eq!(ended(&world, &running, &flows).await, [Err("answer-unreadable".to_owned())]);
    assert_eq!((world.provider.token_calls(), world.provider.reuses()), (2, 0));
}
