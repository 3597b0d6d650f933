-- The first schema.
--
-- Every table's primary key begins with `tenant_id`, but for those that say `per installation`. What is asked for or
-- constrained is a column; what is only carried (wrapped secrets, hosts) is one JSON text. No fact stands twice, so that
-- nobody can edit one half of a row and have the other half vouched for. Times are milliseconds since 1970.
-- Owners and subjects are principals of any kind, which have no table in common: no foreign key stands on them.

-- per installation
CREATE TABLE installation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    installation_id TEXT NOT NULL,
    era INTEGER NOT NULL
) STRICT;

-- per installation: one row, moved by every transaction that another plane must see
CREATE TABLE feed_counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    random BLOB NOT NULL
) STRICT;
INSERT INTO feed_counter (one, number, random) VALUES (1, 0, randomblob(16));

-- per installation: gapless; the random value tells a restored copy from the history that it lost
CREATE TABLE feed (
    number INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    random BLOB NOT NULL
) STRICT;

-- per installation
CREATE TABLE ledger_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    signed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tenant (
    tenant_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE human (
    tenant_id TEXT NOT NULL,
    human_id TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, human_id)
) STRICT;

CREATE TABLE agent (
    tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    risk TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, agent_id),
    UNIQUE (tenant_id, name)
) STRICT;

CREATE TABLE tool (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    manifest TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT;

CREATE TABLE task (
    tenant_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    name TEXT,
    agent_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, task_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, agent_id)
) STRICT;
CREATE UNIQUE INDEX task_open_name ON task (tenant_id, name) WHERE state IN ('awake', 'dormant');

CREATE TABLE wake (
    tenant_id TEXT NOT NULL,
    wake_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    assurance TEXT NOT NULL,
    binding_kind TEXT NOT NULL,
    binding_value TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (tenant_id, wake_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
) STRICT;
CREATE INDEX wake_task ON wake (tenant_id, task_id, began_at);

CREATE TABLE enrolment (
    tenant_id TEXT NOT NULL,
    enrolment_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    binding_kind TEXT NOT NULL,
    binding_value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, enrolment_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
) STRICT;
-- A binding proves one agent for one task, in the whole installation: admission finds the tenant by it.
CREATE UNIQUE INDEX enrolment_binding ON enrolment (binding_kind, binding_value);
CREATE INDEX enrolment_agent ON enrolment (tenant_id, agent_id);

CREATE TABLE enrolment_code (
    tenant_id TEXT NOT NULL,
    code_sha256 TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, code_sha256),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
) STRICT;
CREATE UNIQUE INDEX enrolment_code_once ON enrolment_code (code_sha256);

CREATE TABLE client (
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    registered_id TEXT NOT NULL,
    auth TEXT NOT NULL,
    secret TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, client_id)
) STRICT;

-- What a provider sees as one. Every write of a holder names fence and owner.
CREATE TABLE chain (
    tenant_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    client_id TEXT NOT NULL,
    account TEXT NOT NULL,
    family_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    owner_id TEXT,
    state TEXT NOT NULL,
    access_until INTEGER,
    due_at INTEGER,
    refreshed_at INTEGER,
    failed_at INTEGER,
    failures INTEGER NOT NULL,
    reason TEXT,
    ticket_id TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, chain_id),
    UNIQUE (tenant_id, issuer, client_id, account),
    FOREIGN KEY (tenant_id, client_id) REFERENCES client (tenant_id, client_id)
) STRICT;
CREATE INDEX chain_due ON chain (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX chain_state ON chain (state);

-- The refresh tokens that grew out of one human consent.
CREATE TABLE family (
    tenant_id TEXT NOT NULL,
    family_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    head INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, family_id),
    FOREIGN KEY (tenant_id, chain_id) REFERENCES chain (tenant_id, chain_id)
) STRICT;
CREATE INDEX family_chain ON family (tenant_id, chain_id);

CREATE TABLE generation (
    tenant_id TEXT NOT NULL,
    family_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    refresh TEXT,
    access TEXT NOT NULL,
    access_until INTEGER,
    refresh_until INTEGER,
    attempt_id TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, family_id, number),
    FOREIGN KEY (tenant_id, family_id) REFERENCES family (tenant_id, family_id)
) STRICT;

CREATE TABLE attempt (
    tenant_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    family_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    owner_id TEXT NOT NULL,
    era INTEGER NOT NULL,
    state TEXT NOT NULL,
    intended_at INTEGER NOT NULL,
    answer TEXT,
    PRIMARY KEY (tenant_id, attempt_id),
    FOREIGN KEY (tenant_id, family_id) REFERENCES family (tenant_id, family_id)
) STRICT;
CREATE INDEX attempt_generation ON attempt (tenant_id, family_id, generation);
CREATE INDEX attempt_open ON attempt (state) WHERE state IN ('intended', 'answered');

CREATE TABLE flow (
    tenant_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    context_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    name TEXT NOT NULL,
    client_id TEXT NOT NULL,
    reconnect_id TEXT,
    state_sha256 TEXT NOT NULL,
    secrets TEXT NOT NULL,
    step TEXT NOT NULL,
    answer TEXT,
    outcome TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, flow_id),
    FOREIGN KEY (tenant_id, client_id) REFERENCES client (tenant_id, client_id)
) STRICT;
CREATE UNIQUE INDEX flow_state ON flow (state_sha256);
CREATE INDEX flow_open ON flow (step) WHERE step <> 'ended';

-- The opaque context in a redirect path.
CREATE TABLE redirect_context (
    tenant_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    provider TEXT NOT NULL,
    context_id TEXT NOT NULL UNIQUE,
    PRIMARY KEY (tenant_id, tool, provider)
) STRICT;

-- A connection without a chain holds a static secret.
CREATE TABLE connection (
    tenant_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    name TEXT NOT NULL,
    account TEXT,
    account_label TEXT,
    chain_id TEXT,
    hosts TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER,
    PRIMARY KEY (tenant_id, connection_id),
    FOREIGN KEY (tenant_id, chain_id) REFERENCES chain (tenant_id, chain_id)
) STRICT;
CREATE UNIQUE INDEX connection_name ON connection (tenant_id, tool, name) WHERE removed_at IS NULL;
CREATE INDEX connection_chain ON connection (tenant_id, chain_id) WHERE removed_at IS NULL;

CREATE TABLE static_secret (
    tenant_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    secret TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, generation),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection (tenant_id, connection_id)
) STRICT;

-- A grant; `grant` alone is a word of SQL.
CREATE TABLE task_grant (
    tenant_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    operations TEXT NOT NULL,
    resource TEXT NOT NULL,
    reference TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, grant_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection (tenant_id, connection_id)
) STRICT;
CREATE UNIQUE INDEX task_grant_reference ON task_grant (reference);

CREATE TABLE ticket (
    tenant_id TEXT NOT NULL,
    ticket_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    settled_at INTEGER,
    PRIMARY KEY (tenant_id, ticket_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection (tenant_id, connection_id)
) STRICT;
CREATE UNIQUE INDEX ticket_open ON ticket (tenant_id, connection_id, kind) WHERE settled_at IS NULL;
