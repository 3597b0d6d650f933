-- One signed head for each process that writes a ledger. Nothing wrote the row that this takes the place of.
DROP TABLE ledger_head;
CREATE TABLE ledger_head (
    writer TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    signed_at BIGINT NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON ledger_head TO nightlatch_ledger;
