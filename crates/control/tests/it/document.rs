//! The API's document is what the golden file says: a change of the surface is a change that is reviewed.
//! `UPDATE_GOLDEN=1` writes it anew.

use std::{fs, path::Path};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test reads the one variable that rewrites the golden file"
)]
fn the_document_is_the_golden_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = serde_json::to_string_pretty(&nightlatch_control::openapi()).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == made,
        "openapi.json is not what the code says; look at the difference after UPDATE_GOLDEN=1"
    );
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = nightlatch_control::openapi();
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas[name].is_object(), "{name}");
    }
}
