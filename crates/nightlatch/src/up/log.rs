//! The log, on standard error.
//!
//! `NIGHTLATCH_LOG` chooses what is written, down to `trace`, and it may not choose everything: what a
//! dependency prints is not ours to vouch for. h2 0.4 prints at `debug` the text of a GOAWAY, which a tool can
//! fill with the credential that it was sent, and malformed paths with their query; at `trace` the value of a
//! bad `te` field. rustls prints whole handshakes at `trace`, tokio-postgres the values of statements at `debug`. Those are cut whatever the filter says.

use crate::{adapters::variable, output::hint};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// What is logged where nobody says otherwise.
const DEFAULT: &str = "info";

/// Dependencies and the most that each may print.
const AT_MOST: [(&str, Level); 3] =
    [("h2", Level::INFO), ("rustls", Level::DEBUG), ("tokio_postgres", Level::INFO)];

/// Begins to log.
pub(crate) fn to_standard_error(json: bool) {
    let wanted = variable("NIGHTLATCH_LOG").and_then(|wanted| wanted.into_string().ok());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(DEFAULT)).unwrap_or_else(|error| {
        hint(format!("warning: NIGHTLATCH_LOG is no filter ({error}); `{DEFAULT}` is taken"));
        EnvFilter::new(DEFAULT)
    });
    let filter =
        filter.and(filter_fn(|metadata: &Metadata<'_>| may_print(metadata.target(), *metadata.level())));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines =
        if json { lines.json().with_filter(filter).boxed() } else { lines.with_filter(filter).boxed() };
    if let Err(error) = tracing_subscriber::registry().with(lines).try_init() {
        hint(format!("warning: there is no log ({error})"));
    }
}

/// Whether a dependency may print at a level.
fn may_print(target: &str, level: Level) -> bool {
    AT_MOST.iter().all(|(own, most)| {
        let is_own = target == *own || target.strip_prefix(own).is_some_and(|rest| rest.starts_with("::"));
        !is_own || level <= *most
    })
}

#[cfg(test)]
mod tests {
    use super::may_print;
    use tracing::Level;

    #[test]
    fn what_could_print_a_credential_is_cut_whatever_the_filter_says() {
        for target in ["h2", "h2::codec::framed_read", "h2::proto::connection"] {
            assert!(!may_print(target, Level::DEBUG) && !may_print(target, Level::TRACE), "{target}");
            assert!(may_print(target, Level::INFO), "{target}");
        }
        assert!(!may_print("rustls::conn", Level::TRACE) && may_print("rustls::conn", Level::DEBUG));
        assert!(may_print("nightlatch_keeper", Level::TRACE) && may_print("h2o", Level::TRACE));
    }
}
