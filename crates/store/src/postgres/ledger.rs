//! The ledger's part: its last signed head.

use super::{
    PostgresStore,
    record::{self, params},
};
use nightlatch_domain::ports::store::{LedgerHead, LedgerStore, Stored};

impl LedgerStore for PostgresStore {
    fn put_head(&self, head: LedgerHead) -> Stored<'_, ()> {
        self.write(head, |at, head| {
            Box::pin(async move {
                record::write(
                at,
                "ledger_head",
                "INSERT INTO ledger_head (one, seq, hash, signature, signed_at) VALUES (1, $1, $2, $3, $4)
                 ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
                     signature = excluded.signature, signed_at = excluded.signed_at
                 WHERE excluded.seq >= ledger_head.seq",
                params![record::number(head.seq), head.hash, head.signature, head.at.millis()],
            ).await?;
                Ok(())
            })
        })
    }

    fn head(&self) -> Stored<'_, Option<LedgerHead>> {
        self.read((), |at, ()| {
            Box::pin(async move {
                record::one(at, "ledger_head", "SELECT * FROM ledger_head WHERE one = 1", &[], |row| {
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
