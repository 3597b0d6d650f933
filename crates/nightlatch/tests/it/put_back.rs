//! A database that was put back while three keepers rotate: what any of them presented since is presented by nobody again, every
//! keeper holds its log against it before anything is claimed or leased, no wake outlives it, what was removed stays removed, and
//! one human is asked once.

use crate::world::{
    connect::text,
    eventually,
    parts::parts,
    provider::Kind,
    recorder::Recorder,
    rotating::{Rotating, TIMER_ON},
    served::{Told, sql},
};
use http::StatusCode;
use serde_json::json;
use std::{fs, path::Path, time::Duration};

const KEY: &str = "canary-put-back-7b1d5e9042c8a63f";
const ACCESS_SECS: u32 = 6;

/// The server of databases, and the installation's own one there.
struct Databases {
    live: String,
    yesterday: String,
}

impl Databases {
    fn of(world: &Rotating) -> Self {
        let (_, live) = world.served.database.rsplit_once('/').expect("a name");
        Self { live: live.to_owned(), yesterday: format!("{live}_yesterday") }
    }

    fn run(text: &str) {
        sql(&parts().postgres.address, text);
    }

    /// Runs `change` while nobody is connected to the live one: who is there is sent away, and comes back.
    fn alone(&self, change: impl FnOnce()) {
        let live = &self.live;
        Self::run(&format!("ALTER DATABASE {live} WITH ALLOW_CONNECTIONS false"));
        Self::run(&format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{live}'"
        ));
        change();
    }

    fn copy(&self) {
        let Self { live, yesterday } = self;
        self.alone(|| Self::run(&format!("CREATE DATABASE {yesterday} TEMPLATE {live}")));
        Self::run(&format!("ALTER DATABASE {live} WITH ALLOW_CONNECTIONS true"));
    }

    /// Nothing is refreshed `meanwhile`.
    fn put_back(&self, meanwhile: impl FnOnce()) {
        let Self { live, yesterday } = self;
        self.alone(|| {
            Self::run(&format!("ALTER DATABASE {live} RENAME TO {live}_lost"));
            meanwhile();
        });
        Self::run(&format!("ALTER DATABASE {yesterday} RENAME TO {live}"));
    }
}

/// Removes every answer that a keeper kept; how many there were.
fn forget_kept(folder: &Path) -> usize {
    let inside = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let forgotten = inside.map(|path| match path.extension() {
        _ if path.is_dir() && !path.is_symlink() => forget_kept(&path),
        Some(ending) if ending == "kept" => fs::remove_file(&path).map_or(0, |()| 1),
        _ => 0,
    });
    forgotten.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yesterdays_database_is_healed_by_what_its_keepers_kept() {
    let told = Told { log_level: "info", ..Told::all(TIMER_ON) };
    let world = Rotating::started((3, Kind::Oidc), ("healed", ACCESS_SECS), told).await;
    let databases = Databases::of(&world);
    databases.copy();
    let goes_on = async |by: u64| {
        let from = world.registration.counters().await.refreshes_ok;
        eventually("it goes on rotating", Duration::from_secs(120), async || {
            (world.registration.counters().await.refreshes_ok >= from + by).then_some(())
        })
        .await;
    };
    goes_on(3).await;
    databases.put_back(|| ());
    eventually("each log is held against it", Duration::from_secs(90), async || {
        let compared =
            "SELECT count(*) FROM keeper, installation WHERE keeper.compared = installation.era AND era > 1";
        (world.sql(compared) == "3").then_some(())
    })
    .await;
    goes_on(2).await;
    world.works_within(Duration::from_secs(30)).await;
    assert_eq!(world.served.install.json(&["health"])["tickets"], json!([]));
    let after = world.registration.counters().await;
    let bad = [after.presented_twice, after.reuse_detected, after.families_revoked, after.refreshes_failed];
    assert_eq!(bad, [0; 4], "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yesterdays_database_presents_nothing_that_was_consumed_and_brings_nothing_back() {
    let recorder = Recorder::start("api.put-back.test");
    let told = Told { log_level: "info", ..Told::all(&format!("{TIMER_ON}{}", recorder.config())) };
    let mut world = Rotating::started((3, Kind::Oidc), ("put-back", ACCESS_SECS), told).await;
    let install = &world.served.install;
    install.write("tool.toml", &recorder.manifest("steady"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "steady", "--key", "--name", "one"], KEY, &[]);
    let given = install.json(&["grant", "add", "steady/one:read", "--task", &world.granted.task]);
    let removed = text(&given, "reference");
    let steady = async |world: &Rotating| world.agents()[0].get("/steady/repos/acme/site", &removed).await;
    assert_eq!(steady(&world).await.status, StatusCode::OK);

    let databases = Databases::of(&world);
    databases.copy();
    // Since then the token was rotated by whoever came first, and a connection was removed.
    let copied = world.registration.counters().await.refreshes_ok;
    eventually("it goes on rotating", Duration::from_secs(60), async || {
        (world.registration.counters().await.refreshes_ok >= copied + 3).then_some(())
    })
    .await;
    let install = &world.served.install;
    install.json(&["connection", "remove", "steady/one"]);
    eventually("it is removed at the gateway", Duration::from_secs(20), async || {
        (!steady(&world).await.status.is_success()).then_some(())
    })
    .await;
    let (era, arrived) = (world.sql("SELECT era FROM installation"), recorder.count());

    // Nor does any answer lie here any more that was brought since.
    databases.put_back(|| assert_ne!(forget_kept(world.served.install.root()), 0));
    eventually("a human is asked", Duration::from_secs(90), async || {
        (world.sql("SELECT count(*) FROM ticket WHERE settled_at IS NULL") != "0").then_some(())
    })
    .await;
    let before = world.registration.counters().await;
    let compared = "SELECT count(*) FROM keeper, installation WHERE keeper.compared = installation.era";
    eventually("each log is held against it", Duration::from_secs(60), async || {
        (world.sql(compared) == "3").then_some(())
    })
    .await;
    assert_ne!(world.sql("SELECT era FROM installation"), era);
    assert_eq!(world.sql("SELECT state FROM chain"), "quarantined");
    let wakes = "SELECT count(*) FROM wake WHERE ended_at IS NULL";
    assert_eq!(world.sql(wakes), "0", "no wake outlives it");

    // Whoever calls gets nothing of it, and the provider sees nothing.
    for agent in world.agents() {
        let refused = eventually("it says what is the matter", Duration::from_secs(30), async || {
            let answer = world.call(&agent, world.kind.me()).await;
            assert_ne!(answer.status, StatusCode::OK);
            (answer.status == StatusCode::FAILED_DEPENDENCY).then_some(answer)
        })
        .await;
        assert_eq!(refused.problem(), "reauth-required");
        let refused = agent.get("/steady/repos/acme/site", &removed).await;
        assert!(!refused.status.is_success(), "what was removed came back: {}", refused.text());
    }
    assert_eq!(recorder.count(), arrived, "what was removed reached its tool");
    assert_eq!(world.registration.counters().await, before);
    let bad =
        [before.presented_twice, before.reuse_detected, before.families_revoked, before.refreshes_failed];
    assert_eq!(bad, [0; 4], "{before:?}");
    let health = world.served.install.json(&["health"]);
    assert_eq!(health["tickets"].as_array().map(Vec::len), Some(1), "{health}");

    // And a human mends it, once.
    world.reconnect().await;
    world.works_within(Duration::from_secs(30)).await;
    assert_eq!(world.served.install.json(&["health"])["tickets"], json!([]));
    assert_eq!(world.registration.counters().await.presented_twice, 0);
}
