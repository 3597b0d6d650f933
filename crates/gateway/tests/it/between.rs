//! Between the 200 to a CONNECT and the first request inside: what ends, changes or fails there ends the tunnel, and
//! is recorded.

use crate::{
    client::{Wire, careless},
    world::{HOST, World, hosts},
};
use nightlatch_domain::{
    ports::store::{ControlStore, KeeperStore},
    task::TaskState,
    tool::BoundHost,
};
use nightlatch_ledger::record::Entry;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

const AUTHORITY: &str = "api.acme.test:443";

async fn no_handshake(tunnel: Wire, name: &str) {
    assert!(tunnel.secured(careless(&["http/1.1"], true), name).await.is_err(), "{name}");
}

/// One decision more, which is this refusal of alice.
async fn refused(world: &World, before: usize, problem: &str) {
    world.eventually("the refusal", || async { world.decisions().await.len() == before + 1 }).await;
    let decisions = world.decisions().await;
    let Entry::Refusal(refusal) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
    assert_eq!((refusal.problem.as_str(), refusal.agent), (problem, Some(world.alice.agent)));
}

#[tokio::test]
async fn sleep_closes_a_tunnel_in_which_nothing_was_said_yet() {
    let world = World::new().await;
    for in_stream in [false, true] {
        world.still_serves(&world.alice).await;
        let slept = world.keeper.count("sleep");
        let mut silent = world.tunnel(&world.alice, AUTHORITY, in_stream).await.unwrap();
        world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
        world.eventually("the sleep", || async { world.keeper.count("sleep") == slept + 1 }).await;
        assert!(silent.is_closed().await, "in a stream: {in_stream}");
        world.set_task(&world.alice, |task| task.state = TaskState::Awake).await;
    }
}

#[tokio::test]
async fn a_tunnel_for_which_no_certificate_can_be_made_is_refused_in_the_ledger() {
    let world = World::new().await;
    let folder = world.folder.path().join("keys/gateway/interception");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
    let path = folder.join(format!("{}.acme.key", world.tenant));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, b"this is no key").unwrap();
    let before = world.decisions().await.len();
    no_handshake(world.tunnel(&world.alice, AUTHORITY, false).await.unwrap(), HOST).await;
    refused(&world, before, "internal").await;
}

#[tokio::test]
async fn a_host_that_was_taken_back_before_tls_is_refused_in_the_ledger() {
    let world = World::new().await;
    let manifest = "name = \"zeta\"\ntitle = \"Z\"\ndocs = \"https://d.test\"\nsafe_methods = true\n[[host]]\nhost = \"*.zeta.test\"\nkey = { kind = \"bearer\" }\n";
    world.add_tools(&[("zeta", manifest)]).await;
    let host = BoundHost { host: "a.zeta.test".into(), ..hosts()[0].clone() };
    world.granted(&world.alice, "zeta", vec![host]).await;
    let tunnel = world.tunnel(&world.alice, "a.zeta.test:443", false).await.unwrap();
    let connections = world.store.connections(world.tenant).await.unwrap();
    let taken = connections.iter().find(|row| row.hosts[0].host == "a.zeta.test").unwrap();
    world.store.remove_connection(world.tenant, taken.id, crate::keeper::past()).await.unwrap();
    world.in_effect().await;
    let before = world.decisions().await.len();
    no_handshake(tunnel, "a.zeta.test").await;
    refused(&world, before, "egress-denied").await;
}
