//! Proves that the way to the database is kept from others: in clear on this machine only, and over TLS to nobody whom the
//! given trust does not vouch for.

use super::{
    NOW, on_each,
    server::{Own, Server},
    tool,
};
use nightlatch_domain::ports::store::{ControlStore as _, StoreError};
use nightlatch_store::{Address, Plane, PostgresError, PostgresStore};
use rcgen::{CertifiedKey, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use std::{fs, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

on_each! {
    nothing_is_sent_in_clear_to_another_machine
    a_server_is_believed_by_its_certificate_alone
}

async fn nothing_is_sent_in_clear_to_another_machine(_server: &Server) {
    let refused = [
        "postgres://db.example/n",
        "postgres://db.example/n?sslmode=disable",
        "postgres://db.example/n?sslmode=prefer",
        "postgres://db.example/n?sslmode=require",
        "postgres://localhost/n?sslmode=require",
        "postgres://localhost,db.example/n",
        "postgres://localhost/n?hostaddr=192.0.2.1",
        "postgres://localhost.example/n",
        "host=192.0.2.1 dbname=n",
    ];
    for text in refused {
        assert!(matches!(Address::new(text, None), Err(PostgresError::Clear)), "{text}");
    }
    for text in
        ["postgres://127.0.0.1/n", "postgres://[::1]/n", "postgres://localhost/n", "host=/run/postgresql"]
    {
        assert!(Address::new(text, None).is_ok(), "{text}");
    }
}

/// Trust in one certificate.
fn trust(certificate: &CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn certified(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// A server of that certificate, until the guard is dropped. PyPI's programs speak no TLS: before theirs stands somebody who
/// does, as operators have it too.
async fn encrypted(server: &Server, own: &CertifiedKey<KeyPair>) -> (String, Option<Own>) {
    if !server.version.speaks_tls {
        let database = server.empty().await;
        return (terminated(&database.text, server.address(), own).await, None);
    }
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate", "key"].map(|name| folder.path().join(name));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let running = server.another(&["--tls", certificate.to_str().unwrap(), key.to_str().unwrap()]);
    (format!("{}/postgres", running.address), Some(running))
}

/// Takes TLS off a database's connections, as the protocol begins it: PostgreSQL 18 §54.2.10.
async fn terminated(database: &str, server: &str, own: &CertifiedKey<KeyPair>) -> String {
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = server.rsplit_once('@').unwrap().1.to_owned();
    let text = database.replace(&at, &listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (acceptor, at) = (acceptor.clone(), at.clone());
            tokio::spawn(async move {
                let mut asked = [0; 8];
                near.read_exact(&mut asked).await.unwrap();
                if asked != [0, 0, 0, 8, 4, 210, 22, 47] {
                    return;
                }
                near.write_all(b"S").await.unwrap();
                let Ok(mut near) = acceptor.accept(near).await else { return };
                let mut far = TcpStream::connect(&at).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    text
}

async fn a_server_is_believed_by_its_certificate_alone(server: &Server) {
    let (own, other) = (certified("127.0.0.1"), certified("127.0.0.1"));
    let (text, _guard) = encrypted(server, &own).await;
    let address = Address::new(&text, Some(trust(own.cert.der()))).unwrap();
    PostgresStore::migrate(&address, NOW).await.unwrap();
    PostgresStore::new(&address, Plane::Control).put_tool(tool("a")).await.unwrap();

    let stranger = Address::new(&text, Some(trust(other.cert.der()))).unwrap();
    let in_clear = Address::new(&text, None).unwrap();
    let misnamed = text.replace("127.0.0.1", "localhost");
    let misnamed = Address::new(&misnamed, Some(trust(own.cert.der()))).unwrap();
    // A server that speaks no TLS is nobody, whatever the address says of how much it matters.
    let plain = server.copied().await;
    let plain = Address::new(&format!("{}?sslmode=prefer", plain.text), Some(trust(own.cert.der()))).unwrap();
    for refused in [stranger, in_clear, misnamed, plain] {
        assert!(matches!(PostgresStore::migrate(&refused, NOW).await, Err(PostgresError::Unusable { .. })));
        let store = PostgresStore::new(&refused, Plane::Control);
        assert_eq!(store.put_tool(tool("b")).await, Err(StoreError::Unavailable));
    }
    let tools = PostgresStore::new(&address, Plane::Control).tools(tool("a").tenant).await.unwrap();
    assert_eq!(tools.len(), 1);
}
