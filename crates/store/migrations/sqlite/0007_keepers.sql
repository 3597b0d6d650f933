-- What several keepers, a lost answer and a database that was put back need.

-- Every move of the counter row, those included that are no change of the directory: an intent, a commit.
ALTER TABLE feed_counter ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;
CREATE TABLE feed_mark (
    number INTEGER PRIMARY KEY,
    random BLOB NOT NULL
) STRICT;

-- Families of a chain in the order of their consents: the current one is the newest.
ALTER TABLE chain ADD COLUMN families INTEGER NOT NULL DEFAULT 0;
ALTER TABLE family ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE family SET number = (
    SELECT count(*) FROM family AS older JOIN chain
        ON chain.tenant_id = older.tenant_id AND chain.chain_id = older.chain_id
    WHERE older.tenant_id = family.tenant_id AND older.chain_id = family.chain_id
      AND (older.family_id = chain.family_id, older.created_at, older.family_id)
          <= (family.family_id = chain.family_id, family.created_at, family.family_id));
UPDATE chain SET families = (
    SELECT count(*) FROM family
    WHERE family.tenant_id = chain.tenant_id AND family.chain_id = chain.chain_id);
CREATE UNIQUE INDEX family_number ON family (tenant_id, chain_id, number) WHERE number > 0;

-- Raw answers by the attempt that they answer. No foreign key: an answer is kept where the attempt's own row went with
-- a database that was put back. What `attempt.answer` held stands here; that column is not written any more.
CREATE TABLE answer (
    tenant_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    chain_id TEXT,
    sealed TEXT NOT NULL,
    PRIMARY KEY (tenant_id, attempt_id)
) STRICT;
CREATE INDEX answer_chain ON answer (tenant_id, chain_id);
INSERT INTO answer (tenant_id, attempt_id, chain_id, sealed)
    SELECT tenant_id, attempt_id, chain_id, answer FROM attempt WHERE answer IS NOT NULL;
UPDATE attempt SET answer = NULL WHERE answer IS NOT NULL;

-- What was ended for good: the last kill of each scope. It ends what was noted before it, so that a human's later consent
-- lives. `tenant_id` and `target_id` are empty where the scope has none.
CREATE TABLE kill (
    scope TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    killed_at INTEGER NOT NULL,
    PRIMARY KEY (scope, tenant_id, target_id)
) STRICT;
CREATE INDEX kill_number ON kill (number);
ALTER TABLE connection ADD COLUMN noted INTEGER NOT NULL DEFAULT 0;

-- The connections that nobody removed and no kill ended.
CREATE VIEW living_connection AS
SELECT connection.* FROM connection
WHERE connection.removed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'connection' AND kill.tenant_id = connection.tenant_id
      AND kill.target_id = connection.connection_id AND kill.number > connection.noted)
  AND NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'chain' AND kill.tenant_id = connection.tenant_id
      AND kill.target_id = connection.chain_id AND kill.number > connection.noted)
  AND NOT EXISTS (SELECT 1 FROM chain JOIN kill ON kill.scope = 'client' AND kill.tenant_id = chain.tenant_id
          AND kill.target_id = chain.client_id
      WHERE chain.tenant_id = connection.tenant_id AND chain.chain_id = connection.chain_id
        AND kill.number > connection.noted)
  AND NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'tenant' AND kill.tenant_id = connection.tenant_id
      AND kill.target_id = '' AND kill.number > connection.noted)
  AND NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'installation' AND kill.tenant_id = ''
      AND kill.target_id = '' AND kill.number > connection.noted);

-- Tokens that are kept for one purpose only: until their provider has confirmed that they are revoked.
CREATE TABLE revocation (
    tenant_id TEXT NOT NULL,
    revocation_id TEXT NOT NULL,
    chain_id TEXT,
    sealed TEXT NOT NULL,
    tries INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, revocation_id)
) STRICT;
CREATE INDEX revocation_due ON revocation (not_before);
