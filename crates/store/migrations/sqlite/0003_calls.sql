-- Calls that outlive their caller. What was asked for, the agent's mandate and the answer are sealed under the
-- gateway's key, bound to tenant, task, call and the request's hash. `bytes` is the length of all that is sealed.
CREATE TABLE call (
    tenant_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    key_sha256 TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    ended_at INTEGER,
    bytes INTEGER NOT NULL,
    request TEXT NOT NULL,
    mandate TEXT,
    result TEXT,
    PRIMARY KEY (tenant_id, task_id, call_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
) STRICT;
CREATE UNIQUE INDEX call_key ON call (tenant_id, task_id, key_sha256);
CREATE INDEX call_open ON call (state) WHERE state IN ('queued', 'attempting');
CREATE INDEX call_ended ON call (ended_at) WHERE ended_at IS NOT NULL;
