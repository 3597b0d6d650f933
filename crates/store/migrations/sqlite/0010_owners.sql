-- Which gateway keeps a call: it carries it out and tells of its end. NULL where there is one gateway.
ALTER TABLE call ADD COLUMN owner TEXT;
DROP INDEX call_untold;
CREATE INDEX call_untold ON call (hook, hook_state, tenant_id, task_id, hook_at, call_id, state, ended_at, owner)
    WHERE hook_state = 'waiting' AND ended_at IS NOT NULL;

-- Mandates that were acted on, by whichever keeper: each is good once.
CREATE TABLE mandate_spent (
    tenant_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, call_id)
) STRICT;
CREATE INDEX mandate_spent_until ON mandate_spent (not_after);
