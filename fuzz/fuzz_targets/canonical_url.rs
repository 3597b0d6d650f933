//! The one parse of a target: what it gives it takes again unchanged, and holds none of what it refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_catalog::canonical;

fuzz_target!(|text: &str| {
    let Ok(target) = canonical::target("GET", text) else { return };
    let written = match &target.query {
        Some(query) => format!("{}?{query}", target.path),
        None => target.path.clone(),
    };
    assert_eq!(
        canonical::target("GET", &written).as_ref(),
        Ok(&target),
        "another reading of its own writing"
    );
    assert!(target.path.starts_with('/') && !target.path.contains("//"), "{}", target.path);
    let escapes = target.path.to_ascii_lowercase();
    for refused in ["%2f", "%5c", "%00", "%0a", "%0d", "%7f", "%252e", "#", "?", "\\"] {
        assert!(!escapes.contains(refused), "{refused} in {}", target.path);
    }
    for segment in canonical::segments(&target.path) {
        let name = segment.split(';').next().unwrap_or_default();
        assert!(!matches!(name, "." | ".."), "a dot segment in {}", target.path);
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    assert!(written.bytes().all(is_plain), "{written}");
});
