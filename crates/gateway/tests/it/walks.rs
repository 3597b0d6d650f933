//! Proves that one kept connection carries many calls, each with the credential; and stands still for
//! `cargo xtask bench icount`, which counts the instructions of the longer walk beyond those of the shorter.

use crate::world::{SECRET, World};
use nightlatch_domain::principal::Binding;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

#[tokio::test]
async fn a_hundred_calls_over_a_users_socket_each_bear_the_credential() {
    walk(100).await;
}

#[tokio::test]
async fn six_hundred_calls_over_a_users_socket_each_bear_the_credential() {
    walk(600).await;
}

async fn walk(calls: usize) {
    let world = World::new().await;
    let mut socket = user(&world).await;
    let request = format!(
        "GET /acme/things/7?page=2 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: walker/1\r\nAccept: */*\r\n{}\r\n\r\n",
        World::bearer(&world.alice)
    );
    let mut answer = vec![0; 16 * 1024];
    for _ in 0..calls {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut read = 0;
        while !answer[..read].ends_with(b"{\"fine\":true}") {
            let more = socket.read(&mut answer[read..]).await.unwrap();
            assert!(more > 0, "{}", String::from_utf8_lossy(&answer[..read]));
            read += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    let seen = world.tool.take();
    assert_eq!(seen.len(), calls);
    assert!(seen.iter().all(|one| one.all("authorization") == [format!("Bearer {SECRET}")]));
}

/// A kept connection of the user that runs this test, as alice.
async fn user(world: &World) -> UnixStream {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(world.folder.path()).unwrap());
    let (binding, now) = (Binding::Uid { uid }, world.clock.time());
    crate::world::enrol_binding(&world.store, world.tenant, &world.alice, binding, now).await;
    world.in_effect().await;
    let path = world.folder.path().join("gateway.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = world.gateway.shared();
    tokio::spawn(async move { gateway.serve_unix(listener, None, std::future::pending()).await });
    UnixStream::connect(&path).await.unwrap()
}
