//! Proves that only the gateway with the pinned key is spoken to, that a lost connection is made anew when
//! somebody needs it and not before, and that programs are told meanwhile.

use crate::{
    gateway::{CODE, Gateway, Identity, task},
    world::{Program, World, companion, eventually, limits, stays},
};
use nightlatch_companion::{Address, Companion, CompanionError, Config, Dial, Guard, Limits, Link};
use nightlatch_domain::ports::Boxed;
use rustls::version::{TLS12, TLS13};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

const CONNECT: &str = "CONNECT echo.test:443 HTTP/1.1\r\n\r\n";

async fn asked(proxy: SocketAddr) -> String {
    let mut program = Program::connected(proxy).await;
    program.send(CONNECT).await;
    program.head().await
}

#[tokio::test]
async fn an_enrolment_names_the_task_and_its_tools_trust_is_told() {
    let world = World::new().await;
    let enrolled = world.companion.enrol(CODE).await.unwrap();
    assert_eq!(enrolled.task, task(1));
    assert!(world.gateway.seen().enrolled);
    assert_eq!(world.companion.trust().await.unwrap(), "PEM");
}

#[tokio::test]
async fn a_gateway_with_another_key_is_not_spoken_to() {
    let gateway = Gateway::start().await;
    let (companion, proxy) = companion(gateway.address, &Identity::fresh().pin(), Guard::default(), limits());
    let error = companion.enrol(CODE).await.unwrap_err();
    assert!(matches!(error, CompanionError::WrongKey { .. }), "{error}");
    assert!(asked(proxy).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(gateway.seen().connections, 0);
}

#[tokio::test]
async fn a_gateway_that_shows_the_pinned_certificate_and_holds_another_key_is_not_spoken_to() {
    let (identity, thief) = (Identity::fresh(), rcgen::KeyPair::generate().unwrap());
    let at = "127.0.0.1:0".parse().unwrap();
    let gateway = Gateway::start_with(at, identity.clone(), &thief, &[&TLS13]).await;
    let (companion, _) = companion(gateway.address, &identity.pin(), Guard::default(), limits());
    assert!(companion.enrol(CODE).await.is_err());
    assert!(!gateway.seen().enrolled);
}

#[tokio::test]
async fn tls_before_1_3_is_not_spoken() {
    let at = "127.0.0.1:0".parse().unwrap();
    let gateway = Gateway::start_old(at, Identity::fresh(), &[&TLS12]).await;
    let (companion, _) = companion(gateway.address, &gateway.identity.pin(), Guard::default(), limits());
    assert!(companion.enrol(CODE).await.is_err());
    assert_eq!(gateway.seen().connections, 0);
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_told_to_programs_and_its_return_needs_nobody() {
    let mut world = World::new().await;
    world.tunnel("echo.test:443").await;
    let (address, identity) = world.gateway.stopped().await;
    let answer = asked(world.proxy).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    world.gateway = Gateway::start_again(address, identity).await;
    crate::world::in_time(async { while !asked(world.proxy).await.starts_with("HTTP/1.1 200 ") {} }).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_is_replaced_for_the_very_next_tunnel() {
    let mut world = World::new().await;
    world.tunnel("echo.test:443").await;
    world.gateway = world.gateway.restarted().await;
    assert!(asked(world.proxy).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(world.gateway.seen().connections, 1);
}

#[tokio::test]
async fn nothing_dials_before_somebody_needs_it() {
    let mut world = World::new().await;
    let mut link = world.companion.link();
    assert_eq!(*link.borrow_and_update(), Link::Idle);
    world.tunnel("echo.test:443").await;
    world.gateway = world.gateway.restarted().await;
    // Many looks of the companion, each of which could have dialled.
    assert!(stays(&world.companion, Duration::from_millis(300)).await);
    assert_eq!(world.gateway.seen().connections, 0);
}

#[tokio::test]
async fn after_a_failure_there_is_a_pause_in_which_nobody_dials() {
    let gateway = Gateway::start().await;
    let wrong = Identity::fresh().pin();
    let slow = Limits { pause_first: Duration::from_secs(60), ..limits() };
    let slow = Limits { pause_max: Duration::from_secs(60), ..slow };
    let (companion, proxy) = companion(gateway.address, &wrong, Guard::default(), slow);
    assert!(asked(proxy).await.starts_with("HTTP/1.1 503 "));
    let error = companion.trust().await.unwrap_err();
    assert!(error.to_string().contains("a moment ago"), "{error}");
    eventually("it is said why", || matches!(&*companion.link().borrow(), Link::Down { .. })).await;
}

/// A way to the gateway that can fall silent, as a machine that lost its network does.
struct Relay {
    gateway: SocketAddr,
    silent: watch::Sender<bool>,
}

impl Dial for Relay {
    fn dial(&self) -> Boxed<'_, std::io::Result<TcpStream>> {
        Box::pin(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let near = TcpStream::connect(listener.local_addr()?).await?;
            let (mut inner, _) = listener.accept().await?;
            let mut far = TcpStream::connect(self.gateway).await?;
            let mut silent = self.silent.subscribe();
            silent.mark_unchanged();
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut inner, &mut far) => return,
                    _ = silent.changed() => {}
                }
                // Both sides stay open, and nothing comes through any more.
                std::future::pending::<()>().await;
            });
            Ok(near)
        })
    }
}

#[tokio::test]
async fn a_gateway_that_fell_silent_is_noticed_and_dialled_again() {
    let gateway = Gateway::start().await;
    let silent = watch::Sender::new(false);
    let relay = Relay { gateway: gateway.address, silent: silent.clone() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let companion = Companion::start(Config {
        gateway: Address::parse(&gateway.address.to_string()).unwrap(),
        dial: Some(Box::new(relay)),
        gateway_key: gateway.identity.pin().parse().unwrap(),
        identity: nightlatch_companion::Identity::generate().unwrap(),
        listener,
        guard: Guard::default(),
        limits: Limits { ping_every: Duration::from_millis(50), ..limits() },
    });
    assert!(asked(proxy).await.starts_with("HTTP/1.1 200 "));
    silent.send_replace(true);
    assert!(asked(proxy).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(gateway.seen().connections, 2);
    drop(companion);
}
