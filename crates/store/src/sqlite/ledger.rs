//! The ledger's part: its last signed head.

use super::{SqliteStore, record};
use nightlatch_domain::ports::store::{LedgerHead, LedgerStore, Stored};
use rusqlite::params;

impl LedgerStore for SqliteStore {
    fn put_head(&self, head: LedgerHead) -> Stored<'_, ()> {
        self.engine.write(move |at| {
            record::write(
                at,
                "ledger_head",
                "INSERT INTO ledger_head (one, seq, hash, signature, signed_at) VALUES (1, ?1, ?2, ?3, ?4)
                 ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
                     signature = excluded.signature, signed_at = excluded.signed_at
                 WHERE excluded.seq >= ledger_head.seq",
                params![record::number(head.seq), head.hash, head.signature, head.at.millis()],
            )?;
            Ok(())
        })
    }

    fn head(&self) -> Stored<'_, Option<LedgerHead>> {
        self.engine.read(|at| {
            record::one(at, "ledger_head", "SELECT * FROM ledger_head WHERE one = 1", [], |row| {
                Ok(LedgerHead {
                    seq: row.count("seq")?,
                    hash: row.text("hash")?,
                    signature: row.text("signature")?,
                    at: row.time("signed_at")?,
                })
            })
        })
    }
}
