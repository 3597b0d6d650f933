//! What `run` must know of a tool to set up its clients: under which variables programs look for the credential, and
//! which of its hosts ask git for one.

use crate::error::Failure;
use nightlatch_control::{
    Client,
    api::{GrantView, ToolView},
    client::segment,
};
use serde::Deserialize;

/// A granted tool.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    /// As `tool/name`.
    pub(super) connection: String,
    /// The reference in the shape that the tool's clients insist on.
    pub(super) reference: String,
    /// The base URL at the `route` door.
    pub(super) url: Option<String>,
    /// The variables under which programs look for the credential.
    pub(super) variables: Vec<String>,
    /// Base URLs where git is asked for a password.
    pub(super) git: Vec<String>,
}

/// The part of a manifest that is read here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Facts {
    placeholder_env: Vec<String>,
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize)]
struct Host {
    host: String,
    #[serde(default)]
    challenge: Option<String>,
    #[serde(default)]
    accepts: Vec<Accept>,
    scheme: String,
    port: u16,
}

#[derive(Debug, Deserialize)]
struct Accept {
    kind: String,
}

impl Tool {
    pub(super) async fn of(client: &Client, grant: GrantView) -> Result<Self, Failure> {
        let name = grant.connection_name.split('/').next().unwrap_or_default();
        let view: ToolView = client.get(&format!("/v1/tools/{}", segment(name))).await?;
        let facts: Facts = serde_json::from_value(view.facts).unwrap_or_default();
        Ok(Self {
            connection: grant.connection_name,
            reference: grant.shaped.into_iter().next().unwrap_or(grant.reference),
            url: grant.urls.into_iter().next(),
            variables: facts.placeholder_env,
            git: facts.hosts.iter().filter_map(Host::asks_git).collect(),
        })
    }
}

impl Host {
    /// Its base URL, where it is one exact host that challenges with Basic and takes the reference as a password:
    /// git sends nothing before it is asked, and then what its credential helper says.
    fn asks_git(&self) -> Option<String> {
        let basic = self.challenge.as_ref().is_some_and(|challenge| challenge.starts_with("Basic "));
        let password = self.accepts.iter().any(|accept| accept.kind == "basic-password");
        let exact = !self.host.contains('*');
        let port = match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        (basic && password && exact).then(|| format!("{}://{}{port}", self.scheme, self.host))
    }
}

#[cfg(test)]
mod tests {
    //! Proves that git's helper is set for the hosts that ask git, and for no other.

    use super::Facts;
    use serde_json::json;

    #[test]
    fn only_exact_hosts_that_challenge_with_basic_and_take_a_password_ask_git() {
        let host = |host: &str, challenge: &str, kind: &str, port: u16| json!({"host": host, "challenge": challenge, "accepts": [{"kind": kind}], "scheme": "https", "port": port});
        let facts: Facts = serde_json::from_value(json!({
            "placeholder_env": ["A_TOKEN"],
            "hosts": [
                host("github.com", "Basic realm=\"x\"", "basic-password", 443),
                host("git.example", "Basic realm=\"x\"", "basic-password", 8443),
                host("api.github.com", "Bearer realm=\"x\"", "basic-password", 443),
                host("*.atlassian.net", "Basic realm=\"x\"", "basic-password", 443),
                host("bearer.example", "Basic realm=\"x\"", "bearer", 443),
            ],
        }))
        .unwrap();
        let git: Vec<String> = facts.hosts.iter().filter_map(super::Host::asks_git).collect();
        assert_eq!(git, ["https://github.com", "https://git.example:8443"]);
    }
}
