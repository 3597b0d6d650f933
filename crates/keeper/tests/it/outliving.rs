//! Refresh tokens that no refresh consumes: what a database, a log or a keeper lost asks no human for them. What must be
//! verified is that the provider never rotates, and no answer may show otherwise.

use crate::{
    adopting::{forget, leases, one_is_behind},
    crash::{
        Before, after_whatever, back_up, before_in, heals_nothing, put_back_with_an_older_answer,
        restore_another, runtime,
    },
    world::World,
};
use std::time::Duration;

fn never_rotates(confidence: &str) -> String {
    format!(
        r#"
rotation = "none"

[[fact]]
covers = ["rotation"]
source = "this provider gives one refresh token"
confidence = "{confidence}"
checked_at = "2026-11-29"
"#
    )
}

fn stands(before: &Before) -> String {
    before.world.look("SELECT state || ' ' || head FROM chain, family")
}

/// Connected once and refreshed twice, at a provider that never rotates; the database is that of the beginning.
fn put_back(profile: &str) -> Before {
    let before = before_in(World::with(false, profile));
    before.world.provider.never_rotates();
    let copy = back_up(&before);
    after_whatever(&before).unwrap();
    before.world.clock.forward(Duration::from_secs(3600));
    after_whatever(&before).unwrap();
    restore_another(&before, &copy);
    before.world.clock.forward(Duration::from_secs(3600));
    before
}

#[test]
fn what_is_never_consumed_goes_on_in_a_database_that_was_put_back() {
    let before = put_back(&never_rotates("verified"));
    after_whatever(&before).unwrap();
    // Above all that the log knows: two were presented before, and the third one now.
    assert_eq!(stands(&before), "healthy 4");
    assert_eq!((before.world.provider.refreshes(), before.world.provider.reuses()), (3, 0));
    assert_eq!(before.world.look("SELECT count(*) || '' FROM ticket"), "0");
    before.world.clock.forward(Duration::from_secs(3600));
    after_whatever(&before).unwrap();
    assert_eq!(stands(&before), "healthy 5");
}

#[test]
fn what_nobody_verified_is_left_to_a_human() {
    let before = put_back(&never_rotates("unverified"));
    after_whatever(&before).unwrap_err();
    assert_eq!(stands(&before), "quarantined 1");
    assert_eq!(before.world.provider.refreshes(), 2);
}

#[test]
fn what_an_answer_shows_to_rotate_is_left_to_a_human_whatever_its_profile_says() {
    heals_nothing(&put_back_with_an_older_answer(World::with(false, &never_rotates("verified"))), 2);
}

#[test]
fn what_is_never_consumed_goes_on_without_the_log() {
    let before = before_in(World::with(false, &never_rotates("verified")));
    before.world.provider.never_rotates();
    after_whatever(&before).unwrap();
    std::fs::remove_dir_all(before.world.path("state")).unwrap();
    before.world.clock.forward(Duration::from_secs(3600));
    after_whatever(&before).unwrap();
    assert_eq!(stands(&before), "healthy 3");
    assert_eq!(before.world.provider.reuses(), 0);
}

#[test]
fn what_is_never_consumed_goes_on_though_a_log_that_was_not_compared_is_given_up() {
    let mut world = World::with(false, &never_rotates("verified"));
    world.alone = false;
    let before = before_in(world);
    let (world, ready) = (&before.world, &before.ready);
    world.provider.never_rotates();
    let behind = one_is_behind(world);
    runtime().block_on(async {
        let running = world.start().await;
        assert_eq!(forget(world, &running, behind).await, Ok((true, 0)));
        leases(world, &running, ready).await.unwrap();
        running.end().await;
    });
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
}

#[test]
fn what_was_connected_anew_since_is_left_to_a_human() {
    let before = before_in(World::with(false, &never_rotates("verified")));
    let (world, ready) = (&before.world, &before.ready);
    world.provider.never_rotates();
    let copy = back_up(&before);
    runtime().block_on(async {
        let running = world.start().await;
        world.connect(&running, ready.client, "dana", Some(ready.connection)).await.unwrap();
        running.end().await;
    });
    restore_another(&before, &copy);
    heals_nothing(&before, 0);
}
