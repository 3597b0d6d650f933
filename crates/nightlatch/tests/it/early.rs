//! A start that ends early, told to or by a fault, waits for the answers that its keeper asked for: no token is spent for nothing.

use crate::world::{
    eventually,
    provider::Kind,
    rotating::{Rotating, TIMER_ON},
    served::{Told, sql},
};
use rustix::process::Signal;
use serde_json::json;
use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

const PROCESS: &str = "all-1";
/// The provider answers so late; what ends at once ends before.
const ANSWERED_AFTER_MILLIS: u64 = 6000;

/// Holds a table in a mode until it is let go, and does something last.
fn hold(database: &str, (table, mode): (&str, &str), last: &str) -> JoinHandle<String> {
    sql(database, "CREATE TABLE let_go (yes INT)");
    let held = format!(
        "DO $$ BEGIN LOCK TABLE {table} IN {mode} MODE;
         WHILE NOT EXISTS (SELECT 1 FROM let_go) LOOP PERFORM pg_sleep(0.05); END LOOP; {last} END $$"
    );
    let database = database.to_owned();
    thread::spawn(move || sql(&database, &held))
}

/// Starts a process whose refresh is due, and ends its start while the provider has the token and the answer is not here.
async fn a_start_that_ends_early_keeps_the_answer(
    name: &str,
    held: (&str, &str),
    last: &str,
    told_to_stop: bool,
) {
    let told = Told { log_level: "info", ..Told::all(TIMER_ON) };
    let mut world = Rotating::started((0, Kind::Oidc), (name, 12), told).await;
    assert!(world.served.end().await.iter().all(|(_, ended_well)| *ended_well));
    world.registration.until_the_token_died().await;
    let before = world.registration.counters().await;
    let head = |world: &Rotating| world.sql("SELECT head FROM family").parse::<u64>().expect("a number");
    let head_before = head(&world);
    world.registration.behave(json!({ "delay_ms": ANSWERED_AFTER_MILLIS, "times": 1 })).await;

    let holds = hold(&world.served.database, held, last);
    let (table, mode) = held;
    let mode: String =
        mode.split(' ').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect();
    let granted = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
         WHERE relname = '{table}' AND mode = '{mode}Lock' AND granted"
    );
    eventually("it is held", Duration::from_secs(30), async || (world.sql(&granted) == "1").then_some(()))
        .await;
    world.served.begin(PROCESS);
    eventually("the provider has the token", Duration::from_secs(30), async || {
        (world.registration.counters().await.token_requests > before.token_requests).then_some(())
    })
    .await;
    let waits = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
         WHERE relname = '{table}' AND NOT granted"
    );
    eventually("its start waits", Duration::from_secs(30), async || (world.sql(&waits) != "0").then_some(()))
        .await;
    assert!(!world.served.log_of(PROCESS).contains("refreshed"));
    if told_to_stop {
        world.served.signal(PROCESS, Signal::TERM);
    }
    world.sql("INSERT INTO let_go VALUES (1)");
    holds.join().expect("it lets go");
    assert_eq!(world.served.ends(PROCESS).await, told_to_stop, "{}", world.served.log_of(PROCESS));

    // The provider answered, and what it answered is the head.
    let after = world.registration.counters().await;
    assert_eq!((after.refreshes_ok, after.presented_twice), (before.refreshes_ok + 1, 0), "{after:?}");
    assert_eq!(head(&world), head_before + 1, "the answer was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_told_to_stop_waits_for_the_answer_that_is_under_way() {
    // The keeper is at work, and its card cannot be laid down.
    a_start_that_ends_early_keeps_the_answer("early-told", ("peer", "SHARE"), "", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_waits_for_the_answer_that_is_under_way() {
    // Control is the last plane, and may not read what it begins with.
    let revoked = "REVOKE SELECT ON human FROM nightlatch_control;";
    a_start_that_ends_early_keeps_the_answer("early-failed", ("human", "ACCESS EXCLUSIVE"), revoked, false)
        .await;
}
