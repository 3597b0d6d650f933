//! The world of the end-to-end tests: the program as a user runs it, real providers, a human, agents.
//!
//! - [`install::Install`]: one installation in a temporary folder, its `up`, its command line;
//! - [`household::Household`]: an installation of an ordinary user, for `run`;
//! - [`parts`]: the real servers that `cargo xtask test` started, once for all tests;
//! - [`ports`]: listeners' ports that nobody else takes;
//! - [`human::Browser`]: an HTTP client that follows pages, forms and cookies, and nothing else;
//! - [`agent::Agent`]: an enrolled key and calls over mutual TLS;
//! - [`database::Server`]: a PostgreSQL server of one test's own;
//! - [`served::Served`]: an installation of several processes over PostgreSQL;
//! - [`relay`]: a path that a test cuts, holds up or looks into;
//! - [`street::Street`]: keepers in network namespaces, and cables that a test pulls;
//! - [`rotating::Rotating`]: such an installation with an account at a real provider;
//! - [`canary`]: what must never be seen, and everywhere it is looked for.

pub(crate) mod agent;
pub(crate) mod canary;
pub(crate) mod collector;
pub(crate) mod connect;
pub(crate) mod database;
pub(crate) mod hoard;
pub(crate) mod household;
pub(crate) mod http;
pub(crate) mod human;
pub(crate) mod install;
pub(crate) mod parts;
pub(crate) mod ports;
pub(crate) mod provider;
pub(crate) mod recorder;
pub(crate) mod relay;
pub(crate) mod rotating;
pub(crate) mod served;
pub(crate) mod street;
pub(crate) mod tools;
pub(crate) mod unchanged;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

/// Asks again until there is an answer, and fails with `what` when there is none within `deadline`.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "{what}: not within {deadline:?}");
        // tidy: sleeps because this is the poll of `eventually`.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
