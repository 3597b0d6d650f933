//! GraphQL requests: any body is read or refused; a field that is written at the root is found, whatever stands around it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_catalog::graphql::{Asked, RootType, read};

fn asked(query: &str) -> Option<Asked> {
    read(serde_json::json!({ "query": query }).to_string().as_bytes()).ok()
}

fuzz_target!(|text: &str| {
    let _ = read(text.as_bytes());
    if let Some(asked) = asked(text) {
        assert!(!asked.fields.is_empty());
    }
    // Nothing that stands behind a field hides it, or makes a mutation a query.
    if let Some(asked) = asked(&format!("mutation {{ first: hidden second {text} }}")) {
        assert!(asked.on == RootType::Mutation && asked.fields.contains("hidden"));
    }
});
