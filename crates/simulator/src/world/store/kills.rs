//! Kills, what lives in spite of them, and the tokens that they end.

use super::{
    connect, imports,
    rows::{ConnectionRow, Rows, Secret, first},
};
use nightlatch_domain::{
    chain::{AttemptState, FlowStep},
    clock::Timestamp,
    connection::{Connection, Source},
    id::{ChainId, ClientId, ConnectionId, RevocationId, TenantId},
    ports::store::{EntityId, Kill, Killed, REDEEMED_WITHIN, Revocation, Whose},
    tool::Name,
};

/// One place a scope: of one scope only the last kill stands.
fn place(kill: Kill) -> (u8, u128, u128) {
    match kill {
        Kill::Connection { tenant, connection } => (0, tenant.value(), connection.value()),
        Kill::Chain { tenant, chain } => (1, tenant.value(), chain.value()),
        Kill::Client { tenant, client } => (2, tenant.value(), client.value()),
        Kill::Tenant { tenant } => (3, tenant.value(), 0),
        Kill::Installation => (4, 0, 0),
    }
}

pub(super) fn put(rows: &mut Rows, kill: Kill, at: Timestamp) -> u64 {
    let number = match kill {
        Kill::Connection { tenant, connection } => rows.note(tenant, EntityId::Connection(connection)),
        Kill::Chain { tenant, .. } | Kill::Client { tenant, .. } | Kill::Tenant { tenant } => {
            rows.note(tenant, EntityId::Everything)
        }
        Kill::Installation => {
            rows.note(TenantId::new(Timestamp::from_millis(0), [0; 10]), EntityId::Everything)
        }
    };
    rows.tables.kills.put(place(kill), Killed { number, kill, at });
    number
}

pub(super) fn after(rows: &Rows, number: u64, limit: u32) -> Vec<Killed> {
    let mut later: Vec<_> =
        rows.tables.kills.values().filter(|killed| killed.number > number).copied().collect();
    later.sort_by_key(|killed| killed.number);
    first(later.into_iter(), limit)
}

/// Whether nobody removed a connection and no kill ended it.
pub(super) fn lives(rows: &Rows, row: &ConnectionRow) -> bool {
    let (tenant, connection) = (row.connection.tenant, row.connection.id);
    let mut scopes =
        vec![Kill::Connection { tenant, connection }, Kill::Tenant { tenant }, Kill::Installation];
    if let Source::Chain { chain } = row.connection.source {
        scopes.push(Kill::Chain { tenant, chain });
        let client = rows.tables.chains.get(&(tenant, chain)).map(|chain| chain.client);
        scopes.extend(client.map(|client| Kill::Client { tenant, client }));
    }
    let is_later = |kill| is_later(rows, kill, row.noted);
    row.connection.removed_at.is_none() && !scopes.into_iter().any(is_later)
}

/// Whether a kill of this scope came after that move.
pub(super) fn is_later(rows: &Rows, kill: Kill, noted: u64) -> bool {
    rows.tables.kills.get(&place(kill)).is_some_and(|killed| killed.number > noted)
}

/// The connections of every tenant that live.
pub(super) fn living(rows: &Rows) -> impl Iterator<Item = &Connection> {
    rows.tables.connections.values().filter(|row| lives(rows, row)).map(|row| &row.connection)
}

/// One that lives.
pub(super) fn living_one(rows: &Rows, tenant: TenantId, id: ConnectionId) -> Option<&Connection> {
    let row = rows.tables.connections.get(&(tenant, id))?;
    lives(rows, row).then_some(&row.connection)
}

/// Those that live on a chain, oldest first.
pub(super) fn living_on(rows: &Rows, tenant: TenantId, chain: ChainId) -> Vec<ConnectionId> {
    let here = |row: &&ConnectionRow| {
        row.connection.tenant == tenant
            && row.connection.source == (Source::Chain { chain })
            && lives(rows, row)
    };
    rows.tables.connections.values().filter(here).map(|row| row.connection.id).collect()
}

/// Takes the secrets of chains, connections and imports that kills ended, and marks those connections removed; and answers
/// that came to a chain that nobody lives on any more.
pub(super) fn clear(rows: &mut Rows, now: Timestamp, limit: u32) -> u32 {
    let has_secrets = |tenant, chain| {
        let families =
            rows.tables.families.values().filter(|family| (family.tenant, family.chain) == (tenant, chain));
        families.into_iter().any(|family| {
            rows.tables
                .generations
                .range((tenant, family.id, 0)..=(tenant, family.id, u64::MAX))
                .next()
                .is_some()
        }) || rows.tables.answers.iter().any(|((own, _), row)| *own == tenant && row.chain == Some(chain))
    };
    let dead = rows.tables.chains.iter().map(|(key, _)| *key);
    let dead = dead.filter(|(tenant, chain)| {
        living_on(rows, *tenant, *chain).is_empty() && has_secrets(*tenant, *chain)
    });
    let chains = first(dead, limit);
    for (tenant, chain) in &chains {
        connect::retire_if_last(rows, *tenant, *chain, now);
    }
    let ended = rows.tables.connections.iter();
    let ended = ended
        .filter(|(_, row)| row.connection.removed_at.is_none() && !lives(rows, row))
        .map(|(key, _)| *key);
    let connections = first(ended, limit);
    for (tenant, connection) in &connections {
        connect::end(rows, *tenant, *connection, now);
    }
    let imports = imports::clear(rows, now, limit);
    u32::try_from(chains.len() + connections.len() + imports).unwrap_or(u32::MAX)
}

/// Takes every secret of a chain: refresh tokens at the heads of its families, access tokens that are not past
/// their end, and answers that nobody made a generation of.
pub(super) fn take_chain(rows: &mut Rows, tenant: TenantId, chain: ChainId, now: Timestamp) {
    for secret in living_tokens(rows, tenant, chain, now) {
        take(rows, tenant, Some(chain), secret, now);
    }
    let families: Vec<_> = rows
        .tables
        .families
        .values()
        .filter(|one| (one.tenant, one.chain) == (tenant, chain))
        .map(|one| one.id)
        .collect();
    rows.tables.generations.forget(|(own, family, _), _| *own == tenant && families.contains(family));
    rows.tables.answers.forget(|(own, _), row| *own == tenant && row.chain == Some(chain));
}

fn living_tokens(rows: &Rows, tenant: TenantId, chain: ChainId, now: Timestamp) -> Vec<Secret> {
    let mut living = Vec::new();
    for family in rows.tables.families.values().filter(|one| (one.tenant, one.chain) == (tenant, chain)) {
        let all = rows.tables.generations.range((tenant, family.id, 0)..=(tenant, family.id, u64::MAX));
        for (_, generation) in all {
            living.extend(generation.refresh.clone().filter(|_| generation.number == family.head));
            let is_alive = generation.access_until.is_none_or(|until| until > now);
            living.extend(Some(generation.access.clone()).filter(|_| is_alive));
        }
    }
    let answers =
        rows.tables.answers.iter().filter(|((own, _), row)| *own == tenant && row.chain == Some(chain));
    let unread = answers.filter(|(key, _)| {
        let state = rows.tables.attempts.get(key).map(|attempt| attempt.state);
        !matches!(state, Some(AttemptState::Committed | AttemptState::Refused))
    });
    living.extend(unread.map(|(_, row)| row.secret.clone()));
    living
}

/// Takes the answers of flows that were to reconnect a connection and failed.
pub(super) fn take_flow_answers(rows: &mut Rows, tenant: TenantId, connection: ConnectionId, now: Timestamp) {
    let flows = rows.tables.flows.iter().filter(|((own, _), flow)| {
        *own == tenant
            && flow.reconnect == Some(connection)
            && flow.outcome.is_some()
            && flow.answer.is_some()
    });
    let flows: Vec<_> = flows.map(|(key, flow)| (*key, flow.answer.clone())).collect();
    for (key, answer) in flows {
        if let Some(answer) = answer {
            take(rows, tenant, None, answer, now);
        }
        rows.tables.flows.change(&key, |flow| flow.answer = None);
    }
}

/// Keeps what can be revoked. What no endpoint is named for can only end by itself.
pub(super) fn take(
    rows: &mut Rows,
    tenant: TenantId,
    chain: Option<ChainId>,
    secret: Secret,
    now: Timestamp,
) {
    if secret.1.revocation_endpoint.is_some() {
        let id = RevocationId::new(now, rows.ten());
        put_revocation(rows, Revocation { tenant, id, chain, secret, tries: 0, not_before: now });
    }
}

pub(super) fn put_revocation(rows: &mut Rows, revocation: Revocation) {
    let key = (revocation.tenant, revocation.id);
    if !rows.tables.revocations.holds(&key) {
        rows.tables.revocations.put(key, revocation);
    }
}

pub(super) fn revocations(rows: &Rows, now: Timestamp, limit: u32) -> Vec<Revocation> {
    let mut due: Vec<_> =
        rows.tables.revocations.values().filter(|row| row.not_before <= now).cloned().collect();
    due.sort_by_key(|row| (row.not_before, row.id));
    first(due.into_iter(), limit)
}

pub(super) fn postpone(
    rows: &mut Rows,
    tenant: TenantId,
    id: RevocationId,
    tries: u32,
    not_before: Timestamp,
) -> bool {
    let is_next = rows.tables.revocations.get(&(tenant, id)).is_some_and(|row| row.tries + 1 == tries);
    if is_next {
        rows.tables.revocations.change(&(tenant, id), |row| {
            row.tries = tries;
            row.not_before = not_before;
        });
    }
    is_next
}

/// Whether somebody may live on what the revocation of such a token ends. A chain without an account is called by its first
/// family, and that account may be any; of two tools neither's names say anything about the other's.
pub(super) fn may_be_lived_on(rows: &Rows, whose: Whose, now: Timestamp) -> bool {
    let tables = &rows.tables;
    let Some(own) = tables.clients.get(&(whose.tenant, whose.client)) else { return true };
    let beside = |tenant: TenantId, client: ClientId| {
        tables.clients.get(&(tenant, client)).is_some_and(|other| other.client_id == own.client_id)
    };
    let knows = |family| {
        let known = tables.families.get(&(whose.tenant, family));
        known.is_some_and(|known| Some(known.chain) == whose.chain)
    };
    let may_bring = tables.flows.values().any(|flow| {
        let is_open = match flow.step {
            FlowStep::Begun => flow.expires_at > now,
            FlowStep::Redeeming => flow.expires_at > now.minus(REDEEMED_WITHIN) || flow.answer.is_some(),
            FlowStep::Answered => true,
            FlowStep::Ended => false,
        };
        is_open && beside(flow.tenant, flow.client)
    });
    whose.family.is_some_and(|family| !knows(family))
        || may_bring
        || imports::open(rows).into_iter().any(|import| beside(import.tenant, import.client))
        || lived_on(rows, whose, beside)
}

fn lived_on(rows: &Rows, whose: Whose, beside: impl Fn(TenantId, ClientId) -> bool) -> bool {
    let tables = &rows.tables;
    let gone = whose.chain.and_then(|chain| tables.chains.get(&(whose.tenant, chain)));
    let account = gone.map(|chain| chain.account.as_str()).filter(|account| is_named(account));
    let by = whose.connection.and_then(|by| tables.connections.get(&(whose.tenant, by)));
    let known = account.zip(by.map(|row| &row.connection.tool));
    living(rows).any(|connection| {
        let Source::Chain { chain } = connection.source else { return false };
        let Some(chain) = tables.chains.get(&(connection.tenant, chain)) else { return false };
        let is_other = known.is_some_and(|(own, tool)| {
            is_named(&chain.account) && own != chain.account && *tool == connection.tool
        });
        !is_other && beside(chain.tenant, chain.client)
    })
}

/// Whether somebody lives on an account at a provider.
pub(super) fn lives_on(rows: &Rows, provider: &Name, account: &str) -> bool {
    living(rows).any(|connection| match connection.source {
        Source::Chain { chain } => rows
            .tables
            .chains
            .get(&(connection.tenant, chain))
            .is_some_and(|chain| chain.provider == *provider && chain.account == account),
        Source::Static => false,
    })
}

fn is_named(account: &str) -> bool {
    !account.starts_with("fam_")
}
