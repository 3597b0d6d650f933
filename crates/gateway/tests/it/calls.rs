//! Calls that outlive their caller: one key is one call, each ends with a final answer, and what may have been sent is
//! not sent again, whatever crashes and whoever edits rows.

use crate::{
    client::Answer,
    upstream::Reply,
    world::{Actor, SECRET, Twist, World},
};
use nightlatch_domain::{ports::gateway_keeper::KeeperRefusal, task::TaskState};
use nightlatch_gateway::{CallLimits, Limits};
use nightlatch_ledger::record::Entry;
use rusqlite::Connection;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// What is asked for, of the world's tool.
pub(crate) fn asked(actor: &Actor, method: &str, path: &str) -> String {
    let reference = &actor.reference;
    let body = if method == "GET" { "" } else { r#","body":{"text":"hello"}"# };
    format!(r#"{{"tool":"acme","method":"{method}","path":"{path}","reference":"{reference}"{body}}}"#)
}

pub(crate) async fn send(world: &World, actor: &Actor, line: &str, fields: &[&str], body: &str) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    let fields: Vec<&str> = fields.iter().copied().chain([length.as_str()]).collect();
    let mut wire = world.direct(actor).await;
    wire.write(world.request(line, &fields) + body).await;
    wire.answer().await
}

pub(crate) async fn post(world: &World, actor: &Actor, key: &str, prefer: &str, body: &str) -> Answer {
    let (key, prefer) = (format!("Idempotency-Key: \"{key}\""), format!("Prefer: {prefer}"));
    send(world, actor, "POST /v1/calls", &[&key, &prefer], body).await
}

pub(crate) async fn get(world: &World, actor: &Actor, location: &str) -> Answer {
    send(world, actor, &format!("GET {location}"), &[], "").await
}

pub(crate) fn location(answer: &Answer) -> String {
    answer.field("location").unwrap_or_else(|| panic!("{answer:?}"))
}

/// The call once it is final.
pub(crate) async fn ended(world: &World, actor: &Actor, location: &str) -> serde_json::Value {
    let shown = std::cell::RefCell::new(serde_json::Value::Null);
    let is_final = || async {
        let now = get(world, actor, location).await.json();
        let is_final = !matches!(now["state"].as_str(), Some("queued" | "attempting"));
        *shown.borrow_mut() = now;
        is_final
    };
    world.eventually("the call ends", is_final).await;
    shown.into_inner()
}

pub(crate) fn edit(world: &World, sql: &str) -> usize {
    let database = Connection::open(world.folder.path().join("db.sqlite")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    database.execute(sql, []).unwrap()
}

/// Leases that are held are fresh no more: the next call asks for one.
pub(crate) async fn stale_leases(world: &World) {
    world.clock.forward(Duration::from_secs(700));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
}

pub(crate) fn slug(problem: &serde_json::Value) -> &str {
    problem["type"].as_str().unwrap().rsplit('/').next().unwrap()
}

/// A tool that takes a request and never answers it.
pub(crate) fn silent(world: &World) {
    let never = Reply {
        pieces: vec![Vec::new(), Vec::new()],
        gate: Some(Arc::new(Notify::new())),
        ..Reply::default()
    };
    world.tool.answers(move |_| never.clone());
}

#[tokio::test]
async fn a_call_is_carried_out_and_answered_with_the_tools_scrubbed_answer_inside() {
    let world = World::new().await;
    world.tool.answers(|seen| {
        let credential = seen.all("authorization").join("");
        Reply::with("201 Created", &["x-thing: one", "set-cookie: id=1"], &format!("told: {credential}"))
    });
    let answer = post(&world, &world.alice, "one", "wait=30", &asked(&world.alice, "POST", "/things")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    assert_eq!((shown["state"].as_str(), shown["attempts"].as_u64()), (Some("done"), Some(1)));
    assert_eq!(shown["result"]["status"], 201);
    assert_eq!(shown["result"]["body"]["text"], format!("told: Bearer {}", "*".repeat(SECRET.len())));
    let headers = shown["result"]["headers"].to_string();
    assert!(headers.contains("x-thing") && !headers.contains("set-cookie"), "{headers}");
    let seen = world.tool.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), "POST /things HTTP/1.1");
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
    assert_eq!(seen[0].body, b"hello");
    // Its id is that of its records.
    let call = shown["id"].as_str().unwrap();
    assert_eq!(answer.field("nightlatch-call").as_deref(), Some(call));
    assert_eq!(location(&answer), format!("/v1/calls/{call}"));
    let decisions = world.decisions().await;
    let Entry::Intent(intent) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
    assert_eq!(intent.call.to_string(), call);
    world.no_canary_at_rest();
}

#[tokio::test]
async fn one_key_is_one_call_and_other_bytes_under_it_are_refused() {
    let world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let first = post(&world, &world.alice, "k", "wait=30", &body).await;
    let again = post(&world, &world.alice, "k", "wait=30", &body).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json(), again.json());
    let other = post(&world, &world.alice, "k", "wait=30", &asked(&world.alice, "POST", "/others")).await;
    assert_eq!((other.status, other.problem().as_str()), (422, "idempotency-key-reused"));
    assert_eq!(world.tool.take().len(), 1);
    // Another task's key of the same name is its own.
    let theirs =
        post(&world, &world.mallory, "k", "wait=30", &asked(&world.mallory, "POST", "/things")).await;
    assert_eq!(theirs.status, 200);
    assert_ne!(theirs.json()["id"], first.json()["id"]);
    let body = asked(&world.alice, "GET", "/things");
    for fields in
        [&[][..], &["Idempotency-Key: k"][..], &["Idempotency-Key: \"a\"", "Idempotency-Key: \"b\""][..]]
    {
        let answer = send(&world, &world.alice, "POST /v1/calls", fields, &body).await;
        assert_eq!(answer.problem(), "idempotency-key-missing", "{fields:?}");
    }
    assert_eq!(world.tool.take().len(), 1);
}

#[tokio::test]
async fn a_hundred_posts_of_one_key_at_once_make_one_call() {
    let world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let answers = (0..100).map(|_| post(&world, &world.alice, "k", "wait=30", &body));
    let mut ids = std::collections::BTreeSet::new();
    for answer in futures_of(answers).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        ids.insert(answer.json()["id"].to_string());
    }
    assert_eq!((ids.len(), world.tool.take().len()), (1, 1));
}

/// All of them, at once.
async fn futures_of<F: Future<Output = Answer>>(all: impl Iterator<Item = F>) -> Vec<Answer> {
    let mut pending: Vec<_> = all.map(Box::pin).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

#[tokio::test]
async fn whoever_does_not_wait_is_told_the_place_and_finds_the_answer_there() {
    let world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.field("preference-applied").as_deref(), Some("respond-async"));
    let shown = ended(&world, &world.alice, &location(&answer)).await;
    assert_eq!((shown["state"].as_str(), shown["result"]["status"].as_u64()), (Some("done"), Some(200)));
    assert_eq!(world.tool.take().len(), 1);
}

#[tokio::test]
async fn another_agents_call_and_an_unknown_one_are_one_answer() {
    let world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let own = location(&post(&world, &world.alice, "k", "wait=30", &body).await);
    let unknown = "/v1/calls/call_00000000000000000000000001";
    let text = |answer: Answer| {
        assert_eq!((answer.status, answer.problem().as_str()), (404, "call-unknown"));
        let call = answer.field("nightlatch-call").unwrap();
        answer.text().replace(&call, "CALL")
    };
    let expected = text(get(&world, &world.alice, unknown).await);
    for path in [own.clone(), "/v1/calls/call_x".into(), "/v1/calls/1".into(), format!("{own}/events")] {
        let theirs = get(&world, &world.mallory, &path).await;
        assert_eq!(text(theirs), expected, "{path}");
    }
    assert_eq!(get(&world, &world.alice, &own).await.status, 200);
    let mut wire = world.dial(None).connect().await.unwrap();
    wire.write(world.request(&format!("GET {own}"), &[])).await;
    assert_eq!(wire.answer().await.problem(), "not-admitted");
}

#[tokio::test]
async fn what_is_refused_at_once_was_never_accepted_and_uses_up_no_key() {
    let world = World::new().await;
    let before = world.decisions().await.len();
    let foreign = asked(&world.mallory, "POST", "/things");
    let refused = post(&world, &world.alice, "k", "wait=30", &foreign).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "reference-unknown"));
    let new_secret = asked(&world.alice, "GET", "/secrets/one");
    assert_eq!(post(&world, &world.alice, "k", "wait=30", &new_secret).await.problem(), "policy-denied");
    let bad = asked(&world.alice, "GET", "/a/../b");
    assert_eq!(post(&world, &world.alice, "k", "wait=30", &bad).await.problem(), "bad-request");
    let none = asked(&world.alice, "GET", "/x").replace(&world.alice.reference, "");
    assert_eq!(post(&world, &world.alice, "k", "wait=30", &none).await.problem(), "reference-unknown");
    let second =
        asked(&world.alice, "GET", "/x").replace(r#""path""#, r#""headers":{"x-api-key":"mine"},"path""#);
    assert_eq!(post(&world, &world.alice, "k", "wait=30", &second).await.problem(), "second-credential");
    assert_eq!(world.decisions().await.len(), before + 5, "each is recorded once");
    assert_eq!((edit(&world, "DELETE FROM call"), world.tool.take().len()), (0, 0));
    let body = asked(&world.alice, "POST", "/things");
    assert_eq!(post(&world, &world.alice, "k", "wait=30", &body).await.status, 200);
}

#[tokio::test]
async fn a_call_waits_for_what_comes_back_by_itself_and_is_sent_once() {
    let world = World::new().await;
    let refuse = |refusal: Option<KeeperRefusal>| {
        let mut knobs = world.keeper.knobs.lock().unwrap();
        match refusal {
            Some(refusal) => drop(knobs.refuse.insert("lease", refusal)),
            None => drop(knobs.refuse.remove("lease")),
        }
    };
    refuse(Some(KeeperRefusal::Pending { retry_after_secs: 1 }));
    let body = asked(&world.alice, "POST", "/things");
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    world.eventually("it is tried", || async { world.keeper.count("lease") > 0 }).await;
    assert_eq!(get(&world, &world.alice, &location(&answer)).await.json()["state"], "queued");
    refuse(None);
    world
        .eventually("the pause is over", || async {
            world.clock.forward(Duration::from_secs(1));
            world.tool.count() > 0
        })
        .await;
    let shown = ended(&world, &world.alice, &location(&answer)).await;
    assert_eq!((shown["state"].as_str(), shown["attempts"].as_u64()), (Some("done"), Some(1)));
    assert_eq!(world.tool.take().len(), 1);
    // What does not come back by itself ends a call.
    refuse(Some(KeeperRefusal::ReauthRequired { ticket: None }));
    stale_leases(&world).await;
    let answer = post(&world, &world.alice, "other", "wait=30", &body).await;
    assert_eq!((answer.status, answer.problem().as_str()), (424, "reauth-required"));
    assert_eq!(world.tool.take().len(), 0);
}

#[tokio::test]
async fn a_write_that_was_perhaps_sent_is_not_sent_again_and_a_read_is() {
    let world = World::new().await;
    world.tool.answers(|_| Reply { closes: true, ..Reply::of("") });
    let write = post(&world, &world.alice, "w", "wait=30", &asked(&world.alice, "POST", "/things")).await;
    assert_eq!((write.status, write.problem().as_str()), (502, "outcome-unknown"));
    assert_eq!(world.tool.take().len(), 1);
    let read = post(&world, &world.alice, "r", "respond-async", &asked(&world.alice, "GET", "/things")).await;
    world
        .eventually("it is read again", || async {
            world.clock.forward(Duration::from_secs(1));
            world.tool.count() >= 2
        })
        .await;
    world.tool.answers(|_| Reply::ok("at last"));
    world
        .eventually("the pause is over", || async {
            world.clock.forward(Duration::from_secs(1));
            get(&world, &world.alice, &location(&read)).await.json()["state"] == "done"
        })
        .await;
    let shown = ended(&world, &world.alice, &location(&read)).await;
    assert_eq!(shown["result"]["body"]["text"], "at last");
    // The write's key tells the same for ever.
    let again = post(&world, &world.alice, "w", "wait=30", &asked(&world.alice, "POST", "/things")).await;
    assert_eq!(again.problem(), "outcome-unknown");
}

#[tokio::test]
async fn after_a_crash_a_marked_write_is_unknown_and_a_marked_read_is_read_again() {
    let mut world = World::new().await;
    silent(&world);
    let write =
        post(&world, &world.alice, "w", "respond-async", &asked(&world.alice, "POST", "/things")).await;
    let read = post(&world, &world.alice, "r", "respond-async", &asked(&world.alice, "GET", "/things")).await;
    world.eventually("both are out", || async { world.tool.count() == 2 }).await;
    world.crash(async |_| {}).await;
    world.tool.answers(|_| Reply::ok("fine"));
    let shown = ended(&world, &world.alice, &location(&write)).await;
    assert_eq!(
        (shown["state"].as_str(), slug(&shown["problem"])),
        (Some("outcome-unknown"), "outcome-unknown")
    );
    let again = post(&world, &world.alice, "w", "wait=30", &asked(&world.alice, "POST", "/things")).await;
    assert_eq!((again.status, again.problem().as_str()), (502, "outcome-unknown"));
    world
        .eventually("the pause is over", || async {
            world.clock.forward(Duration::from_secs(1));
            get(&world, &world.alice, &location(&read)).await.json()["state"] == "done"
        })
        .await;
    let lines: Vec<String> = world.tool.take().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("POST")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("GET")).count(), 2, "{lines:?}");
}

#[tokio::test]
async fn after_a_crash_a_queued_call_waits_for_its_agent_and_goes_on() {
    let mut world = World::new().await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let body = asked(&world.alice, "POST", "/things");
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    world.eventually("it is tried", || async { world.keeper.count("lease") > 0 }).await;
    world.crash(async |_| {}).await;
    world.keeper.knobs.lock().unwrap().refuse.clear();
    let wakes = world.keeper.count("wake");
    // Somebody else's wake is none of its own.
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
    world.tool.take();
    let shown = ended(&world, &world.alice, &location(&answer)).await;
    assert_eq!(shown["state"], "done");
    assert!(world.keeper.count("wake") > wakes);
    assert_eq!(world.tool.take().len(), 1);
}

#[tokio::test]
async fn a_durable_call_begins_no_wake() {
    let mut world = World::new().await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let body = asked(&world.alice, "POST", "/things");
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    world.eventually("it is tried", || async { world.keeper.count("lease") > 0 }).await;
    world.crash(async |world| world.keeper.knobs.lock().unwrap().refuse.clear()).await;
    let wakes = world.keeper.count("wake");
    // Nothing is in its way but that nobody is on the line: the worker sees it with each of the other agent's calls.
    for number in 0..5 {
        world.clock.forward(Duration::from_secs(2));
        let theirs = asked(&world.mallory, "GET", "/theirs");
        let theirs = post(&world, &world.mallory, &format!("k{number}"), "wait=30", &theirs).await;
        assert_eq!(theirs.status, 200, "{theirs:?}");
    }
    assert_eq!(world.keeper.count("wake"), wakes + 1, "the other agent's own");
    let lines: Vec<String> = world.tool.take().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["GET /theirs HTTP/1.1"; 5]);
    // Whoever asks after it wakes its task.
    assert_eq!(ended(&world, &world.alice, &location(&answer)).await["state"], "done");
    assert_eq!((world.keeper.count("wake"), world.tool.take().len()), (wakes + 2, 1));
}

#[tokio::test]
async fn a_row_that_was_put_back_or_edited_sends_nothing() {
    let mut world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let done = post(&world, &world.alice, "a", "wait=30", &body).await;
    assert_eq!(done.status, 200);
    stale_leases(&world).await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let tries = world.keeper.count("lease");
    let moved = post(&world, &world.alice, "b", "respond-async", &asked(&world.alice, "POST", "/b")).await;
    let kept = post(&world, &world.alice, "c", "respond-async", &asked(&world.alice, "POST", "/c")).await;
    world.eventually("both are tried", || async { world.keeper.count("lease") >= tries + 2 }).await;
    let id = |answer: &Answer| location(answer).rsplit('/').next().unwrap().to_owned();
    let (done_id, moved_id, kept_id) = (id(&done), id(&moved), id(&kept));
    world
        .crash(async |world| {
            // As a database of an hour ago has it: queued, never marked, no end.
            let put_back = "UPDATE call SET state = 'queued', attempts = 0, result = NULL, ended_at = NULL";
            assert_eq!(edit(world, &format!("{put_back} WHERE call_id = '{done_id}'")), 1);
            // The request of one call under the id of another.
            let other = format!("(SELECT request FROM call WHERE call_id = '{kept_id}')");
            assert_eq!(
                edit(world, &format!("UPDATE call SET request = {other} WHERE call_id = '{moved_id}'")),
                1
            );
            world.keeper.knobs.lock().unwrap().refuse.clear();
        })
        .await;
    let shown = ended(&world, &world.alice, &location(&kept)).await;
    assert_eq!(shown["state"], "done");
    let shown = ended(&world, &world.alice, &location(&done)).await;
    assert_eq!(shown["state"], "outcome-unknown", "the ledger has its intent");
    let answer = get(&world, &world.alice, &location(&moved)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));
    let lines: Vec<String> = world.tool.take().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["POST /things HTTP/1.1", "POST /c HTTP/1.1"]);
}

#[tokio::test]
async fn a_row_that_is_edited_while_the_gateway_runs_moves_nothing() {
    let world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let done = post(&world, &world.alice, "a", "wait=30", &body).await;
    let before = done.json();
    assert_eq!(edit(&world, "UPDATE call SET state = 'queued', attempts = 0"), 1);
    world.still_serves(&world.alice).await;
    assert_eq!(
        get(&world, &world.alice, &location(&done)).await.json()["state"],
        "done",
        "as the seal has it"
    );
    assert_eq!(before["state"], "done");
    world.tool.take();
    assert_eq!(post(&world, &world.alice, "a", "wait=1", &body).await.status, 200);
    assert_eq!(world.tool.take().len(), 0);
}

#[tokio::test]
async fn a_call_of_a_sleeping_task_waits_and_is_refused_at_its_deadline() {
    let world = World::new().await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let body = asked(&world.alice, "POST", "/things").replace(r#""tool""#, r#""deadline_secs":600,"tool""#);
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    world.eventually("it is tried", || async { world.keeper.count("lease") > 0 }).await;
    world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
    world.eventually("it sleeps", || async { world.keeper.count("sleep") == 1 }).await;
    world.keeper.knobs.lock().unwrap().refuse.clear();
    let leases = world.keeper.count("lease");
    // Its pauses pass, and it is not tried: nobody is awake. The other agent's call is one that the worker sees too.
    world.clock.forward(Duration::from_secs(100));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    let theirs = asked(&world.mallory, "GET", "/things");
    assert_eq!(post(&world, &world.mallory, "k", "wait=30", &theirs).await.status, 200);
    assert_eq!(world.keeper.count("lease"), leases + 1, "the other's one lease");
    world.clock.forward(Duration::from_secs(601));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    let shown = ended(&world, &world.alice, &location(&answer)).await;
    assert_eq!(shown["state"], "refused");
    assert!(world.tool.take().iter().all(|seen| !seen.line().starts_with("POST")));
}

#[tokio::test]
async fn what_is_taken_back_while_a_call_waits_ends_it() {
    let world = World::new().await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let body = asked(&world.alice, "POST", "/things");
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    world.eventually("it is tried", || async { world.keeper.count("lease") > 0 }).await;
    world.set_grant(&world.alice, |grant| grant.revoked_at = Some(grant.created_at)).await;
    world.keeper.knobs.lock().unwrap().refuse.clear();
    world
        .eventually("the pause is over", || async {
            world.clock.forward(Duration::from_secs(1));
            get(&world, &world.alice, &location(&answer)).await.json()["state"] == "refused"
        })
        .await;
    let shown = ended(&world, &world.alice, &location(&answer)).await;
    assert_eq!(slug(&shown["problem"]), "grant-ended");
    assert_eq!(world.tool.take().len(), 0);
}

#[tokio::test]
async fn calls_bodies_and_results_are_bounded() {
    let small = CallLimits {
        request_max_bytes: 2048,
        result_max_bytes: 16,
        room: nightlatch_domain::ports::store::CallRoom { each_max: 2, ..CallLimits::default().room },
        ..CallLimits::default()
    };
    let limits = Some(Limits { calls: small, ..Limits::default() });
    let world = World::twisted(Twist { limits, ..Twist::default() }).await;
    let body = asked(&world.alice, "POST", "/things");
    let long = body.replace("hello", &"x".repeat(3000));
    assert_eq!(post(&world, &world.alice, "a", "wait=30", &long).await.problem(), "too-large");
    world.tool.answers(|_| Reply::ok("0123456789abcdefXYZ"));
    let shown = post(&world, &world.alice, "a", "wait=30", &body).await.json();
    assert_eq!(shown["result"]["body"]["text"], "0123456789abcdef");
    assert_eq!((shown["state"].as_str(), &shown["result"]["truncated"]), (Some("done"), &true.into()));
    assert_eq!(post(&world, &world.alice, "b", "wait=30", &body).await.status, 200);
    let third = post(&world, &world.alice, "c", "wait=30", &body).await;
    assert_eq!((third.status, third.problem().as_str()), (429, "too-many-calls"));
    let theirs =
        post(&world, &world.mallory, "c", "wait=30", &asked(&world.mallory, "POST", "/things")).await;
    assert_eq!(theirs.status, 200, "a full task stands in nobody's way");
    // A day after its end a call is forgotten, and there is room again.
    world.clock.forward(Duration::from_secs(24 * 3600 + 1));
    world
        .eventually("old calls are forgotten", || async { edit(&world, "UPDATE call SET bytes = bytes") < 3 })
        .await;
}

#[tokio::test]
async fn events_tell_each_state_until_the_final_one() {
    let world = World::new().await;
    let gate = Arc::new(Notify::new());
    let held = Reply {
        pieces: vec![Vec::new(), b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine".to_vec()],
        gate: Some(Arc::clone(&gate)),
        ..Reply::default()
    };
    world.tool.answers(move |_| held.clone());
    let body = asked(&world.alice, "POST", "/things");
    let answer = post(&world, &world.alice, "k", "respond-async", &body).await;
    world.eventually("it is out", || async { world.tool.count() == 1 }).await;
    let mut wire = world.direct(&world.alice).await;
    wire.write(world.request(&format!("GET {}/events", location(&answer)), &[])).await;
    let head = wire.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    let event = |chunk: Vec<u8>| {
        let text = String::from_utf8(chunk).unwrap();
        let data = text.strip_prefix("event: state\ndata: ").and_then(|text| text.strip_suffix("\n\n"));
        serde_json::from_str::<serde_json::Value>(data.unwrap_or_else(|| panic!("{text}"))).unwrap()
    };
    assert_eq!(event(wire.chunk().await.unwrap())["state"], "attempting");
    gate.notify_one();
    let last = event(wire.chunk().await.unwrap());
    assert_eq!(
        (last["state"].as_str(), last["result"]["body"]["text"].as_str()),
        (Some("done"), Some("fine"))
    );
    assert_eq!(wire.chunk().await, Some(Vec::new()), "and that was all");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_holds_up_no_other_at_a_start() {
    let mut world = World::new().await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let mut placed = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        let body = asked(&world.alice, "POST", &format!("/{key}"));
        placed.push(location(&post(&world, &world.alice, key, "respond-async", &body).await));
    }
    world.eventually("they are tried", || async { world.keeper.count("lease") >= 5 }).await;
    let spoilt = ["hook = 'ci', hook_state = 'x'", "request = 'x'", "state = 'x'", "call_id = 'x'"];
    world
        .crash(async |world| {
            for (place, spoilt) in placed.iter().zip(spoilt) {
                let id = place.rsplit('/').next().unwrap();
                assert_eq!(edit(world, &format!("UPDATE call SET {spoilt} WHERE call_id = '{id}'")), 1);
            }
            world.keeper.knobs.lock().unwrap().refuse.clear();
        })
        .await;
    assert_eq!(ended(&world, &world.alice, &placed[4]).await["state"], "done");
    let lines: Vec<String> = world.tool.take().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["POST /e HTTP/1.1"]);
    for place in &placed[..3] {
        let answer = get(&world, &world.alice, place).await;
        assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"), "{place}");
    }
    let body = asked(&world.alice, "POST", "/b");
    assert_eq!(post(&world, &world.alice, "b", "wait=5", &body).await.problem(), "internal", "by its key");
    // They are kept as long as any other call, and no longer: their task has its room again.
    let kept = || edit(&world, "UPDATE call SET bytes = bytes");
    assert_eq!(kept(), 5);
    world.clock.forward(Duration::from_secs(25 * 3600));
    world.eventually("all are forgotten", || async { kept() == 0 }).await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_any_more_is_not_waited_for() {
    let world = World::new().await;
    let gate = Arc::new(Notify::new());
    let reply = Reply { pieces: vec![Vec::new(), Reply::ok("fine").pieces.concat()], ..Reply::default() };
    let reply = Reply { gate: Some(Arc::clone(&gate)), ..reply };
    world.tool.answers(move |_| reply.clone());
    let body = asked(&world.alice, "POST", "/things");
    let told =
        tokio::time::timeout(Duration::from_secs(15), post(&world, &world.alice, "k", "wait=30", &body));
    let (told, ()) = tokio::join!(told, async {
        world.eventually("it is out", || async { world.tool.count() == 1 }).await;
        assert_eq!(edit(&world, "UPDATE call SET request = 'x'"), 1);
        gate.notify_one();
    });
    let answer = told.expect("who waits is told before the end of its wait");
    assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));
    world.clock.forward(Duration::from_secs(25 * 3600));
    let kept = || edit(&world, "UPDATE call SET bytes = bytes");
    world.eventually("it is forgotten like any other", || async { kept() == 0 }).await;
}

#[tokio::test]
async fn what_a_store_that_is_out_of_reach_cannot_say_may_be_asked_again() {
    let world = World::new().await;
    let body = asked(&world.alice, "POST", "/things");
    let placed = location(&post(&world, &world.alice, "k", "wait=30", &body).await);
    assert_eq!(edit(&world, "ALTER TABLE call RENAME TO lent"), 0);
    let answer = get(&world, &world.alice, &placed).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "ledger-unavailable"));
    assert_eq!(edit(&world, "ALTER TABLE lent RENAME TO call"), 0);
    assert_eq!(get(&world, &world.alice, &placed).await.status, 200);
}
