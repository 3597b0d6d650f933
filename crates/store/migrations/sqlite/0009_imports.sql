-- Refresh tokens that another system held, on their way to becoming connections.
--
-- The hash is the keeper's, under a key that this database does not hold: the same token is taken once, in one tenant of the
-- installation. `noted` is the move of the feed's counter row before the row was written: kills with a later number end it.
CREATE TABLE import (
    tenant_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    token_hash TEXT NOT NULL,
    client_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    token TEXT,
    access TEXT,
    plan TEXT NOT NULL,
    era INTEGER NOT NULL,
    step TEXT NOT NULL,
    attempt_id TEXT,
    owner_id TEXT,
    again INTEGER NOT NULL,
    presented_at INTEGER,
    due_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    reason TEXT,
    answer TEXT,
    outcome TEXT,
    created_at INTEGER NOT NULL,
    noted INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, flow_id),
    FOREIGN KEY (tenant_id, client_id) REFERENCES client (tenant_id, client_id)
) STRICT;
CREATE UNIQUE INDEX import_token ON import (token_hash);
CREATE INDEX import_due ON import (due_at) WHERE step <> 'ended';
CREATE INDEX import_secrets ON import (tenant_id, client_id) 
    WHERE token IS NOT NULL OR access IS NOT NULL OR answer IS NOT NULL;

-- The imports that no kill ended.
CREATE VIEW living_import AS
SELECT import.* FROM import
WHERE NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'client' AND kill.tenant_id = import.tenant_id
      AND kill.target_id = import.client_id AND kill.number > import.noted)
  AND NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'tenant' AND kill.tenant_id = import.tenant_id
      AND kill.target_id = '' AND kill.number > import.noted)
  AND NOT EXISTS (SELECT 1 FROM kill WHERE kill.scope = 'installation' AND kill.tenant_id = ''
      AND kill.target_id = '' AND kill.number > import.noted);
