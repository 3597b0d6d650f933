//! A tool's manifest: hosts, where credentials and references stand, operations.
//!
//! Data and not code, so that a tool can be added, read and reviewed without a release.
//!
//! ```toml
//! name = "example"
//! title = "Example"
//! docs = "https://docs.example.com/api"
//! placeholder_env = ["EXAMPLE_API_KEY"]          # where a program looks for its credential: `run` puts the reference
//! resource = { case = "insensitive" }           # `Acme` and `acme` are one; `digits = "name"`: `01` is not `1`
//!
//! [[host]]                                      # the first host has the empty route
//! host = "api.example.com"
//! key = { kind = "header", name = "x-api-key" } # where a key stands; `oauth = …` for tokens
//! accepts = [{ kind = "bearer" }]               # where else a client may put the reference
//!
//! [account]
//! probe = "/me"
//! id = "/id"
//!
//! [[operation]]
//! id = "things.get"
//! method = "GET"
//! path = "/things/{thing}"
//! effect = "read"
//! resource = "{thing}"
//! page = "https://docs.example.com/api/things"
//! deprecated = true                             # its makers advise against it
//!
//! [[operation]]
//! id = "things.watch"
//! method = "GET"                                # a WebSocket begins as one (RFC 6455 §4.1)
//! path = "/things/watch"
//! upgrade = "websocket"                         # this operation is the WebSocket; a plain GET of the path is another
//! effect = "write"                              # of everything that can be done over it
//! page = "https://docs.example.com/api/watch"
//! ```
//!
//! A GraphQL endpoint is told apart by what its body asks for at the root ([`crate::graphql`]):
//!
//! ```toml
//! [[operation]]
//! id = "graphql"
//! method = "POST"
//! path = "/graphql"
//! body = "graphql"
//! effect = "admin"                              # of root fields that are not listed
//! page = "https://docs.example.com/graphql"
//!
//! [[graphql]]
//! id = "things.read"
//! on = "query"                                  # or `mutation`; `endpoint = "…"` where it is not `graphql`
//! field = ["thing", "things"]
//! effect = "read"
//! page = "https://docs.example.com/graphql/queries"
//! ```
//!
//! What is said over a WebSocket is not read, so its effect is that of the worst that can be said. One that no
//! operation lists is refused, whatever `safe_methods` says.

mod credentials;
mod difference;
mod environment;
mod hosts;
mod index;
mod matching;
mod read;
mod resource;
mod roots;
mod template;

pub use credentials::{
    CREDENTIAL_HEADERS, CREDENTIAL_QUERY, CREDENTIAL_SUBPROTOCOLS, OVERRIDE_QUERY, QueryFault, folded,
    is_same_folded,
};
pub use difference::{Act, Difference};
pub use environment::EnvironmentError;
pub use hosts::{ChosenHost, ChosenHostError, HostError, HostPattern};
pub use matching::MatchError;
pub use resource::{GrantError, ResourceRule, ResourceTemplate};
pub use roots::{BodyKind, Root};
pub use template::{PathTemplate, TemplateError};

pub(crate) use hosts::{Origin, path_prefix};
pub(crate) use read::{OPERATIONS_LIMIT, header_name};
pub(crate) use template::careless;

use index::PathIndex;
use nightlatch_domain::{
    exchange::Upgrade,
    reference::Shape,
    tool::{Effect, Name, OperationId, Placement, Scheme, Sensitivity},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a manifest says of one tool. Made by [`Manifest::parse`] only, which checks all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The tool's name, as people type it.
    pub name: Name,
    /// The tool's name for people.
    pub title: String,
    /// The page where the tool's API is described.
    pub docs: String,
    /// The provider profile for OAuth; none where the tool takes keys only.
    pub profile: Option<Name>,
    /// The scopes that are asked for unless a human says otherwise.
    pub scopes: Vec<String>,
    /// Shapes of credential that clients insist on; the reference is given in each.
    pub shapes: Vec<Shape>,
    /// Environment variables under which programs look for this tool's credential, the first one first: `run`
    /// sets each to the grant's reference. None of them steers a program.
    pub placeholder_env: Vec<String>,
    /// The hosts; the first one has the empty route.
    pub hosts: Vec<Host>,
    /// Header names that carry a credential at this tool, besides placements and [`CREDENTIAL_HEADERS`].
    pub credential_headers: Vec<String>,
    /// Query names that carry a credential at this tool, besides [`CREDENTIAL_QUERY`].
    pub credential_query: Vec<String>,
    /// Names of `Set-Cookie` that may reach the agent and come back.
    pub keep_cookies: Vec<String>,
    /// Whether an unlisted GET or HEAD is a `read` and all else unlisted a `write`; else it is `admin`.
    pub safe_methods: bool,
    /// How resources are spelled.
    pub resource: ResourceRule,
    /// How the account of a connection is asked for: by the first one whose host the connection has. More than one
    /// where a key and an OAuth token have other hosts.
    pub accounts: Vec<Account>,
    /// What can be done.
    pub operations: Vec<Operation>,
    /// What can be done at its GraphQL endpoints.
    pub roots: Vec<Root>,
    /// Where it was taken from; none for one that a person wrote.
    pub source: Option<Provenance>,
    #[serde(skip)]
    index: PathIndex,
}

/// The document that a manifest was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The kind of document: `openapi`.
    pub kind: String,
    /// The file, as it was named.
    pub file: String,
    /// The title that it gives itself.
    pub title: Option<String>,
    /// The version that it gives itself.
    pub version: Option<String>,
    /// SHA-256 of the document, in lower-case hexadecimal.
    pub sha256: String,
}

/// One host of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Its name in the `route` door (`/{tool}/~{route}/…`); empty for the first.
    pub route: String,
    /// The exact name, or a pattern that bounds what a human may choose at connect.
    pub host: HostPattern,
    /// HTTPS, or plain HTTP for a loopback host.
    pub scheme: Scheme,
    /// The port.
    pub port: u16,
    /// Every path begins with this; `/` allows all.
    pub path_prefix: String,
    /// Where an API key stands; none where this host takes none.
    pub key: Option<Placement>,
    /// Where an OAuth access token stands; none where this host takes none.
    pub oauth: Option<Placement>,
    /// Where a client may put the reference.
    pub accepts: Vec<Accept>,
    /// The `WWW-Authenticate` value that a request without a reference is answered with (401).
    pub challenge: Option<String>,
}

/// A place where a client may put the reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Accept {
    /// `Authorization: Bearer REFERENCE`.
    Bearer,
    /// `Authorization: SCHEME REFERENCE`, where the scheme is the tool's own (`token`), compared without
    /// regard to case (RFC 9110 §11.1).
    Scheme {
        /// The scheme, in lower case.
        scheme: String,
    },
    /// `Authorization: Basic base64(anything:REFERENCE)`; the user name is dropped.
    BasicPassword,
    /// `Authorization: Basic base64(REFERENCE:anything)`; the password is dropped.
    BasicUser,
    /// A header of the tool's own.
    Header {
        /// Its name, in lower case.
        name: String,
        /// What stands before the reference.
        prefix: String,
    },
}

/// The kind of credential that a connection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// What a human pasted: an API key, a personal token, a password.
    Key,
    /// An access token that the keeper keeps alive.
    OAuth,
}

/// How the account of a connection is asked for, right after it was made and whenever it is tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The host, by its route.
    pub route: String,
    /// `GET`, or `POST` where the tool has no other.
    pub method: String,
    /// The path and query.
    pub path: String,
    /// The JSON body of a `POST`; none: it has no body.
    pub json: Option<String>,
    /// Headers that the tool insists on. Never a credential.
    pub headers: BTreeMap<String, String>,
    /// JSON pointers (RFC 6901) whose values, joined by `/`, are the account's stable id. Empty where the
    /// tool names no account: then a 2xx only shows that the credential works.
    pub id: Vec<String>,
    /// JSON pointer to the account as people know it.
    pub label: Option<String>,
}

/// One thing that a tool can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Its id, for example `repos.get`.
    pub id: OperationId,
    /// The host, by its route.
    pub route: String,
    /// The methods, in capitals. `GET` includes `HEAD` (RFC 9110 §9.3.2).
    pub methods: Vec<String>,
    /// The path templates; any of them.
    pub paths: Vec<PathTemplate>,
    /// Query names with the one value that each must have.
    pub query: BTreeMap<String, String>,
    /// The protocol that it switches to; none where it is an ordinary call.
    pub upgrade: Option<Upgrade>,
    /// What stands in its body, where that says what is asked for.
    pub body: Option<BodyKind>,
    /// What it does; where its body says more, at the worst.
    pub effect: Effect,
    /// Whether its answer shows no secret, where its effect is `credential`: it says that a key is gone, and no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub answers_no_secret: bool,
    /// How bad it would be if it were seen.
    pub sensitivity: Sensitivity,
    /// The resource that it names, made of the path's variables.
    pub resource: Option<ResourceTemplate>,
    /// The documentation page that it was taken from.
    pub page: String,
    /// Whether it was tried against the real tool, or a faithful double of it.
    pub exercised: bool,
    /// Whether the tool's makers advise against it.
    pub deprecated: bool,
}

impl Manifest {
    /// The host of a route; the empty route is the first host.
    #[must_use]
    pub fn host(&self, route: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.route == route)
    }

    /// Whether something that can be done has this id.
    #[must_use]
    pub fn lists(&self, id: &OperationId) -> bool {
        self.operation(id).is_some() || self.roots.iter().any(|root| root.id == *id)
    }

    /// The ids of all that can be done, with the effect of each.
    pub fn ids(&self) -> impl Iterator<Item = (&OperationId, Effect)> {
        let operations = self.operations.iter().map(|operation| (&operation.id, operation.effect));
        operations.chain(self.roots.iter().map(|root| (&root.id, root.effect)))
    }

    /// The operation with this id, as it stands in a request line.
    #[must_use]
    pub fn operation(&self, id: &OperationId) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == *id)
    }
}

impl Host {
    /// Where the credential of this kind stands.
    #[must_use]
    pub const fn placement(&self, kind: CredentialKind) -> Option<&Placement> {
        match kind {
            CredentialKind::Key => self.key.as_ref(),
            CredentialKind::OAuth => self.oauth.as_ref(),
        }
    }

    /// Where a client may put the reference when the credential stands at `placement`: the manifest's
    /// list, and the place of the credential itself.
    #[must_use]
    pub fn accepts_beside(&self, placement: &Placement) -> Vec<Accept> {
        let own = Accept::of(placement);
        let other = self.accepts.iter().filter(|accept| **accept != own).cloned();
        std::iter::once(own.clone()).chain(other).collect()
    }
}

impl Accept {
    /// The place of the reference that mirrors the place of the credential.
    #[must_use]
    pub fn of(placement: &Placement) -> Self {
        match placement {
            Placement::Bearer => Self::Bearer,
            Placement::Basic { .. } => Self::BasicPassword,
            Placement::Header { name, prefix } => Self::Header { name: name.clone(), prefix: prefix.clone() },
        }
    }
}

#[cfg(test)]
mod tests;
