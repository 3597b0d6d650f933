//! A companion before a gateway, and a program that speaks to it in bytes.

use crate::gateway::Gateway;
use nightlatch_companion::{Address, Companion, Config, Guard, Identity, Limits, Password};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use zeroize::Zeroizing;

pub(crate) const PASSWORD: &str = "canary-password-0123456789";

/// Limits that a test need not wait for.
pub(crate) fn limits() -> Limits {
    Limits {
        look_every: Duration::from_millis(20),
        pause_max: Duration::from_millis(200),
        ..Limits::default()
    }
}

pub(crate) fn password() -> Guard {
    Guard { password: Password::new(Zeroizing::new(PASSWORD.to_owned())), peer_uid: None }
}

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) companion: Companion,
    pub(crate) proxy: SocketAddr,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Guard::default(), limits()).await
    }

    pub(crate) async fn with(guard: Guard, limits: Limits) -> Self {
        let gateway = Gateway::start().await;
        let pin = gateway.identity.pin();
        let (companion, proxy) = companion(gateway.address, &pin, guard, limits);
        Self { gateway, companion, proxy }
    }

    /// A program that has connected.
    pub(crate) async fn program(&self) -> Program {
        Program::connected(self.proxy).await
    }

    /// A program with a tunnel to this host.
    pub(crate) async fn tunnel(&self, authority: &str) -> Program {
        let mut program = self.program().await;
        program.send(&format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        assert_eq!(program.head().await, "HTTP/1.1 200 Connection established\r\n\r\n");
        program
    }

    /// What a whole request is answered.
    pub(crate) async fn asked(&self, request: &str) -> String {
        let mut program = self.program().await;
        program.send(request).await;
        program.rest().await
    }
}

/// A companion of this gateway.
pub(crate) fn companion(
    gateway: SocketAddr,
    pin: &str,
    guard: Guard,
    limits: Limits,
) -> (Companion, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let config = Config {
        gateway: Address::parse(&gateway.to_string()).unwrap(),
        dial: None,
        gateway_key: pin.parse().unwrap(),
        identity: Identity::generate().unwrap(),
        listener,
        guard,
        limits,
    };
    (Companion::start(config).unwrap(), proxy)
}

/// A local program, in bytes.
pub(crate) struct Program(pub(crate) TcpStream);

impl Program {
    pub(crate) async fn connected(proxy: SocketAddr) -> Self {
        Self(TcpStream::connect(proxy).await.unwrap())
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Up to an empty line.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(in_time(self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        in_time(self.0.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    /// All that comes until the other side is done.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        in_time(self.0.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// What comes within ten seconds.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("it comes in time")
}

/// Whether the companion's connection to the gateway stays as it is for this long: no dial, no proof.
pub(crate) async fn stays(companion: &Companion, this_long: Duration) -> bool {
    let mut link = companion.link();
    link.mark_unchanged();
    timeout(this_long, link.changed()).await.is_err()
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
