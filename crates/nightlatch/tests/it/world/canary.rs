//! The oracle: no secret in anything that an agent reads, nor in a log, the ledger, an error, a
//! database page.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every form of a secret that is looked for: as it is, in base64 (each alignment), hexadecimal, and
/// percent-encoded.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    use base64::{
        Engine, engine::general_purpose::STANDARD_NO_PAD, engine::general_purpose::URL_SAFE_NO_PAD,
    };
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for shift in 0..3 {
        let padded = format!("{}{secret}", "\0".repeat(shift));
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            // The first and last characters depend on what stands beside the secret.
            let inner =
                text.get(if shift == 0 { 0 } else { 4 }..text.len().saturating_sub(4)).unwrap_or_default();
            forms.push(inner.as_bytes().to_vec());
        }
    }
    forms.retain(|form| form.len() >= 12);
    forms
}

/// Whether `haystack` holds `secret` in any form.
pub(crate) fn holds(haystack: &[u8], secret: &str) -> bool {
    forms(secret).iter().any(|form| haystack.windows(form.len()).any(|window| window == form))
}

/// Fails when any of the secrets shows in `bytes`; says where, and never which.
pub(crate) fn assert_absent(place: &str, bytes: &[u8], secrets: &[String]) {
    for (number, secret) in secrets.iter().enumerate() {
        assert!(secret.len() >= 12, "secret {number} is too short to be a canary");
        assert!(!holds(bytes, secret), "secret {number} of {} shows in {place}", secrets.len());
    }
}

/// Fails when any of the secrets shows in a file below `folder`.
pub(crate) fn assert_absent_below(folder: &Path, secrets: &[String]) {
    let mut files = 0;
    for file in files_below(folder) {
        if let Ok(bytes) = fs::read(&file) {
            files += 1;
            assert_absent(&file.display().to_string(), &bytes, secrets);
        }
    }
    assert!(files > 0, "{}: nothing was there to look at", folder.display());
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn the_oracle_finds_a_planted_secret_in_every_form() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let secret = "canary-0123456789abcdef";
    let planted = [
        format!("x{secret}y"),
        STANDARD.encode(format!("user:{secret}")),
        STANDARD.encode(format!("us:{secret}!")),
        STANDARD.encode(format!("u:{secret}")),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];
    for text in planted {
        assert!(holds(text.as_bytes(), secret), "{text}");
    }
    assert!(!holds(b"nothing of it", secret));
}
