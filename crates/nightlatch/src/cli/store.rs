//! The grammar of `store`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Look the database through: pages, rows that point nowhere, what must hold between rows
    #[command(after_help = "\
Examples:
  nightlatch store check
  nightlatch store check --config owner.toml      (PostgreSQL, as the database's owner)
  nightlatch store check --json

It reads only, also while Nightlatch runs. The exit code is 1 where something is wrong.")]
    Check(CheckStore),
    /// Copy the database to a file, also while Nightlatch runs
    #[command(after_help = "\
Examples:
  nightlatch store backup /backup/nightlatch-monday.sqlite

The copy is of one moment, looked through, synced, and there whole or not at all; only you may
read it. The keys (`keys/` in the data folder), the ledger (`ledger/`) and the keeper's log are
never in it: without the keys it opens nothing. Keep keys and ledger elsewhere, and never copy the
log: it is what tells a copy from the rest.

Over PostgreSQL use pg_dump or pg_basebackup.")]
    Backup(BackupStore),
    /// Put a copy in the database's place, while Nightlatch does not run
    #[command(after_help = "\
Examples:
  nightlatch stop && nightlatch store restore /backup/nightlatch-monday.sqlite
  nightlatch store restore /backup/nightlatch-monday.sqlite --yes

The database that was there is kept beside it, until you delete it. The restored one begins a new
era: at the next start all tasks sleep, the keeper holds its log against it, and a refresh token
that was used since the copy was made is not used again. Its connection goes on where the answer
that its keeper kept is still in `spool/`, and else asks for a new login.

On a new machine put `keys/` and `ledger/` of the data folder back first.")]
    Restore(RestoreStore),
}

#[derive(Debug, Args)]
pub(crate) struct CheckStore {
    /// The configuration of a process of `serve`, where the database is PostgreSQL
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupStore {
    /// Where the copy is to be; nothing may lie there yet
    #[arg(value_name = "FILE")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreStore {
    /// The copy
    #[arg(value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}
