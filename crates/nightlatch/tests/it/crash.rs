//! `kill -9` at each step of a refresh, on every provider: never a second presentation; a family is never
//! lost whose answer was not lost; otherwise one plain request for a human.
//!
//! strace kills the process at the n-th of the system calls by which a refresh takes its steps (a sync of
//! the database, of the anchor log, of the spool; the write to and the read from the provider), so the
//! rounds walk through the refresh from its first sync to its last. The counts are of each thread.

use crate::world::{
    connect::text,
    eventually,
    install::Install,
    provider::{Kind, Registration},
};
use http::StatusCode;
use std::{
    process::{Command, Stdio},
    time::Duration,
};

const ROUNDS: usize = 50;
const ACCESS_SECS: u32 = 4;

/// The steps, by the system call that ends each: twice round make fifty.
const STEPS: [(&str, usize); 25] = [
    ("fdatasync", 1),
    ("fdatasync", 2),
    ("fdatasync", 3),
    ("fdatasync", 4),
    ("fdatasync", 5),
    ("fdatasync", 6),
    ("fsync", 1),
    ("fsync", 2),
    ("pwrite64", 1),
    ("pwrite64", 2),
    ("pwrite64", 4),
    ("pwrite64", 6),
    ("pwrite64", 8),
    ("pwrite64", 10),
    ("pwrite64", 12),
    ("pwrite64", 14),
    ("connect", 1),
    ("sendto,sendmsg,writev", 1),
    ("sendto,sendmsg,writev", 2),
    ("recvfrom", 1),
    ("recvfrom", 2),
    ("recvfrom", 3),
    ("renameat,renameat2,rename", 1),
    ("unlink,unlinkat", 1),
    ("fallocate,ftruncate", 1),
];

/// Attaches strace to `up`, told to kill it at a step from now on. Ends when `up` does.
pub(crate) fn kill_at(pid: u32, (calls, count): (&str, usize)) -> std::process::Child {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=SIGKILL:when={count}"), "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed: run `cargo xtask test`")
}

#[derive(Default, Debug)]
struct Tally {
    at_a_step: usize,
    between: usize,
    healthy: usize,
    asked: usize,
}

async fn a_kill_at_each_step_never_presents_twice(kind: Kind, username: &str) {
    let mut install = Install::with_provider(kind, "refresh_timer = \"on\"").await;
    let registration = install.register(kind, username, ACCESS_SECS).await;
    let mut browser = registration.browser();
    install.connect(&registration, &mut browser, &[]).await.json();
    let granted = install.granted("worker", &format!("{}:read", kind.tool())).await;
    let path = format!("/{}{}", kind.tool(), kind.me());
    let mut tally = Tally::default();

    for round in 0..ROUNDS {
        let before = registration.counters().await;
        let mut strace = kill_at(install.pid(), STEPS[round % STEPS.len()]);
        if install.ends_within(Duration::from_secs(12)).await {
            tally.at_a_step += 1;
        } else {
            // This step makes no such call: a kill between two refreshes is a round as well.
            install.kill();
            tally.between += 1;
        }
        let _ = strace.wait();
        install.up().await;
        let state = settled(&install, &registration, before.refreshes_ok).await;
        let after = registration.counters().await;
        assert_eq!(after.reuse_detected, 0, "round {round}: a consumed token was presented: {after:?}");
        assert_eq!(after.presented_twice, 0, "round {round}: a token was presented again: {after:?}");
        assert_eq!(after.families_revoked, 0, "round {round}: {after:?}");
        if state == "healthy" {
            tally.healthy += 1;
            let answer = granted.agent.get(&path, &granted.reference).await;
            assert_eq!(answer.status, StatusCode::OK, "round {round}: {}", answer.text());
        } else {
            tally.asked += 1;
            assert_one_plain_request(&install, round);
            let id = text(&install.only_connection(), "id");
            install.connect(&registration, &mut browser, &["--reconnect", &id]).await.json();
        }
    }
    println!("{}: {tally:?}", kind.tool());
    assert!(tally.at_a_step * 5 >= ROUNDS * 4, "{tally:?}");
    assert!(tally.healthy > 0, "no round came through: {tally:?}");
}

/// Waits until the restarted keeper has come to a conclusion: another refresh succeeded, or a human is asked.
async fn settled(install: &Install, registration: &Registration, refreshed: u64) -> String {
    eventually("the keeper comes to a conclusion", Duration::from_secs(30), async || {
        let state = text(&install.only_connection(), "state");
        let moved = registration.counters().await.refreshes_ok > refreshed;
        (state == "needs-you" || (state == "healthy" && moved)).then_some(state)
    })
    .await
}

fn assert_one_plain_request(install: &Install, round: usize) {
    let health = install.json(&["health"]);
    let tickets = health["tickets"].as_array().expect("tickets");
    assert_eq!(tickets.len(), 1, "round {round}: {health}");
    assert!(text(&tickets[0], "command").starts_with("nightlatch connect"), "round {round}: {health}");
}

#[tokio::test]
async fn a_kill_at_each_step_never_presents_twice_at_oidc_provider() {
    a_kill_at_each_step_never_presents_twice(Kind::Oidc, "crash-oidc").await;
}

#[tokio::test]
async fn a_kill_at_each_step_never_presents_twice_at_django_without_grace() {
    a_kill_at_each_step_never_presents_twice(Kind::Dot0, "crash-dot0").await;
}

#[tokio::test]
async fn a_kill_at_each_step_never_presents_twice_at_django_with_grace() {
    a_kill_at_each_step_never_presents_twice(Kind::Dot30, "crash-dot30").await;
}
