-- Tasks take turns in the line before a webhook: what is looked at for that stands in this index alone.
DROP INDEX call_untold;
CREATE INDEX call_untold ON call (hook, hook_state, tenant_id, task_id, hook_at, call_id, state, ended_at)
    WHERE hook_state = 'waiting' AND ended_at IS NOT NULL;
