//! The oracle: no secret in anything that an agent or a person is shown, nor in a log, the ledger, an
//! error, a database page.
//!
//! An installation carries one and asks it when it ends ([`super::install::Install`]), so that no test can
//! forget to. It learns the secrets where they come from: what is typed or handed to a command, and what
//! the providers themselves say that they gave out.

use super::http;
use base64::{
    Engine as _, engine::general_purpose::STANDARD_NO_PAD, engine::general_purpose::URL_SAFE_NO_PAD,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// What is shorter is found by chance.
const CANARY_MIN_BYTES: usize = 12;

/// What must never be seen, and what was shown to whom.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    secrets: Mutex<BTreeSet<String>>,
    /// Where providers list what they issued to our clients.
    lists: Mutex<BTreeSet<String>>,
    shown: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Oracle {
    /// Looks for this secret from now on.
    pub(crate) fn guard(&self, secret: &str) {
        let secret = secret.trim();
        if !secret.is_empty() {
            assert!(secret.len() >= CANARY_MIN_BYTES, "a secret is too short to be a canary");
            self.secrets.lock().expect("no test failed before").insert(secret.to_owned());
        }
    }

    /// Looks for everything that a provider will have listed here in the end: codes, tokens.
    pub(crate) fn guard_listed(&self, url: String) {
        self.lists.lock().expect("no test failed before").insert(url);
    }

    /// Notes what was shown in one place: to an agent, or by the command line.
    pub(crate) fn note(&self, place: &str, bytes: &[u8]) {
        let mut shown = self.shown.lock().expect("no test failed before");
        shown.entry(place.to_owned()).or_default().extend_from_slice(bytes);
    }

    /// The places where a secret shows: what was shown, and the files below `folder`. Never says which.
    pub(crate) async fn findings(&self, folder: &Path) -> Vec<String> {
        let secrets = self.secrets_now().await;
        let shown = self.shown.lock().expect("no test failed before").clone();
        let files = files_below(folder).into_iter().filter_map(|path| {
            let bytes = fs::read(&path).ok()?;
            Some((path.strip_prefix(folder).unwrap_or(&path).display().to_string(), bytes))
        });
        let places = shown.into_iter().chain(files);
        places.filter(|(_, bytes)| shows_any(bytes, &secrets)).map(|(place, _)| place).collect()
    }

    async fn secrets_now(&self) -> BTreeSet<String> {
        let mut secrets = self.secrets.lock().expect("no test failed before").clone();
        let lists = self.lists.lock().expect("no test failed before").clone();
        for list in lists {
            let answer = http::get(&list).await;
            assert!(answer.status.is_success(), "the provider does not say what it issued");
            secrets.extend(answer.json::<Vec<String>>());
        }
        secrets
    }
}

fn shows_any(bytes: &[u8], secrets: &BTreeSet<String>) -> bool {
    secrets.iter().any(|secret| holds(bytes, secret))
}

/// Whether `haystack` holds `secret` in any form.
fn holds(haystack: &[u8], secret: &str) -> bool {
    forms(secret).iter().any(|form| memchr::memmem::find(haystack, form).is_some())
}

/// Every form of a secret that is looked for: as it is, in base64 (each alignment), hexadecimal.
fn forms(secret: &str) -> BTreeSet<Vec<u8>> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = BTreeSet::from([secret.into(), hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    for shift in 0..3 {
        let padded = format!("{}{secret}", "\0".repeat(shift));
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            // The first and last characters depend on what stands beside the secret.
            let inner = text.get(if shift == 0 { 0 } else { 4 }..text.len().saturating_sub(4));
            forms.insert(inner.unwrap_or_default().as_bytes().to_vec());
        }
    }
    forms.retain(|form| form.len() >= CANARY_MIN_BYTES);
    forms
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| !path.is_symlink());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

const PLANTED: &str = "canary-0123456789abcdef";

#[test]
fn the_oracle_finds_a_planted_secret_in_every_form() {
    use base64::engine::general_purpose::STANDARD;
    let planted = [
        format!("x{PLANTED}y"),
        STANDARD.encode(format!("user:{PLANTED}")),
        STANDARD.encode(format!("us:{PLANTED}!")),
        STANDARD.encode(format!("u:{PLANTED}")),
        PLANTED.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];
    for text in planted {
        assert!(holds(text.as_bytes(), PLANTED), "{text}");
    }
    assert!(!holds(b"nothing of it", PLANTED));
}

/// Each of an installation's places is really looked at: a secret that is planted there is found there.
#[tokio::test]
async fn the_oracle_of_an_installation_finds_a_secret_wherever_it_is_planted() {
    use super::{agent::Agent, install::Install};
    let mut install = Install::prepared("");
    // The oracle learns the secret from the command that it is handed to.
    install.run_with(&["connect", "nowhere", "--key", "--no-start"], PLANTED, &[]);
    assert_eq!(install.oracle.findings(install.root()).await, Vec::<String>::new());

    install.run(&["tool", "check", PLANTED]);
    Agent::stranger(&install).note(PLANTED.as_bytes());
    let files = ["data/db.sqlite-wal", "data/ledger/000001.jsonl", "state/anchor", "up.log"];
    for file in files.map(|file| install.root().join(file)) {
        fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        fs::write(file, PLANTED).expect("a file");
    }
    let found: BTreeSet<String> = install.oracle.findings(install.root()).await.into_iter().collect();
    let shown = ["what a command printed", "what an agent saw"];
    assert_eq!(found, shown.iter().chain(&files).map(|place| (*place).to_owned()).collect());
    install.oracle = Arc::default();
}
