-- Where a task may reach without a tool: `tools` (nowhere else) or `open`.
ALTER TABLE task ADD COLUMN egress TEXT NOT NULL DEFAULT 'tools';
