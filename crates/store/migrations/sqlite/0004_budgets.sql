-- How much a grant is good for, and what was spent of it. The budget is part of the row that the keeper vouches for;
-- what was spent is the gateway's count, reserved ahead in chunks, and never goes down.
ALTER TABLE task_grant ADD COLUMN budget TEXT;
CREATE TABLE grant_spent (
    tenant_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    calls INTEGER NOT NULL,
    writes INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, grant_id),
    FOREIGN KEY (tenant_id, grant_id) REFERENCES task_grant (tenant_id, grant_id)
) STRICT;
