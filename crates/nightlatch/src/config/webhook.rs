//! `[[webhook]]`: where the ends of durable calls may be told, as the operator writes it.
//!
//! An agent names one and never says where it is. Whether the address may be spoken to is judged by the way out each time:
//! a private one only with `[[allow]]` or `[[map]]`, plain HTTP only on loopback.

use super::{ConfigError, at};
use http::Uri;
use nightlatch_domain::tool::Name;
use nightlatch_egress::{Destination, WEBHOOKS_MAX};
use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;

/// An entry as it is written.
#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    name: Name,
    url: String,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Webhook {
    /// What agents call it.
    pub(crate) name: Name,
    /// Where it is.
    pub(crate) to: Destination,
    /// Path and query there.
    pub(crate) path: String,
}

pub(super) fn read_all(text: &str, entries: &[Spanned<Raw>]) -> Result<Vec<Webhook>, ConfigError> {
    let mut names = BTreeSet::new();
    if let Some(entry) = entries.get(WEBHOOKS_MAX) {
        return Err(at(
            text,
            Some(entry.span()),
            &format!("there are more than {WEBHOOKS_MAX} `[[webhook]]`"),
        ));
    }
    let read = |entry: &Spanned<Raw>| {
        let Raw { name, url } = entry.get_ref();
        let wrong = |message: &str| at(text, Some(entry.span()), message);
        if !names.insert(name.clone()) {
            return Err(wrong(&format!("a `[[webhook]]` is named `{name}` already")));
        }
        // The address is not repeated: its path may be a secret of the receiver's.
        let bad = || {
            wrong("`url` is an address as `https://hooks.example.com/nightlatch`, without a user name or `#`")
        };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let to = Destination::of_url(&uri).map_err(|_| bad())?;
        let path = uri.path_and_query().filter(|_| !url.contains('#')).ok_or_else(bad)?;
        Ok(Webhook { name: name.clone(), to, path: path.to_string() })
    };
    entries.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    fn read(entries: &str) -> Result<Vec<String>, String> {
        let config = Config::parse(entries, Path::new("/nowhere")).map_err(|error| error.to_string())?;
        Ok(config.webhooks.iter().map(|one| format!("{} {}{}", one.name, one.to, one.path)).collect())
    }

    fn named(name: &str, url: &str) -> String {
        format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\n")
    }

    #[test]
    fn a_webhook_is_a_name_and_an_address() {
        let both = named("ci", "https://hooks.example.com/x?y=1") + &named("local", "http://127.0.0.1:9000");
        assert_eq!(
            read(&both).unwrap(),
            ["ci https://hooks.example.com/x?y=1", "local http://127.0.0.1:9000/"]
        );
    }

    #[test]
    fn one_that_could_not_be_meant_is_refused_by_line_and_its_address_is_not_repeated() {
        for (url, hint) in [
            ("https://user:canary@hooks.example.com/", "`url` is an address"),
            ("ftp://hooks.example.com/canary", "`url` is an address"),
            ("/canary", "`url` is an address"),
            ("https://hooks.example.com/#canary", "`url` is an address"),
            ("https://2130706433/canary", "`url` is an address"),
        ] {
            let said = read(&named("ci", url)).unwrap_err();
            assert!(said.starts_with("nightlatch.toml:1: ") && said.contains(hint), "{url}: {said}");
            assert!(!said.contains("canary"), "{said}");
        }
        let twice = named("ci", "https://a.example/") + &named("ci", "https://b.example/");
        assert!(read(&twice).unwrap_err().starts_with("nightlatch.toml:4: "));
        assert!(read(&named("Ci", "https://a.example/")).unwrap_err().starts_with("nightlatch.toml:2: "));
        let mistyped = named("ci", "https://a.example/").replace("url", "ur");
        assert!(read(&mistyped).unwrap_err().contains("did you mean `url`?"));
        let many: String = (0..65).map(|number| named(&format!("n{number}"), "https://a.example/")).collect();
        assert!(read(&many).unwrap_err().contains("more than 64"));
    }
}
