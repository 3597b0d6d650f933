-- The telling of a call's end to a webhook of the operator's, by the name that the agent gave. Which one it is, and
-- what is told, is read from the seal; the name stands here for finding rows. `hook_at` is when it is tried next, or
-- when that ended.
ALTER TABLE call ADD COLUMN hook TEXT;
ALTER TABLE call ADD COLUMN hook_state TEXT;
ALTER TABLE call ADD COLUMN hook_tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE call ADD COLUMN hook_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX call_untold ON call (hook, hook_at) WHERE hook_state = 'waiting' AND ended_at IS NOT NULL;
