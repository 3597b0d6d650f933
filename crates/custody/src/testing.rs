//! What the tests of this room share: keys in a temporary folder, and rows with every field filled.

use crate::{KeeperKeys, entropy::SystemEntropy};
use nightlatch_domain::{
    clock::Timestamp,
    id::{ChainId, ClientId, ConnectionId, FamilyId, GrantId, TenantId, WakeId},
    ports::gateway_keeper::{LeaseBinding, LeaseBody},
    sealed::{ClientAuth, SealContext, SecretKind},
    tool::{BoundHost, Placement, Scheme},
};
use std::sync::Arc;
use tempfile::TempDir;

/// The id that a kind of thing has as its `n`th.
macro_rules! id {
    ($kind:ident, $n:expr) => {
        $kind::new(Timestamp::from_millis(1_000), [$n; 10])
    };
}
pub(crate) use id;

pub(crate) fn keeper() -> (TempDir, KeeperKeys) {
    let folder = TempDir::new().unwrap();
    let keys = KeeperKeys::load_or_create(folder.path(), true, Arc::new(SystemEntropy::new())).unwrap();
    (folder, keys)
}

pub(crate) fn host(name: &str) -> BoundHost {
    BoundHost {
        scheme: Scheme::Https,
        host: name.to_owned(),
        port: 443,
        path_prefix: "/".to_owned(),
        placement: Placement::Header { name: "x-key".to_owned(), prefix: "Key ".to_owned() },
        route: "api".to_owned(),
    }
}

pub(crate) fn context() -> SealContext {
    SealContext {
        tenant: id!(TenantId, 1),
        kind: SecretKind::Refresh,
        chain: Some(id!(ChainId, 1)),
        family: Some(id!(FamilyId, 1)),
        family_number: Some(2),
        connection: Some(id!(ConnectionId, 1)),
        generation: 7,
        provider: Some("github".parse().unwrap()),
        client: Some(id!(ClientId, 1)),
        token_endpoint: Some("https://provider.example/token".to_owned()),
        refresh_endpoint: Some("https://provider.example/refresh".to_owned()),
        revocation_endpoint: Some("https://provider.example/revoke".to_owned()),
        client_auth: Some(ClientAuth::ClientSecretBasic),
        hosts: vec![host("api.example.com"), host("uploads.example.com")],
    }
}

pub(crate) fn binding() -> LeaseBinding {
    LeaseBinding {
        tenant: id!(TenantId, 1),
        wake: id!(WakeId, 1),
        grant: id!(GrantId, 1),
        connection: id!(ConnectionId, 1),
        family: Some(id!(FamilyId, 1)),
        generation: 7,
        request_sha256: None,
    }
}

pub(crate) fn body() -> LeaseBody {
    LeaseBody { hosts: context().hosts, chain: context().chain }
}

/// A text of base64url with one bit of its content changed.
pub(crate) fn altered(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}
