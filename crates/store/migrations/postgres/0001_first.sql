-- The first schema over PostgreSQL: the same tables as over SQLite, and a role for each plane.
--
-- Every table's primary key begins with `tenant_id`, but for those that say `per installation`. What is asked for or
-- constrained is a column; what is only carried (wrapped secrets, hosts) is one JSON text. No fact stands twice, so that
-- nobody can edit one half of a row and have the other half vouched for. Times are milliseconds since 1970.
-- Owners and subjects are principals of any kind, which have no table in common: no foreign key stands on them.

-- per installation
CREATE TABLE installation (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    installation_id TEXT NOT NULL,
    era BIGINT NOT NULL
);

-- per installation: one row, moved by every transaction that another plane must see
CREATE TABLE feed_counter (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    number BIGINT NOT NULL,
    moved BIGINT NOT NULL,
    random BYTEA NOT NULL
);
INSERT INTO feed_counter (one, number, moved, random) VALUES (1, 0, 0, uuid_send(gen_random_uuid()));

-- per installation: every move of the counter row, those included that are no change of the directory
CREATE TABLE feed_mark (
    number BIGINT PRIMARY KEY,
    random BYTEA NOT NULL
);

-- per installation: gapless; the random value tells a restored copy from the history that it lost
CREATE TABLE feed (
    number BIGINT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    random BYTEA NOT NULL
);

-- per installation
CREATE TABLE ledger_head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    signed_at BIGINT NOT NULL
);

CREATE TABLE tenant (
    tenant_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE human (
    tenant_id TEXT NOT NULL,
    human_id TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, human_id)
);

CREATE TABLE agent (
    tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    risk TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, agent_id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE tool (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    manifest TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE task (
    tenant_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    name TEXT,
    agent_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    egress TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, task_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, agent_id)
);
CREATE UNIQUE INDEX task_open_name ON task (tenant_id, name) WHERE state IN ('awake', 'dormant');

CREATE TABLE wake (
    tenant_id TEXT NOT NULL,
    wake_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    assurance TEXT NOT NULL,
    binding_kind TEXT NOT NULL,
    binding_value TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (tenant_id, wake_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
);
CREATE INDEX wake_task ON wake (tenant_id, task_id, began_at);

CREATE TABLE enrolment (
    tenant_id TEXT NOT NULL,
    enrolment_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    binding_kind TEXT NOT NULL,
    binding_value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, enrolment_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
);
-- A binding proves one agent for one task, in the whole installation: admission finds the tenant by it.
CREATE UNIQUE INDEX enrolment_binding ON enrolment (binding_kind, binding_value);
CREATE INDEX enrolment_agent ON enrolment (tenant_id, agent_id);

CREATE TABLE enrolment_code (
    tenant_id TEXT NOT NULL,
    code_sha256 TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    attestation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, code_sha256),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
);
CREATE UNIQUE INDEX enrolment_code_once ON enrolment_code (code_sha256);

CREATE TABLE client (
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    registered_id TEXT NOT NULL,
    auth TEXT NOT NULL,
    secret TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, client_id)
);

-- What a provider sees as one. Every write of a holder names fence and owner.
CREATE TABLE chain (
    tenant_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    client_id TEXT NOT NULL,
    account TEXT NOT NULL,
    family_id TEXT NOT NULL,
    families BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    owner_id TEXT,
    state TEXT NOT NULL,
    access_until BIGINT,
    due_at BIGINT,
    refreshed_at BIGINT,
    failed_at BIGINT,
    failures BIGINT NOT NULL,
    reason TEXT,
    ticket_id TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, chain_id),
    UNIQUE (tenant_id, issuer, client_id, account),
    FOREIGN KEY (tenant_id, client_id) REFERENCES client (tenant_id, client_id)
);
CREATE INDEX chain_due ON chain (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX chain_state ON chain (state);

-- The refresh tokens that grew out of one human consent.
CREATE TABLE family (
    tenant_id TEXT NOT NULL,
    family_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    head BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, family_id),
    UNIQUE (tenant_id, chain_id, number),
    FOREIGN KEY (tenant_id, chain_id) REFERENCES chain (tenant_id, chain_id)
);

CREATE TABLE generation (
    tenant_id TEXT NOT NULL,
    family_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    refresh TEXT,
    access TEXT NOT NULL,
    access_until BIGINT,
    refresh_until BIGINT,
    attempt_id TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, family_id, number),
    FOREIGN KEY (tenant_id, family_id) REFERENCES family (tenant_id, family_id)
);

CREATE TABLE attempt (
    tenant_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    family_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    owner_id TEXT NOT NULL,
    era BIGINT NOT NULL,
    state TEXT NOT NULL,
    intended_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, attempt_id),
    FOREIGN KEY (tenant_id, family_id) REFERENCES family (tenant_id, family_id)
);
CREATE INDEX attempt_generation ON attempt (tenant_id, family_id, generation);
CREATE INDEX attempt_open ON attempt (state) WHERE state IN ('intended', 'answered');

-- Raw answers by the attempt that they answer. No foreign key: an answer is kept where the attempt's own row went with
-- a database that was put back.
CREATE TABLE answer (
    tenant_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    chain_id TEXT,
    sealed TEXT NOT NULL,
    PRIMARY KEY (tenant_id, attempt_id)
);
CREATE INDEX answer_chain ON answer (tenant_id, chain_id);

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
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, flow_id),
    FOREIGN KEY (tenant_id, client_id) REFERENCES client (tenant_id, client_id)
);
CREATE UNIQUE INDEX flow_state ON flow (state_sha256);
CREATE INDEX flow_open ON flow (step) WHERE step <> 'ended';

-- The opaque context in a redirect path.
CREATE TABLE redirect_context (
    tenant_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    provider TEXT NOT NULL,
    context_id TEXT NOT NULL UNIQUE,
    PRIMARY KEY (tenant_id, tool, provider)
);

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
    created_at BIGINT NOT NULL,
    removed_at BIGINT,
    noted BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id),
    FOREIGN KEY (tenant_id, chain_id) REFERENCES chain (tenant_id, chain_id)
);
CREATE UNIQUE INDEX connection_name ON connection (tenant_id, tool, name) WHERE removed_at IS NULL;
CREATE INDEX connection_chain ON connection (tenant_id, chain_id) WHERE removed_at IS NULL;

CREATE TABLE static_secret (
    tenant_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, generation),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection (tenant_id, connection_id)
);

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
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    attestation TEXT NOT NULL,
    budget TEXT,
    PRIMARY KEY (tenant_id, grant_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection (tenant_id, connection_id)
);
CREATE UNIQUE INDEX task_grant_reference ON task_grant (reference);

CREATE TABLE ticket (
    tenant_id TEXT NOT NULL,
    ticket_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    raised_at BIGINT NOT NULL,
    settled_at BIGINT,
    PRIMARY KEY (tenant_id, ticket_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connection (tenant_id, connection_id)
);
CREATE UNIQUE INDEX ticket_open ON ticket (tenant_id, connection_id, kind) WHERE settled_at IS NULL;

-- Calls that outlive their caller. What was asked for, the agent's mandate and the answer are sealed under the
-- gateway's key, bound to tenant, task, call and the request's hash. `bytes` is the length of all that is sealed.
-- `hook` names the webhook that is told of the end; `hook_at` is when that is tried next, or when it ended.
CREATE TABLE call (
    tenant_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    key_sha256 TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    accepted_at BIGINT NOT NULL,
    ended_at BIGINT,
    bytes BIGINT NOT NULL,
    request TEXT NOT NULL,
    mandate TEXT,
    result TEXT,
    hook TEXT,
    hook_state TEXT,
    hook_tries BIGINT NOT NULL,
    hook_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, task_id, call_id),
    FOREIGN KEY (tenant_id, task_id) REFERENCES task (tenant_id, task_id)
);
CREATE UNIQUE INDEX call_key ON call (tenant_id, task_id, key_sha256);
CREATE INDEX call_open ON call (state) WHERE state IN ('queued', 'attempting');
CREATE INDEX call_ended ON call (ended_at) WHERE ended_at IS NOT NULL;
-- Tasks take turns in the line before a webhook: what is looked at for that stands in this index alone.
CREATE INDEX call_untold ON call (hook, hook_state, tenant_id, task_id, hook_at, call_id, state, ended_at)
    WHERE hook_state = 'waiting' AND ended_at IS NOT NULL;

-- per installation: whoever keeps a call holds this row, so that together no more are kept than there is room for
CREATE TABLE call_room (
    one BIGINT PRIMARY KEY CHECK (one = 1)
);
INSERT INTO call_room (one) VALUES (1);

-- What was spent of grants: the gateways' count, reserved ahead in chunks, which never goes down.
CREATE TABLE grant_spent (
    tenant_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    calls BIGINT NOT NULL,
    writes BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, grant_id),
    FOREIGN KEY (tenant_id, grant_id) REFERENCES task_grant (tenant_id, grant_id)
);

-- What was ended for good: the last kill of each scope. It ends what was noted before it, so that a human's later consent
-- lives. `tenant_id` and `target_id` are empty where the scope has none.
CREATE TABLE kill (
    scope TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    killed_at BIGINT NOT NULL,
    PRIMARY KEY (scope, tenant_id, target_id)
);
CREATE INDEX kill_number ON kill (number);

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
    tries BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, revocation_id)
);
CREATE INDEX revocation_due ON revocation (not_before);

-- Each plane has a role of its own; whoever logs in for a plane is a member of that one role. A table that a plane has no
-- word about here refuses it. What a foreign key or the view reads, it reads as the owner of the tables.
DO $$
DECLARE
    plane TEXT;
BEGIN
    FOREACH plane IN ARRAY ARRAY['nightlatch_control', 'nightlatch_gateway', 'nightlatch_keeper', 'nightlatch_ledger'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = plane) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', plane);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                -- Another database of this server was made at the same moment.
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;

GRANT SELECT ON schema_migration
    TO nightlatch_control, nightlatch_gateway, nightlatch_keeper, nightlatch_ledger;

GRANT SELECT, INSERT, UPDATE ON tenant, human, agent, tool, task, task_grant, redirect_context
    TO nightlatch_control;
GRANT SELECT, INSERT ON enrolment_code TO nightlatch_control;
GRANT SELECT ON wake, enrolment, living_connection, chain, ticket, client, flow, grant_spent TO nightlatch_control;
GRANT SELECT, UPDATE ON feed_counter TO nightlatch_control;
GRANT INSERT ON feed TO nightlatch_control;
GRANT SELECT, INSERT, DELETE ON feed_mark TO nightlatch_control;

GRANT SELECT ON feed_counter, feed, agent, tool, task, task_grant, enrolment, living_connection TO nightlatch_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON call TO nightlatch_gateway;
GRANT SELECT, UPDATE ON call_room TO nightlatch_gateway;
GRANT SELECT, INSERT, UPDATE ON grant_spent TO nightlatch_gateway;

GRANT SELECT, INSERT, UPDATE ON installation, client, chain, family, attempt, flow, connection, enrolment_code, ticket, kill
    TO nightlatch_keeper;
GRANT SELECT, INSERT, UPDATE, DELETE ON generation, answer, static_secret, wake, revocation TO nightlatch_keeper;
GRANT SELECT, INSERT ON enrolment TO nightlatch_keeper;
GRANT SELECT ON agent, tool, task, task_grant, living_connection TO nightlatch_keeper;
GRANT SELECT, UPDATE ON feed_counter TO nightlatch_keeper;
GRANT INSERT ON feed TO nightlatch_keeper;
GRANT SELECT, INSERT, DELETE ON feed_mark TO nightlatch_keeper;

GRANT SELECT, INSERT, UPDATE ON ledger_head TO nightlatch_ledger;
