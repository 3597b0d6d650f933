//! `bench corridor`: Nightlatch beside its peers, on one core, in slices.
//!
//! Proxy, load and upstream share one and the same core, so none of them runs while another is measured and no
//! migration between cores counts. What a request costs is the proxy's own processor time, as the scheduler counts it,
//! over the requests of a slice; slices come in random order in every round, and a ratio is that of one round, so that
//! whatever slows the machine down for a while slows both sides of it. A median comes with its quartiles.

use std::{path::Path, time::SystemTime};

use serde_json::{Map, Value, json};

use super::{
    child::{Child, last_core, pinned},
    figures::{Median, Series, table},
    load::{Load, Slice, Target, Upstream},
    ours::{HOST, Ours, Runs, Twist},
    programs::{self, Folder},
    rivals::{self, Rival, Scene},
};
use crate::{
    machine::{self, Outcome},
    peers,
};

/// How long one slice lasts, and one of paced requests.
const SLICE_MILLIS: u64 = 1000;
const PACED_MILLIS: u64 = 1500;
/// Requests a second of paced slices: where no proxy is busy.
const RATE: u64 = 2000;
/// Connections of a target.
const CONNECTIONS: usize = 64;
/// What a streamed answer holds, and how many stream at once.
const STREAM_BYTES: u64 = 100 * 1024 * 1024;
const STREAMS: usize = 4;
/// Connections of agents that ask nothing: what one key may have, but for a few.
const IDLE: usize = 240;
/// The installations: the ordinary one, one with a hundred times the policies, one with ten thousand times the grants,
/// one that overwrites what it frees, one on a slow disk.
const TWISTS: [Twist; 5] = [
    Twist { name: "ours", policies: 10, ballast: 0, runs: Runs::Plainly },
    Twist { name: "ours-policies-1000", policies: 1000, ballast: 0, runs: Runs::Plainly },
    Twist { name: "ours-grants-1e5", policies: 10, ballast: 100_000, runs: Runs::Plainly },
    Twist { name: "ours-wiping", policies: 10, ballast: 0, runs: Runs::Wiping },
    Twist { name: "ours-sync-slow-disk", policies: 10, ballast: 0, runs: Runs::SlowDisk },
];

/// One thing that is measured: whom the load asks, and whose processor time that costs.
struct Measured {
    target: Target,
    whose: Whose,
    streams: bool,
}

/// A child, by its place among its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Rival(usize),
    Ours(usize),
    /// The upstream itself: for what a call takes without any proxy.
    Nobody,
}

/// Everything that runs.
struct Stage {
    rivals: Vec<Rival>,
    ours: Vec<Ours>,
    load: Load,
}

/// What a run found.
#[derive(Default)]
struct Found {
    cpu_us: Series,
    p50_us: Series,
    p99_us: Series,
    bytes_per_cpu_second: Series,
    resident_mib: Series,
    idle_kib_each: f64,
}

pub(super) fn run(rounds: usize, profile: &str) -> Outcome {
    let peers = machine::stage("bench: peers", peers::install)?;
    let programs = machine::stage("bench: build", || programs::build(profile))?;
    let folder = Folder::make()?;
    let core = last_core()?;
    let identity = folder.path().join("identity");
    for folder in [&identity, &folder.path().join("idle")] {
        let mut write = std::process::Command::new(&programs.bench);
        machine::output(write.arg("identity").arg(folder).arg(HOST))?;
    }
    let upstream = Upstream::start(pinned(core, &programs.bench), &identity)?;
    let scene = Scene {
        core,
        folder: folder.path(),
        identity: &identity,
        http: &upstream.http,
        https: &upstream.https,
    };
    let rivals = machine::stage("bench: start the peers", || rivals::start(&scene, &peers))?;
    let ours = machine::stage("bench: set Nightlatch up", || {
        TWISTS.iter().map(|twist| Ours::start(&scene, &programs.nightlatch, *twist)).collect()
    })?;
    let mut stage = Stage { rivals, ours, load: Load::start(pinned(core, &programs.bench))? };
    let measured = measured(&stage, &scene);
    machine::stage("bench: open the connections", || {
        measured.iter().try_for_each(|one| stage.load.open(&one.target))
    })?;
    let mut found = Found::default();
    machine::stage("bench: rounds", || rounds_of(&mut stage, &measured, rounds, &mut found))?;
    found.idle_kib_each =
        machine::stage("bench: idle agents", || idle(&mut stage, &folder.path().join("idle")))?;
    let results = results(&found, rounds);
    print(&found, &results)?;
    if profile == "dist" { programs::write("corridor", &results) } else { Ok(()) }
}

fn measured(stage: &Stage, scene: &Scene<'_>) -> Vec<Measured> {
    let mut all = Vec::new();
    let get = |path: &str, host: &str, bearer: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench/1\r\naccept: */*\r\nauthorization: Bearer {bearer}\r\n\r\n"
        )
    };
    let target = |name: &str, to: String, request: String| Target {
        name: name.to_owned(),
        to,
        request,
        connections: CONNECTIONS,
        status: 200,
        identity: None,
        tunnel: None,
    };
    let calls = |target, whose| Measured { target, whose, streams: false };
    let streams = |target: Target, whose| Measured {
        target: Target { connections: STREAMS, ..target },
        whose,
        streams: true,
    };
    let (things, bytes) = ("/things/7", format!("/bytes/{STREAM_BYTES}"));
    let asked = get(things, "localhost", "placeholder");
    all.push(calls(target("direct", format!("tcp:{}", scene.http), asked.clone()), Whose::Nobody));
    for (place, rival) in stage.rivals.iter().enumerate() {
        let to = format!("tcp:{}", rival.address);
        let mut plain = target(rival.name, to.clone(), asked.clone());
        plain.identity = rival.is_secure.then(|| scene.identity.to_owned());
        all.push(calls(plain, Whose::Rival(place)));
        if matches!(rival.name, "nginx" | "envoy-header") {
            let name = format!("{}-stream", rival.name);
            all.push(streams(
                target(&name, to, get(&bytes, "localhost", "placeholder")),
                Whose::Rival(place),
            ));
        }
    }
    for (place, ours) in stage.ours.iter().enumerate() {
        let name = TWISTS.get(place).map_or("", |twist| twist.name);
        let socket = format!("unix:{}", ours.installation.socket().display());
        let path = |path: &str| format!("/bench{path}");
        let whose = Whose::Ours(place);
        let read = get(&path(things), "localhost", &ours.plain);
        let write = read.replace("GET ", "POST ").replace("accept:", "content-length: 0\r\naccept:");
        // What is written waits for the disk.
        let asked = if name.starts_with("ours-sync") { &write } else { &read };
        all.push(calls(target(name, socket.clone(), asked.clone()), whose));
        if place > 0 {
            continue;
        }
        all.push(calls(target("ours-sync", socket.clone(), write), whose));
        let stream = get(&path(&bytes), "localhost", &ours.plain);
        all.push(streams(target("ours-stream", socket, stream), whose));
        let gateway = format!("tcp:{}", ours.installation.gateway);
        let identity = Some(scene.identity.to_owned());
        let over_tls = get(&format!("/benchtls{things}"), &ours.installation.authority(), &ours.secure);
        let over_tls = Target { identity: identity.clone(), ..target("ours-tls", gateway.clone(), over_tls) };
        all.push(calls(over_tls, whose));
        for (name, is_http2) in [("ours-tunnel-h1", false), ("ours-tunnel-h2", true)] {
            let inside = target(name, gateway.clone(), get(things, HOST, &ours.secure));
            let tunnel = Some((format!("{HOST}:443"), is_http2));
            all.push(calls(Target { identity: identity.clone(), tunnel, ..inside }, whose));
        }
    }
    all
}

impl Stage {
    fn child(&self, whose: Whose) -> Option<&Child> {
        match whose {
            Whose::Rival(place) => self.rivals.get(place).map(|rival| &rival.child),
            Whose::Ours(place) => self.ours.get(place).map(|ours| &ours.installation.child),
            Whose::Nobody => None,
        }
    }

    /// A slice, and the processor time that it cost.
    fn slice(&mut self, one: &Measured, paced: bool) -> Outcome<(Slice, u64)> {
        let cpu = |stage: &Self| stage.child(one.whose).map_or(Ok(0), Child::cpu_nanos);
        self.load.freshen(&one.target.name)?;
        let before = cpu(self)?;
        let slice = match paced {
            false => self.load.closed(&one.target.name, SLICE_MILLIS)?,
            true => self.load.paced(&one.target.name, RATE, PACED_MILLIS)?,
        };
        Ok((slice, cpu(self)?.saturating_sub(before)))
    }
}

/// Those whose waits are measured, besides what they cost.
const PACED: [&str; 7] =
    ["direct", "envoy-header", "nginx", "haproxy", "ours", "ours-sync", "ours-sync-slow-disk"];

fn rounds_of(stage: &mut Stage, measured: &[Measured], rounds: usize, found: &mut Found) -> Outcome {
    let mut dice = Dice::new();
    for round in 0..=rounds {
        let mut order: Vec<(usize, bool)> = (0..measured.len()).map(|place| (place, false)).collect();
        let is_paced = |(place, one): (usize, &Measured)| {
            PACED.contains(&one.target.name.as_str()).then_some((place, true))
        };
        order.extend(measured.iter().enumerate().filter_map(is_paced));
        dice.shuffle(&mut order);
        for (place, paced) in order {
            let Some(one) = measured.get(place) else { continue };
            let slice = stage.slice(one, paced)?;
            // The first round warms everything up: caches, pools, branch predictors.
            if round > 0 {
                note(found, one, paced, slice);
            }
        }
        for one in measured.iter().filter(|_| round == rounds) {
            let resident = stage.child(one.whose).map(Child::resident_kib).transpose()?;
            found.resident_mib.push(&one.target.name, resident.unwrap_or_default() as f64 / 1024.0);
        }
        machine::say(&format!("xtask: bench: round {round} of {rounds}"));
    }
    Ok(())
}

fn note(found: &mut Found, one: &Measured, paced: bool, (slice, nanos): (Slice, u64)) {
    let (name, nanos) = (one.target.name.as_str(), nanos as f64);
    if paced {
        found.p50_us.push(name, slice.p50_us);
        found.p99_us.push(name, slice.p99_us);
    } else if one.streams {
        found.bytes_per_cpu_second.push(name, slice.bytes as f64 / (nanos / 1e9));
    } else {
        found.cpu_us.push(name, nanos / 1000.0 / slice.requests as f64);
    }
}

/// What a connection over TLS that asks nothing costs in memory, in KiB.
fn idle(stage: &mut Stage, identity: &Path) -> Outcome<f64> {
    let Some(ours) = stage.ours.first() else { return Ok(0.0) };
    ours.installation.enrol_key(identity)?;
    let request = format!(
        "GET /bench/things/7 HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
        ours.installation.authority(),
        ours.plain
    );
    let target = Target {
        name: "idle".to_owned(),
        to: format!("tcp:{}", ours.installation.gateway),
        request,
        connections: 1,
        status: 200,
        identity: Some(identity.to_owned()),
        tunnel: None,
    };
    stage.load.open(&target)?;
    let resident = |stage: &Stage| stage.child(Whose::Ours(0)).map_or(Ok(0), Child::resident_kib);
    let before = resident(stage)?;
    stage.load.hold("idle", IDLE)?;
    let after = resident(stage)?;
    stage.load.close("idle")?;
    Ok(after.saturating_sub(before) as f64 / IDLE as f64)
}

/// Random enough for an order.
struct Dice(u64);

impl Dice {
    #[expect(
        clippy::disallowed_methods,
        reason = "an order that nobody chose wants a seed that nobody chose"
    )]
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(now.as_nanos() as u64 | 1)
    }

    fn next(&mut self) -> u64 {
        // xorshift64 (Marsaglia, 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = usize::try_from(self.next() % (last as u64 + 1)).unwrap_or_default();
            things.swap(last, other);
        }
    }
}

/// The ratios that are promised: a name, what stands over what, and the series that they are of.
const RATIOS: [(&str, &str, &str, Kind); 7] = [
    ("cpu_vs_envoy_header", "ours", "envoy-header", Kind::Cpu),
    ("cpu_vs_nginx_header", "ours", "nginx", Kind::Cpu),
    ("cpu_vs_envoy_header_sync", "ours-sync", "envoy-header", Kind::Cpu),
    ("tls_cpu_vs_envoy", "ours-tls", "envoy-tls", Kind::Cpu),
    ("stream_vs_nginx", "ours-stream", "nginx-stream", Kind::Stream),
    ("policies_1000_over_10", "ours-policies-1000", "ours", Kind::Cpu),
    ("grants_1e5_over_10", "ours-grants-1e5", "ours", Kind::Cpu),
];

#[derive(Clone, Copy)]
enum Kind {
    Cpu,
    Stream,
}

impl Found {
    fn ratio(&self, over: &str, under: &str, kind: Kind) -> Option<Median> {
        let series = match kind {
            Kind::Cpu => &self.cpu_us,
            Kind::Stream => &self.bytes_per_cpu_second,
        };
        Median::of_ratios(series.of(over), series.of(under))
    }

    /// What a call takes longer through ours than without any proxy, over the same of Envoy.
    fn added_p50(&self) -> Option<Median> {
        let added = |name: &str| -> Vec<f64> {
            let pairs = self.p50_us.of(name).iter().zip(self.p50_us.of("direct"));
            pairs.map(|(through, direct)| through - direct).collect()
        };
        Median::of_ratios(&added("ours"), &added("envoy-header"))
    }
}

fn results(found: &Found, rounds: usize) -> Value {
    let middle = |median: Option<Median>| median.map(|median| (median.middle * 1000.0).round() / 1000.0);
    let mut peers = Map::new();
    let streams = found.bytes_per_cpu_second.names();
    for name in found.cpu_us.names().chain(streams) {
        let cpu_us = found.cpu_us.median(name).filter(|cpu| cpu.middle > 0.0);
        peers.insert(
            name.to_owned(),
            json!({
                "cpu_us": middle(cpu_us),
                "rps_per_core": cpu_us.map(|cpu| (1e6 / cpu.middle).round()),
                "p50_us": middle(found.p50_us.median(name)),
                "p99_us": middle(found.p99_us.median(name)),
                "rss_mb": middle(found.resident_mib.median(name)),
            }),
        );
    }
    let mut ratios = Map::new();
    for (name, over, under, kind) in RATIOS {
        ratios.insert(name.to_owned(), json!(middle(found.ratio(over, under, kind))));
    }
    ratios.insert("added_p50_vs_envoy".to_owned(), json!(middle(found.added_p50())));
    let idle = json!({ "n": IDLE, "kb_each": (found.idle_kib_each * 10.0).round() / 10.0 });
    json!({ "rounds": rounds, "peers": peers, "ratios": ratios, "idle_agents": idle })
}

fn print(found: &Found, results: &Value) -> Outcome {
    let shown = |median: Option<Median>| median.map_or("–".to_owned(), |median| median.to_string());
    let rate = |name: &str| results.get("peers")?.get(name)?.get("rps_per_core")?.as_f64();
    let row = |name: &str| {
        vec![
            name.to_owned(),
            shown(found.cpu_us.median(name)),
            rate(name).map_or("–".to_owned(), |rate| rate.to_string()),
            shown(found.p50_us.median(name)),
            shown(found.p99_us.median(name)),
            shown(found.resident_mib.median(name)),
        ]
    };
    let rows: Vec<Vec<String>> = found.cpu_us.names().map(row).collect();
    let heading = ["", "CPU µs a call", "a second per core", "p50 µs", "p99 µs", "MiB"];
    machine::print(&table(&heading, &rows))?;
    let gib = |name: &str| {
        let gib =
            found.bytes_per_cpu_second.of(name).iter().map(|bytes| bytes / f64::from(1 << 30)).collect();
        vec![name.to_owned(), shown(Median::of(gib))]
    };
    let rows: Vec<Vec<String>> = found.bytes_per_cpu_second.names().map(gib).collect();
    machine::print(&format!("\n{}", table(&["", "GiB a second per core"], &rows)))?;
    let mut rows: Vec<Vec<String>> = RATIOS
        .iter()
        .map(|(name, over, under, kind)| vec![(*name).to_owned(), shown(found.ratio(over, under, *kind))])
        .collect();
    rows.push(vec!["added_p50_vs_envoy".to_owned(), shown(found.added_p50())]);
    rows.push(vec!["an idle agent's TLS connection, KiB".to_owned(), format!("{:.1}", found.idle_kib_each)]);
    machine::print(&format!("\n{}", table(&["ratio of one run", "median (quartiles)"], &rows)))
}
