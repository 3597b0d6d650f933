//! The gateway's keys survive restarts, its certificate serves real TLS, and what is pinned stays.

use super::GatewayKeys;
use crate::{CustodyError, entropy::SystemEntropy};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs::default_provider,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};
use tempfile::TempDir;

fn load(keys: &Path, fresh_allowed: bool) -> Result<GatewayKeys, CustodyError> {
    GatewayKeys::load_or_create(keys, fresh_allowed, &SystemEntropy::new())
}

#[test]
fn all_keys_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let first = load(folder.path(), true).unwrap();
    let again = load(folder.path(), false).unwrap();
    assert_eq!(first.tls().spki_sha256(), again.tls().spki_sha256());
    assert_eq!(first.tls().chain(), again.tls().chain());
    assert_eq!(first.record().ledger_public_key().unwrap(), again.record().ledger_public_key().unwrap());
    let sign =
        |keys: &GatewayKeys| aws_lc_rs::hmac::sign(&keys.record().query_hash_key(), b"q").as_ref().to_vec();
    assert_eq!(sign(&first), sign(&again));
    let signature = first.record().ledger_signer().unwrap().sign(b"head");
    let public = again.record().ledger_public_key().unwrap();
    assert!(UnparsedPublicKey::new(&ED25519, public).verify(b"head", signature.as_ref()).is_ok());
}

#[test]
fn every_file_is_for_its_owner_only() {
    let folder = TempDir::new().unwrap();
    load(folder.path(), true).unwrap();
    let gateway = folder.path().join("gateway");
    assert_eq!(fs::metadata(&gateway).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&gateway).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "interception" {
            continue;
        }
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["ledger.key", "query-hash.key", "tls.key", "tls.pem"]);
}

#[test]
fn each_missing_key_refuses_where_none_may_be_made() {
    for name in ["ledger.key", "query-hash.key", "tls.key"] {
        let folder = TempDir::new().unwrap();
        load(folder.path(), true).unwrap();
        fs::remove_file(folder.path().join("gateway").join(name)).unwrap();
        assert!(matches!(load(folder.path(), false), Err(CustodyError::KeyMissing { .. })), "{name}");
    }
}

#[test]
fn a_lost_certificate_is_made_anew_over_the_pinned_key() {
    let folder = TempDir::new().unwrap();
    let first = load(folder.path(), true).unwrap();
    fs::remove_file(folder.path().join("gateway/tls.pem")).unwrap();
    let again = load(folder.path(), false).unwrap();
    assert_eq!(first.tls().spki_sha256(), again.tls().spki_sha256());
}

#[test]
fn the_certificate_serves_tls_for_each_local_name() {
    let folder = TempDir::new().unwrap();
    let keys = load(folder.path(), true).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        handshake(&keys, name).unwrap();
    }
    assert!(handshake(&keys, "gateway.example").is_err());
}

fn handshake(keys: &GatewayKeys, name: &'static str) -> Result<(), rustls::Error> {
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(keys.tls().chain(), keys.tls().key())?;
    let mut roots = RootCertStore::empty();
    roots.add(keys.tls().chain().remove(0))?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConnection::new(Arc::new(server))?;
    let mut client = ClientConnection::new(Arc::new(client), name.try_into().unwrap())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn what_is_pinned_is_the_hash_of_the_certificates_public_key() {
    let folder = TempDir::new().unwrap();
    let keys = load(folder.path(), true).unwrap();
    let certificate = keys.tls().chain().remove(0);
    let parsed = rustls::server::ParsedCertificate::try_from(&certificate).unwrap();
    let spki = parsed.subject_public_key_info();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
    assert_eq!(super::hexadecimal(hash.as_ref()), keys.tls().spki_sha256());
    assert!(keys.tls().pem().starts_with("-----BEGIN CERTIFICATE-----"));
}
