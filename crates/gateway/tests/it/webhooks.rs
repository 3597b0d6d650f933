//! Webhooks of durable calls: the operator's and no others, signed, at least once, and nothing waits for them.

use crate::{
    calls::{asked, edit, ended, get, location, post},
    fused::{Fuse, Step},
    upstream::{Reply, Seen},
    world::{Actor, EVIL, SECRET, Twist, World},
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nightlatch_custody::{WebhookKey, entropy::SystemEntropy};
use nightlatch_domain::clock::Clock as _;
use nightlatch_ledger::record::{Entry, Event, EventName};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// A world whose webhook `ci` is at the host that no tool has, and `chat` at another path of it.
async fn world() -> World {
    let url = |path: &str| format!("https://{EVIL}{path}");
    let webhooks = vec![("ci", url("/hook?x=1")), ("chat", url("/chat"))];
    World::twisted(Twist { webhooks, ..Twist::default() }).await
}

/// A call that names a webhook.
fn asks(world: &World, path: &str, webhook: &str) -> String {
    asks_of(&world.alice, path, webhook)
}

fn asks_of(actor: &Actor, path: &str, webhook: &str) -> String {
    asked(actor, "POST", path).replace(r#""tool""#, &format!(r#""webhook":"{webhook}","tool""#))
}

/// Whether a receiver that has this webhook's secret takes a message, as the specification's libraries do it.
fn verifies(world: &World, webhook: &str, seen: &Seen, body: &[u8]) -> bool {
    let keys = world.folder.path().join("keys");
    let key = WebhookKey::load_or_create(&keys, &webhook.parse().unwrap(), &SystemEntropy::new()).unwrap();
    let secret = key.secret();
    let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, at) = (seen.all("webhook-id").join(""), seen.all("webhook-timestamp").join(""));
    let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
    let signature = seen.all("webhook-signature").join("");
    let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &secret), &signed, &tag).is_ok()
}

async fn events(world: &World, name: EventName) -> Vec<Event> {
    let records = world.records().await;
    let events = records.into_iter().filter_map(|record| match record.entry {
        Entry::Event(event) if event.event == name => Some(event),
        _ => None,
    });
    events.collect()
}

#[tokio::test]
async fn the_end_of_a_call_is_told_to_the_webhook_that_it_names_signed_and_thin() {
    let world = world().await;
    world.tool.answers(|_| Reply::with("201 Created", &["x-thing: one"], "the answer"));
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    world.eventually("it is told", || async { world.evil.count() == 1 }).await;
    let seen = world.evil.take().remove(0);
    assert_eq!(seen.line(), "POST /hook?x=1 HTTP/1.1");
    assert_eq!(seen.all("host"), [EVIL]);
    assert_eq!(seen.all("content-type"), ["application/json"]);
    assert_eq!(seen.all("webhook-id"), [shown["id"].as_str().unwrap()]);
    assert!(verifies(&world, "ci", &seen, &seen.body));
    // Not another body, and not under another webhook's key.
    let forged = String::from_utf8_lossy(&seen.body).replace("done", "refused").into_bytes();
    assert_ne!(forged, seen.body);
    assert!(!verifies(&world, "ci", &seen, &forged) && !verifies(&world, "chat", &seen, &seen.body));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    let ended_at = shown["ended_at"].as_i64().unwrap();
    let expected = serde_json::json!({
        "type": "call.ended",
        "timestamp": jiff::Timestamp::from_millisecond(ended_at).unwrap().to_string(),
        "data": {
            "call": shown["id"], "task": world.alice.task, "state": "done", "status": 201,
            "accepted_at": shown["accepted_at"], "ended_at": ended_at,
        },
    });
    assert_eq!(body, expected);
    // No credential, no answer, no reference.
    let all = format!("{}{}", seen.head, String::from_utf8_lossy(&seen.body));
    for secret in [SECRET, "authorization", "the answer", &world.alice.reference] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    world
        .eventually("it is shown", || async {
            let shown = get(&world, &world.alice, &location(&answer)).await.json();
            shown["webhook"] == serde_json::json!({ "name": "ci", "state": "delivered", "tries": 1 })
        })
        .await;
    let events = events(&world, EventName::WebhookDelivered).await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (event.host.as_deref(), event.port, event.task),
        (Some(EVIL), Some(443), Some(world.alice.task))
    );
    assert_eq!(event.call.unwrap().to_string(), shown["id"].as_str().unwrap());
    world.no_canary_at_rest();
}

#[tokio::test]
async fn a_refusal_is_told_by_its_word() {
    let world = world().await;
    world.tool.answers(|_| Reply { closes: true, ..Reply::of("") });
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.problem(), "outcome-unknown");
    world.eventually("it is told", || async { world.evil.count() == 1 }).await;
    let body: serde_json::Value = serde_json::from_slice(&world.evil.take()[0].body).unwrap();
    assert_eq!(
        (&body["data"]["state"], &body["data"]["problem"]),
        (&"outcome-unknown".into(), &"outcome-unknown".into())
    );
}

#[tokio::test]
async fn a_webhook_that_is_not_the_operators_is_refused_at_once_and_uses_up_no_key() {
    let world = world().await;
    let before = world.decisions().await.len();
    for webhook in ["nobody", "CI", "https://evil.test/hook", ""] {
        let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", webhook)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "webhook-unknown"), "{webhook}");
        assert!(webhook.is_empty() || !answer.text().contains(webhook), "the name is not repeated");
    }
    assert_eq!(world.decisions().await.len(), before + 4, "each is recorded");
    assert_eq!((world.tool.count(), world.evil.count()), (0, 0));
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.eventually("it is told", || async { world.evil.count() == 1 }).await;
}

#[tokio::test]
async fn a_webhook_that_fails_or_leads_elsewhere_is_told_again_until_it_takes_it() {
    let world = world().await;
    let started = world.clock.now();
    world.evil.answers(|seen| match seen.line().starts_with("POST /hook") {
        true => Reply::with("307 Temporary Redirect", &["location: https://evil.test/elsewhere"], ""),
        false => Reply::ok(""),
    });
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.status, 200, "a call has its answer, whatever its webhook does: {answer:?}");
    let tries = |count: usize| {
        let world = &world;
        async move {
            let counted = || async {
                world.clock.forward(Duration::from_secs(1));
                world.evil.count() >= count
            };
            world.eventually("it is told again", counted).await;
        }
    };
    tries(2).await;
    world.evil.answers(|_| Reply::with("500 Internal Server Error", &[], "no"));
    tries(3).await;
    world.evil.answers(|_| Reply::ok(""));
    world
        .eventually("it is taken", || async {
            world.clock.forward(Duration::from_secs(60));
            !events(&world, EventName::WebhookDelivered).await.is_empty()
        })
        .await;
    let seen = world.evil.take();
    assert!(seen.iter().all(|one| one.line() == "POST /hook?x=1 HTTP/1.1"), "no redirect is followed");
    assert!(seen.iter().all(|one| verifies(&world, "ci", one, &one.body)), "each is signed for its own time");
    let times: Vec<i64> =
        seen.iter().map(|one| one.all("webhook-timestamp").join("").parse().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "which is when it was sent: {times:?}");
    let (first, last) = (started.secs(), world.clock.now().secs());
    assert!(times.iter().all(|time| (first..=last).contains(time)), "by the clock: {first} {times:?} {last}");
    assert!(
        seen.iter().all(|one| one.body == seen[0].body && one.all("webhook-id") == seen[0].all("webhook-id"))
    );
    assert_eq!(events(&world, EventName::WebhookDelivered).await.len(), 1);
    assert!(seen.len() >= 4);
    // What was taken is not told again: the next message is another call's.
    world.clock.forward(Duration::from_secs(7200));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    let next = post(&world, &world.alice, "next", "wait=30", &asks(&world, "/things", "ci")).await;
    world.eventually("it is told", || async { world.evil.count() > 0 }).await;
    let ids: Vec<_> = world.evil.take().iter().map(|seen| seen.all("webhook-id").join("")).collect();
    assert_eq!(ids, [next.json()["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn what_was_not_taken_is_told_after_a_crash() {
    let mut world = world().await;
    let never = Reply {
        pieces: vec![Vec::new(), Vec::new()],
        gate: Some(Arc::new(Notify::new())),
        ..Reply::default()
    };
    world.evil.answers(move |_| never.clone());
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.json()["state"], "done");
    world.eventually("it is under way", || async { world.evil.count() == 1 }).await;
    world.crash(async |world| world.evil.answers(|_| Reply::ok(""))).await;
    world.eventually("it is told again", || async { world.evil.count() == 2 }).await;
    let seen = world.evil.take();
    assert_eq!(seen[0].all("webhook-id"), seen[1].all("webhook-id"), "its receiver knows that it has it");
    // A call whose outcome nobody knows ends at the start, and that is told too.
    let gate = Reply {
        closes: false,
        pieces: vec![Vec::new(), Vec::new()],
        gate: Some(Arc::new(Notify::new())),
        ..Reply::default()
    };
    world.tool.answers(move |_| gate.clone());
    let marked = post(&world, &world.alice, "m", "respond-async", &asks(&world, "/marked", "ci")).await;
    assert_eq!(marked.status, 202);
    world.eventually("it is out", || async { world.tool.count() == 2 }).await;
    world.crash(async |_| {}).await;
    world.eventually("its end is told", || async { world.evil.count() == 1 }).await;
    let body = String::from_utf8(world.evil.take()[0].body.clone()).unwrap();
    assert!(body.contains("outcome-unknown"), "{body}");
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_no_call_and_no_other_webhook() {
    let world = world().await;
    let never = Reply {
        pieces: vec![Vec::new(), Vec::new()],
        gate: Some(Arc::new(Notify::new())),
        ..Reply::default()
    };
    world.evil.answers(move |seen| match seen.line().starts_with("POST /hook") {
        true => never.clone(),
        false => Reply::ok(""),
    });
    for number in 0..20 {
        let body = asks(&world, "/things", "ci");
        let answer = post(&world, &world.alice, &format!("k{number}"), "wait=30", &body).await;
        assert_eq!(answer.json()["state"], "done");
    }
    let answer = post(&world, &world.alice, "chat", "wait=30", &asks(&world, "/things", "chat")).await;
    assert_eq!(answer.json()["state"], "done");
    let told = |path: &'static str| {
        let world = &world;
        move || {
            let seen = world.evil.seen();
            seen.iter().filter(|seen| seen.line().starts_with(path)).count()
        }
    };
    world.eventually("the other is told", || async { told("POST /chat")() == 1 }).await;
    assert_eq!(told("POST /hook")(), 4, "four at once, and no more");
}

#[tokio::test]
async fn a_task_with_many_messages_before_a_webhook_that_hangs_holds_up_no_other_task() {
    let world = world().await;
    let gate = Arc::new(Notify::new());
    let fails = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec();
    let waits = Reply { pieces: vec![Vec::new(), fails], gate: Some(Arc::clone(&gate)), ..Reply::default() };
    world.evil.answers(move |_| waits.clone());
    for number in 0..20 {
        let body = asks(&world, "/things", "ci");
        let answer = post(&world, &world.alice, &format!("k{number}"), "wait=30", &body).await;
        assert_eq!(answer.json()["state"], "done");
    }
    let body = asks_of(&world.mallory, "/things", "ci");
    let answer = post(&world, &world.mallory, "k", "wait=30", &body).await;
    assert_eq!(answer.json()["state"], "done");
    world.eventually("all places are taken", || async { world.evil.count() == 4 }).await;
    gate.notify_one();
    world.eventually("one has its turn", || async { world.evil.count() == 5 }).await;
    let tasks = world.evil.take().into_iter().map(|seen| {
        let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        body["data"]["task"].as_str().unwrap().to_owned()
    });
    let (alice, mallory) = (world.alice.task.to_string(), world.mallory.task.to_string());
    assert_eq!(tasks.collect::<Vec<_>>(), [&alice, &alice, &alice, &alice, &mallory].map(String::clone));
}

/// Two calls whose webhook did not take their ends at first.
async fn failed_once(world: &World) {
    world.evil.answers(|_| Reply::with("503 Service Unavailable", &[], ""));
    for key in ["a", "b"] {
        let answer = post(world, &world.alice, key, "wait=30", &asks(world, "/things", "ci")).await;
        assert_eq!(answer.json()["state"], "done");
    }
    let noted = || async { edit(world, "UPDATE call SET hook = hook WHERE hook_tries = 1") == 2 };
    world.eventually("both failed once", noted).await;
    world.evil.take();
}

#[tokio::test]
async fn what_was_not_taken_within_a_day_is_tried_once_more_and_given_up_once() {
    let world = world().await;
    failed_once(&world).await;
    world.clock.forward(Duration::from_secs(24 * 3600));
    let given_up = || async { events(&world, EventName::WebhookGivenUp).await };
    world.eventually("both are given up", || async { given_up().await.len() == 2 }).await;
    let over = "UPDATE call SET hook = hook WHERE hook_state = 'given-up' AND hook_tries = 2";
    world.eventually("that is kept", || async { edit(&world, over) == 2 }).await;
    assert_eq!(world.evil.count(), 2, "one more try of each");
    let events = given_up().await;
    assert_eq!((events.len(), events[0].reason.as_deref()), (2, Some("refused")));
}

#[tokio::test]
async fn a_clock_that_jumps_far_ahead_gives_up_no_message_that_is_taken_then() {
    let world = world().await;
    failed_once(&world).await;
    world.evil.answers(|_| Reply::ok(""));
    world.clock.forward(Duration::from_secs(400 * 24 * 3600));
    let told = || async { events(&world, EventName::WebhookDelivered).await.len() == 2 };
    world.eventually("both are told", told).await;
    assert_eq!((world.evil.count(), events(&world, EventName::WebhookGivenUp).await.len()), (2, 0));
}

#[tokio::test]
async fn a_message_goes_to_no_address_of_this_machine_that_nobody_configured() {
    let receiver = crate::upstream::Upstream::start_plain().await;
    let url = format!("http://127.0.0.1:{}/hook", receiver.address.port());
    let world = World::twisted(Twist { webhooks: vec![("ci", url)], ..Twist::default() }).await;
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.json()["state"], "done");
    world
        .eventually("it is given up", || async {
            world.clock.forward(Duration::from_secs(3600));
            !events(&world, EventName::WebhookGivenUp).await.is_empty()
        })
        .await;
    assert_eq!(receiver.count(), 0);
    let events = events(&world, EventName::WebhookGivenUp).await;
    assert_eq!(events[0].reason.as_deref(), Some("address-forbidden"));
    assert!(events[0].event.is_alarm(), "a human hears of it");
}

#[tokio::test]
async fn a_row_that_is_edited_tells_no_other_webhook() {
    let mut world = world().await;
    world.evil.answers(|_| Reply::with("503 Service Unavailable", &[], ""));
    let answer = post(&world, &world.alice, "k", "wait=30", &asks(&world, "/things", "ci")).await;
    assert_eq!(answer.json()["state"], "done");
    let other = post(&world, &world.alice, "o", "wait=30", &asks(&world, "/things", "ci")).await;
    world.eventually("both failed once", || async { world.evil.count() == 2 }).await;
    world
        .eventually("both were noted", || async {
            edit(&world, "UPDATE call SET hook = hook WHERE hook_tries = 1") == 2
        })
        .await;
    world.evil.take();
    world
        .crash(async |world| {
            world.evil.answers(|_| Reply::ok(""));
            let id = |answer| location(answer).rsplit('/').next().unwrap().to_owned();
            let edits = [("chat", id(&answer)), ("gone", id(&other))];
            for (hook, id) in edits {
                let sql = format!("UPDATE call SET hook = '{hook}', hook_at = 0 WHERE call_id = '{id}'");
                assert_eq!(edit(world, &sql), 1);
            }
        })
        .await;
    world
        .eventually("both are given up", || async {
            events(&world, EventName::WebhookGivenUp).await.len() == 2
        })
        .await;
    assert_eq!(world.evil.count(), 0, "nobody is told");
    let mut reasons: Vec<_> = events(&world, EventName::WebhookGivenUp)
        .await
        .into_iter()
        .filter_map(|event| event.reason)
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["row-unreadable", "webhook-removed"]);
    let shown = ended(&world, &world.alice, &location(&answer)).await;
    assert_eq!(shown["webhook"]["name"], "ci", "as the seal has it");
}

#[tokio::test]
async fn a_row_whose_time_is_edited_tells_and_shows_the_time_of_the_end() {
    let world = world().await;
    failed_once(&world).await;
    let answer = post(&world, &world.alice, "a", "wait=30", &asks(&world, "/things", "ci")).await;
    let shown = answer.json();
    let ended_at = shown["ended_at"].as_i64().unwrap();
    assert_eq!(edit(&world, "UPDATE call SET ended_at = ended_at - 86400000, accepted_at = 0"), 2);
    world.evil.answers(|_| Reply::ok(""));
    world.clock.forward(Duration::from_secs(60));
    world.eventually("both are told", || async { world.evil.count() == 2 }).await;
    let bodies: Vec<serde_json::Value> =
        world.evil.take().iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    let body = bodies.iter().find(|body| body["data"]["call"] == shown["id"]).unwrap();
    assert_eq!(body["data"]["ended_at"], ended_at);
    assert_eq!(body["data"]["accepted_at"], shown["accepted_at"]);
    assert_eq!(body["timestamp"], jiff::Timestamp::from_millisecond(ended_at).unwrap().to_string());
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    let later = get(&world, &world.alice, &location(&answer)).await.json();
    assert_eq!((&later["ended_at"], &later["accepted_at"]), (&ended_at.into(), &shown["accepted_at"]));
}

#[tokio::test]
async fn a_panic_of_what_tells_a_webhook_ends_no_telling() {
    let fuse = Fuse::default();
    let webhooks = vec![("ci", format!("https://{EVIL}/hook"))];
    let world = World::twisted(Twist { webhooks, fuse: fuse.clone(), ..Twist::default() }).await;
    // The worker, when it looks; then an errand, when what came of it is to be kept.
    for (step, key, arrives) in [(Step::Untold, "a", 1), (Step::Tell, "b", 2)] {
        world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
        fuse.set(step);
        let answer = post(&world, &world.alice, key, "wait=30", &asks(&world, "/things", "ci")).await;
        assert_eq!(answer.json()["state"], "done");
        let told = || async {
            world.clock.forward(Duration::from_millis(50));
            edit(&world, "UPDATE call SET hook = hook WHERE hook_state = 'delivered'") == arrives
        };
        world.eventually("it is told", told).await;
        assert!(fuse.has_blown());
    }
    // The errand that panicked had sent its message; it counts as one that failed.
    assert_eq!(world.evil.count(), 3);
    assert_eq!(edit(&world, "UPDATE call SET hook = hook WHERE hook_tries = 2"), 1);
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_given_up_and_hold_up_no_message() {
    let mut world = world().await;
    world.evil.answers(|_| Reply::with("503 Service Unavailable", &[], ""));
    for key in ["a", "b", "c", "d", "e"] {
        let answer = post(&world, &world.alice, key, "wait=30", &asks(&world, "/things", "ci")).await;
        assert_eq!(answer.json()["state"], "done");
    }
    world
        .eventually("all failed once", || async {
            edit(&world, "UPDATE call SET hook = hook WHERE hook_tries = 1") == 5
        })
        .await;
    world.evil.take();
    world
        .crash(async |world| {
            world.evil.answers(|_| Reply::ok(""));
            // As many as are under way at once, and before the one that can be read.
            let first = "(SELECT call_id FROM call ORDER BY call_id LIMIT 4)";
            let spoilt = format!("UPDATE call SET request = 'x', hook_at = 0 WHERE call_id IN {first}");
            assert_eq!(edit(world, &spoilt), 4);
            assert_eq!(edit(world, "UPDATE call SET hook_at = 1 WHERE hook_at != 0"), 1);
        })
        .await;
    world.eventually("the last is told", || async { world.evil.count() == 1 }).await;
    world
        .eventually("the others are given up", || async {
            events(&world, EventName::WebhookGivenUp).await.len() == 4
        })
        .await;
    for event in events(&world, EventName::WebhookGivenUp).await {
        assert_eq!((event.reason.as_deref(), event.task), (Some("row-unreadable"), Some(world.alice.task)));
    }
    assert_eq!(world.evil.count(), 1);
}
