//! The servers that the test run started, a server of one test's own, and new databases there.

use super::{Database, NOW};
use nightlatch_store::PostgresStore;
use serde_json::Value;
use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

/// One version of PostgreSQL.
pub(crate) struct Version {
    part: &'static str,
    /// Whether its programs were built with it.
    pub(super) speaks_tls: bool,
    migrated: OnceCell<String>,
}

pub(crate) static EIGHTEEN: Version =
    Version { part: "postgres", speaks_tls: false, migrated: OnceCell::const_new() };
pub(crate) static FIFTEEN: Version =
    Version { part: "postgres15", speaks_tls: true, migrated: OnceCell::const_new() };

/// A server of that version.
pub(crate) struct Server {
    pub(super) version: &'static Version,
    part: Value,
}

impl Version {
    /// Where it runs. `cargo xtask test` starts the newest always, and the other where it is installed.
    #[expect(
        clippy::disallowed_methods,
        clippy::expect_used,
        reason = "the one way in which a test run says where its servers are"
    )]
    pub(crate) fn found(&'static self) -> Option<Server> {
        let path = env::var_os("NIGHTLATCH_PARTS_JSON");
        let path = path.expect("run the tests by `cargo xtask test`: it starts PostgreSQL");
        let parts: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        Some(Server { version: self, part: parts.get(self.part)?.clone() })
    }
}

impl Server {
    /// Its address, with no database named.
    pub(super) fn address(&self) -> &str {
        self.part.get("address").and_then(Value::as_str).unwrap()
    }

    /// A database that was never migrated.
    pub(super) async fn empty(&self) -> Database {
        made(self.address(), "template0").await
    }

    /// A copy of a database that was migrated once.
    pub(super) async fn copied(&self) -> Database {
        let template = self.version.migrated.get_or_init(|| async {
            let template = self.empty().await;
            PostgresStore::migrate(&template.address(), NOW).await.unwrap();
            template.text.rsplit_once('/').unwrap().1.to_owned()
        });
        made(self.address(), template.await).await
    }

    /// Another server of the same version, with settings of its own, until it is dropped.
    pub(super) fn another(&self, words: &[&str]) -> Own {
        let serve = self.part.get("serve").and_then(Value::as_array).unwrap();
        let mut serve = serve.iter().map(|word| word.as_str().unwrap());
        let mut command = Command::new(serve.next().unwrap());
        command.args(serve).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Own { address: said.get("address").and_then(Value::as_str).unwrap().to_owned(), child }
    }
}

/// A server of one test's own; it ends with its standard input.
pub(super) struct Own {
    pub(super) address: String,
    child: Child,
}

impl Own {
    /// A database there, migrated.
    pub(super) async fn migrated(&self) -> Database {
        let database = made(&self.address, "template0").await;
        PostgresStore::migrate(&database.address(), NOW).await.unwrap();
        database
    }

    pub(super) fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A connection of an operator's, past all that is tested.
pub(super) async fn client(address: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(super) static DRAWN: AtomicU64 = AtomicU64::new(0);

/// A new database whose defaults are none that we want: what is needed is asked for by ourselves.
async fn made(server: &str, of: &str) -> Database {
    let name = format!("d{}_{}", std::process::id(), DRAWN.fetch_add(1, Ordering::Relaxed));
    let client = client(server).await;
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {of}")).await.unwrap();
    for other in [
        "synchronous_commit = off",
        "default_transaction_isolation = 'serializable'",
        "idle_in_transaction_session_timeout = 0",
    ] {
        client.batch_execute(&format!("ALTER DATABASE {name} SET {other}")).await.unwrap();
    }
    Database { text: format!("{server}/{name}") }
}
