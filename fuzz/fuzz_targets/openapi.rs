//! OpenAPI documents: any text is made into a manifest that reads back, or refused; no effect is below the method's, and
//! what speaks of a token is never less than `credential`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_catalog::{
    manifest::{ChosenHost, Manifest},
    openapi::{Asked, import},
};
use nightlatch_domain::tool::{Effect, Placement};

fuzz_target!(|text: &str| {
    let name = "fuzzed".parse().expect("a name");
    let host = ChosenHost::parse("https://api.example.com").expect("a host");
    let sha256 = "0".repeat(64);
    let asked = Asked {
        name: &name,
        file: "fuzzed",
        sha256: &sha256,
        host: Some(&host),
        placement: Some(&Placement::Bearer),
    };
    let made = match import(text, asked) {
        Ok(made) => made,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for operation in &made.manifest.operations {
        let floor = match operation.methods.first().map(String::as_str) {
            Some("GET" | "HEAD" | "OPTIONS") => Effect::Read,
            Some("DELETE") => Effect::Destructive,
            _ => Effect::Write,
        };
        assert!(operation.effect >= floor, "{} is less than its method", operation.id);
        let speaks = operation.paths.iter().any(|path| path.as_str().split('/').any(|part| part == "tokens"));
        assert!(!speaks || operation.effect == Effect::Credential, "{} is about a token", operation.id);
    }
    assert_eq!(Manifest::parse("again", &made.text).as_ref(), Ok(&made.manifest));
});
