//! What nginx, HAProxy and Envoy make of the corpus of framing: `cargo xtask peers framing` writes `docs/framing.md`.
//!
//! Each stands as a reverse proxy, in the configuration that its manual begins with, before a server that records every
//! byte. A case is *passed on* where its path arrived there, and *passed on as two* where the request that is hidden
//! behind it arrived as one of its own. Ours is what the gateway's own tests hold it to, case by case.

mod corpus;
mod proxies;
mod upstream;

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::machine::{self, Fault, Outcome};
use corpus::{Case, Ours};
use proxies::{Kind, Proxy};
use upstream::{Recorder, is_whole};

/// How long a proxy may be silent before a case counts as over.
const SILENCE: Duration = Duration::from_millis(400);

/// What became of one case at one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Answered by the proxy itself, with this status.
    Refused(u16),
    /// Closed or left without an answer.
    Dropped,
    /// The head arrived, and the end of the body did not.
    Broken,
    PassedOn,
    PassedOnAsTwo,
}

/// Plays the corpus against every peer and writes what came of it.
pub(crate) fn run() -> Outcome {
    let root = machine::root()?;
    let cases = corpus::read(&root.join("crates/gateway/testdata/framing.toml"))?;
    let peers = machine::stage("peers: install", super::install)?;
    let mut columns = Vec::new();
    for kind in Kind::ALL {
        let upstream = Recorder::start()?;
        let proxy = Proxy::start(kind, &peers, upstream.address)?;
        let made = machine::stage(&format!("peers: {}", proxy.name), || {
            Ok(cases
                .iter()
                .enumerate()
                .map(|(place, case)| play(case, place, &proxy, &upstream))
                .collect::<Vec<_>>())
        })?;
        columns.push((proxy.name.clone(), made));
    }
    let path = root.join("docs/framing.md");
    fs::write(&path, page(&cases, &columns))
        .map_err(|error| Fault::one(format!("peers: cannot write `{}`: {error}", path.display())))?;
    machine::say(&format!("xtask: peers: wrote `{}`", path.display()));
    Ok(())
}

/// Sends one case; its path and that of the request behind it are its own, so that what arrives late is told apart.
fn play(case: &Case, place: usize, proxy: &Proxy, upstream: &Recorder) -> Made {
    let (path, smuggled) = (format!("/case-{place}-"), format!("/smuggled-{place}-"));
    let (bytes, before) = (case.bytes(&proxy.address.to_string(), &path, &smuggled), upstream.count());
    let status = exchange(proxy.address, &bytes).unwrap_or_default();
    let came = upstream.from(&path);
    // A case without a path is told by anything that arrives.
    let came_at_all = came.is_some() || (!case.has_path() && upstream.count() > before + 1);
    let broke_off = case.ours == Ours::Broken && came.is_some_and(|request| !is_whole(&request));
    match status {
        _ if upstream.began(&smuggled) => Made::PassedOnAsTwo,
        _ if broke_off => Made::Broken,
        _ if came_at_all => Made::PassedOn,
        Some(status) => Made::Refused(status),
        None => Made::Dropped,
    }
}

/// The status of the first answer, after the proxy has been silent for a while.
fn exchange(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(bytes)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(status.and_then(|digits| digits.parse().ok()))
}

fn page(cases: &[Case], columns: &[(String, Vec<Made>)]) -> String {
    let mut page = String::from(HEAD);
    let names: String = columns.iter().map(|(name, _)| format!(" {name} |")).collect();
    let rule = "---|".repeat(columns.len() + 2);
    let _ = writeln!(page, "| request | Nightlatch |{names}\n|{rule}");
    for (place, case) in cases.iter().enumerate() {
        let made: String = columns
            .iter()
            .filter_map(|(_, made)| made.get(place))
            .map(|made| format!(" {} |", made.word()))
            .collect();
        let _ = writeln!(page, "| {} | {} |{made}", case.name, case.ours.word());
    }
    let odd = cases.iter().filter(|case| case.ours != Ours::Accepted).count();
    let _ = writeln!(
        page,
        "\nOf the {odd} that are not plain requests, passed on: Nightlatch 0{}.",
        counts(cases, columns)
    );
    page
}

fn counts(cases: &[Case], columns: &[(String, Vec<Made>)]) -> String {
    let passed = |made: &[Made]| {
        let odd = cases.iter().zip(made).filter(|(case, _)| case.ours != Ours::Accepted);
        odd.filter(|(_, made)| matches!(made, Made::PassedOn | Made::PassedOnAsTwo)).count()
    };
    columns.iter().map(|(name, made)| format!(", {name} {}", passed(made))).collect()
}

impl Made {
    fn word(self) -> String {
        match self {
            Self::Refused(status) => format!("refused ({status})"),
            Self::Dropped => "dropped".to_owned(),
            Self::Broken => "broken".to_owned(),
            Self::PassedOn => "**passed on**".to_owned(),
            Self::PassedOnAsTwo => "**passed on, and the one behind it**".to_owned(),
        }
    }
}

const HEAD: &str = "\
# Who passes on what

The corpus of `crates/gateway/testdata/framing.toml`, sent to each proxy as it is configured by default, before a server that records what arrives. This page is
written by `cargo xtask peers framing`; Nightlatch's column is what its tests hold it to (`every_case_of_the_corpus_is_judged_as_it_says`).

*Passed on* says that a request arrived, not that it was harmful: a proxy may have written it anew so that one reading is left. *And the one behind it* says that a
second request, hidden in or behind the first, arrived as one of its own; for a proxy that read the first to its end that is right, and for a server that reads it
otherwise it is how requests are smuggled. *Broken* is a body that breaks off at its fault, after its head had been passed on.

";
