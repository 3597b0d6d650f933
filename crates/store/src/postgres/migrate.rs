//! Forward migrations of our own, as over SQLite: each applied once, in order, with the note of its number, checksum and
//! kind. All of it is one transaction, begun by taking one row: of several programs that start at the same time one does
//! the work and the others find it done.

use super::{
    PostgresError,
    address::{Address, Drive},
};
use crate::{
    invariants::{Fault, INVARIANTS},
    migration::{Migration, checksum, contract, expand},
};
use nightlatch_domain::clock::Timestamp;
use tokio_postgres::{
    Client, Connection, IsolationLevel, Socket, Transaction, error::SqlState, tls::TlsStream,
};

/// What this version knows. Three of them only add, and yet an older version must not run beside what writes them: its gateway
/// takes calls that another one keeps, and its keeper neither knows which mandates were acted on nor asks, before it claims in a
/// new era, whether every log was compared, or whether the server is still the one that the era began at.
pub(super) const MIGRATIONS: &[Migration] = &[
    expand(include_str!("../../migrations/postgres/0001_first.sql")),
    expand(include_str!("../../migrations/postgres/0002_mailbox.sql")),
    expand(include_str!("../../migrations/postgres/0003_imports.sql")),
    contract(include_str!("../../migrations/postgres/0004_writers.sql")),
    contract(include_str!("../../migrations/postgres/0005_owners.sql")),
    contract(include_str!("../../migrations/postgres/0006_standing.sql")),
    contract(include_str!("../../migrations/postgres/0007_incarnation.sql")),
    expand(include_str!("../../migrations/postgres/0008_ticket_era.sql")),
    expand(include_str!("../../migrations/postgres/0009_intended_by.sql")),
];

/// Where the notes stand, and the row that whoever migrates holds.
const NOTES: &str = "CREATE TABLE IF NOT EXISTS schema_migration (
        number BIGINT PRIMARY KEY, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, kind TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS schema_lock (one BIGINT PRIMARY KEY CHECK (one = 1));
    INSERT INTO schema_lock (one) VALUES (1) ON CONFLICT (one) DO NOTHING";
/// Two that make the notes at the same time: one of them is refused once, and finds them made.
const NOTES_TRIES: u32 = 3;

/// Applies what is missing of `migrations`.
pub(super) async fn apply(
    address: &Address,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<(), PostgresError> {
    apply_with(&mut address.connect(Alone).await?, migrations, now).await
}

/// A connection that nobody listens to but for its answers.
struct Alone;

impl Drive for Alone {
    fn drive<T: TlsStream + Unpin + Send + 'static>(self, connection: Connection<Socket, T>) {
        tokio::spawn(connection);
    }
}

/// Refuses a database that lacks a migration, or has one that a program of this version must not run beside.
pub(super) async fn check(address: &Address, migrations: &[Migration]) -> Result<(), PostgresError> {
    let client = address.connect(Alone).await?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let sql = "SELECT coalesce(max(number), 0), coalesce(max(number) FILTER (WHERE kind <> 'expand'), 0)
         FROM schema_migration";
    let found = match client.query_one(sql, &[]).await {
        Ok(row) => (row.get(0), row.get(1)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => (0, 0),
        Err(error) => return Err(error.into()),
    };
    match found {
        (newest, _) if newest < known => Err(PostgresError::NotMigrated { found: newest, known }),
        (_, contracted) if contracted > known => {
            Err(PostgresError::NewerVersion { found: contracted, known })
        }
        _ => Ok(()),
    }
}

/// What does not hold between rows, all of it at one moment.
pub(super) async fn look_through(address: &Address) -> Result<Vec<Fault>, PostgresError> {
    let mut client = address.connect(Alone).await?;
    let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let moment = moment.start().await?;
    let mut faults = Vec::new();
    for (name, sql) in INVARIANTS {
        let found: i64 = moment.query_one(sql, &[]).await?.try_get(0)?;
        faults.extend(Fault::counted(name, found, None));
    }
    Ok(faults)
}

async fn apply_with(
    client: &mut Client,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<(), PostgresError> {
    make_notes(client).await?;
    // Each statement sees what another's migration committed before, whatever the database's default.
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    transaction.query("SELECT one FROM schema_lock WHERE one = 1 FOR UPDATE", &[]).await?;
    refuse_newer(&transaction, migrations).await?;
    for (number, migration) in (1i64..).zip(migrations) {
        let sql = "SELECT checksum FROM schema_migration WHERE number = $1";
        let noted: Option<String> = transaction.query_opt(sql, &[&number]).await?.map(|row| row.get(0));
        match noted {
            Some(sum) if sum == checksum(migration.sql) => {}
            Some(_) => return Err(PostgresError::OtherHistory { number }),
            None => run(&transaction, number, migration, now).await?,
        }
    }
    Ok(transaction.commit().await?)
}

async fn make_notes(client: &Client) -> Result<(), PostgresError> {
    let mut tries = 1;
    while let Err(error) = client.batch_execute(NOTES).await {
        if tries == NOTES_TRIES {
            return Err(error.into());
        }
        tries += 1;
    }
    Ok(())
}

async fn refuse_newer(transaction: &Transaction<'_>, migrations: &[Migration]) -> Result<(), PostgresError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let sql = "SELECT max(number) FROM schema_migration WHERE number > $1 AND kind <> 'expand'";
    let found: Option<i64> = transaction.query_one(sql, &[&known]).await?.get(0);
    found.map_or(Ok(()), |found| Err(PostgresError::NewerVersion { found, known }))
}

async fn run(
    transaction: &Transaction<'_>,
    number: i64,
    migration: &Migration,
    now: Timestamp,
) -> Result<(), PostgresError> {
    transaction.batch_execute(migration.sql).await?;
    let sql = "INSERT INTO schema_migration (number, checksum, applied_at, kind) VALUES ($1, $2, $3, $4)";
    let (sum, at, kind) = (checksum(migration.sql), now.millis(), migration.kind.word());
    transaction.execute(sql, &[&number, &sum, &at, &kind]).await?;
    Ok(())
}
