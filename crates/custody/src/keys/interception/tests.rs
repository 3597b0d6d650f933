//! An interception authority is good for its tool's hosts and for nothing else, in the eyes of a real verifier,
//! and survives restarts.

use super::{Authority, Interception, LEAF_TTL};
use crate::{CustodyError, entropy::SystemEntropy, keys::gateway::GatewayKeys};
use nightlatch_domain::{clock::Timestamp, id::TenantId};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_795_302_000_000);

fn folder(keys: &Path) -> Interception {
    GatewayKeys::load_or_create(keys, true, &SystemEntropy::new()).unwrap().interception().clone()
}

fn authority(keys: &Path, names: &[&str]) -> Authority {
    folder(keys).authority(tenant(), &"acme".parse().unwrap(), &set(names)).unwrap()
}

fn tenant() -> TenantId {
    TenantId::new(NOW, [7; 10])
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Whether somebody who trusts the authority takes this certificate for that name.
fn trusts(pem: &str, leaf: &CertificateDer<'_>, name: &str, at: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(at.since(Timestamp::from_millis(0)));
    verifier.verify_server_cert(leaf, &[], &name, &[], at).is_ok()
}

/// What a thief of the authority's key can certify.
fn forged(authority: &Authority, name: &str) -> CertificateDer<'static> {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().der().clone()
}

#[test]
fn a_leaf_is_good_for_its_one_name_and_its_day() {
    let keys = TempDir::new().unwrap();
    let authority = authority(keys.path(), &["api.acme.test", "files.acme.test"]);
    let leaf = authority.leaf("api.acme.test", NOW).unwrap();
    let good = |name, at| trusts(authority.pem(), &leaf.chain()[0], name, at);
    assert!(good("api.acme.test", NOW));
    assert!(!good("files.acme.test", NOW), "one name a leaf");
    assert!(!good("api.acme.test", NOW.plus(LEAF_TTL + Duration::from_secs(1))));
    assert!(authority.leaf("evil.test", NOW).is_err());
    assert!(authority.leaf("x.api.acme.test", NOW).is_err());
}

#[test]
fn a_stolen_authority_certifies_nothing_beyond_its_tool() {
    let keys = TempDir::new().unwrap();
    let authority = authority(keys.path(), &["api.acme.test"]);
    let good = |name| trusts(authority.pem(), &forged(&authority, name), name, NOW);
    assert!(good("api.acme.test"));
    for name in ["evil.test", "acme.test", "api.acme.test.evil.test", "xapi.acme.test", "127.0.0.1", "::1"] {
        assert!(!good(name), "{name}");
    }
}

#[test]
fn an_address_is_covered_where_a_human_bound_it_and_no_other_is() {
    let keys = TempDir::new().unwrap();
    let authority = authority(keys.path(), &["127.0.0.1"]);
    let good = |name| trusts(authority.pem(), &forged(&authority, name), name, NOW);
    assert!(good("127.0.0.1"));
    for name in ["127.0.0.2", "::1", "api.acme.test", "localhost"] {
        assert!(!good(name), "{name}");
    }
}

/// What `openssl verify` says of a leaf under the authority, for a purpose and a name.
fn openssl(authority: &Authority, leaf: &CertificateDer<'_>, options: &[&str]) -> String {
    let files = TempDir::new().unwrap();
    let (root, end) = (files.path().join("root.pem"), files.path().join("leaf.der"));
    fs::write(&root, authority.pem()).unwrap();
    fs::write(&end, leaf).unwrap();
    let mut command = Command::new("openssl");
    let now = (NOW.millis() / 1000).to_string();
    command.args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-attime", now.as_str(), "-CAfile"]);
    let output = command.arg(&root).args(options).arg(&end).output().expect("openssl is installed");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
}

/// What a thief certifies: any names, for any purpose.
fn thieved(
    authority: &Authority,
    names: Vec<SanType>,
    purpose: ExtendedKeyUsagePurpose,
) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names;
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 12, 31));
    params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().der().clone()
}

#[test]
fn openssl_takes_a_leaf_for_its_host_and_nothing_else_that_the_key_can_sign() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let keys = TempDir::new().unwrap();
    let authority = authority(keys.path(), &["api.acme.test", "under_score.acme.test", "127.0.0.1"]);
    let server = ["-purpose", "sslserver"];
    for host in ["api.acme.test", "under_score.acme.test"] {
        let leaf = authority.leaf(host, NOW).unwrap().chain()[0].clone();
        let said = openssl(&authority, &leaf, &["-purpose", "sslserver", "-verify_hostname", host]);
        assert!(said.ends_with(": OK\n"), "{said}");
    }
    let leaf = authority.leaf("127.0.0.1", NOW).unwrap().chain()[0].clone();
    let said = openssl(&authority, &leaf, &["-purpose", "sslserver", "-verify_ip", "127.0.0.1"]);
    assert!(said.ends_with(": OK\n"), "{said}");

    let own = || SanType::DnsName("api.acme.test".try_into().unwrap());
    let taken = |also: Option<SanType>, purpose, options: &[&str]| {
        let names = [own()].into_iter().chain(also).collect();
        openssl(&authority, &thieved(&authority, names, purpose), options)
    };
    assert!(taken(None, ServerAuth, &server).ends_with(": OK\n"));
    let said = taken(None, ClientAuth, &["-purpose", "sslclient"]);
    assert!(said.contains("purpose"), "{said}");
    let beyond = [
        SanType::DnsName("evil.test".try_into().unwrap()),
        SanType::IpAddress([127, 0, 0, 2].into()),
        SanType::IpAddress("::1".parse().unwrap()),
        SanType::Rfc822Name("root@evil.test".try_into().unwrap()),
        SanType::URI("spiffe://evil.test/a".try_into().unwrap()),
    ];
    for name in beyond {
        let said = taken(Some(name.clone()), ServerAuth, &server);
        assert!(said.contains("subtree violation"), "{name:?}: {said}");
    }
}

#[test]
fn an_authority_of_very_many_hosts_survives_a_restart() {
    let keys = TempDir::new().unwrap();
    let names: BTreeSet<String> = (0..2000).map(|n| format!("host-number-{n}.of.acme.test")).collect();
    let made = || folder(keys.path()).authority(tenant(), &"acme".parse().unwrap(), &names).unwrap();
    let (first, again) = (made(), made());
    assert!(first.pem().len() > 64 * 1024);
    assert_eq!(first.pem(), again.pem());
    let leaf = again.leaf("host-number-1999.of.acme.test", NOW).unwrap();
    assert!(trusts(first.pem(), &leaf.chain()[0], "host-number-1999.of.acme.test", NOW));
}

#[test]
fn a_certificate_that_cannot_be_read_is_issued_anew() {
    let keys = TempDir::new().unwrap();
    let first = authority(keys.path(), &["api.acme.test"]);
    let file = fs::read_dir(keys.path().join("gateway/interception")).unwrap();
    let file =
        file.map(|entry| entry.unwrap().path()).find(|path| path.extension().unwrap() == "pem").unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    let (line, _) = whole.split_once('\n').unwrap();
    let broken = [
        whole[..whole.len() / 2].to_owned(),
        format!("{line}\n"),
        format!("{line}\n-----BEGIN CERTIFICATE-----\nBQUF\n-----END CERTIFICATE-----\n"),
        format!("{whole}{}", first.pem()),
    ];
    for text in broken {
        fs::write(&file, &text).unwrap();
        let again = authority(keys.path(), &["api.acme.test"]);
        let leaf = again.leaf("api.acme.test", NOW).unwrap();
        assert!(trusts(again.pem(), &leaf.chain()[0], "api.acme.test", NOW), "{text}");
        assert_eq!(again.pem().matches("BEGIN").count(), 1, "{text}");
    }
}

#[test]
fn the_constraints_are_critical() {
    let keys = TempDir::new().unwrap();
    let authority = authority(keys.path(), &["api.acme.test"]);
    let der = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    // id-ce-nameConstraints (2.5.29.30), then BOOLEAN TRUE: a reader that does not know it refuses.
    let critical = [0x06, 0x03, 0x55, 0x1d, 0x1e, 0x01, 0x01, 0xff];
    assert!(der.windows(critical.len()).any(|window| window == critical));
}

#[test]
fn an_authority_survives_a_restart_and_keeps_its_key_when_its_hosts_change() {
    let keys = TempDir::new().unwrap();
    let first = authority(keys.path(), &["api.acme.test"]);
    let again = authority(keys.path(), &["api.acme.test"]);
    assert_eq!(first.pem(), again.pem());
    let grown = authority(keys.path(), &["api.acme.test", "files.acme.test"]);
    assert_ne!(first.pem(), grown.pem());
    assert!(grown.pem().starts_with("-----BEGIN CERTIFICATE-----"));
    // Whoever trusts the earlier certificate still takes what the key certifies, within the earlier hosts.
    let leaf = |host| grown.leaf(host, NOW).unwrap().chain()[0].clone();
    assert!(trusts(first.pem(), &leaf("api.acme.test"), "api.acme.test", NOW));
    assert!(!trusts(first.pem(), &leaf("files.acme.test"), "files.acme.test", NOW));
    assert!(trusts(grown.pem(), &leaf("files.acme.test"), "files.acme.test", NOW));
}

#[test]
fn two_tools_and_two_tenants_share_no_authority() {
    let keys = TempDir::new().unwrap();
    let (folder, names) = (folder(keys.path()), set(&["api.acme.test"]));
    let of = |tenant, tool: &str| folder.authority(tenant, &tool.parse().unwrap(), &names).unwrap();
    let acme = of(tenant(), "acme");
    let others = [of(tenant(), "other"), of(TenantId::new(NOW, [8; 10]), "acme")];
    let leaf = acme.leaf("api.acme.test", NOW).unwrap();
    assert!(trusts(acme.pem(), &leaf.chain()[0], "api.acme.test", NOW));
    for other in others {
        assert!(!trusts(other.pem(), &leaf.chain()[0], "api.acme.test", NOW));
    }
}

#[test]
fn its_files_are_for_their_owner_only_and_one_that_others_read_is_refused() {
    let keys = TempDir::new().unwrap();
    authority(keys.path(), &["api.acme.test"]);
    let interception = keys.path().join("gateway/interception");
    assert_eq!(fs::metadata(&interception).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(&interception).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    let key = files.iter().find(|file| file.extension().is_some_and(|ending| ending == "key")).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    let again = folder(keys.path()).authority(tenant(), &"acme".parse().unwrap(), &set(&["api.acme.test"]));
    assert!(matches!(again, Err(CustodyError::KeyExposed { .. })));
}
