//! A database that was put back while three keepers rotate: what any of them presented since is presented by nobody again, every
//! keeper holds its log against it before anything is claimed or leased, no wake outlives it, what was removed stays removed, and
//! one human is asked once.

use crate::world::{
    connect::text,
    eventually,
    parts::parts,
    provider::Kind,
    recorder::Recorder,
    rotating::{Rotating, TIMER_ON, forget_kept},
    served::{Told, sql},
};
use std::time::Duration;

const KEY: &str = "canary-put-back-7b1d5e9042c8a63f";
const ACCESS_SECS: u32 = 6;
/// The first gateway; it begins anew.
const GATEWAY: &str = "gateway-1";
const FIRST: usize = 0;
const SECOND: usize = 1;

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

    fn asked_of_yesterday(&self, text: &str) -> String {
        sql(&format!("{}/{}", parts().postgres.address, self.yesterday), text)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yesterdays_database_is_healed_by_what_its_keepers_kept() {
    let told = Told { log_level: "info", ..Told::all(TIMER_ON) };
    let world = Rotating::started((3, Kind::Oidc), ("healed", ACCESS_SECS), told).await;
    let databases = Databases::of(&world);
    databases.copy();
    world.rotates_on(3).await;
    databases.put_back(|| ());
    world.until_compared(3).await;
    world.rotates_on(2).await;
    world.is_well().await;
    world.expect_nothing_presented_twice().await;
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
    let steady = async |world: &Rotating, at: usize| {
        world.agents()[at].get("/steady/repos/acme/site", &removed).await.status.is_success()
    };
    assert!(steady(&world, FIRST).await && steady(&world, SECOND).await);

    // One gateway begins anew afterwards, and has never heard of what comes now.
    world.served.stop(GATEWAY).await;
    let databases = Databases::of(&world);
    databases.copy();
    // Since then the token was rotated by whoever came first, a connection was removed, and every keeper has looked.
    world.rotates_on(2).await;
    let install = &world.served.install;
    install.json(&["connection", "remove", "steady/one"]);
    eventually("it is removed at the gateway", Duration::from_secs(20), async || {
        (!steady(&world, SECOND).await).then_some(())
    })
    .await;
    world.until_each_looked().await;
    world.rotates_on(1).await;
    let arrived = recorder.count();

    // Nor does any answer lie here any more that was brought since.
    let wakes = databases.asked_of_yesterday("SELECT string_agg(quote_literal(wake_id), ',') FROM wake");
    databases.put_back(|| assert_ne!(forget_kept(world.served.install.root()), 0));
    world.served.start_again(GATEWAY).await;
    assert!(!steady(&world, FIRST).await, "what was removed came back");
    world.asks_once().await;
    world.until_compared(3).await;
    assert_eq!(world.sql("SELECT state FROM chain"), "quarantined");
    let outlives = format!("SELECT count(*) FROM wake WHERE wake_id IN ({wakes}) AND ended_at IS NULL");
    assert_eq!(world.sql(&outlives), "0", "no wake outlives it");
    let listed = world.served.install.json(&["connection", "list"]).to_string();
    assert!(!listed.contains("steady"), "what was removed came back: {listed}");
    for at in 0..world.agents().len() {
        assert!(!steady(&world, at).await, "what was removed came back");
    }
    assert_eq!(recorder.count(), arrived, "what was removed reached its tool: {}", recorder.last().target);
    world.expect_nothing_presented_twice().await;

    // And a human mends it, once.
    world.reconnect().await;
    world.is_well().await;
    world.expect_nothing_presented_twice().await;
}
