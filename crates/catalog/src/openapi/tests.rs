//! Proves that a document becomes the tool that it describes, that nothing of it is lost in silence, and that what
//! would lead elsewhere is refused.

use super::{Asked, Imported, OpenApiError, by_effect, import};
use crate::{
    canonical,
    manifest::{ChosenHost, Manifest},
};
use nightlatch_domain::{
    exchange::Matched,
    grant::GrantText,
    tool::{Effect, Name, Placement, Scheme},
};
use proptest::prelude::{Strategy, prop, proptest};
use serde_json::{Value, json};

const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn name() -> Name {
    "pets".parse().unwrap()
}

fn imported(text: &str) -> Result<Imported, OpenApiError> {
    import(text, Asked { name: &name(), file: "pets.json", sha256: SHA256, host: None, placement: None })
}

/// A document with these paths, at `https://api.example.com/v2`, with a bearer token.
fn document(paths: &Value) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Pets", "version": "1.2" },
        "servers": [{ "url": "https://api.example.com/v2" }],
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "paths": paths,
    })
}

fn of(paths: &Value) -> Imported {
    imported(&document(paths).to_string()).unwrap()
}

fn matched(manifest: &Manifest, method: &str, target: &str) -> Matched {
    manifest.matched("", &canonical::target(method, target).unwrap()).unwrap()
}

fn said(manifest: &Manifest, method: &str, target: &str) -> String {
    let matched = matched(manifest, method, target);
    let resource = matched.resource.map(|resource| format!(" @{resource}")).unwrap_or_default();
    format!("{} {}{resource}", matched.operation, matched.effect)
}

#[test]
fn a_document_becomes_the_tool_that_it_describes() {
    let made = of(&json!({
        "/pets": {
            "get": { "operationId": "listPets", "externalDocs": { "url": "https://example.com/pets" } },
            "post": { "operationId": "createPet" },
        },
        "/pets/{petId}": {
            "get": { "operationId": "getPet" },
            "delete": { "operationId": "deletePet", "deprecated": true },
        },
        "/pets/{petId}/vets/{vet-id}.json": { "put": {} },
        "/tokens": { "post": { "operationId": "createToken" } },
    }));
    let manifest = &made.manifest;
    assert_eq!(made.skipped, []);
    assert_eq!((manifest.name.as_str(), manifest.title.as_str()), ("pets", "Pets"));
    let host = manifest.host("").unwrap();
    assert_eq!(host.host.exact(), Some("api.example.com"));
    assert_eq!((host.scheme, host.port, host.path_prefix.as_str()), (Scheme::Https, 443, "/v2"));
    assert_eq!((host.key.clone(), host.oauth.clone()), (Some(Placement::Bearer), None));
    assert_eq!(said(manifest, "GET", "/v2/pets"), "listPets read");
    assert_eq!(said(manifest, "POST", "/v2/pets"), "createPet write");
    assert_eq!(said(manifest, "GET", "/v2/pets/7"), "getPet read @pets/7");
    assert_eq!(said(manifest, "DELETE", "/v2/pets/7"), "deletePet destructive @pets/7");
    assert_eq!(
        said(manifest, "PUT", "/v2/pets/7/vets/x.json"),
        "put./pets/petId/vets/vet-id.json write @pets/7"
    );
    assert_eq!(said(manifest, "POST", "/v2/tokens"), "createToken credential");
    assert_eq!(said(manifest, "GET", "/v2/nothing"), "unlisted admin");
    assert_eq!(said(manifest, "GET", "/pets"), "unlisted admin");
    let operation = |id: &str| manifest.operations.iter().find(|operation| operation.id.0 == id).unwrap();
    assert!(operation("deletePet").deprecated && !operation("getPet").deprecated);
    assert_eq!(operation("listPets").page, "https://example.com/pets");
    let source = manifest.source.as_ref().unwrap();
    assert_eq!((source.file.as_str(), source.sha256.as_str()), ("pets.json", SHA256));
    assert_eq!(source.version.as_deref(), Some("1.2"));
    assert_eq!(Manifest::parse("again.toml", &made.text).as_ref(), Ok(manifest));
}

#[test]
fn yaml_says_the_same_as_json() {
    let yaml = "openapi: 3.1.0\ninfo: { title: Pets, version: '1.2' }\nservers:\n- url: https://api.example.com/v2\n\
        components:\n  securitySchemes:\n    token: { type: http, scheme: bearer }\npaths:\n  /pets:\n    get:\n      \
        operationId: listPets\n      responses: { 200: { description: done } }\n";
    let (yaml, json) =
        (imported(yaml).unwrap(), of(&json!({ "/pets": { "get": { "operationId": "listPets" } } })));
    assert_eq!(yaml.text, json.text);
}

#[test]
fn no_method_of_a_path_is_lost_in_silence() {
    let made = of(&json!({
        "/a/{x}and{y}": { "get": { "operationId": "two" } },
        "/b#fragment": { "get": { "operationId": "fragment" } },
        "/c": { "trace": {}, "get": {}, "head": {} },
        "/d/{one}": { "get": {} },
        "/d/{two}": { "get": { "operationId": "deleteTwo" } },
        "/e": { "get": {}, "servers": [{ "url": "https://uploads.example.com" }] },
        "/v{x}": { "post": { "operationId": "first" } },
        "/{y}.json": { "post": { "operationId": "second" } },
        "/f?action=run": { "post": {} },
        "/g?action": { "post": {} },
    }));
    // In the document's order or by path: which it is, a feature of `serde_json` decides for the whole program.
    let mut skipped: Vec<String> =
        made.skipped.iter().map(|one| format!("{} {}", one.method, one.path)).collect();
    skipped.sort();
    assert_eq!(
        skipped,
        [
            "GET /a/{x}and{y}",
            "GET /b#fragment",
            "GET /d/{two}",
            "GET /e",
            "HEAD /c",
            "POST /g?action",
            "POST /{y}.json",
            "TRACE /c"
        ]
    );
    assert_eq!(made.manifest.operations.len() + skipped.len(), 12);
    for one in &made.skipped {
        assert!(made.text.contains(&format!("# skipped: {} {}: {}", one.method, one.path, one.reason)));
    }
    // What stands for two has the stricter effect.
    assert_eq!(matched(&made.manifest, "GET", "/v2/d/7").effect, Effect::Destructive);
    assert_eq!(said(&made.manifest, "POST", "/v2/f?action=run"), "post./f-action-run write");
    assert_eq!(said(&made.manifest, "POST", "/v2/f?action=walk"), "unlisted admin");
}

#[test]
fn what_no_template_can_hold_is_still_guarded_where_it_is_about_a_secret() {
    let made = of(&json!({
        "/apps/{a}x{b}/tokens": { "post": {} },
        "/apps/{app}": { "get": { "operationId": "getApp" } },
        "/keys/v{x}": { "get": { "operationId": "first" } },
        "/keys/{y}.json": { "get": { "operationId": "second" } },
    }));
    for (method, target) in
        [("POST", "/v2/apps/1x2/tokens"), ("POST", "/v2/apps/1"), ("GET", "/v2/keys/7.json")]
    {
        assert_eq!(matched(&made.manifest, method, target).effect, Effect::Credential, "{method} {target}");
    }
    assert_eq!(said(&made.manifest, "GET", "/v2/apps/1"), "getApp read @apps/1");
    assert_eq!(made.skipped.len(), 2);
}

#[test]
fn no_wildcard_covers_what_is_about_a_secret() {
    let made = of(&json!({
        "/auth.revoke": { "get": { "operationId": "auth_revoke" } },
        "/admin/tokens": { "post": { "operationId": "adminTokens" } },
    }));
    let grant: GrantText = "pets:read,write,destructive,admin".parse().unwrap();
    let covered = |target: &str, method: &str| {
        let matched = matched(&made.manifest, method, target);
        let covers = |selector: &nightlatch_domain::grant::Selector| {
            selector.covers(&matched.operation, matched.effect)
        };
        grant.operations.iter().any(covers)
    };
    assert!(!covered("/v2/auth.revoke", "GET") && !covered("/v2/admin/tokens", "POST"));
    // Nor by another method, or by what a careless server takes for the same.
    for (method, target) in
        [("POST", "/v2/auth.revoke"), ("GET", "/v2/Auth.Revoke"), ("PUT", "/v2/admin/tokens/")]
    {
        assert!(!covered(target, method), "{method} {target}");
    }
    assert!(covered("/v2/elsewhere", "GET"));
    assert!(
        "pets:auth_revoke".parse::<GrantText>().is_ok_and(|grant| made.manifest.check_grant(&grant).is_ok())
    );
}

#[test]
fn references_are_followed_within_the_document_and_nowhere_else() {
    let mut sound = document(&json!({ "/pets": { "$ref": "#/components/pathItems/a~1b%20c" } }));
    sound["components"]["pathItems"] =
        json!({ "a/b c": { "$ref": "#/components/pathItems/x" }, "x": { "get": {} } });
    assert_eq!(imported(&sound.to_string()).unwrap().manifest.operations.len(), 1);
    for (reference, wanted) in [
        ("https://evil.example/paths.json", "another document"),
        ("paths.json#/pets", "another document"),
        ("#/components/pathItems/none", "refers to nothing"),
        ("#/paths/~1pets", "round in a ring"),
    ] {
        let refused = imported(&document(&json!({ "/pets": { "$ref": reference } })).to_string());
        let refused = refused.expect_err(reference).to_string();
        assert!(refused.contains(wanted), "{reference}: {refused}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_or_is_no_document_is_refused() {
    let twice = r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}},"/a":{"delete":{}}}}"#;
    let deep = format!("{{\"openapi\":\"3.0.0\",\"x\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let bomb = format!(
        "openapi: 3.0.0\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n{}",
        (1..9)
            .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(",")))
            .collect::<String>()
    );
    for (text, wanted) in [
        (twice, "stands twice"),
        ("openapi: 3.0.0\nopenapi: 3.0.1\n", "duplicate"),
        ("{", "cannot be read"),
        (deep.as_str(), "cannot be read"),
        (bomb.as_str(), "cannot be read"),
        (r#"{"swagger":"2.0","paths":{}}"#, "it says `2.0`"),
        (r#"{"openapi":"4.0.0","paths":{}}"#, "it says `4.0.0`"),
        ("[]", "no OpenAPI"),
        ("", "no OpenAPI"),
    ] {
        let refused = imported(text).expect_err(text).to_string();
        assert!(refused.contains(wanted), "{wanted}: {refused}");
    }
    let long = " ".repeat(super::DOCUMENT_LIMIT_BYTES + 1);
    assert!(matches!(imported(&long), Err(OpenApiError::TooLong { .. })));
}

#[test]
fn an_effect_that_the_document_states_is_one_that_there_is() {
    let stated = |effect: &str| {
        document(&json!({ "/pets": { "get": { "x-nightlatch-effect": effect } } })).to_string()
    };
    assert_eq!(imported(&stated("admin")).unwrap().manifest.operations[0].effect, Effect::Admin);
    assert!(matches!(imported(&stated("harmless")), Err(OpenApiError::Shape { .. })));
}

#[test]
fn the_host_is_the_documents_own_or_the_one_that_was_said() {
    let name = name();
    let at = |servers: Value, host: Option<&str>| {
        let mut document = document(&json!({ "/pets": { "get": {} } }));
        document["servers"] = servers;
        let host = host.map(|host| ChosenHost::parse(host).unwrap());
        let asked = Asked { name: &name, file: "x", sha256: SHA256, host: host.as_ref(), placement: None };
        let made = import(&document.to_string(), asked)?;
        let host = made.manifest.host("").unwrap().clone();
        Ok::<_, OpenApiError>(format!("{}:{}{}", host.host, host.port, host.path_prefix))
    };
    let own = json!([{ "url": "https://api.example.com:8443/v2/" }]);
    assert_eq!(at(own.clone(), None).unwrap(), "api.example.com:8443/v2");
    assert_eq!(at(own.clone(), Some("https://eu.example.com")).unwrap(), "eu.example.com:443/v2");
    assert_eq!(at(own, Some("https://eu.example.com/v3")).unwrap(), "eu.example.com:443/v3");
    let relative = json!([{ "url": "/api/{version}", "variables": { "version": { "default": "v3" } } }]);
    assert_eq!(at(relative.clone(), Some("https://eu.example.com")).unwrap(), "eu.example.com:443/api/v3");
    let open =
        json!([{ "url": "https://{tenant}.example.com", "variables": { "tenant": { "default": "evil" } } }]);
    for unsaid in [relative, open, json!([]), json!([{ "url": "http://api.example.com" }])] {
        assert!(matches!(at(unsaid.clone(), None), Err(OpenApiError::NoHost(_))), "{unsaid}");
    }
}

#[test]
fn a_credential_stands_where_the_schemes_say_and_their_other_fields_carry_one() {
    let name = name();
    let with = |schemes: Value, security: Value, placement: Option<&Placement>| {
        let mut document = document(&json!({ "/pets": { "get": {} } }));
        document["components"]["securitySchemes"] = schemes;
        document["security"] = security;
        let asked = Asked { name: &name, file: "x", sha256: SHA256, host: None, placement };
        import(&document.to_string(), asked).map(|made| made.manifest)
    };
    let schemes = json!({
        "a": { "type": "http", "scheme": "basic" },
        "b": { "type": "apiKey", "in": "header", "name": "X-Pet-Key" },
        "c": { "type": "oauth2", "flows": {} },
        "d": { "type": "apiKey", "in": "query", "name": "pet_key" },
    });
    let header = Placement::Header { name: "x-pet-key".into(), prefix: String::new() };
    let manifest = with(schemes.clone(), json!([]), None).unwrap();
    assert_eq!(manifest.hosts[0].key, Some(header));
    let manifest = with(schemes.clone(), json!([{ "c": [] }]), None).unwrap();
    assert_eq!(manifest.hosts[0].key, Some(Placement::Bearer));
    assert!(manifest.is_credential_header("X-Pet-Key") && manifest.is_credential_query("pet_key"));
    let basic = Placement::Basic { user: "api".into() };
    assert_eq!(with(schemes, json!([]), Some(&basic)).unwrap().hosts[0].key, Some(basic.clone()));
    let unplaced = json!({ "d": { "type": "apiKey", "in": "query", "name": "pet_key" } });
    assert!(matches!(with(unplaced.clone(), json!([]), None), Err(OpenApiError::NoPlacement(_))));
    assert!(with(unplaced, json!([]), Some(&basic)).is_ok());
}

#[test]
fn a_variable_that_spans_segments_is_held_at_the_end_and_guarded_inside() {
    let spans = json!([{ "name": "path", "in": "path", "x-multi-segment": true }]);
    let made = of(&json!({
        "/files/{path}": { "get": { "operationId": "getFile", "parameters": spans } },
        "/files/{path}/notes": { "post": { "operationId": "addNote", "parameters": spans } },
        "/files/{path}/token": { "put": { "operationId": "mint", "parameters": spans } },
    }));
    assert_eq!(said(&made.manifest, "GET", "/v2/files/a/b/c"), "getFile read");
    assert_eq!(said(&made.manifest, "POST", "/v2/files/a/notes"), "addNote write @files/a");
    assert_eq!(said(&made.manifest, "POST", "/v2/files/a/b/notes"), "unlisted credential");
    assert_eq!(matched(&made.manifest, "PUT", "/v2/files/a/b/token").effect, Effect::Credential);
}

#[test]
fn effects_are_counted_in_their_order() {
    let made = of(&json!({ "/a": { "get": {}, "post": {}, "delete": {} }, "/tokens": { "get": {} } }));
    let counts = by_effect(&made.manifest).map(|(_, count)| count);
    assert_eq!(counts, [1, 1, 1, 0, 1]);
}

/// Paths as documents write them, and worse.
fn paths() -> impl Strategy<Value = Value> {
    let part = prop::sample::select(vec![
        "a", "A", "b.json", "{x}", "{y}", "{x}.json", "v{z}", "{p}{q}", "tokens", "%2f", "..", "é", "",
        "{+r}", "{",
    ]);
    let path = prop::collection::vec(part, 0..5).prop_map(|parts| format!("/{}", parts.join("/")));
    let method = prop::sample::select(vec!["get", "put", "post", "delete", "head", "patch", "trace"]);
    let id = prop::sample::select(vec!["", "listThings", "read", "unlisted", "é", "rotate"]);
    let items = prop::collection::vec((path, method, id), 0..12);
    items.prop_map(|items| {
        let mut paths = json!({});
        for (path, method, id) in items {
            paths[path][method] = json!({ "operationId": id, "summary": "Things" });
        }
        paths
    })
}

proptest! {
    #[test]
    fn every_method_is_an_operation_or_is_named_as_skipped(paths in paths()) {
        let made = of(&paths);
        let listed: usize = paths.as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
        assert!(made.manifest.operations.len() + made.skipped.len() >= listed);
        assert_eq!(Manifest::parse("again", &made.text), Ok(made.manifest));
    }

    #[test]
    fn no_text_makes_the_reader_fail(text in ".{0,200}") {
        let _ = imported(&text);
        let _ = imported(&format!("openapi: 3.0.0\npaths:\n  {text}"));
        let _ = imported(&format!("{{\"openapi\":\"3.1.0\",\"info\":{{\"title\":{text:?}}},\"paths\":{{}}}}"));
    }
}
