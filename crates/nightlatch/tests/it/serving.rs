//! The planes as processes over PostgreSQL: calls pass, whichever gateway and keeper they meet, also after one of them
//! was killed; what a human takes away is gone at every gateway; and rows that somebody writes into the mailbox yield nothing.

use crate::world::{
    connect::Granted,
    recorder::Recorder,
    served::{Served, sql},
};
use http::StatusCode;
use nightlatch_custody::{
    LinkKey,
    entropy::SystemEntropy,
    link::{End, Trusted},
};
use nightlatch_domain::{
    clock::Timestamp,
    ports::mailbox::{Mailbox as _, Role},
};
use nightlatch_store::{Address, Plane, PostgresStore};
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const KEY: &str = "canary-served-8e2f6b4d0a917c35";

struct World {
    served: Served,
    recorder: Recorder,
    granted: Granted,
}

impl World {
    async fn new(of_each: usize) -> Self {
        let recorder = Recorder::start("api.served.test");
        let served = Served::started(of_each, &recorder.config()).await;
        Self::over(served, recorder).await
    }

    async fn over(served: Served, recorder: Recorder) -> Self {
        let install = &served.install;
        install.write("tool.toml", &recorder.manifest("served"));
        install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
        install.json_with(&["connect", "served", "--key", "--name", "one"], KEY, &[]);
        let granted = install.granted("worker", "served/one:read@acme/*").await;
        Self { served, recorder, granted }
    }

    /// One call at a gateway passes, with the exact credential at the tool.
    async fn passes(&self, gateway: &str) {
        let before = self.recorder.count();
        let agent = self.granted.agent.at(gateway);
        let answer = agent.get("/served/repos/acme/site", &self.granted.reference).await;
        assert_eq!(answer.status, StatusCode::OK, "{gateway}: {}", answer.text());
        assert_eq!(self.recorder.count(), before + 1);
        assert_eq!(self.recorder.last().values("authorization"), [format!("Bearer {KEY}")]);
    }

    /// One call at a gateway is refused by this word, and nothing reaches the tool.
    async fn is_refused(&self, gateway: &str, path: &str, word: &str) {
        let before = self.recorder.count();
        let answer = self.granted.agent.at(gateway).get(path, &self.granted.reference).await;
        assert!(!answer.status.is_success() && answer.text().contains(word), "{gateway}: {}", answer.text());
        assert_eq!(self.recorder.count(), before, "{gateway}: something reached the tool");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_of_each_plane_carries_a_call() {
    let mut world = World::new(1).await;
    let gateway = world.served.gateways().remove(0);
    world.passes(&gateway).await;
    world.is_refused(&gateway, "/served/repos/evil/site", "policy-denied").await;
    // Each plane logged in as itself.
    let roles = sql(
        &world.served.database,
        "SELECT string_agg(DISTINCT split_part(usename, '_', 1), ',' ORDER BY split_part(usename, '_', 1))
         FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE '%served%'",
    );
    assert_eq!(roles, "control,gateway,keeper");
    assert!(world.served.end().await.iter().all(|(_, ended_well)| *ended_well));
    assert_eq!(sql(&world.served.database, "SELECT count(*) FROM peer"), "0", "who ends takes its card away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_may_be_every_plane() {
    let recorder = Recorder::start("api.served.test");
    let served = Served::in_one(&recorder.config()).await;
    let mut world = World::over(served, recorder).await;
    let gateway = world.served.gateways().remove(0);
    world.passes(&gateway).await;
    world.is_refused(&gateway, "/served/repos/evil/site", "policy-denied").await;
    // Its planes speak by letters all the same.
    assert_eq!(sql(&world.served.database, "SELECT count(*) FROM peer"), "3");
    let shown = world.served.install.json(&["metrics"]).to_string();
    assert!(shown.contains("nightlatch_calls_total"), "{shown}");
    world.served.install.json(&["task", "sleep", &world.granted.task]);
    assert!(world.served.end().await.iter().all(|(_, ended_well)| *ended_well));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_of_each_plane_outlive_a_killed_keeper() {
    let mut world = World::new(3).await;
    let gateways = world.served.gateways();
    // What control confirmed is in effect at each of them.
    for gateway in &gateways {
        world.passes(gateway).await;
        world.is_refused(gateway, "/served/repos/evil/site", "policy-denied").await;
    }
    // Each keeper that began a wake is killed, until one is left: the same agents go on.
    for _ in 0..2 {
        let began = world.served.whose_ledger_says("task-woke");
        let living = began.into_iter().find(|name| name.starts_with("keeper") && world.served.runs(name));
        let served = living.expect("a keeper began a wake");
        world.served.kill(&served);
        for gateway in &gateways {
            world.passes(gateway).await;
        }
    }
    // What a human takes away is gone everywhere before it is confirmed.
    world.served.install.json(&["grant", "revoke", &world.granted.grant]);
    for gateway in &gateways {
        world.is_refused(gateway, "/served/repos/acme/site", "grant-ended").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_row_of_the_mailbox_yields_no_lease() {
    let world = World::new(1).await;
    let root = world.served.install.root();
    let mailbox =
        PostgresStore::new(&Address::new(&world.served.database, None).expect("an address"), Plane::Gateway);
    let present = mailbox.present().await.expect("cards");
    let keeper =
        present.into_iter().map(|one| one.card).find(|card| card.role == Role::Keeper).expect("a keeper");
    let public = |folder: &str| link_key(&root.join(folder).join("keys/link/keeper.key"), false).public();
    let mut trusted = Trusted::default();
    trusted.add(Role::Keeper, &public("keeper-1")).expect("a key");

    // Whoever writes the database has a card of their own there, and asks as a gateway does.
    let mut answers = Vec::new();
    for (key, fresh) in
        [(root.join("forged/link.key"), true), (root.join("gateway-1/keys/link/gateway.key"), false)]
    {
        let who = (Role::Gateway, "gateway-9".parse().expect("a name"));
        let end = End::new(who, link_key(&key, fresh), trusted.clone(), now(), &SystemEntropy::new())
            .expect("an end");
        mailbox.arrive(end.card().clone()).await.expect("a row");
        let to = end.known(&keeper).expect("the keeper's card");
        let asks = br#"{"to-keeper":"installation"}"#;
        let letter = end.write(&to, (1, None), now().plus(Duration::from_secs(30)), asks).expect("a letter");
        mailbox.post(letter).await.expect("a row");
        mailbox.arrived(end.card().peer, 4000).await;
        answers.push(mailbox.collect(end.card().peer, 9).await.expect("rows").len());
    }
    assert_eq!(answers, [0, 1], "only a gateway's own key is answered");
}

fn link_key(path: &Path, fresh: bool) -> LinkKey {
    LinkKey::load_or_create(path, fresh, &SystemEntropy::new()).expect("a key")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(i64::try_from(since.as_millis()).expect("in range"))
}
