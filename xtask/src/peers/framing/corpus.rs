//! The corpus that the gateway's tests read too; what its fields mean stands at its top.

use std::path::Path;

use crate::machine::{self, Fault, Outcome};

/// One request.
pub(super) struct Case {
    pub(super) name: String,
    text: String,
    pub(super) ours: Ours,
}

/// What becomes of it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ours {
    Accepted,
    Refused,
    Broken,
}

impl Ours {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "passed on",
            Self::Refused => "refused",
            Self::Broken => "broken",
        }
    }
}

impl Case {
    /// Whether it names a path of its own.
    pub(super) fn has_path(&self) -> bool {
        self.text.contains("{path}")
    }

    /// Its bytes for a server at `host`.
    pub(super) fn bytes(&self, host: &str, path: &str, smuggled: &str) -> Vec<u8> {
        let next = format!("GET {smuggled} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let text = self.text.replace("{next}", &next).replace("{host}", host);
        let text = text.replace("{path}", path).replace("{auth}", "");
        text.chars().filter_map(|byte| u8::try_from(u32::from(byte)).ok()).collect()
    }
}

/// Reads the corpus.
pub(super) fn read(path: &Path) -> Outcome<Vec<Case>> {
    let table = machine::read_toml(path)?;
    let cases = table.get("case").and_then(toml::Value::as_array).into_iter().flatten();
    cases
        .map(|case| read_case(case).ok_or_else(|| Fault::one(format!("peers: not a case: {case}"))))
        .collect()
}

fn read_case(case: &toml::Value) -> Option<Case> {
    let text = |name: &str| case.get(name)?.as_str().map(str::to_owned);
    let ours = match text("ours")?.as_str() {
        "accepted" => Ours::Accepted,
        "refused" => Ours::Refused,
        "broken" => Ours::Broken,
        _ => return None,
    };
    Some(Case { name: text("name")?, text: text("bytes")?, ours })
}

#[cfg(test)]
mod tests {
    //! Proves that what is sent is what the file says, byte by byte.

    use super::{Ours, read_case};

    #[test]
    fn each_character_is_one_byte_and_the_marks_are_filled_in() {
        let case = "name = \"a\"\nbytes = \"GET {path}\\u00e9 {host}\\r\\n{auth}{next}\"\nours = \"broken\"";
        let case = read_case(&toml::Value::Table(case.parse().unwrap())).unwrap();
        assert_eq!(case.ours, Ours::Broken);
        let expected = b"GET /p\xe9 h:1\r\nGET /s HTTP/1.1\r\nHost: h:1\r\n\r\n";
        assert_eq!(case.bytes("h:1", "/p", "/s"), expected);
    }
}
