//! The issuer as a catalogue knows it: a provider and its tool for each of its addresses, since a keeper asks so much of one
//! origin at once and no more.

use crate::Fault;
use nightlatch_catalog::{builtin::Catalogue, manifest::Manifest, profile::Profile};
use nightlatch_domain::tool::{BoundHost, Placement, Scheme};

pub(crate) fn catalogue(ports: &[u16]) -> Result<Catalogue, Fault> {
    let mut catalogue = Catalogue::default();
    for port in ports {
        let (profile, manifest) = (profile(*port), manifest(*port));
        catalogue.add_profile(Profile::parse("profile.toml", &profile)?)?;
        catalogue.add_manifest(Manifest::parse("manifest.toml", &manifest)?)?;
    }
    Ok(catalogue)
}

/// What the provider at that address is called.
pub(crate) fn provider(port: u16) -> String {
    format!("p{port}")
}

/// What its tool is called.
pub(crate) fn tool(port: u16) -> String {
    format!("t{port}")
}

/// Where a token of that provider may go.
pub(crate) fn hosts(port: u16) -> Vec<BoundHost> {
    vec![BoundHost {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port,
        path_prefix: "/".to_owned(),
        placement: Placement::Bearer,
        route: String::new(),
    }]
}

fn profile(port: u16) -> String {
    let name = provider(port);
    format!(
        r#"
name = "{name}"
title = "The issuer of a benchmark"
authorization_endpoint = "http://127.0.0.1:{port}/authorize"
token_endpoint = "http://127.0.0.1:{port}/token"
client_auth = ["none"]
rotation = "always"
"#
    )
}

fn manifest(port: u16) -> String {
    let (name, profile) = (tool(port), provider(port));
    format!(
        r#"
name = "{name}"
title = "The tool of a benchmark"
docs = "https://example.com/docs"
profile = "{profile}"

[[host]]
host = "127.0.0.1"
scheme = "http"
port = {port}
oauth = {{ kind = "bearer" }}
accepts = [{{ kind = "bearer" }}]

[account]
probe = "/me"
id = "/id"
label = "/login"

[[operation]]
id = "me"
method = "GET"
path = "/me"
effect = "read"
page = "https://example.com/docs/me"
"#
    )
}
