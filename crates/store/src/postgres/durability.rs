//! What the server says of how durable a commit is.

use super::{
    PostgresStore,
    link::Link,
    record::{self, Record},
};
use crate::durability::Weakness;
use nightlatch_domain::ports::store::{StoreError, Stored};

impl PostgresStore {
    /// What makes an answer of this store less durable than it is said to be; nothing where all is as it should be. How
    /// commits wait is not asked: each transaction that writes says so itself. A standby answers too, whatever isolation is
    /// the database's default.
    #[must_use]
    pub fn weaknesses(&self) -> Stored<'_, Vec<Weakness>> {
        self.read_moment((), |at, ()| Box::pin(weaknesses(at)))
    }
}

async fn weaknesses(at: &Link) -> Result<Vec<Weakness>, StoreError> {
    // Who may not see the other sessions is told that they are there, and not how they follow: that is known only where
    // nobody is waited for at all.
    let sql = "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
             pg_is_in_recovery()::text AS standby,
             (SELECT count(*) FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'
                 AND CASE WHEN current_setting('synchronous_standby_names') = '' THEN true
                     ELSE sync_state = 'async' END) AS behind,
             (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL
                 AND current_setting('synchronous_standby_names') <> '') AS unseen";
    let found = record::one(at, "pg_settings", sql, &[], read).await?;
    found.ok_or(StoreError::Corrupt("pg_settings"))
}

fn read(row: &Record<'_>) -> Result<Vec<Weakness>, StoreError> {
    let (behind, unseen) = (row.count_of_32_bits("behind")?, row.count_of_32_bits("unseen")?);
    let mut found = Vec::new();
    found.extend((row.text("fsync")? != "on").then_some(Weakness::FsyncOff));
    found.extend((row.text("pages")? != "on").then_some(Weakness::FullPageWritesOff));
    found.extend((row.text("standby")? != "false").then_some(Weakness::Standby));
    found.extend((behind > 0).then_some(Weakness::AsynchronousStandbys(behind)));
    found.extend((unseen > 0).then_some(Weakness::UnseenStandbys(unseen)));
    Ok(found)
}
