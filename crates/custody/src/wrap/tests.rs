//! A wrapped secret opens with its key and its whole context, and in no other way.

use super::{KEY_LEN, open, prepare};
use crate::{
    CustodyError, Secret,
    testing::{altered, context, host, id, keeper},
};
use nightlatch_domain::{
    clock::{Entropy, NoEntropy, Timestamp},
    id::{ChainId, ClientId, ConnectionId, FamilyId, TenantId},
    sealed::{ClientAuth, SealContext, SecretKind, Wrapped},
    tool::{Placement, Scheme},
};
use proptest::prelude::{any, prop_assert_eq, prop_assert_ne, proptest};
use std::sync::atomic::{AtomicBool, Ordering};

fn refused<T>(result: Result<T, CustodyError>) -> bool {
    matches!(result, Err(CustodyError::Refused))
}

fn secret(text: &str) -> Secret {
    Secret::from_string(text.to_owned())
}

/// Every way to change one thing of a context. The pattern names every field: a new one does not
/// compile until it stands here too.
fn edits() -> Vec<(&'static str, SealContext)> {
    let SealContext {
        tenant: _,
        kind: _,
        chain: _,
        family: _,
        family_number: _,
        connection: _,
        generation: _,
        provider: _,
        client: _,
        token_endpoint: _,
        refresh_endpoint: _,
        revocation_endpoint: _,
        client_auth: _,
        hosts,
    } = context();
    let with_host = |edit: fn(&mut nightlatch_domain::tool::BoundHost)| {
        let mut hosts = hosts.clone();
        edit(&mut hosts[0]);
        SealContext { hosts, ..context() }
    };
    vec![
        ("tenant", SealContext { tenant: id!(TenantId, 2), ..context() }),
        ("kind", SealContext { kind: SecretKind::Access, ..context() }),
        ("chain", SealContext { chain: Some(id!(ChainId, 2)), ..context() }),
        ("no chain", SealContext { chain: None, ..context() }),
        ("family", SealContext { family: Some(id!(FamilyId, 2)), ..context() }),
        ("older family", SealContext { family_number: Some(1), ..context() }),
        ("no family's number", SealContext { family_number: None, ..context() }),
        ("no family", SealContext { family: None, ..context() }),
        ("connection", SealContext { connection: Some(id!(ConnectionId, 2)), ..context() }),
        ("no connection", SealContext { connection: None, ..context() }),
        ("older generation", SealContext { generation: 6, ..context() }),
        ("newer generation", SealContext { generation: 8, ..context() }),
        ("provider", SealContext { provider: Some("gitlab".parse().unwrap()), ..context() }),
        ("no provider", SealContext { provider: None, ..context() }),
        ("client", SealContext { client: Some(id!(ClientId, 2)), ..context() }),
        ("no client", SealContext { client: None, ..context() }),
        (
            "token endpoint",
            SealContext { token_endpoint: Some("https://evil.example/token".into()), ..context() },
        ),
        ("no token endpoint", SealContext { token_endpoint: None, ..context() }),
        (
            "refresh endpoint",
            SealContext { refresh_endpoint: Some("https://evil.example/refresh".into()), ..context() },
        ),
        ("no refresh endpoint", SealContext { refresh_endpoint: None, ..context() }),
        (
            "revocation endpoint",
            SealContext { revocation_endpoint: Some("https://evil.example/".into()), ..context() },
        ),
        ("no revocation endpoint", SealContext { revocation_endpoint: None, ..context() }),
        ("client auth", SealContext { client_auth: Some(ClientAuth::ClientSecretPost), ..context() }),
        ("no client auth", SealContext { client_auth: None, ..context() }),
        ("no hosts", SealContext { hosts: Vec::new(), ..context() }),
        (
            "one host more",
            SealContext { hosts: [hosts.clone(), vec![host("evil.example")]].concat(), ..context() },
        ),
        ("hosts in another order", SealContext { hosts: hosts.iter().rev().cloned().collect(), ..context() }),
        ("host", with_host(|host| host.host = "evil.example".to_owned())),
        ("scheme", with_host(|host| host.scheme = Scheme::Http)),
        ("port", with_host(|host| host.port = 8443)),
        ("path prefix", with_host(|host| host.path_prefix = "/v3".to_owned())),
        ("placement", with_host(|host| host.placement = Placement::Bearer)),
        ("route", with_host(|host| host.route = "other".to_owned())),
    ]
}

#[test]
fn a_secret_opens_with_the_context_it_was_wrapped_with() {
    let (_folder, keys) = keeper();
    let wrapped = keys.wrap(&secret("refresh-canary"), &context()).unwrap();
    assert_eq!(keys.open(&wrapped, &context()).unwrap().expose(), b"refresh-canary");
    let empty = keys.wrap(&secret(""), &context()).unwrap();
    assert!(keys.open(&empty, &context()).unwrap().is_empty());
}

#[test]
fn any_edited_field_of_the_context_is_refused() {
    let (_folder, keys) = keeper();
    let wrapped = keys.wrap(&secret("refresh-canary"), &context()).unwrap();
    for (what, edited) in edits() {
        assert_ne!(edited, context(), "{what}");
        assert!(refused(keys.open(&wrapped, &edited)), "{what}");
    }
}

#[test]
fn swapped_rows_are_refused() {
    let (_folder, keys) = keeper();
    let other_context = SealContext { connection: Some(id!(ConnectionId, 2)), ..context() };
    let mine = keys.wrap(&secret("mine"), &context()).unwrap();
    let other = keys.wrap(&secret("other"), &other_context).unwrap();
    assert!(refused(keys.open(&other, &context())));
    assert!(refused(keys.open(&mine, &other_context)));
}

#[test]
fn parts_of_two_rows_do_not_make_a_third() {
    let (_folder, keys) = keeper();
    let one = keys.wrap(&secret("one"), &context()).unwrap();
    let two = keys.wrap(&secret("two"), &context()).unwrap();
    let mixed = Wrapped { data_key: one.data_key.clone(), ..two.clone() };
    assert!(refused(keys.open(&mixed, &context())));
    let turned =
        Wrapped { data_key: one.ciphertext.clone(), ciphertext: one.data_key.clone(), ..one.clone() };
    assert!(refused(keys.open(&turned, &context())));
}

#[test]
fn a_secret_moved_to_another_tenant_or_generation_is_refused() {
    let (_folder, keys) = keeper();
    let older = keys.wrap(&secret("older"), &SealContext { generation: 6, ..context() }).unwrap();
    assert!(refused(keys.open(&older, &context())));
    let elsewhere = keys.wrap(&secret("x"), &SealContext { tenant: id!(TenantId, 2), ..context() }).unwrap();
    assert!(refused(keys.open(&elsewhere, &context())));
}

#[test]
fn a_truncated_or_altered_ciphertext_is_refused() {
    let (_folder, keys) = keeper();
    let whole = keys.wrap(&secret("refresh-canary"), &context()).unwrap();
    for (part, len) in [("data key", whole.data_key.len()), ("ciphertext", whole.ciphertext.len())] {
        for cut in 0..len {
            let mut short = whole.clone();
            let text = if part == "data key" { &mut short.data_key } else { &mut short.ciphertext };
            text.truncate(cut);
            assert!(refused(keys.open(&short, &context())), "{part} cut to {cut}");
        }
    }
    let data_key = Wrapped { data_key: altered(&whole.data_key), ..whole.clone() };
    assert!(refused(keys.open(&data_key, &context())));
    let ciphertext = Wrapped { ciphertext: altered(&whole.ciphertext), ..whole.clone() };
    assert!(refused(keys.open(&ciphertext, &context())));
    assert!(refused(keys.open(&Wrapped { format: 2, ..whole }, &context())));
}

#[test]
fn another_keeper_key_opens_nothing() {
    let (_one, keys) = keeper();
    let (_two, others) = keeper();
    let wrapped = keys.wrap(&secret("refresh-canary"), &context()).unwrap();
    assert!(refused(others.open(&wrapped, &context())));
}

#[test]
fn a_data_key_and_a_content_are_never_bound_alike() {
    let bound = |layer| super::associated(layer, &context()).unwrap();
    assert_ne!(bound(super::Layer::DataKey), bound(super::Layer::Content));
}

#[test]
fn every_wrapping_has_its_own_data_key() {
    let (_folder, keys) = keeper();
    let one = keys.wrap(&secret("same"), &context()).unwrap();
    let two = keys.wrap(&secret("same"), &context()).unwrap();
    assert_ne!(one.data_key, two.data_key);
    assert_ne!(one.ciphertext, two.ciphertext);
}

#[test]
fn a_wrapped_secret_shows_nothing_of_itself() {
    let (_folder, keys) = keeper();
    let wrapped = keys.wrap(&secret("refresh-canary"), &context()).unwrap();
    let row = serde_json::to_string(&wrapped).unwrap();
    assert!(!row.contains("canary") && !format!("{wrapped:?}").contains(&wrapped.ciphertext));
}

#[test]
fn a_context_without_an_endpoint_of_its_own_for_refreshes_is_bound_as_before_there_was_one() {
    let bytes =
        super::associated(super::Layer::Content, &SealContext { refresh_endpoint: None, ..context() });
    assert!(!String::from_utf8(bytes.unwrap()).unwrap().contains("refresh_endpoint"));
}

proptest! {
    #[test]
    fn contexts_that_differ_are_bound_as_different_bytes(
        host in ".{0,12}", prefix in ".{0,12}", endpoint in ".{0,12}", generation in any::<u64>(),
        other in ".{0,12}",
    ) {
        let make = |host: &str, prefix: &str, endpoint: &str| {
            let mut made = context();
            made.hosts[0].host = host.to_owned();
            made.hosts[0].path_prefix = prefix.to_owned();
            made.token_endpoint = Some(endpoint.to_owned());
            made.generation = generation;
            made
        };
        let bytes = |context: &SealContext| super::associated(super::Layer::Content, context).unwrap();
        let context = make(&host, &prefix, &endpoint);
        let bound = bytes(&context);
        let json = bound.splitn(2, |byte| *byte == 0).last().unwrap();
        prop_assert_eq!(&serde_json::from_slice::<SealContext>(json).unwrap(), &context);
        // Text that moves from one field to its neighbour is another context.
        let moved = make(&format!("{host}{other}"), &prefix, &endpoint);
        if moved != context {
            prop_assert_ne!(bytes(&moved), bytes(&context));
        }
    }
}

/// Gives the same byte until it is dry.
#[derive(Default)]
struct Source(AtomicBool);

impl Entropy for Source {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        out.fill(7);
        if self.0.load(Ordering::SeqCst) { Err(NoEntropy) } else { Ok(()) }
    }
}

#[test]
fn what_was_made_ready_seals_without_randomness() {
    let (key, source) = ([1; KEY_LEN], Source::default());
    let prepared = prepare(&key, &context(), &source).unwrap();
    source.0.store(true, Ordering::SeqCst);
    assert!(matches!(prepare(&key, &context(), &source), Err(CustodyError::NoEntropy(_))));
    let wrapped = prepared.seal(&secret("token")).unwrap();
    assert_eq!(open(&key, &wrapped, &context()).unwrap().expose(), b"token");
    let other = SealContext { generation: 8, ..context() };
    assert!(refused(open(&key, &wrapped, &other)));
}
