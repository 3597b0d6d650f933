//! Proves that TLS ends at who it should: name, time, root and protocol.

use crate::world::{Authority, HOST, Server, https, mapped, self_signed};
use nightlatch_egress::{Alpn, EgressError, Protocol};
use rustls::{HandshakeKind, ServerConfig};
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;

/// What a server saw of each handshake.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    name: Option<String>,
    resumed: bool,
    early_data: bool,
}

async fn serving(config: ServerConfig) -> (Server, Arc<Mutex<Vec<Seen>>>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let server = Server::start(move |_, socket| {
        let (acceptor, notes) = (acceptor.clone(), Arc::clone(&notes));
        async move {
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            let connection = stream.get_mut().1;
            notes.lock().unwrap().push(Seen {
                name: connection.server_name().map(str::to_owned),
                resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
                early_data: connection.early_data().is_some(),
            });
            // Held open until the client goes, so that tickets arrive.
            drop(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await);
        }
    })
    .await;
    (server, seen)
}

async fn connects(config: ServerConfig, root: &Authority) -> Result<Protocol, EgressError> {
    let (server, _) = serving(config).await;
    let (connector, hand) = mapped(server.at, Some(root));
    let connected = connector.connect(&https(HOST, 443), Alpn::Http2OrHttp1, hand.after(9000)).await;
    connected.map(|connected| connected.protocol)
}

#[tokio::test]
async fn a_mapped_host_is_reached_under_its_own_root() {
    let root = Authority::new();
    assert_eq!(connects(root.server(HOST, 2026, &["http/1.1"]), &root).await.unwrap(), Protocol::Http1);
    assert_eq!(connects(root.server(HOST, 2026, &["h2", "http/1.1"]), &root).await.unwrap(), Protocol::Http2);
    assert_eq!(connects(root.server(HOST, 2026, &[]), &root).await.unwrap(), Protocol::Http1);
}

#[tokio::test]
async fn a_certificate_of_another_root_is_refused() {
    let (root, other) = (Authority::new(), Authority::new());
    let refused = connects(other.server(HOST, 2026, &[]), &root).await.unwrap_err();
    assert!(matches!(refused, EgressError::Tls { .. }) && refused.nothing_was_sent());
}

#[tokio::test]
async fn an_own_root_is_good_for_its_own_host_only() {
    let root = Authority::new();
    let (server, _) = serving(root.server(HOST, 2026, &[])).await;
    let (connector, hand) = mapped(server.at, None);
    let refused = connector.connect(&https(HOST, 443), Alpn::Http1, hand.after(9000)).await.unwrap_err();
    assert!(matches!(refused, EgressError::Tls { .. } | EgressError::NoRoots), "{refused}");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let root = Authority::new();
    for name in ["other.example", "tool.example.evil.example", "example", "*.tool.example", "127.0.0.1"] {
        let refused = connects(root.server(name, 2026, &[]), &root).await.unwrap_err();
        assert!(matches!(refused, EgressError::Tls { .. }), "{name}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_time_is_refused() {
    let root = Authority::new();
    for year in [2025, 2027] {
        let refused = connects(root.server(HOST, year, &[]), &root).await.unwrap_err();
        assert!(matches!(refused, EgressError::Tls { .. }), "{year}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let refused = connects(self_signed(HOST), &Authority::new()).await.unwrap_err();
    assert!(matches!(refused, EgressError::Tls { .. }));
}

#[tokio::test]
async fn the_server_is_told_the_host_and_no_session_is_resumed() {
    let root = Authority::new();
    let mut config = root.server(HOST, 2026, &["http/1.1"]);
    config.max_early_data_size = u32::MAX;
    let (server, seen) = serving(config).await;
    let (connector, hand) = mapped(server.at, Some(&root));
    for _ in 0..3 {
        let connected = connector.connect(&https(HOST, 443), Alpn::Http1, hand.after(9000)).await.unwrap();
        let mut stream = connected.stream;
        // Reading lets a session ticket in, if one comes.
        let mut byte = [0; 1];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte);
        drop(tokio::time::timeout(std::time::Duration::from_millis(20), read).await);
    }
    crate::world::eventually(|| seen.lock().unwrap().len() == 3).await;
    let full = || Seen { name: Some(HOST.to_owned()), resumed: false, early_data: false };
    assert_eq!(*seen.lock().unwrap(), [full(), full(), full()]);
}

#[tokio::test]
async fn a_protocol_that_was_not_asked_for_is_not_spoken() {
    let root = Authority::new();
    let (server, _) = serving(root.server(HOST, 2026, &["h2"])).await;
    let (connector, hand) = mapped(server.at, Some(&root));
    assert!(connector.fresh_http1(&https(HOST, 443), hand.after(9000)).await.is_err());
    let (server, _) = serving(root.server(HOST, 2026, &["h2", "http/1.1"])).await;
    let (connector, hand) = mapped(server.at, Some(&root));
    let connected = connector.connect(&https(HOST, 443), Alpn::Http1, hand.after(9000)).await.unwrap();
    assert_eq!(connected.protocol, Protocol::Http1);
}
