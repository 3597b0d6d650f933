//! The grammar of `keeper`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum KeeperCommand {
    /// List the registered keepers, and what each one that is behind holds up
    #[command(after_help = "\
Examples:
  nightlatch keeper list
  nightlatch keeper list --json

A keeper is whoever holds a log, which lies outside the data folder and outside of every backup.
COMPARED is the newest era in which its log was held against the database. Where that is older than
the database's era, nothing is refreshed and nothing leased, by any keeper, until that log has been
compared: it may know of a refresh token that was used since.")]
    List,
    /// Vouch for a keeper whose log is empty or was copied, or forget one that never comes back
    #[command(after_help = ADOPT_HELP)]
    Adopt(AdoptKeeper),
}

const ADOPT_HELP: &str = "\
Examples:
  nightlatch keeper adopt kpr_01K…
  nightlatch keeper adopt kpr_01K… --yes
  nightlatch keeper adopt --forget kpr_01K…

Vouching says: no other copy of this installation was at work since its database was written, and
the database was not put back. Its connections then leave quarantine without a new login, but for
those of which the log knows better. Where it is not true, a refresh token is used twice, and the
provider may end the connection.

Forgetting says: this keeper's log is lost. Where it had been held against the database, and that
was not put back since, nothing is lost with it. Where it had not, only that log knew which refresh
tokens were used since: every connection by tokens then asks for a new login, and what was removed
since is there again.";

#[derive(Debug, Args)]
pub(crate) struct AdoptKeeper {
    /// Its id (`nightlatch keeper list`)
    #[arg(value_name = "KEEPER")]
    pub(crate) keeper: String,
    /// It never comes back: wait for its log no more
    #[arg(long)]
    pub(crate) forget: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}
