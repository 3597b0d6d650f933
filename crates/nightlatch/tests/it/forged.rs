//! Whoever writes the database gets nothing out of it: a forged row yields no lease and no credentialed
//! byte, and a sealed row that was moved, swapped or put back opens to nothing.

use crate::world::{connect::Granted, install::Install, recorder::Recorder};
use rusqlite::Connection;

const KEY: &str = "canary-forged-4c1d9e7a2b5f8036";
const OTHER_KEY: &str = "canary-other-9b8a7c6d5e4f3021";

struct World {
    install: Install,
    recorder: Recorder,
    granted: Granted,
}

impl World {
    async fn new() -> Self {
        let recorder = Recorder::start("api.forged.test");
        let install = Install::started(&recorder.config()).await;
        install.write("tool.toml", &recorder.manifest("forged"));
        install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
        install.json_with(&["connect", "forged", "--key", "--name", "one"], KEY, &[]);
        install.json_with(&["connect", "forged", "--key", "--name", "two"], OTHER_KEY, &[]);
        let granted = install.granted("worker", "forged/one:read").await;
        Self { install, recorder, granted }
    }

    /// Stops `up`, writes the database behind its back, starts it again.
    async fn forge(&mut self, sql: &str) {
        self.install.kill();
        let database = Connection::open(self.install.data().join("db.sqlite")).expect("the database");
        database.execute_batch(sql).expect("the forgery is SQL");
        assert!(database.changes() > 0, "the forgery changed nothing: {sql}");
        drop(database);
        self.install.up().await;
    }

    async fn is_refused(&self, why: &str) {
        let before = self.recorder.count();
        let answer = self.granted.agent.get("/forged/repos/acme/site", &self.granted.reference).await;
        assert!(!answer.status.is_success(), "{why}: {}", answer.text());
        assert_eq!(self.recorder.count(), before, "{why}: something reached a tool");
    }
}

#[tokio::test]
async fn the_same_world_without_a_forgery_answers() {
    let mut world = World::new().await;
    world.install.kill();
    world.install.up().await;
    let answer = world.granted.agent.get("/forged/repos/acme/site", &world.granted.reference).await;
    assert_eq!(answer.status, http::StatusCode::OK, "{}", answer.text());
    assert_eq!(world.recorder.last().values("authorization"), [format!("Bearer {KEY}")]);
}

/// The newest static secret of a connection by name.
fn secret_of(name: &str) -> String {
    format!("connection_id = (SELECT connection_id FROM connection WHERE name = '{name}')")
}

async fn refuses(why: &str, sql: &str) {
    let mut world = World::new().await;
    world.forge(sql).await;
    world.is_refused(why).await;
}

#[tokio::test]
async fn a_forged_host_in_the_directory_is_refused() {
    refuses("host", "UPDATE connection SET hosts = replace(hosts, 'api.forged.test', 'evil.forged.test')")
        .await;
}

#[tokio::test]
async fn a_forged_host_beside_the_secret_is_refused() {
    refuses(
        "sealed host",
        "UPDATE static_secret SET secret = replace(secret, 'api.forged.test', 'evil.forged.test')",
    )
    .await;
}

#[tokio::test]
async fn a_forged_host_in_both_places_is_refused() {
    refuses(
        "both hosts",
        "UPDATE static_secret SET secret = replace(secret, 'api.forged.test', 'evil.forged.test');
         UPDATE connection SET hosts = replace(hosts, 'api.forged.test', 'evil.forged.test')",
    )
    .await;
}

const OTHER_PLACEMENT: &str = r#"'{"kind":"bearer"}', '{"kind":"header","name":"x-evil","prefix":""}'"#;

#[tokio::test]
async fn a_forged_placement_is_refused() {
    for (table, column) in [("connection", "hosts"), ("static_secret", "secret")] {
        refuses(table, &format!("UPDATE {table} SET {column} = replace({column}, {OTHER_PLACEMENT})")).await;
    }
}

#[tokio::test]
async fn a_forged_grant_is_refused() {
    let two = "connection_id = (SELECT connection_id FROM connection WHERE name = 'two')";
    refuses("another connection", &format!("UPDATE task_grant SET {two}")).await;
    refuses("a longer life", "UPDATE task_grant SET expires_at = expires_at + 1").await;
    refuses(
        "more operations",
        r#"UPDATE task_grant SET operations = '[{"effect":"read"},{"effect":"admin"}]'"#,
    )
    .await;
}

#[tokio::test]
async fn a_forged_task_or_agent_is_refused() {
    refuses("a longer task", "UPDATE task SET ends_at = ends_at + 1").await;
    refuses("another owner", "UPDATE agent SET purpose = purpose || 'x'").await;
}

#[tokio::test]
async fn a_forged_enrolment_is_refused() {
    refuses("a younger enrolment", "UPDATE enrolment SET created_at = created_at + 1").await;
    refuses("no signature", "UPDATE enrolment SET attestation = ''").await;
}

#[tokio::test]
async fn two_sealed_rows_swapped_are_refused() {
    let swap = format!(
        "CREATE TEMP TABLE held AS SELECT connection_id, secret FROM static_secret;
         UPDATE static_secret SET secret = (SELECT secret FROM held WHERE held.connection_id <> static_secret.connection_id)
         WHERE {} OR {}",
        secret_of("one"),
        secret_of("two"),
    );
    refuses("swapped", &swap).await;
}

#[tokio::test]
async fn an_older_generation_put_back_is_refused() {
    let mut world = World::new().await;
    let id = world.install.json(&["connection", "show", "forged/one"]);
    let id = crate::world::connect::text(&id, "id");
    let newer = "canary-newer-5e6f7a8b9c0d1e2f";
    let again = world.install.json_with(&["connect", "forged", "--key", "--reconnect", &id], newer, &[]);
    assert_eq!(crate::world::connect::text(&again["connection"], "id"), id);
    let answer = world.granted.agent.get("/forged/repos/acme/site", &world.granted.reference).await;
    assert_eq!(answer.status, http::StatusCode::OK, "{}", answer.text());
    assert_eq!(world.recorder.last().values("authorization"), [format!("Bearer {newer}")]);

    // The newest row is deleted, so that the older one is the newest: what the anchor log saw, it remembers.
    world.forge("DELETE FROM static_secret WHERE generation = 2").await;
    world.is_refused("older generation").await;
}

#[tokio::test]
async fn a_forged_budget_is_refused() {
    refuses("budget", "UPDATE task_grant SET budget = 'calls=1000000'").await;
}
