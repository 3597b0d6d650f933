//! Origins: which tools have a host, and which hosts a tool has.
//!
//! Two sources say that a tool has a host: its manifest, where it names one exactly, and each connection,
//! which names those that a human confirmed. A manifest's pattern binds nothing. The provider's token
//! endpoint belongs to the tool too: what a client sends there on its own is answered here.

use super::Tables;
use nightlatch_catalog::{
    manifest::Manifest,
    profile::{Endpoint, Profile},
};
use nightlatch_domain::{
    clock::Timestamp,
    connection::Connection,
    id::{ConnectionId, TaskId, TenantId},
    tool::{BoundHost, Name, Scheme},
};
use nightlatch_egress::Destination;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Connections by the hosts that they were confirmed for.
pub(super) type ByHost = HashMap<(TenantId, String), Vec<ConnectionId>>;

/// A part of an origin that a tool has: everything under a path prefix, or the token endpoint alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    /// The tool.
    pub(crate) tool: Name,
    /// Its host, by route; none where only the token endpoint is there.
    pub(crate) route: Option<String>,
    /// Every path of that host begins with this.
    pub(crate) path_prefix: String,
}

impl Part {
    /// How much of `path` the prefix covers, on a segment's edge; none where it does not.
    pub(crate) fn covers(&self, path: &str) -> Option<usize> {
        let prefix = self.path_prefix.trim_end_matches('/');
        let rest = path.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
    }
}

impl Tables {
    /// What tools have at an origin, by tool. Empty where no tool has it.
    pub(crate) fn parts_at(&self, tenant: TenantId, origin: &Destination) -> BTreeSet<Part> {
        let mut parts = BTreeSet::new();
        for manifest in self.manifests(tenant) {
            let hosts = manifest.hosts.iter().filter(|host| {
                host.host.exact() == Some(origin.host()) && is_at(origin, host.scheme, host.port)
            });
            parts.extend(hosts.map(|host| part(&manifest.name, Some(&host.route), &host.path_prefix)));
            if self.profile_of(manifest).is_some_and(|own| own.has_token_host(origin.host(), origin.port())) {
                parts.insert(part(&manifest.name, None, "/"));
            }
        }
        for connection in self.connections_at(tenant, origin.host()) {
            let hosts = connection.hosts.iter().filter(|host| is_bound_at(origin, host));
            parts.extend(hosts.map(|host| part(&connection.tool, Some(&host.route), &host.path_prefix)));
        }
        parts
    }

    /// Whether any tool has this host, at whatever port and scheme.
    pub(crate) fn has_host(&self, tenant: TenantId, host: &str) -> bool {
        let of_manifest = |manifest: &Arc<Manifest>| {
            manifest.hosts.iter().any(|own| own.host.exact() == Some(host))
                || self.profile_of(manifest).is_some_and(|own| own.token_hosts().any(|own| own == host))
        };
        self.connections_at(tenant, host).next().is_some() || self.manifests(tenant).any(of_manifest)
    }

    /// The tools that take refresh tokens there: a request to it is answered by us. `path` is canonical.
    pub(crate) fn tools_with_token_endpoint(
        &self,
        tenant: TenantId,
        origin: &Destination,
        path: &str,
    ) -> BTreeSet<Name> {
        let takes = |manifest: &&Arc<Manifest>| {
            self.profile_of(manifest)
                .is_some_and(|own| own.takes_tokens_at(origin.host(), origin.port(), path))
        };
        self.manifests(tenant).filter(takes).map(|manifest| manifest.name.clone()).collect()
    }

    /// The origins of one host of a tool: the manifest's, and those of the tenant's connections.
    pub(crate) fn origins_of_route(&self, tenant: TenantId, tool: &Name, route: &str) -> Vec<Destination> {
        let manifest = self.manifest(tenant, tool);
        let exact = manifest
            .iter()
            .filter_map(|manifest| manifest.host(route))
            .filter_map(|host| Destination::new(host.scheme, host.host.exact()?, host.port).ok());
        let bound = self.hosts_of(tenant, tool).filter(|host| host.route == route);
        exact.chain(bound.filter_map(|host| Destination::try_from(&host).ok())).collect()
    }

    /// The exact names that the interception authority of a tool stands for: hosts over TLS, and those of
    /// its token endpoints.
    pub(crate) fn intercepted_names(&self, tenant: TenantId, tool: &Name) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if let Some(manifest) = self.manifest(tenant, tool) {
            let secure = manifest.hosts.iter().filter(|host| host.scheme == Scheme::Https);
            names.extend(secure.filter_map(|host| host.host.exact()).map(str::to_owned));
            names.extend(self.profile_of(&manifest).into_iter().flat_map(secure_token_hosts));
        }
        let bound = self.hosts_of(tenant, tool).filter(|host| host.scheme == Scheme::Https);
        names.extend(bound.map(|host| host.host));
        names
    }

    /// The tools that the task's living grants name.
    pub(crate) fn granted_tools(&self, tenant: TenantId, task: TaskId, now: Timestamp) -> BTreeSet<Name> {
        let ids = self.by_task.get(&(tenant, task)).map(Vec::as_slice).unwrap_or_default();
        let grants = ids.iter().filter_map(|id| self.grant(tenant, *id));
        grants.filter(|grant| grant.is_live(now)).map(|grant| grant.tool.clone()).collect()
    }

    fn profile_of(&self, manifest: &Manifest) -> Option<&Arc<Profile>> {
        self.known.profiles.get(manifest.profile.as_ref()?)
    }

    /// Every manifest of a tenant, the built-in ones first.
    fn manifests(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Manifest>> {
        let added = self.tools.get(&tenant).into_iter().flat_map(|added| added.iter());
        let added = added.filter(|(name, _)| !self.known.manifests.contains_key(*name));
        self.known.manifests.values().chain(added.map(|(_, manifest)| manifest))
    }

    fn connections_at(&self, tenant: TenantId, host: &str) -> impl Iterator<Item = Arc<Connection>> {
        let ids = self.by_host.get(&(tenant, host.to_owned())).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(move |id| self.connection(tenant, *id))
    }

    /// The hosts of a tool's living connections.
    fn hosts_of(&self, tenant: TenantId, tool: &Name) -> impl Iterator<Item = BoundHost> {
        let own = self.connections.iter().filter(move |((of, _), _)| *of == tenant).map(|(_, row)| &row.row);
        let own = own.filter(move |row| row.tool == *tool && row.removed_at.is_none());
        own.flat_map(|row| row.hosts.clone())
    }
}

/// Enters a connection under each of its hosts; a removed one under none.
pub(super) fn enter(by_host: &mut ByHost, connection: &Connection) {
    for host in names(connection).filter(|_| connection.removed_at.is_none()) {
        by_host.entry((connection.tenant, host.to_owned())).or_default().push(connection.id);
    }
}

/// Strikes a connection off.
pub(super) fn strike_off(by_host: &mut ByHost, connection: &Connection) {
    for host in names(connection) {
        let key = (connection.tenant, host.to_owned());
        let Some(ids) = by_host.get_mut(&key) else { continue };
        ids.retain(|id| *id != connection.id);
        if ids.is_empty() {
            by_host.remove(&key);
        }
    }
}

/// Each host name of a connection, once.
fn names(connection: &Connection) -> impl Iterator<Item = &str> {
    connection.hosts.iter().map(|host| host.host.as_str()).collect::<BTreeSet<_>>().into_iter()
}

/// The hosts at which a provider takes tokens over TLS, by their exact names.
fn secure_token_hosts(profile: &Arc<Profile>) -> Vec<String> {
    let own = profile.token_endpoint.iter().filter(|own| own.scheme() == Scheme::Https);
    let aliases = profile.token_endpoint_aliases.iter().filter_map(|place| place.host().exact());
    own.map(Endpoint::host).chain(aliases).map(str::to_owned).collect()
}

fn part(tool: &Name, route: Option<&String>, path_prefix: &str) -> Part {
    Part { tool: tool.clone(), route: route.cloned(), path_prefix: path_prefix.to_owned() }
}

fn is_at(origin: &Destination, scheme: Scheme, port: u16) -> bool {
    origin.scheme() == scheme && origin.port() == port
}

fn is_bound_at(origin: &Destination, host: &BoundHost) -> bool {
    host.host == origin.host() && is_at(origin, host.scheme, host.port)
}
