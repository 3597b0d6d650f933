//! The planes as processes over PostgreSQL: calls pass, whichever gateway and keeper they meet, also after one of them
//! was killed; what a human takes away is gone at every gateway; and rows that somebody writes into the mailbox yield nothing.

use crate::world::{
    connect::{Granted, text},
    eventually,
    recorder::Recorder,
    served::{Served, sql},
};
use http::{Method, StatusCode};
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
    assert_eq!(world.served.install.json(&["health"])["warnings"].to_string(), "[]");
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
async fn a_process_that_is_told_to_stop_while_it_waits_takes_its_card_away() {
    let mut served = Served::prepared(1, "");
    // Both wait for a keeper that does not come.
    served.begin("gateway-1");
    served.begin("control-1");
    let cards = |served: &Served| sql(&served.database, "SELECT count(*) FROM peer");
    eventually("they are there", Duration::from_secs(30), async || (cards(&served) == "2").then_some(()))
        .await;
    assert!(served.end().await.iter().all(|(_, ended_well)| *ended_well));
    assert_eq!(cards(&served), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_a_keeper_whose_start_is_held_up() {
    let mut served = Served::prepared(1, "");
    let database = served.database.clone();
    sql(&database, "CREATE TABLE let_go (yes INT)");
    let holds = std::thread::spawn(move || {
        // Its start writes into this table.
        let until_let_go = "DO $$ BEGIN LOCK TABLE keeper IN ACCESS EXCLUSIVE MODE;
             WHILE NOT EXISTS (SELECT 1 FROM let_go) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$";
        sql(&database, until_let_go)
    });
    let holding = "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
         WHERE relname = 'keeper' AND mode = 'AccessExclusiveLock' AND granted";
    eventually("it is held", Duration::from_secs(30), async || {
        (sql(&served.database, holding) == "1").then_some(())
    })
    .await;
    served.begin("keeper-1");
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
         WHERE relname = 'keeper' AND NOT granted";
    eventually("it waits", Duration::from_secs(30), async || {
        (sql(&served.database, waiting) != "0").then_some(())
    })
    .await;
    let cards = "SELECT count(*) FROM peer";
    assert_eq!(sql(&served.database, cards), "0");
    sql(&served.database, "INSERT INTO let_go VALUES (1)");
    holds.join().expect("it lets go");
    eventually("it is there", Duration::from_secs(30), async || {
        (sql(&served.database, cards) == "1").then_some(())
    })
    .await;
    assert!(served.end().await.iter().all(|(_, ended_well)| *ended_well));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_may_be_every_plane() {
    let recorder = Recorder::start("api.served.test");
    let served = Served::in_one(&format!("refresh_timer = \"off\"\n{}", recorder.config())).await;
    let mut world = World::over(served, recorder).await;
    let health = world.served.install.json(&["health"]);
    let warned = health["warnings"].to_string();
    assert!(warned.contains("timer is off") && !warned.contains("beyond this machine"), "{warned}");
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
    // Each keeper that began a wake is killed, until one is left: the same agents go on, also where they need a lease
    // that no gateway has yet.
    for round in 0..2 {
        let living = |name: &String| name.starts_with("keeper") && world.served.runs(name);
        let serving = eventually("a keeper began a wake", Duration::from_secs(10), async || {
            world.served.whose_ledger_says("task-woke").into_iter().find(living)
        })
        .await;
        world.served.kill(&serving);
        let more = format!("served/one:read@more{round}/*");
        let more = world.served.install.json(&["grant", "add", &more, "--task", &world.granted.task]);
        let (reference, path) = (text(&more, "reference"), format!("/served/repos/more{round}/site"));
        for gateway in &gateways {
            world.passes(gateway).await;
            let answer = world.granted.agent.at(gateway).get(&path, &reference).await;
            assert_eq!(answer.status, StatusCode::OK, "{gateway}: {}", answer.text());
        }
    }
    // What a human takes away is gone everywhere before it is confirmed.
    world.served.install.json(&["grant", "revoke", &world.granted.grant]);
    for gateway in &gateways {
        world.is_refused(gateway, "/served/repos/acme/site", "grant-ended").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_and_starts_again_leaves_the_calls_of_others_alone() {
    let mut world = World::new(2).await;
    let harness = world.served.install.granted("harness", "served/one:write").await;
    let gateways = world.served.gateways();
    let post = async |gateway: &str, number: u32| {
        let body = format!(
            r#"{{"tool":"served","method":"POST","path":"/slow/{number}","reference":"{}","body":{{"text":"once"}}}}"#,
            harness.reference
        );
        let key = format!("\"call-{number}\"");
        let headers = [("idempotency-key", key.as_str()), ("prefer", "respond-async")];
        let agent = harness.agent.at(gateway);
        let answer = agent.call(Method::POST, "/v1/calls", &headers, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let path = answer.headers["location"].to_str().expect("a path").to_owned();
        let slow = format!("/slow/{number}");
        eventually("it is out", Duration::from_secs(20), async || {
            (world.recorder.count_of(&slow) == 1).then_some(())
        })
        .await;
        path
    };
    // One at each, and the first gateway dies in the middle of both.
    let (first, second) = (post(&gateways[0], 8000).await, post(&gateways[1], 8001).await);
    world.served.kill("gateway-1");
    world.served.restart("gateway-1").await;
    let state = async |gateway: &str, path: &str| {
        let answer = harness.agent.at(gateway).call(Method::GET, path, &[], "").await;
        answer.json::<serde_json::Value>()["state"].as_str().unwrap_or_default().to_owned()
    };
    let ended = async |path: &str| {
        eventually("the call ends", Duration::from_secs(30), async || {
            // It is seen at every gateway.
            let [one, other] = [state(&gateways[0], path).await, state(&gateways[1], path).await];
            (one == other && !["queued", "attempting"].contains(&one.as_str())).then_some(one)
        })
        .await
    };
    assert_eq!(ended(&second).await, "done", "the other gateway was at it");
    assert_eq!(ended(&first).await, "outcome-unknown", "it may have been sent");
    for number in [8000, 8001] {
        assert_eq!(world.recorder.count_of(&format!("/slow/{number}")), 1);
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
