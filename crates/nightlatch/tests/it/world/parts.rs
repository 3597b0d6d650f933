//! The real servers, as `cargo xtask test` started them.

use serde::Deserialize;
use std::sync::LazyLock;

/// Addresses of the servers; the shape is documented where they are started.
#[derive(Debug, Deserialize)]
pub(crate) struct Parts {
    /// npm `oidc-provider` and an introspecting resource server.
    pub(crate) oidc: Oidc,
    /// PyPI `django-oauth-toolkit` with no grace.
    pub dot0: Dot,
    /// The same with a grace of 30 seconds.
    pub dot30: Dot,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Oidc {
    pub(crate) issuer: String,
    pub(crate) admin: String,
    pub(crate) resource: String,
    pub(crate) resource_admin: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dot {
    pub(crate) base: String,
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let missing =
        "the test servers are not running: run `cargo xtask test` (or `cargo xtask parts up` beside it)";
    let path = std::env::var("NIGHTLATCH_PARTS_JSON").expect(missing);
    let text = std::fs::read_to_string(&path).expect(missing);
    serde_json::from_str(&text).expect("the servers' addresses have another shape than documented")
});

/// The servers. Fails, and says what to run, where there are none.
pub(crate) fn parts() -> &'static Parts {
    &PARTS
}
