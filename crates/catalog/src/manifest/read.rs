//! TOML → manifest, with every finding at once.

use super::{
    Accept, Account, BodyKind, Host, HostPattern, Manifest, Operation, PathTemplate, Provenance,
    ResourceRule, ResourceTemplate, environment, hosts, index::PathIndex, roots,
};
use crate::{
    canonical,
    reading::{self, Document, Fields, FileError, Value},
    suggest,
};
use nightlatch_domain::{
    exchange::Upgrade,
    grant::is_operation_id,
    reference::Shape,
    tool::{Effect, Name, OperationId, Placement, Scheme, Sensitivity},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The largest documented APIs have a few thousand.
pub(crate) const OPERATIONS_LIMIT: usize = 10_000;

const SCHEMES: &[(&str, Scheme)] = &[("https", Scheme::Https), ("http", Scheme::Http)];

const UPGRADES: &[(&str, Upgrade)] = &[("websocket", Upgrade::WebSocket)];

pub(super) const EFFECTS: &[(&str, Effect)] = &[
    ("read", Effect::Read),
    ("write", Effect::Write),
    ("destructive", Effect::Destructive),
    ("admin", Effect::Admin),
    ("credential", Effect::Credential),
];

/// What can be said of an answer.
const ANSWERS: &[(&str, ())] = &[("no-secret", ())];

pub(super) const SENSITIVITIES: &[(&str, Sensitivity)] =
    &[("low", Sensitivity::Low), ("medium", Sensitivity::Medium), ("high", Sensitivity::High)];

/// An operation, and where it stands in the file.
type Placed = (Range<usize>, Operation);

impl Manifest {
    /// Reads a manifest. `file` names it in findings.
    ///
    /// # Errors
    /// [`FileError`] with everything that is wrong, by line.
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        reading::document(file, text, manifest)
    }
}

fn manifest(source: &Document<'_>, fields: &mut Fields<'_, '_>) -> Option<Manifest> {
    let name = fields.required("name").and_then(|value| value.parsed(str::parse::<Name>));
    let title = fields.required("title").and_then(|value| line(&value));
    let docs = fields.required("docs").and_then(|value| page(&value));
    let profile = fields.optional("profile").and_then(|value| value.parsed(str::parse::<Name>));
    let scopes = each(fields.optional("scopes"), word);
    let shapes = each(fields.optional("shapes"), |value| value.parsed(Shape::parse));
    let placeholder_env = placeholder_env(fields);
    let credential_headers = each(fields.optional("credential_headers"), own_header_name);
    let credential_query = each(fields.optional("credential_query"), word);
    let keep_cookies = each(fields.optional("keep_cookies"), word);
    let safe_methods = fields.optional("safe_methods").and_then(|value| value.boolean()).unwrap_or(false);
    let resource = fields.optional("resource").and_then(|value| resource_rule(&value)).unwrap_or_default();
    let hosts = all_hosts(source, fields);
    let accounts = each(fields.optional("account"), |value| account(value, &hosts));
    let operations = all_operations(source, fields, &hosts);
    let roots = roots::read(source, fields, &operations);
    let provenance = fields.optional("source").and_then(|value| provenance(&value));
    Some(Manifest {
        name: name?,
        title: title?,
        docs: docs?,
        profile,
        scopes,
        shapes,
        placeholder_env,
        hosts,
        credential_headers,
        credential_query,
        keep_cookies,
        safe_methods,
        resource,
        accounts,
        index: PathIndex::new(&operations),
        operations,
        roots,
        source: provenance,
    })
}

fn provenance(value: &Value<'_, '_>) -> Option<Provenance> {
    let mut fields = value.table("`source`")?;
    let kind = fields.required("kind").and_then(|value| value.word(&[("openapi", "openapi")]));
    let file = fields.required("file").and_then(|value| line(&value));
    let title = fields.optional("title").and_then(|value| line(&value));
    let version = fields.optional("version").and_then(|value| line(&value));
    let sha256 = fields.required("sha256").and_then(|value| digest(&value));
    fields.finish();
    Some(Provenance { kind: kind?.to_owned(), file: file?, title, version, sha256: sha256? })
}

fn digest(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let is_digest = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digest {
        value.fault("`sha256` is 64 hexadecimal digits in lower case");
    }
    is_digest.then(|| text.to_owned())
}

fn placeholder_env(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let given = fields.optional("placeholder_env").map(|value| value.one_or_more()).unwrap_or_default();
    if let Some(over) = given.get(environment::LIMIT) {
        over.fault(format!("`placeholder_env` holds at most {} names", environment::LIMIT));
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    for value in given {
        let Some(name) = value.parsed(environment::variable) else { continue };
        if names.contains(&name) {
            value.fault(format!("`{name}` stands twice: leave one out"));
        }
        names.push(name);
    }
    names
}

fn all_hosts(source: &Document<'_>, fields: &mut Fields<'_, '_>) -> Vec<Host> {
    let entries = fields.required("host").and_then(|value| value.entries()).unwrap_or_default();
    let mut hosts: Vec<Host> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Some(host) =
            entry.table("this host").and_then(|mut fields| host(source, &mut fields, index == 0))
        else {
            continue;
        };
        if hosts.iter().any(|earlier| earlier.route == host.route) {
            entry.fault(format!("the route `{}` stands twice: give each host its own `route`", host.route));
        }
        hosts.push(host);
    }
    hosts
}

fn host(source: &Document<'_>, fields: &mut Fields<'_, '_>, is_first: bool) -> Option<Host> {
    let span = fields.span();
    let pattern = fields.required("host").and_then(|value| host_pattern(&value));
    let scheme = fields.optional("scheme").and_then(|value| value.word(SCHEMES)).unwrap_or(Scheme::Https);
    let port = fields.optional("port").and_then(|value| value.number(u64::from(u16::MAX)));
    let prefix = fields.optional("path_prefix").and_then(|value| prefix(&value));
    let key = fields.optional("key").and_then(|value| placement(&value));
    let oauth = fields.optional("oauth").and_then(|value| placement(&value));
    let accepts = each(fields.optional("accepts"), accept);
    let challenge = fields.optional("challenge").and_then(|value| line(&value));
    let route = route(source, fields, is_first);
    fields.finish();
    let pattern = pattern?;
    if scheme == Scheme::Http && !pattern.exact().is_some_and(hosts::is_loopback) {
        source.fault(&span, "plain HTTP is for a loopback host only: write `scheme = \"https\"`");
    }
    let port = port.map_or(Ok(scheme.default_port()), u16::try_from).ok().filter(|port| *port > 0);
    if port.is_none() {
        source.fault(&span, "`port` must be from 1 to 65535");
    }
    let path_prefix = prefix.unwrap_or_else(|| "/".to_owned());
    Some(Host {
        route: route?,
        host: pattern,
        scheme,
        port: port?,
        path_prefix,
        key,
        oauth,
        accepts,
        challenge,
    })
}

fn route(source: &Document<'_>, fields: &mut Fields<'_, '_>, is_first: bool) -> Option<String> {
    let span = fields.span();
    match (fields.optional("route"), is_first) {
        (None, true) => Some(String::new()),
        (None, false) => {
            source.fault(&span, "only the first host has no route: write `route = \"NAME\"`");
            None
        }
        (Some(value), true) => value.text().filter(|text| text.is_empty()).map(str::to_owned).or_else(|| {
            value.fault("the first host is reached without a route: leave `route` out");
            None
        }),
        (Some(value), false) => value.parsed(str::parse::<Name>).map(|name| name.to_string()),
    }
}

fn host_pattern(value: &Value<'_, '_>) -> Option<HostPattern> {
    let text = value.text()?;
    let pattern = HostPattern::parse(text);
    if pattern.is_none() {
        value.fault(format!(
            "`{text}` is no host: write `api.example.com` in lower case, `*.example.com`, `**.example.com` or `*`; the port is a key of its own"
        ));
    }
    pattern
}

fn prefix(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let prefix = hosts::path_prefix(text);
    if prefix.is_none() {
        value.fault(format!("`{text}` is no path prefix: write `/` or `/v2`, without a query"));
    }
    prefix
}

fn placement(value: &Value<'_, '_>) -> Option<Placement> {
    let mut fields = value.table("this placement")?;
    let kind = fields.required("kind")?.word(&[("bearer", 0), ("basic", 1), ("header", 2)])?;
    let placement = match kind {
        0 => Some(Placement::Bearer),
        1 => {
            fields.required("user").and_then(|value| basic_user(&value)).map(|user| Placement::Basic { user })
        }
        _ => own_header(&mut fields).map(|(name, prefix)| Placement::Header { name, prefix }),
    };
    fields.finish();
    placement
}

fn accept(value: &Value<'_, '_>) -> Option<Accept> {
    const KINDS: &[(&str, u8)] =
        &[("bearer", 0), ("scheme", 1), ("basic-password", 2), ("basic-user", 3), ("header", 4)];
    let mut fields = value.table("this place")?;
    let accept = match fields.required("kind")?.word(KINDS)? {
        0 => Some(Accept::Bearer),
        1 => fields
            .required("scheme")
            .and_then(|value| own_header_name(&value))
            .map(|scheme| Accept::Scheme { scheme }),
        2 => Some(Accept::BasicPassword),
        3 => Some(Accept::BasicUser),
        _ => own_header(&mut fields).map(|(name, prefix)| Accept::Header { name, prefix }),
    };
    fields.finish();
    accept
}

fn own_header(fields: &mut Fields<'_, '_>) -> Option<(String, String)> {
    let name = fields.required("name").and_then(|value| own_header_name(&value));
    let prefix = fields.optional("prefix").map_or(Some(String::new()), |value| line(&value));
    Some((name?, prefix?))
}

/// RFC 7617 §2: a user-id holds no colon and no control character.
fn basic_user(value: &Value<'_, '_>) -> Option<String> {
    let user = line(value)?;
    if user.contains(':') {
        value.fault("a Basic user name holds no colon (RFC 7617 §2)");
        return None;
    }
    Some(user)
}

/// A header's name or a scheme: RFC 9110 §5.6.2 `token`, in lower case, none that a proxy must own.
fn own_header_name(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let name = header_name(text);
    if name.is_none() {
        value.fault(format!("`{text}` is no name of a header that may be used here: write it in lower case, for example `x-api-key`"));
    }
    name
}

/// The same, of a text; none where it may not be used.
pub(crate) fn header_name(text: &str) -> Option<String> {
    const OURS: &[&str] =
        &["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect"];
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let sound = !text.is_empty() && text.len() <= 64 && text.bytes().all(inner) && !OURS.contains(&text);
    sound.then(|| text.to_owned())
}

fn resource_rule(value: &Value<'_, '_>) -> Option<ResourceRule> {
    let mut fields = value.table("`resource`")?;
    let case =
        fields.optional("case").and_then(|value| value.word(&[("sensitive", false), ("insensitive", true)]));
    let strip_suffix = fields.optional("strip_suffix").and_then(|value| word(&value));
    let uuids = fields.optional("uuids").and_then(|value| value.boolean());
    let digits = fields.optional("digits").and_then(|value| value.word(&[("number", false), ("name", true)]));
    fields.finish();
    Some(ResourceRule {
        ignores_case: case.unwrap_or(false),
        strip_suffix,
        digits_are_names: digits.unwrap_or(false),
        knows_uuids: uuids.unwrap_or(false),
    })
}

fn account(value: &Value<'_, '_>, hosts: &[Host]) -> Option<Account> {
    let mut fields = value.table("`account`")?;
    let path = fields.required("probe").and_then(|value| probe(&value));
    let method = fields
        .optional("method")
        .and_then(|value| value.word(&[("GET", "GET"), ("POST", "POST")]))
        .unwrap_or("GET");
    let route = known_route(&mut fields, hosts);
    let json = fields.optional("json").and_then(|value| json(&value, method));
    let headers = fields.optional("headers").map(|value| headers(&value)).unwrap_or_default();
    let id = each(fields.optional("id"), pointer);
    let label = fields.optional("label").and_then(|value| pointer(&value));
    fields.finish();
    Some(Account { route: route?, method: method.to_owned(), path: path?, json, headers, id, label })
}

/// Whether it is JSON the tool will say; here only that it looks like an object, and goes with a method that has
/// a body (RFC 9110 §9.3.1: one in a GET means nothing).
fn json(value: &Value<'_, '_>, method: &str) -> Option<String> {
    let text = line(value)?;
    let sound = method == "POST" && text.starts_with('{') && text.ends_with('}');
    if !sound {
        value.fault("`json` is one object in `{` and `}`, and goes with `method = \"POST\"`");
    }
    sound.then_some(text)
}

fn probe(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    match canonical::target("GET", text) {
        Ok(target) if target.path == text.split('?').next().unwrap_or_default() => Some(text.to_owned()),
        Ok(_) => {
            value.fault(format!(
                "`{text}` has another canonical spelling: leave unreserved characters unencoded"
            ));
            None
        }
        Err(error) => {
            value.fault(format!("`{text}` cannot be asked for: {error}"));
            None
        }
    }
}

fn headers(value: &Value<'_, '_>) -> BTreeMap<String, String> {
    let Some(mut fields) = value.table("`headers`") else { return BTreeMap::new() };
    let mut headers = BTreeMap::new();
    for (name, value) in fields.rest() {
        let folded = super::folded(&name);
        if super::CREDENTIAL_HEADERS.contains(&folded.as_str()) || name != name.to_ascii_lowercase() {
            value.fault(format!(
                "`{name}` may not be set here: write a header in lower case that carries no credential"
            ));
        }
        headers.extend(line(&value).map(|text| (name, text)));
    }
    headers
}

/// RFC 6901 §3, without escapes: an account's id stands under plain names.
fn pointer(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let sound = text.starts_with('/')
        && text.len() > 1
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'~');
    if !sound {
        value.fault(format!("`{text}` is no JSON pointer: write for example `/user/id`"));
    }
    sound.then(|| text.to_owned())
}

fn all_operations(source: &Document<'_>, fields: &mut Fields<'_, '_>, hosts: &[Host]) -> Vec<Operation> {
    let entries = fields.optional("operation").and_then(|value| value.entries()).unwrap_or_default();
    if let Some(first) = entries.get(OPERATIONS_LIMIT) {
        first.fault(format!("a manifest holds at most {OPERATIONS_LIMIT} operations"));
        return Vec::new();
    }
    let read = |entry: &Value<'_, '_>| {
        let mut fields = entry.table("this operation")?;
        Some((entry.span(), operation(source, &mut fields, hosts)?))
    };
    let placed: Vec<Placed> = entries.iter().filter_map(read).collect();
    refuse_clashes(source, &placed);
    placed.into_iter().map(|(_, operation)| operation).collect()
}

fn operation(source: &Document<'_>, fields: &mut Fields<'_, '_>, hosts: &[Host]) -> Option<Operation> {
    let span = fields.span();
    let id = fields.required("id").and_then(|value| operation_id(&value));
    let route = known_route(fields, hosts);
    let methods = each(fields.required("method"), method);
    let paths = each(fields.required("path"), |value| value.parsed(PathTemplate::parse));
    let query = fields.optional("query").map(|value| query(&value)).unwrap_or_default();
    let upgrade = fields.optional("upgrade").and_then(|value| upgrade(&value, &methods));
    let body = fields.optional("body").and_then(|value| value.word(&[("graphql", BodyKind::Graphql)]));
    let effect = fields.required("effect").and_then(|value| value.word(EFFECTS));
    let answers_no_secret = fields.optional("answer").is_some_and(|value| {
        if upgrade.is_some() {
            value.fault(
                "`answer` is held to what comes over HTTP: an operation with `upgrade` has no such answer",
            );
        }
        answers_no_secret(&value, effect)
    });
    let sensitivity =
        fields.optional("sensitivity").and_then(|value| value.word(SENSITIVITIES)).unwrap_or_default();
    let resource = fields.optional("resource").and_then(|value| resource(&value, &paths));
    let page = fields.required("page").and_then(|value| page(&value));
    let exercised = fields.optional("exercised").and_then(|value| value.boolean()).unwrap_or(false);
    let deprecated = fields.optional("deprecated").and_then(|value| value.boolean()).unwrap_or(false);
    fields.finish();
    let route = route?;
    let prefix = hosts.iter().find(|host| host.route == route).map_or("/", |host| host.path_prefix.as_str());
    if let Some(outside) = paths.iter().find(|path| !is_under(path.as_str(), prefix)) {
        source.fault(
            &span,
            format!(
                "`{outside}` lies outside the host's `path_prefix`, `{prefix}`: templates hold the whole path"
            ),
        );
    }
    if methods.is_empty() || paths.is_empty() {
        return None;
    }
    Some(Operation {
        id: id?,
        route,
        methods,
        paths,
        query,
        upgrade,
        body,
        effect: effect?,
        answers_no_secret,
        sensitivity,
        resource,
        page: page?,
        exercised,
        deprecated,
    })
}

/// What an answer holds is said only of operations that could show a secret.
fn answers_no_secret(value: &Value<'_, '_>, effect: Option<Effect>) -> bool {
    if effect.is_some_and(|effect| effect != Effect::Credential) {
        value.fault("`answer` is said of an operation whose effect is `credential`, and of no other");
    }
    value.word(ANSWERS).is_some()
}

/// RFC 6455 §4.1: the method of the request must be GET.
fn upgrade(value: &Value<'_, '_>, methods: &[String]) -> Option<Upgrade> {
    let upgrade = value.word(UPGRADES)?;
    if methods != ["GET"] {
        value.fault("a WebSocket begins with a GET: write `method = \"GET\"` and nothing beside it");
    }
    Some(upgrade)
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn operation_id(value: &Value<'_, '_>) -> Option<OperationId> {
    let text = value.text()?;
    if is_operation_id(text) && !EFFECTS.iter().any(|(word, _)| *word == text) {
        return Some(OperationId(text.to_owned()));
    }
    value.fault(format!(
        "`{text}` is no operation's id: write 1 to 80 of letters, digits, `.`, `-`, `_`, `/`, for example `repos.get`; effects and `unlisted` are taken"
    ));
    None
}

fn known_route(fields: &mut Fields<'_, '_>, hosts: &[Host]) -> Option<String> {
    let Some(value) = fields.optional("route") else { return Some(String::new()) };
    let text = value.text()?;
    if hosts.iter().any(|host| host.route == text) {
        return Some(text.to_owned());
    }
    let known = || hosts.iter().map(|host| host.route.as_str()).filter(|route| !route.is_empty());
    let hint = match suggest::nearest(text, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the routes are {}", suggest::list(known())),
    };
    value.fault(format!("no host has the route `{text}`: {hint}"));
    None
}

fn method(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    value.parsed(|text| canonical::target(text, "/"))?;
    Some(text.to_owned())
}

fn query(value: &Value<'_, '_>) -> BTreeMap<String, String> {
    let Some(mut fields) = value.table("`query`") else { return BTreeMap::new() };
    let pairs = fields.rest();
    pairs.into_iter().filter_map(|(name, value)| Some((name, value.text()?.to_owned()))).collect()
}

fn resource(value: &Value<'_, '_>, paths: &[PathTemplate]) -> Option<ResourceTemplate> {
    let text = value.text()?;
    let Some(template) = ResourceTemplate::parse(text) else {
        value.fault(format!(
            "`{text}` is no resource template: write the path's variables, for example `{{owner}}/{{repo}}`"
        ));
        return None;
    };
    let wanted = template.variables().unwrap_or_default();
    for path in paths {
        let open = path.ends_open().then(|| path.variables().last()).flatten();
        if let Some(missing) =
            wanted.iter().find(|name| !path.variables().any(|own| own == **name) || open == Some(**name))
        {
            value.fault(format!(
                "`{path}` has no variable `{missing}` of one segment: a resource is made of those"
            ));
            return None;
        }
    }
    Some(template)
}

/// Each id once, and no two operations (or templates of one) that are equally narrow for one request.
fn refuse_clashes(source: &Document<'_>, placed: &[Placed]) {
    let (mut ids, mut shapes) = (BTreeMap::new(), BTreeMap::<(&str, String), Vec<&Placed>>::new());
    for one @ (span, operation) in placed {
        if let Some(template) = operation.repeats() {
            source.fault(
                span,
                format!("`{template}` says the same as another path of this operation: leave it out"),
            );
        }
        let fault = |what: String, (earlier_span, earlier): &Placed| {
            let line = source.line(earlier_span);
            source.fault(span, format!("{what} (`{}` in line {line})", earlier.id));
        };
        if let Some(earlier) = ids.insert(&operation.id, one) {
            fault(
                format!("the id `{}` stands twice: put both paths into one operation", operation.id),
                earlier,
            );
            continue;
        }
        let mut rivals: Vec<&Placed> = Vec::new();
        for shape in operation.paths.iter().map(PathTemplate::shape).collect::<BTreeSet<_>>() {
            let alike = shapes.entry((operation.route.as_str(), shape)).or_default();
            rivals.extend(alike.iter());
            alike.push(one);
        }
        for earlier in rivals {
            if let Some((mine, theirs)) = operation.clash(&earlier.1) {
                fault(clash(mine, theirs), earlier);
            }
        }
    }
}

fn clash(mine: &PathTemplate, theirs: &PathTemplate) -> String {
    format!(
        "`{mine}` and `{theirs}` fit the same request equally well: make a segment a literal, or tell them apart by `query`"
    )
}

pub(super) fn each<T>(value: Option<Value<'_, '_>>, read: impl Fn(&Value<'_, '_>) -> Option<T>) -> Vec<T> {
    value.map(|value| value.one_or_more().iter().filter_map(read).collect()).unwrap_or_default()
}

/// One line of visible text.
fn line(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let sound = !text.is_empty() && text.len() <= 200 && text.chars().all(|letter| !letter.is_control());
    if !sound {
        value.fault("write one line of 1 to 200 characters");
    }
    sound.then(|| text.to_owned())
}

/// One word of visible ASCII.
fn word(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let sound = !text.is_empty() && text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !sound {
        value.fault(format!("`{text}` must be one word of 1 to 200 ASCII characters"));
    }
    sound.then(|| text.to_owned())
}

pub(super) fn page(value: &Value<'_, '_>) -> Option<String> {
    let text = line(value)?;
    if text.starts_with("https://") && !text.contains(' ') {
        return Some(text);
    }
    value.fault(format!("`{text}` is no page: write the address of the documentation, `https://…`"));
    None
}
