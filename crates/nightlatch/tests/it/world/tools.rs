//! The tools and profiles of the real test servers, as an operator would write them.

use super::provider::Kind;

/// The manifest of the resource server behind a provider.
pub(crate) fn manifest(kind: Kind) -> String {
    let (tool, authority) = (kind.tool(), kind.resource().trim_start_matches("http://"));
    let (host, port) = authority.split_once(':').expect("host:port");
    let (me, id, label) = match kind {
        Kind::Oidc => ("/me", "/id", "/login"),
        Kind::Dot0 | Kind::Dot30 => ("/api/me", "/id", "/login"),
        Kind::Synapse => (kind.me(), "/user_id", "/user_id"),
    };
    let (scope, prefix) = match kind {
        Kind::Oidc => ("\"openid\", \"offline_access\"", ""),
        Kind::Dot0 | Kind::Dot30 => ("\"read\"", "/api"),
        Kind::Synapse => ("", ""),
    };
    format!(
        r#"name = "{tool}"
title = "The test resource server"
docs = "https://example.com/docs"
profile = "{tool}"
scopes = [{scope}]

[[host]]
host = "{host}"
scheme = "http"
port = {port}
oauth = {{ kind = "bearer" }}
challenge = "Bearer realm=\"{tool}\""

[account]
probe = "{me}"
id = ["{id}"]
label = "{label}"

[[operation]]
id = "me.get"
method = "GET"
path = "{me}"
effect = "read"
page = "https://example.com/docs/me"

[[operation]]
id = "things.get"
method = "GET"
path = "{prefix}/things/{{thing}}/{{rest...}}"
effect = "read"
resource = "{{thing}}"
page = "https://example.com/docs/things"

[[operation]]
id = "things.echo"
method = "POST"
path = "{prefix}/things/{{thing}}/echo"
effect = "write"
resource = "{{thing}}"
page = "https://example.com/docs/things"
"#
    )
}

/// The profile of a provider: what its documentation says of rotation, reuse and grace.
pub(crate) fn profile(kind: Kind) -> String {
    let (authorize, token, revoke) = kind.endpoints();
    let (issuer, iss) = (kind.issuer(), kind == Kind::Oidc);
    let (grace, old_access) = match kind {
        Kind::Oidc => (0, "survives"),
        Kind::Dot0 => (0, "dies"),
        Kind::Dot30 => (30, "dies"),
        Kind::Synapse => unreachable!("its profile comes with the program"),
    };
    format!(
        r#"name = "{tool}"
title = "The test provider"
issuer = "{issuer}"
authorization_endpoint = "{authorize}"
token_endpoint = "{token}"
revocation_endpoint = "{revoke}"
iss_announced = {iss}
client_auth = ["client_secret_basic"]
rotation = "always"
reuse = {{ grace_secs = {grace}, after_grace = "revoke_family" }}
old_access = "{old_access}"
not_processed_statuses = [429, 503]

[[fact]]
covers = ["not_processed_statuses"]
source = "made to be busy, it answers before it looks at what was presented"
confidence = "verified"
checked_at = "2026-11-29"
"#,
        tool = kind.tool(),
    )
}

/// The same, with the token endpoint reached by another name of this machine, so that an operator can say for each process
/// where that leads. Of the one with a grace it is verified what a second presentation yields: the part's own proof
/// (`smoke.py`) shows it before every run.
pub(crate) fn profile_by_way_of(kind: Kind, host: &str) -> String {
    let (_, token, _) = kind.endpoints();
    let text = profile(kind).replace(&token, &token.replace("127.0.0.1", host));
    if kind != Kind::Dot30 {
        return text;
    }
    let second = "rotation = \"always\"\nsecond_presentation = \"same\"";
    text.replace("rotation = \"always\"", second)
        + r#"
[[fact]]
covers = ["reuse.grace_secs", "second_presentation"]
source = "its own settings, and what its own proof saw it do"
confidence = "verified"
checked_at = "2026-11-29"
"#
}

/// The profile of Synapse as it comes with the program, with the address that its operator writes there. What is added to
/// that tells in its access log who refreshed.
pub(crate) fn synapse_profile(client_id: &str) -> String {
    const SHIPPED: &str = include_str!("../../../../catalog/profiles/synapse.toml");
    let at = format!("http://{}/_matrix/client/v3/refresh?of={client_id}", Kind::Synapse.authority());
    let own = format!("name = \"{}\"\nrefresh_endpoint = \"{at}\"\n", Kind::Synapse.tool());
    SHIPPED.replacen("name = \"synapse\"\n", &own, 1)
}
