//! Proves what becomes of a write when other transactions, the network or the server are in its way: it is begun again,
//! refused with nothing written, or said to be of unknown outcome.

use super::{
    Database, NOW, on_each,
    order::until_waiting,
    server::{Server, client},
    tool, tools, world,
};
use crate::conformance::world::{CLAIMABLE, World, later};
use nightlatch_domain::{
    chain::ChainState,
    id::{InstallationId, OwnerId},
    ports::store::{ControlStore as _, Kill, StoreError},
};
use nightlatch_store::{Address, Plane, PostgresError, PostgresStore};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Longer than a stopped holder is waited for, and shorter than the pool's own patience.
const WAIT: Duration = Duration::from_secs(4);
/// The connections that a plane's work has.
const LINKS_MAX: usize = 8;

on_each! {
    what_another_transaction_had_to_go_before_is_begun_again
    what_is_refused_at_its_commit_is_begun_again_too
    what_never_goes_through_is_given_up_with_nothing_written
    what_a_newer_version_adds_to_a_table_disturbs_no_connection_that_is_open
    a_warning_while_it_commits_means_that_nobody_knows
    a_statement_that_is_a_transaction_by_itself_is_as_durable_or_nobody_knows
    a_commit_whose_answer_is_lost_is_of_unknown_outcome
    an_answer_that_is_lost_of_a_statement_alone_is_of_unknown_outcome
    what_is_read_over_a_link_that_ends_is_read_over_another
    a_holder_that_stops_holds_up_the_others_for_a_second
    a_kill_waits_for_no_other_work
    of_programs_that_start_at_the_same_time_one_migrates
    a_database_that_is_not_migrated_is_told_apart
    a_server_that_is_not_there_is_said_to_be_out_of_reach
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
    client(&database.text).await.batch_execute(&sql).await.unwrap();
}

async fn what_another_transaction_had_to_go_before_is_begun_again(server: &Server) {
    for code in ["40001", "40P01"] {
        let database = server.copied().await;
        let twice = format!("IF nextval('tries') < 3 THEN RAISE EXCEPTION USING ERRCODE = '{code}'; END IF;");
        when_a_tool_is_written(&database, "TRIGGER meddle BEFORE INSERT", &twice).await;
        let store = database.store(Plane::Control);
        store.put_tool(tool("a")).await.unwrap();
        assert_eq!(store.tools(tool("a").tenant).await.unwrap().len(), 1);
        let sql = "SELECT last_value, (SELECT number FROM feed_counter) FROM tries";
        let row = client(&database.text).await.query_one(sql, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 1), "three tries, one change");
    }
}

async fn what_is_refused_at_its_commit_is_begun_again_too(server: &Server) {
    let database = server.copied().await;
    let twice = "IF nextval('tries') < 3 THEN RAISE EXCEPTION USING ERRCODE = '40001'; END IF;";
    when_a_tool_is_written(&database, "CONSTRAINT TRIGGER meddle AFTER INSERT", twice).await;
    let store = database.store(Plane::Control);
    store.put_tool(tool("a")).await.unwrap();
    assert_eq!(store.tools(tool("a").tenant).await.unwrap().len(), 1);
}

async fn what_never_goes_through_is_given_up_with_nothing_written(server: &Server) {
    let database = server.copied().await;
    let always = "RAISE EXCEPTION USING ERRCODE = '40001';";
    when_a_tool_is_written(&database, "TRIGGER meddle BEFORE INSERT", always).await;
    let store = database.store(Plane::Control);
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unavailable));
    assert_eq!(store.tools(tool("a").tenant).await, Ok(vec![]));
}

/// An open connection has its statements prepared: what they answer has other columns from one moment to the next.
async fn what_a_newer_version_adds_to_a_table_disturbs_no_connection_that_is_open(server: &Server) {
    let database = server.copied().await;
    let operator = client(&database.text).await;
    let store: Arc<dyn nightlatch_domain::ports::store::KeeperStore> = database.store(Plane::Keeper);
    let fresh = InstallationId::new(NOW, [3; 10]);
    let sessions = async || {
        let sql = "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        operator.query_one(sql, &[]).await.unwrap().get::<_, Vec<i32>>(0)
    };
    let asked = async || {
        let written = store.installation(fresh).await;
        let read = store.tools(tool("a").tenant).await;
        (written, read, store.standing().await)
    };
    let (before, open) = (asked().await, sessions().await);
    assert!(before.0.is_ok() && before.1.is_ok() && before.2.is_ok());
    for table in ["installation", "tool", "keeper"] {
        operator.batch_execute(&format!("ALTER TABLE {table} ADD COLUMN more TEXT")).await.unwrap();
        assert_eq!(asked().await, before, "{table}");
    }
    assert_eq!(sessions().await, open, "it is the same connection");
}

/// A wait for a standby that is given up is a warning and then success, for example.
async fn a_warning_while_it_commits_means_that_nobody_knows(server: &Server) {
    let database = server.copied().await;
    let warns = "RAISE WARNING 'canceling wait for synchronous replication due to user request';";
    when_a_tool_is_written(&database, "CONSTRAINT TRIGGER meddle AFTER INSERT", warns).await;
    let store = database.store(Plane::Control);
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unknown));
    let agent = World::new(&database).await.agent("renamed");
    store.put_agent(agent).await.unwrap();
}

/// Claims and answers begin nothing and commit nothing: their one statement does.
async fn a_statement_that_is_a_transaction_by_itself_is_as_durable_or_nobody_knows(server: &Server) {
    let (database, world) = world(server).await;
    let on = world.connected("a", "1").await;
    let warns = "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN RAISE WARNING 'canceling wait for synchronous replication due to user request'; RETURN NEW; END $$;
         CREATE CONSTRAINT TRIGGER meddle AFTER UPDATE ON chain DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION meddle()";
    let operator = client(&database.text).await;
    operator.batch_execute(warns).await.unwrap();
    let (seen, owner) = (world.seen(on.chain).await, world.id(OwnerId::new));
    let claim = world.keeper.claim(world.tenant, on.chain, seen, owner, CLAIMABLE.to_vec());
    assert_eq!(claim.await, Err(StoreError::Unknown));
    operator.batch_execute("DROP TRIGGER meddle ON chain").await.unwrap();
    let (seen, owner) = (world.seen(on.chain).await, world.id(OwnerId::new));
    let from = vec![ChainState::Refreshing];
    assert!(world.keeper.claim(world.tenant, on.chain, seen, owner, from).await.unwrap().is_some());
}

/// The server wrote it; its word was lost on the way.
async fn an_answer_that_is_lost_of_a_statement_alone_is_of_unknown_outcome(server: &Server) {
    let (database, world) = world(server).await;
    let on = world.connected("a", "1").await;
    let (seen, owner) = (world.seen(on.chain).await, world.id(OwnerId::new));
    let address = between(server, &database, owner.to_string().as_bytes(), AtCommit::Lost).await;
    let far: Arc<dyn nightlatch_domain::ports::store::KeeperStore> =
        Arc::new(PostgresStore::new(&address, Plane::Keeper));
    let claim = far.claim(world.tenant, on.chain, seen, owner, CLAIMABLE.to_vec()).await;
    assert_eq!(claim, Err(StoreError::Unknown));
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!(view.chain.owner, Some(owner), "it was kept all the same");
}

/// Nothing was begun, so only its statement finds out: it is asked again.
async fn what_is_read_over_a_link_that_ends_is_read_over_another(server: &Server) {
    let database = server.copied().await;
    let store = database.store(Plane::Control);
    let operator = client(&database.text).await;
    operator.batch_execute("BEGIN; SET LOCAL application_name = 'first'; LOCK TABLE tool").await.unwrap();
    let read = store.tools(tool("a").tenant);
    until_waiting(&database, "active", 1).await;
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = '' AND wait_event_type = 'Lock'";
    operator.batch_execute(ends).await.unwrap();
    operator.batch_execute("COMMIT").await.unwrap();
    assert_eq!(read.await, Ok(vec![]));
}

/// The server committed; its word was lost on the way.
async fn a_commit_whose_answer_is_lost_is_of_unknown_outcome(server: &Server) {
    let database = server.copied().await;
    let store = PostgresStore::new(&between(server, &database, COMMIT, AtCommit::Lost).await, Plane::Control);
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unknown));
    let written = database.store(Plane::Control).tools(tool("a").tenant).await.unwrap();
    assert_eq!(written.len(), 1, "it was kept all the same");
}

/// What becomes of a commit between the store and its server.
#[derive(Clone, Copy)]
enum AtCommit {
    /// The server gets it, and its answer goes nowhere.
    Lost,
    /// It does not leave, and nothing else does: its sender was stopped.
    Held,
}

/// The database's address through somebody who meddles.
async fn between(server: &Server, database: &Database, word: &[u8], what: AtCommit) -> Address {
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = server.address().rsplit_once('@').unwrap().1.to_owned();
    let word = word.to_vec();
    let text = database.text.replace(&at, &between.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((near, _)) = between.accept().await {
            let far = TcpStream::connect(&at).await.unwrap();
            tokio::spawn(until_a_commit(near, far, word.clone(), what));
        }
    });
    Address::new(&text, None).unwrap()
}

/// The word by which a transaction is committed.
const COMMIT: &[u8] = b"COMMIT\0";

/// Hands bytes to and fro until a commit is asked for.
async fn until_a_commit(mut near: TcpStream, mut far: TcpStream, word: Vec<u8>, what: AtCommit) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let bytes = asked.get(..read).unwrap_or_default();
                match what {
                    _ if !bytes.windows(word.len()).any(|part| part == word) => far.write_all(bytes).await.unwrap(),
                    AtCommit::Lost => {
                        far.write_all(bytes).await.unwrap();
                        let _ = far.read(&mut answered).await;
                        return;
                    }
                    AtCommit::Held => return std::future::pending().await,
                }
            }
            read = far.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                near.write_all(answered.get(..read).unwrap_or_default()).await.unwrap();
            }
        }
    }
}

/// A holder that stops with the counter row in its hand (a paused machine) is thrown out, with all that it wrote.
async fn a_holder_that_stops_holds_up_the_others_for_a_second(server: &Server) {
    let database = server.copied().await;
    let stopped =
        PostgresStore::new(&between(server, &database, COMMIT, AtCommit::Held).await, Plane::Control);
    let held = stopped.put_tool(tool("held"));
    until_waiting(&database, "idle in transaction", 1).await;
    let other = database.store(Plane::Control);
    assert_eq!(
        timeout(WAIT, other.put_tool(tool("other"))).await,
        Ok(Ok(())),
        "it waits for the end of whoever holds the row"
    );
    assert_eq!(tools(&database).await, 1, "what the stopped one wrote is gone");
    drop(held);
}

/// Whatever keeps all connections of the keeper's work busy, a kill has one of its own.
async fn a_kill_waits_for_no_other_work(server: &Server) {
    let (database, world) = world(server).await;
    let on = world.connected("a", "1").await;
    let holder = client(&database.text).await;
    holder.batch_execute("BEGIN; SELECT 1 FROM chain FOR UPDATE").await.unwrap();
    let stuck: Vec<_> = (0..LINKS_MAX).map(|_| world.keeper.hasten(world.tenant, on.chain, NOW)).collect();
    until_waiting(&database, "active", LINKS_MAX).await;
    let kill = Kill::Chain { tenant: world.tenant, chain: on.chain };
    assert!(timeout(WAIT, world.keeper.kill(kill, later(1))).await.unwrap().is_ok());
    holder.batch_execute("COMMIT").await.unwrap();
    for stuck in stuck {
        assert_eq!(stuck.await, Ok(()));
    }
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await, Ok(None));
}

async fn of_programs_that_start_at_the_same_time_one_migrates(server: &Server) {
    let database = server.empty().await;
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let address = database.address();
            tokio::spawn(async move { PostgresStore::migrate(&address, later(1)).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let client = client(&database.text).await;
    client.batch_execute("INSERT INTO schema_migration VALUES (99, 'x', 0, 'expand')").await.unwrap();
    PostgresStore::migrate(&database.address(), NOW).await.unwrap();
    client.batch_execute("INSERT INTO schema_migration VALUES (100, 'x', 0, 'contract')").await.unwrap();
    let refused = PostgresStore::migrate(&database.address(), NOW).await;
    assert!(matches!(refused, Err(PostgresError::NewerVersion { found: 100, .. })));
    client
        .batch_execute(
            "DELETE FROM schema_migration WHERE number > 1; UPDATE schema_migration SET checksum = 'x'",
        )
        .await
        .unwrap();
    let refused = PostgresStore::migrate(&database.address(), NOW).await;
    assert!(matches!(refused, Err(PostgresError::OtherHistory { number: 1 })));
}

/// A database that lacks a migration is told apart from one that is too new, before anything is done with it.
async fn a_database_that_is_not_migrated_is_told_apart(server: &Server) {
    let empty = server.empty().await;
    let check = async |database: &Database| database.store(Plane::Ledger).check().await;
    let ready = server.copied().await;
    assert!(check(&ready).await.is_ok());
    assert!(matches!(check(&empty).await, Err(PostgresError::NotMigrated { found: 0, .. })));
    let client = client(&ready.text).await;
    let refuse = "SELECT array_agg(number ORDER BY number) FROM schema_migration WHERE kind = 'contract'";
    let refuse: Vec<i64> = client.query_one(refuse, &[]).await.unwrap().get(0);
    assert_eq!(refuse, [4, 5, 6, 7], "who does not know these must not run beside a program that does");
    let older = "DELETE FROM schema_migration WHERE number = (SELECT max(number) FROM schema_migration)";
    client.batch_execute(older).await.unwrap();
    assert!(matches!(check(&ready).await, Err(PostgresError::NotMigrated { .. })));
    let newer =
        "INSERT INTO schema_migration (number, checksum, applied_at, kind) VALUES (99, '', 0, 'expand')";
    client.batch_execute(newer).await.unwrap();
    assert!(check(&ready).await.is_ok(), "what it knows more was only added");
    client.batch_execute("UPDATE schema_migration SET kind = 'contract' WHERE number = 99").await.unwrap();
    assert!(matches!(check(&ready).await, Err(PostgresError::NewerVersion { found: 99, .. })));
    let in_address = ready.text.replace("postgres@", "postgres:secret@");
    assert!(matches!(Address::new(&in_address, None), Err(PostgresError::PasswordInAddress)));
}

async fn a_server_that_is_not_there_is_said_to_be_out_of_reach(_server: &Server) {
    let nowhere = Address::new("postgres://nobody@127.0.0.1:1/nothing", None).unwrap();
    let store = PostgresStore::new(&nowhere, Plane::Control);
    assert_eq!(store.put_tool(tool("a")).await, Err(StoreError::Unavailable));
    assert!(matches!(PostgresStore::migrate(&nowhere, NOW).await, Err(PostgresError::Unusable { .. })));
    assert!(matches!(Address::new("not an address", None), Err(PostgresError::Address)));
}
