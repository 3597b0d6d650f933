//! A standby that takes over and lacks what its primary answered last, under three keepers that run on: what they presented since
//! is presented by nobody again. It goes on by the answers that its keepers kept; without them one human is asked once.

use crate::world::{
    database::Server,
    eventually,
    provider::Kind,
    relay::Silencing,
    rotating::{Rotating, TIMER_ON, forget_kept},
    served::{Told, sql},
};
use std::time::Duration;

const ACCESS_SECS: u32 = 4;

/// An installation, and what it stands on for as long as it lives.
struct FailedOver {
    world: Rotating,
    _way: Silencing,
    _standby: Server,
}

/// One whose database's server died, and whose standby has taken over. Since it last heard of its primary the provider
/// refreshed twice; `meanwhile` nobody reaches either.
async fn failed_over(username: &str, meanwhile: impl FnOnce(&Rotating)) -> FailedOver {
    let primary = Server::started(&[]);
    let way = Silencing::to(primary.authority());
    let told = Told {
        log_level: "info",
        server: Some(primary.address.clone()),
        database_at: Some(way.address.to_string()),
        ..Told::all(TIMER_ON)
    };
    let mut world = Rotating::started((3, Kind::Oidc), (username, ACCESS_SECS), told).await;
    let standby = Server::started(&["--follow", primary.port()]);
    let follows = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    let until = async |count: &str| {
        eventually("the standby follows, or does not", Duration::from_secs(20), async || {
            (sql(&primary.address, follows) == count).then_some(())
        })
        .await;
    };
    until("1").await;
    sql(&standby.address, "ALTER SYSTEM SET primary_conninfo = ''");
    sql(&standby.address, "SELECT pg_reload_conf()");
    until("0").await;
    world.rotates_on(2).await;

    let head = "SELECT max(head) FROM family";
    let newest: u64 = world.sql(head).parse().expect("a number");
    way.fall_silent();
    let was_at = primary.authority().to_owned();
    drop(primary);
    meanwhile(&world);
    world.served.database = world.served.database.replace(&was_at, standby.authority());
    sql(&standby.address, "SELECT pg_promote()");
    let known: u64 = world.sql(head).parse().expect("a number");
    assert!(known < newest, "the standby knows too much: {known} of {newest}");
    way.lead_to(standby.authority());
    way.open();
    world.until_compared(3).await;
    FailedOver { world, _way: way, _standby: standby }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_without_the_last_transactions_is_healed_by_what_its_keepers_kept() {
    let own = failed_over("standby-healed", |_| ()).await;
    let world = &own.world;
    world.rotates_on(1).await;
    world.is_well().await;
    world.expect_nothing_presented_twice().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_without_the_last_transactions_asks_once_where_no_answer_was_kept() {
    let forget = |world: &Rotating| assert_ne!(forget_kept(world.served.install.root()), 0);
    let mut own = failed_over("standby-asked", forget).await;
    let world = &mut own.world;
    world.asks_once().await;
    world.expect_nothing_presented_twice().await;
    world.reconnect().await;
    world.is_well().await;
    world.rotates_on(1).await;
    world.expect_nothing_presented_twice().await;
}
