//! The directory's rows and the ways in which they are found.
//!
//! Rows are shared, so that a copy of the tables for the next change copies pointers. A reference is
//! found by the first 22 characters of its core, which hold 130 bits: every shape that a manifest may
//! declare shows at least those, and what more it shows is compared in full.

use super::origins::Confirmed;
use crate::quick::{Quick, QuickSet};
use nightlatch_catalog::{manifest::Manifest, profile::Profile};
use nightlatch_domain::{
    connection::Connection,
    grant::Grant,
    id::{ConnectionId, EnrolmentId, GrantId, PrincipalId, TaskId, TenantId},
    ports::store::{Change, Entity, EntityId, ToolRow},
    principal::{Agent, Binding, Enrolment},
    reference::Reference,
    task::Task,
    tool::Name,
};
use std::{collections::HashMap, hash::Hash, sync::Arc};

/// As many characters of a core as its shortest shape shows.
const KEY_LEN: usize = 22;

/// A row, and the number of the change that brought it.
#[derive(Debug)]
pub(super) struct Row<T> {
    pub(super) row: Arc<T>,
    number: u64,
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Self { row: Arc::clone(&self.row), number: self.number }
    }
}

/// Manifests by the name of their tool.
pub(super) type Manifests = Quick<Name, Arc<Manifest>>;

/// What the catalogue knows by itself, the same for every tenant.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) manifests: Manifests,
    pub(super) profiles: HashMap<Name, Arc<Profile>>,
    /// The hosts of token endpoints by their exact names, and the profiles that name some by a pattern: most calls
    /// go to neither, which must not cost a look at every profile.
    token_hosts: QuickSet<String>,
    token_patterns: Vec<Arc<Profile>>,
}

impl Known {
    pub(super) fn new(manifests: Manifests, profiles: HashMap<Name, Arc<Profile>>) -> Self {
        let exact = |profile: &Arc<Profile>| {
            profile.token_origins().map(|(_, host, _)| host.to_owned()).collect::<Vec<_>>()
        };
        let token_hosts = profiles.values().flat_map(exact).collect();
        let is_patterned = |profile: &&Arc<Profile>| {
            profile.token_endpoint_aliases.iter().any(|place| place.host().exact().is_none())
        };
        let token_patterns = profiles.values().filter(is_patterned).cloned().collect();
        Self { manifests, profiles, token_hosts, token_patterns }
    }

    /// Whether any provider may take tokens at a host.
    pub(super) fn is_token_host(&self, host: &str) -> bool {
        self.token_hosts.contains(host) || self.token_patterns.iter().any(|own| own.has_token_host(host))
    }
}

type Rows<I, T> = Quick<(TenantId, I), Row<T>>;

/// Everything that is known, as of one number of the feed.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    number: u64,
    agents: Rows<PrincipalId, Agent>,
    tasks: Rows<TaskId, Task>,
    grants: Rows<GrantId, Grant>,
    connections: Rows<ConnectionId, Connection>,
    enrolments: Rows<EnrolmentId, Enrolment>,
    pub(super) tools: Quick<TenantId, Arc<Manifests>>,
    pub(super) known: Arc<Known>,
    pub(super) confirmed: Confirmed,
    by_binding: Quick<Binding, (TenantId, EnrolmentId)>,
    by_core: Quick<Box<str>, (TenantId, GrantId)>,
    pub(super) by_task: Quick<(TenantId, TaskId), Vec<GrantId>>,
    reached: Quick<(TenantId, TaskId), Vec<Reached>>,
}

/// A connection that a task's grants name, once for however many of them: a call must not look at each grant.
#[derive(Debug, Clone)]
struct Reached {
    tool: Name,
    connection: ConnectionId,
    grants: usize,
}

/// The grant that a text names, whoever it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Named(pub(crate) Arc<Grant>);

impl Tables {
    pub(super) fn at(number: u64, known: Arc<Known>) -> Self {
        Self { number, known, ..Self::default() }
    }

    /// The number of the last change that is in these tables.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The enrolment of what a handshake proved.
    #[must_use]
    pub fn enrolment(&self, binding: &Binding) -> Option<Arc<Enrolment>> {
        let (tenant, id) = self.by_binding.get(binding)?;
        found(&self.enrolments, *tenant, *id)
    }

    /// An agent.
    #[must_use]
    pub fn agent(&self, tenant: TenantId, agent: PrincipalId) -> Option<Arc<Agent>> {
        found(&self.agents, tenant, agent)
    }

    /// A task.
    #[must_use]
    pub fn task(&self, tenant: TenantId, task: TaskId) -> Option<Arc<Task>> {
        found(&self.tasks, tenant, task)
    }

    /// The number of the change that brought a task's row.
    #[must_use]
    pub fn task_changed(&self, tenant: TenantId, task: TaskId) -> Option<u64> {
        self.tasks.get(&(tenant, task)).map(|row| row.number)
    }

    /// A grant.
    #[must_use]
    pub fn grant(&self, tenant: TenantId, grant: GrantId) -> Option<Arc<Grant>> {
        found(&self.grants, tenant, grant)
    }

    /// The connections that a task's grants for a tool name, ended grants included.
    pub fn connections_of(
        &self,
        tenant: TenantId,
        task: TaskId,
        tool: &Name,
    ) -> impl Iterator<Item = Arc<Connection>> {
        let named = self.reached.get(&(tenant, task)).map(Vec::as_slice).unwrap_or_default();
        let own = named.iter().filter(move |reached| reached.tool == *tool);
        own.filter_map(move |reached| self.connection(tenant, reached.connection))
    }

    /// A connection.
    #[must_use]
    pub fn connection(&self, tenant: TenantId, connection: ConnectionId) -> Option<Arc<Connection>> {
        found(&self.connections, tenant, connection)
    }

    /// The manifest of a tool. A built-in name cannot be taken.
    #[must_use]
    pub fn manifest(&self, tenant: TenantId, tool: &Name) -> Option<Arc<Manifest>> {
        let added = || self.tools.get(&tenant)?.get(tool).cloned();
        self.known.manifests.get(tool).cloned().or_else(added)
    }

    /// The grant that a text names: a reference in its own form, or in a shape of this manifest.
    pub(crate) fn named(&self, text: &str, manifest: &Manifest) -> Option<Named> {
        let whole = Reference::parse(text).ok();
        let shown = match &whole {
            Some(reference) => Some(reference.core()),
            None => manifest.shapes.iter().find_map(|shape| shape.core_of(text)),
        }?;
        let (tenant, id) = self.by_core.get(shown.get(..KEY_LEN)?)?;
        let grant = self.grant(*tenant, *id)?;
        (grant.reference.core().get(..shown.len()) == Some(shown)).then_some(Named(grant))
    }

    /// A row of a snapshot.
    pub(super) fn add(&mut self, entity: Entity) {
        let number = self.number;
        self.insert(entity, number);
    }

    /// One change: the entity as it is now, or gone. What cannot be gone is left out of what is known.
    pub(super) fn apply(&mut self, change: &Change, entity: Option<Entity>) {
        self.remove(change.tenant, change.entity);
        self.number = change.number;
        if let Some(entity) = entity.filter(|entity| is_of(entity, change)) {
            self.insert(entity, change.number);
        }
    }

    fn insert(&mut self, entity: Entity, number: u64) {
        match entity {
            Entity::Agent(agent) => put(&mut self.agents, agent.tenant, agent.id, agent, number),
            Entity::Task(task) => put(&mut self.tasks, task.tenant, task.id, task, number),
            Entity::Connection(row) => {
                self.confirmed.enter(&row);
                put(&mut self.connections, row.tenant, row.id, row, number);
            }
            Entity::Grant(grant) => {
                if let Some(key) = grant.reference.core().get(..KEY_LEN) {
                    self.by_core.insert(key.into(), (grant.tenant, grant.id));
                }
                self.by_task.entry((grant.tenant, grant.task)).or_default().push(grant.id);
                self.reach(&grant);
                put(&mut self.grants, grant.tenant, grant.id, grant, number);
            }
            Entity::Enrolment(row) => {
                self.by_binding.insert(row.binding.clone(), (row.tenant, row.id));
                put(&mut self.enrolments, row.tenant, row.id, row, number);
            }
            Entity::Tools(rows) => self.insert_tools(&rows),
        }
    }

    fn insert_tools(&mut self, rows: &[ToolRow]) {
        let Some(first) = rows.first() else { return };
        let known = rows.iter().filter_map(read_tool);
        self.tools.insert(first.tenant, Arc::new(known.collect()));
    }

    fn remove(&mut self, tenant: TenantId, entity: EntityId) {
        match entity {
            EntityId::Agent(id) => drop(self.agents.remove(&(tenant, id))),
            EntityId::Task(id) => drop(self.tasks.remove(&(tenant, id))),
            EntityId::Connection(id) => {
                if let Some(gone) = self.connections.remove(&(tenant, id)) {
                    self.confirmed.strike_off(&gone.row);
                }
            }
            EntityId::Grant(id) => self.remove_grant(tenant, id),
            EntityId::Enrolment(id) => {
                if let Some(gone) = self.enrolments.remove(&(tenant, id)) {
                    self.by_binding.remove(&gone.row.binding);
                }
            }
            EntityId::Tools => drop(self.tools.remove(&tenant)),
            // Never one entity: whoever follows the feed reads everything anew.
            EntityId::Everything => {}
        }
    }

    fn remove_grant(&mut self, tenant: TenantId, id: GrantId) {
        let Some(gone) = self.grants.remove(&(tenant, id)) else { return };
        if let Some(key) = gone.row.reference.core().get(..KEY_LEN) {
            self.by_core.remove(key);
        }
        if let Some(ids) = self.by_task.get_mut(&(tenant, gone.row.task)) {
            ids.retain(|other| *other != id);
        }
        self.reach_no_more(&gone.row);
    }

    fn reach(&mut self, grant: &Grant) {
        let reached = self.reached.entry((grant.tenant, grant.task)).or_default();
        match reached.iter_mut().find(|reached| reached.is_of(grant)) {
            Some(reached) => reached.grants += 1,
            None => {
                reached.push(Reached { tool: grant.tool.clone(), connection: grant.connection, grants: 1 })
            }
        }
    }

    fn reach_no_more(&mut self, grant: &Grant) {
        let Some(reached) = self.reached.get_mut(&(grant.tenant, grant.task)) else { return };
        if let Some(one) = reached.iter_mut().find(|reached| reached.is_of(grant)) {
            one.grants = one.grants.saturating_sub(1);
        }
        reached.retain(|reached| reached.grants > 0);
    }
}

impl Reached {
    fn is_of(&self, grant: &Grant) -> bool {
        self.connection == grant.connection && self.tool == grant.tool
    }
}

fn put<I: Eq + Hash, T>(rows: &mut Rows<I, T>, tenant: TenantId, id: I, row: T, number: u64) {
    rows.insert((tenant, id), Row { row: Arc::new(row), number });
}

fn found<I: Eq + Hash, T>(rows: &Rows<I, T>, tenant: TenantId, id: I) -> Option<Arc<T>> {
    rows.get(&(tenant, id)).map(|row| Arc::clone(&row.row))
}

/// Whether a store's answer is the entity that was asked for.
fn is_of(entity: &Entity, change: &Change) -> bool {
    let (tenant, id) = match entity {
        Entity::Agent(row) => (row.tenant, EntityId::Agent(row.id)),
        Entity::Task(row) => (row.tenant, EntityId::Task(row.id)),
        Entity::Grant(row) => (row.tenant, EntityId::Grant(row.id)),
        Entity::Connection(row) => (row.tenant, EntityId::Connection(row.id)),
        Entity::Enrolment(row) => (row.tenant, EntityId::Enrolment(row.id)),
        Entity::Tools(rows) => {
            return change.entity == EntityId::Tools && rows.iter().all(|row| row.tenant == change.tenant);
        }
    };
    tenant == change.tenant && id == change.entity
}

/// A manifest that no longer reads is left out: a tool that is not known is refused.
fn read_tool(row: &ToolRow) -> Option<(Name, Arc<Manifest>)> {
    let manifest = Manifest::parse(row.name.as_str(), &row.manifest).ok()?;
    (manifest.name == row.name).then(|| (row.name.clone(), Arc::new(manifest)))
}
