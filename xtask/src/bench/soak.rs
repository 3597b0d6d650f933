//! `bench soak`: mixed calls for half an hour, while the credential that they need rotates every twenty seconds.
//!
//! An agent calls over a user's socket and over mutual TLS: it reads, writes, asks for what is not there, for what it may
//! not, and listens to events. The provider's access tokens live for half a minute, so that the keeper renews them all
//! the time; it takes each refresh token once and ends a family whose token comes again. What must come of it:
//!
//! - no call fails, and the load keeps its rate;
//! - every call that reaches the tool bears a credential that lives at that moment, and what was refused reaches it not;
//! - one token request a rotation, none refused, none taken for stolen;
//! - memory is flat: the mean of the first third of the run (of half an hour: ten minutes) and that of the last.

mod stage;
mod verdict;

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    child::{Child, free},
    load::{Load, Target},
    programs::{self, Folder},
};
use crate::machine::{self, Fault, Outcome};
use stage::Stage;

/// How long, and how many calls a second, where nobody says it.
pub(super) const MINUTES: u64 = 30;
pub(super) const RATE: u64 = 500;
/// Two thirds of it later the keeper renews, or up to a twelfth sooner: every twenty seconds.
const ACCESS_SECS: u64 = 32;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Looks between two lines to whoever waits.
const LOOKS_A_LINE: usize = 12;

/// One kind of call.
struct Kind {
    name: &'static str,
    /// Of a hundred calls.
    share: u64,
    method: &'static str,
    path: &'static str,
    over_tls: bool,
    status: u16,
    connections: usize,
}

#[rustfmt::skip]
const KINDS: [Kind; 6] = [
    Kind { name: "read", share: 60, method: "GET", path: "/things/{n}", over_tls: false, status: 200, connections: 32 },
    Kind { name: "read-tls", share: 20, method: "GET", path: "/things/{n}", over_tls: true, status: 200, connections: 16 },
    Kind { name: "write", share: 10, method: "POST", path: "/things/{n}", over_tls: false, status: 200, connections: 16 },
    Kind { name: "not-found", share: 5, method: "GET", path: "/missing/{n}", over_tls: false, status: 404, connections: 4 },
    Kind { name: "refused", share: 4, method: "DELETE", path: "/things/{n}", over_tls: false, status: 403, connections: 4 },
    Kind { name: "events", share: 1, method: "GET", path: "/events/{n}", over_tls: true, status: 200, connections: 16 },
];

/// What `up` took at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    secs: f64,
    resident_kib: u64,
    descriptors: u64,
    threads: u64,
}

/// What a run found.
#[derive(Debug)]
struct Found {
    minutes: u64,
    rate: u64,
    /// Seconds from the first call to the last, and from the login to the provider's last word.
    calls_secs: f64,
    login_secs: f64,
    /// By kind, as the load says it.
    calls: Value,
    /// As the provider and its tool say it.
    tally: Value,
    samples: Vec<Sample>,
    /// What lies on the disk before and after: a name, bytes, bytes.
    disk: Vec<(&'static str, u64, u64)>,
}

pub(super) fn run(minutes: u64, rate: u64) -> Outcome {
    let programs = machine::stage("soak: build", || programs::build("release"))?;
    let folder = Folder::make()?;
    let mut stage = machine::stage("soak: set the stage", || Stage::set(&programs, folder.path()))?;
    let mut load = Load::start(free(&programs.bench))?;
    for kind in &KINDS {
        load.open(&target(kind, &stage))?;
    }
    let found = machine::stage("soak: calls", || soak(&mut stage, load, minutes, rate))?;
    let results = verdict::results(&found);
    verdict::print(&found)?;
    programs::write("soak", &results)?;
    Fault::unless_empty("soak", verdict::findings(&found))
}

fn target(kind: &Kind, stage: &Stage) -> Target {
    let Kind { method, path, .. } = kind;
    let (at, reference) = (&stage.installation, &stage.reference);
    let body = if *method == "POST" { "{\"text\":\"kept\"}" } else { "" };
    let (to, host) = match kind.over_tls {
        false => (format!("unix:{}", at.socket().display()), "localhost".to_owned()),
        true => (format!("tcp:{}", at.gateway), at.authority()),
    };
    let request = format!(
        "{method} /{}{path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: soak/1\r\nauthorization: Bearer {reference}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        stage::TOOL,
        body.len()
    );
    Target {
        name: kind.name.to_owned(),
        to,
        request,
        connections: kind.connections,
        status: kind.status,
        identity: kind.over_tls.then(|| stage.identity.clone()),
        tunnel: None,
    }
}

/// The calls, and what is seen meanwhile.
fn soak(stage: &mut Stage, mut load: Load, minutes: u64, rate: u64) -> Outcome<Found> {
    let data = stage.installation.data();
    let (begun, before) = (machine::moment(), on_disk(&data)?);
    let millis = minutes * 60_000;
    let calling = std::thread::spawn(move || {
        let paces: Vec<(&str, u64)> = KINDS.iter().map(|kind| (kind.name, rate * kind.share / 100)).collect();
        let called = load.mixed(&paces, millis);
        (called, begun.elapsed())
    });
    let mut samples = Vec::new();
    loop {
        std::thread::sleep(LOOK);
        // A look behind the last call sees connections that have closed.
        if calling.is_finished() {
            break;
        }
        let sample = sample(&stage.installation.child, begun.elapsed())?;
        samples.push(sample);
        if samples.len().is_multiple_of(LOOKS_A_LINE) {
            tell(&sample, &stage.tally()?);
        }
    }
    let (calls, took) = calling.join().map_err(|_| Fault::one("soak: the load's thread is gone"))?;
    let (calls, tally) = (calls?, stage.tally()?);
    let disk = before.into_iter().zip(on_disk(&data)?);
    Ok(Found {
        minutes,
        rate,
        calls_secs: took.as_secs_f64(),
        login_secs: stage.logged_in.elapsed().as_secs_f64(),
        calls,
        tally,
        samples,
        disk: disk.map(|((name, before), (_, after))| (name, before, after)).collect(),
    })
}

fn sample(up: &Child, after: Duration) -> Outcome<Sample> {
    Ok(Sample {
        secs: after.as_secs_f64(),
        resident_kib: up.resident_kib()?,
        descriptors: up.descriptors()?,
        threads: up.threads()?,
    })
}

fn tell(sample: &Sample, tally: &Value) {
    let count = |pointer: &str| tally.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    machine::say(&format!(
        "xtask: soak: {:.0} s: {} calls at the tool, {} with a dead credential; {} refreshes, {} credentials; \
         {:.1} MiB, {} descriptors, {} threads",
        sample.secs,
        count("/tool/calls"),
        count("/tool/dead"),
        count("/provider/refreshes"),
        count("/tool/credentials"),
        sample.resident_kib as f64 / 1024.0,
        sample.descriptors,
        sample.threads,
    ));
}

/// What the data folder holds, by what it is.
fn on_disk(data: &Path) -> Outcome<Vec<(&'static str, u64)>> {
    let entries = || std::fs::read_dir(data).map_err(|error| Fault::one(format!("soak: {error}")));
    let of = |is_it: fn(&str) -> bool| -> Outcome<u64> {
        let own = entries()?.flatten().filter(|entry| is_it(&entry.file_name().to_string_lossy()));
        Ok(own.map(|entry| size(&entry.path())).sum())
    };
    Ok(vec![
        ("ledger", of(|name| name == "ledger")?),
        ("database", of(|name| name.starts_with("db.sqlite"))?),
        ("spool", of(|name| name == "spool")?),
    ])
}

/// Of a file, or of all in a folder. What went away meanwhile has none.
fn size(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => std::fs::metadata(path).map_or(0, |facts| facts.len()),
    }
}
