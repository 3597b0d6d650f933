//! `kill -9` of the program at random moments while an agent posts durable calls: none that must not be repeated
//! arrives twice, none is lost, each comes to a final answer, and the same key tells the same afterwards.

use crate::world::{
    agent::Agent, connect::text, eventually, http::Answer, install::Install, recorder::Recorder,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use nightlatch_domain::call::READS_MAX;
use nightlatch_gateway::CallLimits;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const KEY: &str = "canary-calls-5b2d48607f3a9c1e";
/// Calls that one agent has under way at a time.
const AT_ONCE: usize = 6;

/// A generator of which the seed is printed.
struct Dice(u64);

impl Dice {
    fn thrown() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
        println!("seed {seed}");
        Self(u64::from(seed) | 1)
    }

    /// Below `bound`.
    fn next(&mut self, bound: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
    i64::try_from(now).expect("a time")
}

/// What the `number`-th call asks for: one in three reads.
fn asked(number: usize, reference: &str) -> (bool, String) {
    let is_read = number.is_multiple_of(3);
    let (method, body) = if is_read { ("GET", "") } else { ("POST", r#","body":{"text":"once"}"#) };
    let target = format!(r#""method":"{method}","path":"/slow/{number}","reference":"{reference}""#);
    (is_read, format!(r#"{{"tool":"counted",{target}{body}}}"#))
}

async fn post(agent: &Agent, number: usize, reference: &str, prefer: &str) -> Option<Answer> {
    let key = format!("\"call-{number}\"");
    let headers = [("idempotency-key", key.as_str()), ("prefer", prefer)];
    agent.try_call(Method::POST, "/v1/calls", &headers, asked(number, reference).1).await
}

/// Posts until it is accepted, however often the program dies meanwhile. Gives the call's place.
async fn accepted(agent: &Agent, number: usize, reference: &str) -> String {
    let prefer = if number.is_multiple_of(2) { "respond-async" } else { "wait=2" };
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = post(agent, number, reference, prefer).await;
        // What has no place was not accepted.
        if let Some(location) = answer.and_then(|answer| answer.headers.get("location").cloned()) {
            return location.to_str().expect("a path").to_owned();
        }
        assert!(Instant::now() < until, "call {number} was never accepted");
        // tidy: sleeps because it polls a program that may be dead.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The call once it is final.
async fn ended(agent: &Agent, location: &str) -> Value {
    eventually("a call ends", Duration::from_secs(180), async || {
        let answer = agent.try_call(Method::GET, location, &[], "").await?;
        let shown: Value = serde_json::from_slice(&answer.body).ok()?;
        let is_final = matches!(shown["state"].as_str(), Some("done" | "refused" | "outcome-unknown"));
        (answer.status == StatusCode::OK && is_final).then_some(shown)
    })
    .await
}

/// A hundred kills over five hundred calls under `cargo xtask torture`, a few otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torture_no_kill_sends_a_write_twice_or_loses_a_call() {
    let full = std::env::var_os("NIGHTLATCH_TORTURE").is_some();
    let (calls, kills) = if full { (500, 100) } else { (30, 5) };
    let recorder = Recorder::start("calls.canary.test");
    let mut install = Install::prepared(&recorder.config());
    install.log_level = "info";
    install.up().await;
    install.write("tool.toml", &recorder.manifest("counted"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "counted", "--key"], KEY, &[]);
    let granted = Arc::new(install.granted("harness", "counted:write").await);

    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let harness: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (granted, next, done) = (Arc::clone(&granted), Arc::clone(&next), Arc::clone(&done));
            tokio::spawn(async move {
                let mut locations = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= calls {
                        return locations;
                    }
                    locations.push((number, accepted(&granted.agent, number, &granted.reference).await));
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let (mut dice, mut killed_at) = (Dice::thrown(), Vec::new());
    for kill in 0..kills {
        // Spread over the calls: the next kill waits until its share of them was accepted.
        let share = calls * kill / kills;
        eventually("calls go on", Duration::from_secs(300), async || {
            (done.load(Ordering::SeqCst) >= share).then_some(())
        })
        .await;
        // tidy: sleeps because a kill comes at a random moment.
        tokio::time::sleep(Duration::from_millis(dice.next(250))).await;
        install.kill();
        killed_at.push(now_millis());
        install.up().await;
    }
    let mut shown = BTreeMap::new();
    for worker in harness {
        for (number, location) in worker.await.expect("the harness ends") {
            let one = ended(&granted.agent, &location).await;
            shown.insert(number, one);
        }
    }
    assert_eq!(shown.len(), calls, "every call was accepted and has come to its end");

    let (mut tally, mut unknown_reads) = (BTreeMap::<String, usize>::new(), 0);
    for (number, one) in &shown {
        let (is_read, state) = (asked(*number, "").0, text(one, "state"));
        let arrived = recorder.count_of(&format!("/slow/{number}"));
        let kind = if is_read { "read" } else { "write" };
        assert!(is_read || arrived <= 1, "write {number} arrived {arrived} times: {one}");
        match state.as_str() {
            "done" => assert!(arrived >= 1, "{kind} {number} is done and never arrived: {one}"),
            // A read is repeated, but not for ever: five kills in the midst of it are as many as it is tried.
            "outcome-unknown" if is_read => {
                unknown_reads += 1;
                assert_eq!(one["attempts"], READS_MAX, "a read that can be repeated is known: {one}");
                let time = |name: &str| one[name].as_i64().expect("a time");
                let life = time("accepted_at")..=time("ended_at");
                let kills = killed_at.iter().filter(|at| life.contains(at)).count();
                assert!(kills >= READS_MAX as usize, "read {number} is unknown after {kills} kills: {one}");
            }
            "outcome-unknown" => {}
            _ => panic!("{kind} {number}: {one}"),
        }
        *tally.entry(format!("{kind} {state}, arrived {arrived}")).or_default() += 1;
    }
    println!("{calls} calls, {kills} kills: {tally:?}");
    assert!(tally.keys().any(|key| key.starts_with("write done")), "{tally:?}");
    // Each kill ends one try of each of a task's calls that are out, and an unknown read lost all of its tries.
    let lost_max = kills * CallLimits::default().attempts_each_max;
    assert!(unknown_reads * READS_MAX as usize <= lost_max, "{unknown_reads} unknown reads of {kills} kills");

    // After one more crash the same key and bytes tell the same of every call, and nothing is sent.
    install.kill();
    install.up().await;
    let before = recorder.count();
    for (number, one) in &shown {
        let again = post(&granted.agent, *number, &granted.reference, "wait=1").await.expect("an answer");
        assert_eq!(again.headers["location"], format!("/v1/calls/{}", text(one, "id")).as_str());
        let again: Value = serde_json::from_slice(&again.body).expect("JSON");
        match one["state"].as_str() {
            Some("done") => assert_eq!(again, *one),
            _ => assert_eq!(again, one["problem"]),
        }
    }
    assert_eq!(recorder.count(), before);
    let last = recorder.last_of("/slow/1");
    assert_eq!(last.values("authorization"), [format!("Bearer {KEY}")]);
    let verdict = install.json(&["ledger", "verify"]);
    assert_eq!(verdict["whole"], true, "{verdict}");
}

/// What the agent signs, by its parts, with the key that it enrolled.
fn signed(agent: &Agent, call: &Value, not_after: i64) -> String {
    let part = |name: &str| text(&call["mandate"], name);
    let ids = ["installation", "tenant", "task", "grant", "connection", "call", "request_sha256"].map(part);
    let statement = format!("nightlatch mandate v1\n{}\n{not_after}", ids.join("\n"));
    let signature = URL_SAFE_NO_PAD.encode(agent.sign(statement.as_bytes()));
    format!(r#"{{"not_after":{not_after},"signature":"{signature}"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_tasks_mandate_carries_one_call_past_a_crash() {
    let recorder = Recorder::start("mandate.canary.test");
    // Nothing listens at the place of the tool at first: the calls wait.
    let nowhere = recorder.config_at("127.0.0.1:1");
    let mut install = Install::started(&recorder.config()).await;
    install.write("tool.toml", &recorder.manifest("counted"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "counted", "--key"], KEY, &[]);
    let granted = install.granted("harness", "counted:write").await;
    install.kill();
    install.configure(&nowhere);
    install.up().await;
    let (agent, reference) = (&granted.agent, &granted.reference);
    let mut places = Vec::new();
    for number in [1, 2] {
        let answer = post(agent, number, reference, "respond-async").await.expect("an answer");
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        places.push(answer.headers["location"].to_str().expect("a path").to_owned());
    }
    let look = async |place: &str| -> Value {
        let answer = agent.try_call(Method::GET, place, &[], "").await.expect("an answer");
        serde_json::from_slice(&answer.body).expect("JSON")
    };
    let call = look(&places[0]).await;
    let end = call["accepted_at"].as_i64().expect("a time") + 600_000;
    let place = format!("{}/mandate", places[0]);
    // A bent one first: its agent hears of it while it is there.
    let mut bent = call.clone();
    bent["mandate"]["request_sha256"] = "0".repeat(64).into();
    let body = signed(agent, &bent, end);
    let refused = agent.try_call(Method::PUT, &place, &[], body).await.expect("an answer");
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let given = agent.try_call(Method::PUT, &place, &[], signed(agent, &call, end)).await.expect("an answer");
    assert_eq!(given.status, StatusCode::NO_CONTENT, "{}", given.text());

    // The agent is gone, its task sleeps, the program dies; then the tool is there.
    install.json(&["task", "sleep", &granted.task]);
    install.kill();
    install.configure(&recorder.config());
    install.up().await;
    eventually("the mandated call arrives", Duration::from_secs(90), async || {
        (recorder.count_of("/slow/1") > 0).then_some(())
    })
    .await;
    assert_eq!(recorder.last_of("/slow/1").values("authorization"), [format!("Bearer {KEY}")]);
    assert_eq!(recorder.count_of("/slow/2"), 0, "the other has no mandate");
    assert_eq!(text(&install.json(&["task", "show", &granted.task]), "state"), "dormant");
    // Whoever is back finds it done, and the other goes on.
    assert_eq!(text(&ended(agent, &places[0]).await, "state"), "done");
    assert_eq!(text(&ended(agent, &places[1]).await, "state"), "done");
    assert_eq!((recorder.count_of("/slow/1"), recorder.count_of("/slow/2")), (1, 1));
}
