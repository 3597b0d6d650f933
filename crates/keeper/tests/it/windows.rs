//! What goes with a lease: every secret of its connection that may still live is found by it, and none but the
//! leased one can be read from it.

use crate::{
    provider::token,
    world::{Opened, World},
};
use nightlatch_domain::ports::control_keeper::{AddStatic, ControlRequest, Intake, intake_context};
use nightlatch_scrub::{Masks, Needles, WindowSet};
use std::{sync::Arc, time::Duration};

/// Whether the set masks the random part of a text, and how much of it.
fn masks(lease: &Opened, text: &str) -> bool {
    let windows = WindowSet::decode(lease.windows.expose()).unwrap();
    let (masked, _) = Masks::new(Arc::new(windows), Needles::default()).whole(text.as_bytes());
    masked.ends_with(&[b'*'; 32])
}

/// No eight bytes of a text stand in what the gateway was given, opened.
fn is_told(lease: &Opened, text: &str) -> bool {
    let opened = [
        serde_json::to_vec(&lease.body).unwrap(),
        lease.windows.expose().to_vec(),
        lease.secret.expose().to_vec(),
    ]
    .concat();
    text.as_bytes().windows(8).any(|part| opened.windows(8).any(|window| window == part))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_generation_that_may_live_is_sought_and_none_is_told() {
    let world = World::new();
    world.provider.gives_random_tokens();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let first = ready.lease(&running).await.unwrap();
    let of = |kind, number| token(kind, number, true);
    assert_eq!(first.secret.expose(), of("access", 1).as_bytes());
    assert!(masks(&first, &of("access", 1)) && masks(&first, &of("refresh", 1)));
    assert!(!masks(&first, &of("access", 2)) && !masks(&first, &of("refresh", 2)), "it is not there yet");
    // A human connects the same account again: another family, whose head is leased from now on.
    world.connect(&running, ready.client, "dana", Some(ready.connection)).await.unwrap();
    // And a refresh in the last seconds of that.
    world.clock.forward(Duration::from_secs(3598));
    let woken = world.wake(&running).await.unwrap();
    let third = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    assert_eq!(third.secret.expose(), of("access", 3).as_bytes());
    for number in 1..=3 {
        assert!(masks(&third, &of("access", number)) && masks(&third, &of("refresh", number)), "{number}");
        assert!(!is_told(&third, &of("refresh", number)[9..]), "{number}");
    }
    assert!(!is_told(&third, &of("access", 1)[16..]) && !is_told(&third, &of("access", 2)[16..]));
    // An access token that is over goes; a refresh token may live for ever.
    world.clock.forward(Duration::from_secs(10));
    let later = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    assert_eq!(later.secret.expose(), of("access", 3).as_bytes());
    assert!(!masks(&later, &of("access", 1)) && masks(&later, &of("refresh", 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_is_sought_too() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let keys = [1, 2].map(|number| token("key", number, true).replace("canary-key-", "key-dana_"));
    let connection = world.connect_static(&running, &keys[0]).await;
    let tool: nightlatch_domain::tool::Name = "tool".parse().unwrap();
    let request = AddStatic {
        tenant: world.tenant,
        name: "key".parse().unwrap(),
        reconnect: Some(connection),
        hosts: world.hosts(),
        secret: running.seal(&intake_context(world.tenant, Intake::ToolKey(&tool)), &keys[1]).await,
        tool,
    };
    running.control.ask(ControlRequest::AddStatic(request)).await.unwrap();
    let grant = world.grant(&running, connection).await;
    let woken = world.wake(&running).await.unwrap();
    let lease = woken.lease(&running, grant, connection, 0).await.unwrap();
    assert_eq!(lease.secret.expose(), keys[1].as_bytes());
    assert!(masks(&lease, &keys[0]) && masks(&lease, &keys[1]));
    assert!(!is_told(&lease, &keys[0][9..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_registrations_secret_is_sought_too() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let secret = token("client-secret", 1, true);
    let client = world.client(&running, Some(&secret)).await;
    let connection = world.connect(&running, client, "dana", None).await.unwrap();
    let grant = world.grant(&running, connection).await;
    let lease = world.wake(&running).await.unwrap().lease(&running, grant, connection, 0).await.unwrap();
    assert!(masks(&lease, &secret) && !is_told(&lease, &secret[16..]));
}

/// Whoever writes rows puts a secret of one connection beside another's: its lease must not become a way to ask
/// whether a guess is that secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_moved_here_from_another_connection_is_not_sought() {
    let world = World::new();
    world.provider.gives_random_tokens();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.connect(&running, ready.client, "erin", None).await.unwrap();
    let others = token("refresh", 2, true);
    assert!(!masks(&ready.lease(&running).await.unwrap(), &others));
    world.forge("CREATE TABLE kept AS SELECT family_id, refresh FROM generation");
    assert_eq!(
        world.forge(
            "UPDATE generation SET refresh = (SELECT kept.refresh FROM kept WHERE kept.family_id <> generation.family_id)"
        ),
        2
    );
    let lease = ready.lease(&running).await.unwrap();
    assert!(!masks(&lease, &others) && masks(&lease, &token("access", 1, true)));
    let [first, second] = [2, 1].map(|number| token("key", number, true).replace("canary-key-", "key-dana_"));
    let one = world.connect_static(&running, &first).await;
    world.connect_static_as(&running, "second", &second).await;
    world.forge("CREATE TABLE static_kept AS SELECT * FROM static_secret");
    world.forge(&format!(
        "UPDATE static_kept SET connection_id = '{one}', generation = 0 WHERE connection_id <> '{one}'"
    ));
    assert_eq!(world.forge("INSERT INTO static_secret SELECT * FROM static_kept WHERE generation = 0"), 1);
    let grant = world.grant(&running, one).await;
    let lease = ready.woken.lease(&running, grant, one, 0).await.unwrap();
    assert!(!masks(&lease, &second) && masks(&lease, &first));
}
