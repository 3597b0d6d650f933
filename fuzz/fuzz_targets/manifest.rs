//! Manifests and profiles: any text is read or refused; nothing of it is taken for a place where a credential may go
//! that is not a host.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_catalog::{manifest::Manifest, profile::Profile};

fuzz_target!(|text: &str| {
    // A refusal is told to whoever wrote the file: it is made too.
    if let Err(error) = Manifest::parse("fuzzed.toml", text) {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = Profile::parse("fuzzed.toml", text) {
        assert!(!error.to_string().is_empty());
    }
});
