//! The ledger's part: the last signed head of each process that writes one.

use super::{
    PostgresStore,
    record::{self, params},
};
use nightlatch_domain::{
    ports::store::{LedgerHead, LedgerStore, Stored},
    tool::Name,
};

/// The ledger's part of one process: it sees and moves no other's head.
#[derive(Clone)]
pub struct PostgresHeads {
    store: PostgresStore,
    writer: String,
}

impl PostgresStore {
    /// The heads of the process that is called so.
    #[must_use]
    pub fn heads_of(&self, writer: &Name) -> PostgresHeads {
        PostgresHeads { store: self.clone(), writer: writer.to_string() }
    }
}

impl LedgerStore for PostgresHeads {
    fn put_head(&self, head: LedgerHead) -> Stored<'_, ()> {
        self.store.write((self.writer.clone(), head), |at, (writer, head)| {
            Box::pin(async move {
                let sql = "INSERT INTO ledger_head (writer, seq, hash, signature, signed_at)
                     VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
                         signature = excluded.signature, signed_at = excluded.signed_at
                     WHERE excluded.seq >= ledger_head.seq";
                let params =
                    params![writer, record::number(head.seq), head.hash, head.signature, head.at.millis()];
                record::write(at, "ledger_head", sql, params).await?;
                Ok(())
            })
        })
    }

    fn head(&self) -> Stored<'_, Option<LedgerHead>> {
        self.store.read(self.writer.clone(), |at, writer| {
            Box::pin(async move {
                let sql = "SELECT * FROM ledger_head WHERE writer = $1";
                record::one(at, "ledger_head", sql, params![writer], |row| {
                    Ok(LedgerHead {
                        seq: row.count("seq")?,
                        hash: row.text("hash")?,
                        signature: row.text("signature")?,
                        at: row.time("signed_at")?,
                    })
                })
                .await
            })
        })
    }
}
