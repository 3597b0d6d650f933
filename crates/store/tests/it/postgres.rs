//! The suite that every store runs, over PostgreSQL, each plane under its own role; and what holds of PostgreSQL besides:
//! what a plane may not touch, which transactions are begun again, and when nobody knows whether one was kept.

use crate::conformance::{
    Place, Planes,
    mailbox::MailPlace,
    world::{World, later},
};
use crate::damaged::Editable;
use nightlatch_domain::{
    clock::Timestamp,
    id::TenantId,
    ports::mailbox::Mailbox,
    ports::store::{ControlStore as _, LedgerHead, LedgerStore as _, StoreError, ToolRow},
};
use nightlatch_store::{Plane, PostgresError, PostgresStore};
use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::OnceCell,
    task::block_in_place,
};
use tokio_postgres::{Client, NoTls, error::SqlState};

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
const PLANES: [Plane; 4] = [Plane::Control, Plane::Gateway, Plane::Keeper, Plane::Ledger];

/// A database of its own on the server that the test run started.
pub(crate) struct Database {
    address: String,
}

impl Database {
    fn store(&self, plane: Plane) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::new(&self.address, plane).unwrap())
    }
}

impl Place for Database {
    fn open(&self) -> Planes {
        let gateway = self.store(Plane::Gateway);
        Planes {
            control: self.store(Plane::Control),
            directory: gateway.clone(),
            calls: gateway.clone(),
            budgets: gateway,
            keeper: self.store(Plane::Keeper),
            ledger: Arc::new(self.store(Plane::Ledger).heads_of(&"one".parse().unwrap())),
        }
    }
}

impl Editable for Database {
    fn edit(&self, sql: &str) -> u64 {
        waited(async { client(&self.address).await.execute(sql, &[]).await.unwrap() })
    }
}

pub(crate) fn fresh() -> Database {
    waited(copied())
}

/// What a future comes to, in a case that is not one.
fn waited<T>(work: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(work))
}

impl MailPlace for Database {
    fn open_mailbox(&self) -> Arc<dyn Mailbox> {
        // Whichever plane it is, its mailbox is the same.
        let plane = match DRAWN.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Plane::Control,
            1 => Plane::Gateway,
            _ => Plane::Keeper,
        };
        self.store(plane)
    }
}

crate::conformance!(crate::postgres::fresh);
crate::mailbox_conformance!(crate::postgres::fresh);

/// Where the server is. `cargo xtask test` starts it.
#[expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "the one way in which a test run says where its servers are"
)]
fn server() -> String {
    let path = env::var_os("NIGHTLATCH_PARTS_JSON");
    let path = path.expect("run the tests by `cargo xtask test`: it starts PostgreSQL");
    let parts: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    parts.pointer("/postgres/address").and_then(serde_json::Value::as_str).unwrap().to_owned()
}

async fn client(address: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

static DRAWN: AtomicU64 = AtomicU64::new(0);

/// A new database, as a copy of another or empty.
async fn made(of: &str) -> Database {
    let name = format!("d{}_{}", std::process::id(), DRAWN.fetch_add(1, Ordering::Relaxed));
    client(&server()).await.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {of}")).await.unwrap();
    Database { address: format!("{}/{name}", server()) }
}

/// A copy of a database that was migrated once.
async fn copied() -> Database {
    static MIGRATED: OnceCell<String> = OnceCell::const_new();
    let template = MIGRATED.get_or_init(|| async {
        let template = made("template0").await;
        PostgresStore::migrate(&template.address, NOW).await.unwrap();
        template.address.rsplit_once('/').unwrap().1.to_owned()
    });
    made(template.await).await
}

/// Two processes write a ledger each: neither takes the other's head for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_writer_of_a_ledger_has_a_head_of_its_own() {
    let store = copied().await.store(Plane::Ledger);
    let [one, other] = ["one", "other"].map(|name| store.heads_of(&name.parse().unwrap()));
    let head = |seq| LedgerHead { seq, hash: format!("{seq}"), signature: "signed".to_owned(), at: NOW };
    one.put_head(head(7)).await.unwrap();
    assert_eq!(other.head().await.unwrap(), None);
    other.put_head(head(3)).await.unwrap();
    assert_eq!((one.head().await.unwrap(), other.head().await.unwrap()), (Some(head(7)), Some(head(3))));
}

/// A database that lacks a migration is told apart from one that is too new, before anything is done with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_migrated_is_told_apart() {
    let empty = made("template0").await;
    let check = async |database: &Database| {
        PostgresStore::with_password(&database.address, None, Plane::Ledger).unwrap().check().await
    };
    let ready = copied().await;
    assert!(check(&ready).await.is_ok());
    assert!(matches!(check(&empty).await, Err(PostgresError::NotMigrated { found: 0, .. })));
    let client = client(&ready.address).await;
    let older = "DELETE FROM schema_migration WHERE number = (SELECT max(number) FROM schema_migration)";
    client.batch_execute(older).await.unwrap();
    assert!(matches!(check(&ready).await, Err(PostgresError::NotMigrated { .. })));
    let newer =
        "INSERT INTO schema_migration (number, checksum, applied_at, kind) VALUES (99, '', 0, 'expand')";
    client.batch_execute(newer).await.unwrap();
    assert!(check(&ready).await.is_ok(), "what it knows more was only added");
    client.batch_execute("UPDATE schema_migration SET kind = 'contract' WHERE number = 99").await.unwrap();
    assert!(matches!(check(&ready).await, Err(PostgresError::NewerVersion { found: 99, .. })));
    let in_address = ready.address.replace("postgres@", "postgres:secret@");
    let refused = PostgresStore::with_password(&in_address, None, Plane::Ledger).err();
    assert!(matches!(refused, Some(PostgresError::PasswordInAddress)));
}

/// What each plane may do, table by table; everything else is refused.
const RIGHTS: [(&str, [&str; 4]); 33] = [
    // table, then control, gateway, keeper, ledger: select, insert, update, delete
    ("agent", ["siu", "s", "s", ""]),
    ("answer", ["", "", "siud", ""]),
    ("attempt", ["", "", "siu", ""]),
    ("call", ["", "siud", "", ""]),
    ("call_room", ["", "su", "", ""]),
    ("chain", ["s", "", "siu", ""]),
    ("client", ["s", "", "siu", ""]),
    ("connection", ["", "", "siu", ""]),
    ("enrolment", ["s", "s", "si", ""]),
    ("enrolment_code", ["si", "", "siu", ""]),
    ("family", ["", "", "siu", ""]),
    ("feed", ["i", "s", "i", ""]),
    ("feed_counter", ["su", "s", "su", ""]),
    ("feed_mark", ["sid", "", "sid", ""]),
    ("flow", ["s", "", "siu", ""]),
    ("generation", ["", "", "siud", ""]),
    ("grant_spent", ["s", "siu", "", ""]),
    ("human", ["siu", "", "", ""]),
    ("import", ["s", "", "siud", ""]),
    ("installation", ["", "", "siu", ""]),
    ("kill", ["", "", "siu", ""]),
    ("ledger_head", ["", "", "", "siu"]),
    ("letter", ["sid", "sid", "sid", ""]),
    ("peer", ["siud", "siud", "siud", ""]),
    ("redirect_context", ["siu", "", "", ""]),
    ("revocation", ["", "", "siud", ""]),
    ("static_secret", ["", "", "siud", ""]),
    ("task", ["siu", "s", "s", ""]),
    ("task_grant", ["siu", "s", "s", ""]),
    ("tenant", ["siu", "", "", ""]),
    ("ticket", ["s", "", "siu", ""]),
    ("tool", ["siu", "s", "s", ""]),
    ("wake", ["s", "", "siud", ""]),
];

/// Each statement is really sent, under each plane's role, and refused where the plane has no word about the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_plane_is_refused_every_table_that_is_not_its_own() {
    let database = copied().await;
    let client = client(&database.address).await;
    let sql = "SELECT table_name::text, (SELECT column_name::text FROM information_schema.columns AS its
             WHERE its.table_name = known.table_name AND its.table_schema = 'public' ORDER BY ordinal_position LIMIT 1)
         FROM information_schema.tables AS known WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
             AND table_name NOT LIKE 'schema%' ORDER BY table_name";
    let tables = client.query(sql, &[]).await.unwrap();
    let names: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, RIGHTS.map(|(table, _)| table), "every table stands in the list");
    for (row, (table, rights)) in tables.iter().zip(RIGHTS) {
        let column: String = row.get(1);
        for (plane, rights) in PLANES.into_iter().zip(rights) {
            client.batch_execute(&format!("SET ROLE {}", plane.role())).await.unwrap();
            let statements = [
                ("s", format!("SELECT count(*) FROM {table}")),
                ("i", format!("INSERT INTO {table} DEFAULT VALUES")),
                ("u", format!("UPDATE {table} SET {column} = {column} WHERE false")),
                ("d", format!("DELETE FROM {table} WHERE false")),
                ("t", format!("TRUNCATE {table}")),
            ];
            for (right, statement) in statements {
                let refused = client.batch_execute(&statement).await.err();
                let is_refused =
                    refused.is_some_and(|error| error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
                // An update reads what it sets anew.
                let allowed = rights.contains(right);
                assert_eq!(is_refused, !allowed, "{plane:?}: {statement}");
            }
            client.batch_execute("RESET ROLE").await.unwrap();
        }
    }
}

fn tool(name: &str) -> ToolRow {
    let tenant = TenantId::new(NOW, [1; 10]);
    ToolRow { tenant, name: name.parse().unwrap(), manifest: String::new(), added_at: NOW }
}

/// A trigger on the table of tools: what it does is the operator's, whoever writes.
async fn when_a_tool_is_written(database: &Database, when: &str, what: &str) {
    let sql = format!(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN {what} RETURN NEW; END $$;
         CREATE {when} ON tool {} FOR EACH ROW EXECUTE FUNCTION meddle()",
        if when.starts_with("CONSTRAINT") { "DEFERRABLE INITIALLY DEFERRED" } else { "" }
    );
    client(&database.address).await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_transaction_had_to_go_before_is_begun_again() {
    for code in ["40001", "40P01"] {
        let database = copied().await;
        let twice = format!("IF nextval('tries') < 3 THEN RAISE EXCEPTION USING ERRCODE = '{code}'; END IF;");
        when_a_tool_is_written(&database, "TRIGGER meddle BEFORE INSERT", &twice).await;
        let store = database.store(Plane::Control);
        store.put_tool(tool("a")).await.unwrap();
        assert_eq!(store.tools(tool("a").tenant).await.unwrap().len(), 1);
        let sql = "SELECT last_value, (SELECT number FROM feed_counter) FROM tries";
        let row = client(&database.address).await.query_one(sql, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 1), "three tries, one change");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_at_its_commit_is_begun_again_too() {
    let database = copied().await;
    let twice = "IF nextval('tries') < 3 THEN RAISE EXCEPTION USING ERRCODE = '40001'; END IF;";
    when_a_tool_is_written(&database, "CONSTRAINT TRIGGER meddle AFTER INSERT", twice).await;
    let store = database.store(Plane::Control);
    store.put_tool(tool("a")).await.unwrap();
    assert_eq!(store.tools(tool("a").tenant).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_goes_through_is_given_up_with_nothing_written() {
    let database = copied().await;
    let always = "RAISE EXCEPTION USING ERRCODE = '40001';";
    when_a_tool_is_written(&database, "TRIGGER meddle BEFORE INSERT", always).await;
    let store = database.store(Plane::Control);
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unavailable));
    assert_eq!(store.tools(tool("a").tenant).await, Ok(vec![]));
}

/// A wait for a standby that is given up is a warning and then success, for example.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_while_it_commits_means_that_nobody_knows() {
    let database = copied().await;
    let warns = "RAISE WARNING 'canceling wait for synchronous replication due to user request';";
    when_a_tool_is_written(&database, "CONSTRAINT TRIGGER meddle AFTER INSERT", warns).await;
    let store = database.store(Plane::Control);
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unknown));
    let agent = World::new(&database).await.agent("renamed");
    store.put_agent(agent).await.unwrap();
}

/// The server committed; its word was lost on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_of_unknown_outcome() {
    let database = copied().await;
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, server) = server().rsplit_once('@').map(|(user, at)| (user.to_owned(), at.to_owned())).unwrap();
    let address = database.address.replace(&server, &between.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((near, _)) = between.accept().await {
            let far = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(until_a_commit(near, far));
        }
    });
    let store = PostgresStore::new(&address, Plane::Control).unwrap();
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unknown));
    let written = database.store(Plane::Control).tools(tool("a").tenant).await.unwrap();
    assert_eq!(written.len(), 1, "it was kept all the same");
}

/// Hands bytes to and fro until a commit was asked for: the server gets that, and its answer goes nowhere.
async fn until_a_commit(mut near: TcpStream, mut far: TcpStream) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let bytes = asked.get(..read).unwrap_or_default();
                far.write_all(bytes).await.unwrap();
                if bytes.windows(7).any(|word| word == b"COMMIT\0") {
                    let _ = far.read(&mut answered).await;
                    return;
                }
            }
            read = far.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                near.write_all(answered.get(..read).unwrap_or_default()).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_programs_that_start_at_the_same_time_one_migrates() {
    let database = made("template0").await;
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let address = database.address.clone();
            tokio::spawn(async move { PostgresStore::migrate(&address, later(1)).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let client = client(&database.address).await;
    client.batch_execute("INSERT INTO schema_migration VALUES (99, 'x', 0, 'expand')").await.unwrap();
    PostgresStore::migrate(&database.address, NOW).await.unwrap();
    client.batch_execute("INSERT INTO schema_migration VALUES (100, 'x', 0, 'contract')").await.unwrap();
    let refused = PostgresStore::migrate(&database.address, NOW).await;
    assert!(matches!(refused, Err(PostgresError::NewerVersion { found: 100, .. })));
    client
        .batch_execute(
            "DELETE FROM schema_migration WHERE number > 1; UPDATE schema_migration SET checksum = 'x'",
        )
        .await
        .unwrap();
    let refused = PostgresStore::migrate(&database.address, NOW).await;
    assert!(matches!(refused, Err(PostgresError::OtherHistory { number: 1 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_said_to_be_out_of_reach() {
    let store = PostgresStore::new("postgres://nobody@127.0.0.1:1/nothing", Plane::Control).unwrap();
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unavailable));
    assert!(matches!(PostgresStore::new("not an address", Plane::Control), Err(PostgresError::Address)));
}
