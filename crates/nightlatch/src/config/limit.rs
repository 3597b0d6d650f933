//! `[[limit]]`: how often tools may be called, as the operator writes it.

use super::{ConfigError, at};
use nightlatch_gateway::brakes::{Of, Rule};
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// The slowest rate that is one: a call in a day. Below it stands a grant's budget.
const SLOWEST_PER_SECOND: f64 = 1.0 / 86_400.0;
/// The fastest: what no machine carries.
const FASTEST_PER_SECOND: f64 = 1_000_000.0;

/// An entry as it is written.
#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    of: Kind,
    name: Option<String>,
    per_second: Option<Spanned<f64>>,
    burst: Option<u32>,
    at_once: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Agent,
    Task,
    Connection,
    Tool,
}

impl Kind {
    const fn of(self) -> Of {
        match self {
            Self::Agent => Of::Agent,
            Self::Task => Of::Task,
            Self::Connection => Of::Connection,
            Self::Tool => Of::Tool,
        }
    }
}

pub(super) fn read(text: &str, entry: &Spanned<Raw>) -> Result<Rule, ConfigError> {
    let raw = entry.get_ref();
    let wrong = |message: &str| at(text, Some(entry.span()), message);
    if raw.per_second.is_none() && raw.burst.is_none() && raw.at_once.is_none() {
        return Err(wrong("`[[limit]]` limits nothing: give it `per_second`, `burst` or `at_once`"));
    }
    if raw.burst == Some(0) || raw.at_once == Some(0) {
        return Err(wrong("`burst` and `at_once` are 1 or more; to forbid calls, revoke the grant"));
    }
    let is_named_well = match (&raw.name, raw.of) {
        (None, _) => true,
        (Some(_), Kind::Task) => return Err(wrong("a task has no name here: limit its agent, or all tasks")),
        (Some(name), Kind::Connection) => {
            name.split_once('/').is_some_and(|(tool, name)| is_name(tool) && is_name(name))
        }
        (Some(name), Kind::Agent | Kind::Tool) => is_name(name),
    };
    if !is_named_well {
        return Err(wrong("`name` is an agent's or a tool's name, or a connection's as `TOOL/NAME`"));
    }
    let interval = raw.per_second.as_ref().map(|rate| interval(text, rate)).transpose()?;
    Ok(Rule { of: raw.of.of(), name: raw.name.clone(), interval, burst: raw.burst, at_once: raw.at_once })
}

fn interval(text: &str, rate: &Spanned<f64>) -> Result<Duration, ConfigError> {
    let calls = *rate.get_ref();
    if (SLOWEST_PER_SECOND..=FASTEST_PER_SECOND).contains(&calls) {
        return Ok(Duration::from_secs_f64(1.0 / calls));
    }
    Err(at(text, Some(rate.span()), "`per_second` lies between a call in a day (0.0000116) and 1000000"))
}

fn is_name(text: &str) -> bool {
    text.parse::<nightlatch_domain::tool::Name>().is_ok()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use nightlatch_gateway::brakes::{Of, Rule};
    use std::{path::Path, time::Duration};

    fn read(entry: &str) -> Result<Vec<Rule>, String> {
        let text = format!("[[limit]]\n{entry}");
        let config = Config::parse(&text, Path::new("/nowhere"));
        config.map(|config| config.limits).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_is_read_with_what_it_says_and_nothing_else() {
        let all =
            read("of = \"connection\"\nname = \"github/dana\"\nper_second = 0.5\nburst = 3\nat_once = 2\n");
        let expected = Rule {
            of: Of::Connection,
            name: Some("github/dana".into()),
            interval: Some(Duration::from_secs(2)),
            burst: Some(3),
            at_once: Some(2),
        };
        assert_eq!(all.unwrap(), [expected]);
        let one = read("of = \"task\"\nat_once = 2\n").unwrap();
        assert_eq!((one[0].interval, one[0].burst, one[0].at_once), (None, None, Some(2)));
        assert_eq!(
            read("of = \"tool\"\nper_second = 5\n").unwrap()[0].interval,
            Some(Duration::from_millis(200))
        );
    }

    #[test]
    fn a_limit_that_could_not_be_meant_is_refused_by_line() {
        for (entry, hint) in [
            ("of = \"agent\"\n", "limits nothing"),
            ("of = \"agents\"\nat_once = 1\n", "agent"),
            ("of = \"agent\"\nat_once = 0\n", "1 or more"),
            ("of = \"agent\"\nper_second = 0\n", "between"),
            ("of = \"agent\"\nper_second = nan\n", "between"),
            ("of = \"agent\"\nper_secnd = 1\n", "did you mean `per_second`?"),
            ("of = \"connection\"\nname = \"dana\"\nat_once = 1\n", "TOOL/NAME"),
            ("of = \"task\"\nname = \"x\"\nat_once = 1\n", "no name"),
        ] {
            let said = read(entry).unwrap_err();
            assert!(said.starts_with("nightlatch.toml:") && said.contains(hint), "{entry}: {said}");
        }
    }
}
