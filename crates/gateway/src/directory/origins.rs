//! Origins: which tools have a host, and which hosts a tool has.
//!
//! Two sources say that a tool has a host: its manifest, where it names one exactly, and each connection,
//! which names those that a human confirmed. A manifest's pattern binds nothing. The provider's token
//! endpoint belongs to the tool too: what a client sends there on its own is answered here.

use super::Tables;
use nightlatch_catalog::{manifest::Manifest, profile::Profile};
use nightlatch_domain::{
    clock::Timestamp,
    connection::Connection,
    id::{ConnectionId, TaskId, TenantId},
    tool::{BoundHost, Name, Scheme},
};
use nightlatch_egress::Destination;
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

/// Living connections by the hosts that they were confirmed for, and by their tools.
#[derive(Debug, Clone, Default)]
pub(super) struct Confirmed {
    by_host: HashMap<(TenantId, String), Vec<ConnectionId>>,
    by_tool: HashMap<(TenantId, Name), Vec<ConnectionId>>,
}

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
            if self.profile_of(manifest).is_some_and(|own| takes_tokens(own, origin)) {
                parts.insert(part(&manifest.name, None, "/"));
            }
        }
        for connection in self.connections_at(tenant, origin.host()) {
            let hosts = connection.hosts.iter().filter(|host| is_bound_at(origin, host));
            parts.extend(hosts.map(|host| part(&connection.tool, Some(&host.route), &host.path_prefix)));
        }
        parts
    }

    /// Whether any tool has this host, at whatever port and scheme; or may have a token endpoint there, by a
    /// pattern of its provider. What a pattern admits is nobody's to reach, and nobody stands for it.
    pub(crate) fn has_host(&self, tenant: TenantId, host: &str) -> bool {
        let of_manifest = |manifest: &Arc<Manifest>| {
            manifest.hosts.iter().any(|own| own.host.exact() == Some(host))
                || self.profile_of(manifest).is_some_and(|own| own.has_token_host(host))
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
        if !self.known.is_token_host(origin.host()) {
            return BTreeSet::new();
        }
        let takes = |manifest: &&Arc<Manifest>| {
            self.profile_of(manifest)
                .is_some_and(|own| own.takes_tokens_at(origin.host(), origin.port(), path))
        };
        self.manifests(tenant).filter(takes).map(|manifest| manifest.name.clone()).collect()
    }

    /// The origins of one host of a tool as a task knows it (the manifest's, and those of the connections that the
    /// task's grants name), of those where any provider may take tokens.
    pub(crate) fn token_origins_of_route(
        &self,
        (tenant, task): (TenantId, TaskId),
        tool: &Name,
        route: &str,
    ) -> Vec<Destination> {
        let mut origins = Vec::new();
        // One that is spelled otherwise is read before it is looked for.
        let is_spelled = |host: &str| {
            let is_inner =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            host.bytes().all(is_inner) && !host.ends_with('.')
        };
        let mut add = |scheme, host: &str, port| {
            if !is_spelled(host) || self.known.is_token_host(host) {
                origins.extend(Destination::new(scheme, host, port));
            }
        };
        let manifest = self.manifest(tenant, tool);
        if let Some(host) = manifest.as_ref().and_then(|manifest| manifest.host(route))
            && let Some(exact) = host.host.exact()
        {
            add(host.scheme, exact, host.port);
        }
        for connection in self.connections_of(tenant, task, tool) {
            let hosts = connection.hosts.iter().filter(|host| host.route == route);
            hosts.for_each(|host| add(host.scheme, &host.host, host.port));
        }
        origins
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
        let ids = self.confirmed.by_host.get(&(tenant, host.to_owned()));
        let ids = ids.map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(move |id| self.connection(tenant, *id))
    }

    /// The hosts of a tool's living connections.
    fn hosts_of(&self, tenant: TenantId, tool: &Name) -> impl Iterator<Item = BoundHost> {
        let ids = self.confirmed.by_tool.get(&(tenant, tool.clone()));
        let own = ids.map(Vec::as_slice).unwrap_or_default().iter();
        own.filter_map(move |id| self.connection(tenant, *id)).flat_map(|row| row.hosts.clone())
    }
}

impl Confirmed {
    /// Enters a connection under its tool and each of its hosts; a removed one under none.
    pub(super) fn enter(&mut self, connection: &Connection) {
        if connection.removed_at.is_some() {
            return;
        }
        let (tenant, id) = (connection.tenant, connection.id);
        self.by_tool.entry((tenant, connection.tool.clone())).or_default().push(id);
        for host in names(connection) {
            self.by_host.entry((tenant, host.to_owned())).or_default().push(id);
        }
    }

    /// Strikes a connection off.
    pub(super) fn strike_off(&mut self, connection: &Connection) {
        let (tenant, id) = (connection.tenant, connection.id);
        strike(&mut self.by_tool, &(tenant, connection.tool.clone()), id);
        for host in names(connection) {
            strike(&mut self.by_host, &(tenant, host.to_owned()), id);
        }
    }
}

fn strike<K: Eq + Hash>(index: &mut HashMap<K, Vec<ConnectionId>>, key: &K, id: ConnectionId) {
    let Some(ids) = index.get_mut(key) else { return };
    ids.retain(|own| *own != id);
    if ids.is_empty() {
        index.remove(key);
    }
}

/// Each host name of a connection, once.
fn names(connection: &Connection) -> impl Iterator<Item = &str> {
    connection.hosts.iter().map(|host| host.host.as_str()).collect::<BTreeSet<_>>().into_iter()
}

/// The hosts at which a provider takes tokens over TLS, by their exact names.
fn secure_token_hosts(profile: &Arc<Profile>) -> Vec<String> {
    let secure = profile.token_origins().filter(|(scheme, ..)| *scheme == Scheme::Https);
    secure.map(|(_, host, _)| host.to_owned()).collect()
}

/// Whether a provider takes tokens at this very origin.
fn takes_tokens(profile: &Profile, origin: &Destination) -> bool {
    profile.token_origins().any(|own| own == (origin.scheme(), origin.host(), origin.port()))
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

#[cfg(test)]
mod tests {
    use super::Confirmed;
    use nightlatch_domain::{
        clock::Timestamp,
        connection::{Connection, Source},
        id::{ConnectionId, TenantId},
        tool::{BoundHost, Placement, Scheme},
    };

    #[test]
    fn what_is_struck_off_leaves_nothing_and_what_was_removed_is_never_entered() {
        let at = Timestamp::from_millis(1);
        let host = |route: &str| BoundHost {
            scheme: Scheme::Https,
            host: "a.test".into(),
            port: 443,
            path_prefix: "/".into(),
            placement: Placement::Bearer,
            route: route.into(),
        };
        let row = Connection {
            tenant: TenantId::new(at, [1; 10]),
            id: ConnectionId::new(at, [2; 10]),
            tool: "acme".parse().unwrap(),
            name: "main".parse().unwrap(),
            account: None,
            account_label: None,
            source: Source::Static,
            hosts: vec![host(""), host("other")],
            created_at: at,
            removed_at: None,
        };
        let mut confirmed = Confirmed::default();
        confirmed.enter(&row);
        assert!(confirmed.by_host.values().chain(confirmed.by_tool.values()).all(|ids| ids == &[row.id]));
        confirmed.strike_off(&row);
        assert!(confirmed.by_host.is_empty() && confirmed.by_tool.is_empty());
        confirmed.enter(&Connection { removed_at: Some(at), ..row });
        assert!(confirmed.by_host.is_empty() && confirmed.by_tool.is_empty());
    }
}
