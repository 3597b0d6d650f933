//! Proves that what is shown before a document takes effect is what the golden file says, and that nothing takes effect
//! unasked. `UPDATE_GOLDEN=1` writes it anew.

use super::{Proposed, confirm, manifest, placement, shown};
use crate::cli::AddTool;
use nightlatch_catalog::manifest::Manifest;
use nightlatch_domain::tool::Placement;
use serde_json::json;
use std::{fs, path::Path};

/// A newer document in the place of one that is there.
fn proposed() -> Proposed {
    let act = |id: &str, effect: &str, request: &str, resource: Option<&str>| json!({ "id": id, "effect": effect, "request": request, "resource": resource });
    let difference = json!({
        "tool": "pets",
        "is_new": false,
        "is_same": false,
        "replaces": "0".repeat(64),
        "source": {
            "kind": "openapi", "file": "pets.yaml", "title": "Pets", "version": "1.3", "sha256": "a".repeat(64),
        },
        "destinations": ["https://api.example.com/v3, bearer"],
        "destinations_before": ["https://api.example.com/v2, bearer"],
        "added": [
            act("pets.list", "read", "GET /v3/pets", None),
            act("tokens.create", "credential", "POST /v3/tokens", None),
            act("pets.get", "read", "GET /v3/pets/{pet}", Some("pets/{pet}")),
        ],
        "removed": [act("pets.old", "read", "GET /v2/pets", None)],
        "changed": [{
            "before": act("pets.put", "write", "PUT /v2/pets/{pet}", Some("pets/{pet}")),
            "after": act("pets.put", "admin", "PUT /v2/pets/{pet}", Some("pets/{pet}")),
        }],
        "grants": [{
            "grant": "grt_01JCKQ0000000000000000000G",
            "task": "task_01JCKQ0000000000000000000G",
            "operations": ["read", "pets.old"],
            "gains": ["pets.list", "pets.get"],
            "loses": ["pets.old"],
        }],
    });
    let skipped = json!([{
        "method": "GET", "path": "/{a}x{b}", "reason": "a segment of it holds two variables: it is unlisted, and so `admin`",
    }]);
    Proposed {
        difference: serde_json::from_value(difference).unwrap(),
        skipped: vec![nightlatch_catalog::openapi::Skipped {
            method: skipped[0]["method"].as_str().unwrap().to_owned(),
            path: skipped[0]["path"].as_str().unwrap().to_owned(),
            reason: skipped[0]["reason"].as_str().unwrap().to_owned(),
        }],
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test reads the one variable that rewrites the golden file"
)]
fn what_would_change_is_shown_as_the_golden_file_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tool/difference.txt");
    let made = shown(&proposed());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(made, fs::read_to_string(&path).unwrap_or_default(), "look at it after UPDATE_GOLDEN=1");
}

#[test]
fn nothing_takes_effect_where_nobody_can_be_asked() {
    // Tests have no terminal to ask at.
    let refused = confirm(&proposed(), false).unwrap_err().to_string();
    assert!(refused.contains("nothing was changed") && refused.contains("--yes"), "{refused}");
    assert!(confirm(&proposed(), true).is_ok());
}

#[test]
fn a_document_is_made_into_a_manifest_that_says_which_document_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("pets.yaml");
    fs::write(&document, "openapi: 3.0.0\ninfo: {title: Pets, version: '1'}\npaths:\n  /pets: {get: {}}\n")
        .unwrap();
    let asked = |host: Option<&str>| AddTool {
        file: None,
        openapi: Some(document.clone()),
        name: Some("pets".parse().unwrap()),
        host: host.map(str::to_owned),
        placement: Some("header:X-Key:pet ".to_owned()),
        dry_run: false,
        yes: false,
    };
    let (text, _) = manifest(&asked(Some("https://api.example.com"))).unwrap();
    let manifest_of = Manifest::parse("x", &text).unwrap();
    let source = manifest_of.source.unwrap();
    assert_eq!(source.file, "pets.yaml");
    assert!(text.contains("name = \"x-key\", prefix = \"pet \""), "{text}");
    // The hosts of a document that names none are for a human to say.
    assert!(manifest(&asked(None)).unwrap_err().to_string().contains("--host"));
}

#[test]
fn a_placement_is_one_of_three() {
    let header = |prefix: &str| Placement::Header { name: "x-key".into(), prefix: prefix.into() };
    assert_eq!(placement("bearer").unwrap(), Placement::Bearer);
    assert_eq!(placement("basic:api").unwrap(), Placement::Basic { user: "api".into() });
    assert_eq!(placement("header:X-Key").unwrap(), header(""));
    assert_eq!(placement("header:x-key:Key: ").unwrap(), header("Key: "));
    for wrong in ["", "header", "cookie:x", "bearer:x"] {
        assert!(placement(wrong).is_err(), "{wrong}");
    }
}
