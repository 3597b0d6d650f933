//! What `bench keeper` found: for the file, and for a reader, with what was missed of what is promised.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{super::figures::table, AT_ONCE, Found};
use crate::machine::{self, Outcome};

/// Due work costs what is due, and not what is stored.
const CLAIM_MOST: f64 = 1.5;
/// Of a keeper of a million chains.
const MEMORY_MOST_MIB: f64 = 500.0;
/// What a waiting call adds to the provider's own time, on a disk without a delay of its own.
const WAIT_MOST_US: u64 = 2000;
/// Until a kill is durable beside sixteen committers.
const KILL_MOST_US: u64 = 100_000;

/// Everything, as it is kept.
pub(super) fn results(found: &Found) -> Value {
    let by_number = |rates: &BTreeMap<String, BTreeMap<usize, f64>>| {
        let rates = rates.iter().map(|(name, rates)| {
            let rates: BTreeMap<String, f64> =
                rates.iter().map(|(at_once, rate)| (at_once.to_string(), rate.round())).collect();
            (name.clone(), json!(rates))
        });
        Value::Object(rates.collect())
    };
    let pairs = |pairs: &BTreeMap<String, (u64, u64)>, names: (&str, &str)| {
        let pairs = pairs.iter().map(|(name, (one, other))| {
            (
                name.clone(),
                json!({ names.0: tenths(*one as f64 / 1000.0), names.1: tenths(*other as f64 / 1000.0) }),
            )
        });
        Value::Object(pairs.collect())
    };
    let due = found.due.iter().map(|(engine, due)| {
        let both = |(few, many): (f64, f64)| json!({ "1e4": few, "1e6": many });
        (engine.clone(), json!({ "look_us": both(due.look_us), "look_and_claims_us": both(due.work_us) }))
    });
    json!({
        "refreshes_per_sec": by_number(&found.keeper),
        "store_alone_per_sec": by_number(&found.store),
        "claim_1e6_over_1e4": ratios(found),
        "due_work": Value::Object(due.collect()),
        "memory": {
            "chains": found.memory.chains,
            "rss_mb": tenths(mib(found.memory.kib)),
            "peak_mb": tenths(mib(found.memory.peak_kib)),
            "start_secs": tenths(found.memory.start_secs),
        },
        "waiting_call_adds_ms": pairs(&found.waits, ("p50", "p99")),
        "kill_ms": pairs(&found.kills, ("p50", "most")),
    })
}

fn ratios(found: &Found) -> BTreeMap<&str, f64> {
    let ratio = |(few, many): (f64, f64)| (many / few.max(f64::EPSILON) * 100.0).round() / 100.0;
    found.due.iter().map(|(engine, due)| (engine.as_str(), ratio(due.work_us))).collect()
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// What is promised and was not found.
fn missed(found: &Found) -> Vec<String> {
    let ratios = ratios(found).into_iter().filter(|(_, ratio)| *ratio > CLAIM_MOST);
    let ratios = ratios.map(|(engine, ratio)| {
        format!("due work among 100 times the chains costs {ratio} times as much ({engine})")
    });
    let memory = [("while it refreshes", found.memory.kib), ("at its most", found.memory.peak_kib)];
    let memory = memory.into_iter().filter(|(_, kib)| mib(*kib) > MEMORY_MOST_MIB);
    let chains = found.memory.chains;
    let memory =
        memory.map(|(when, kib)| format!("a keeper of {chains} chains takes {:.0} MiB {when}", mib(kib)));
    // A disk that takes a millisecond longer for each of several syncs takes longer.
    let waits =
        found.waits.iter().filter(|(name, (p50, _))| !name.ends_with("slow-disk") && *p50 > WAIT_MOST_US);
    let waits = waits.map(|(name, (p50, _))| format!("a waiting call adds {p50} µs in the middle ({name})"));
    let kills = found.kills.iter().filter(|(_, (p50, _))| *p50 > KILL_MOST_US);
    let kills = kills.map(|(name, (p50, _))| format!("a kill takes {p50} µs in the middle ({name})"));
    ratios.chain(memory).chain(waits).chain(kills).collect()
}

/// The same for a reader.
pub(super) fn print(found: &Found) -> Outcome {
    let rows = |rates: &BTreeMap<String, BTreeMap<usize, f64>>, whose: &str| -> Vec<Vec<String>> {
        let cells = rates.iter().map(|(name, rates)| {
            let rates = AT_ONCE
                .iter()
                .map(|at_once| rates.get(at_once).map_or(String::new(), |rate| format!("{rate:.0}")));
            [name.clone(), whose.to_owned()].into_iter().chain(rates).collect()
        });
        cells.collect()
    };
    let rates = [rows(&found.keeper, "keeper"), rows(&found.store, "store alone")].concat();
    machine::print(&table(&["refreshes a second", "", "1 at once", "32", "256"], &rates))?;
    for (name, (p50, p99)) in &found.waits {
        machine::print(&format!("{name}: a waiting call adds {p50} µs in the middle, {p99} µs at p99"))?;
    }
    for (name, (p50, most)) in &found.kills {
        machine::print(&format!(
            "{name}: a kill is durable after {p50} µs in the middle, {most} µs at most"
        ))?;
    }
    for (engine, due) in &found.due {
        machine::print(&format!("{engine}: {due:?}"))?;
    }
    machine::print(&format!("{:?}", found.memory))?;
    missed(found).iter().try_for_each(|line| machine::print(&format!("missed: {line}")))
}

#[cfg(test)]
mod tests {
    //! Proves that what is kept is what was found, and that each promise that was missed is named.

    use super::{
        super::{Due, Found, Memory},
        missed, results,
    };
    use serde_json::json;
    use std::collections::BTreeMap;

    fn sound() -> Found {
        let rates = BTreeMap::from([("sqlite".to_owned(), BTreeMap::from([(1, 99.6), (32, 400.2)]))]);
        Found {
            keeper: rates.clone(),
            store: rates,
            waits: BTreeMap::from([
                ("sqlite".to_owned(), (1960, 4000)),
                ("sqlite-slow-disk".to_owned(), (9000, 12_000)),
            ]),
            kills: BTreeMap::from([("postgres".to_owned(), (2000, 3000))]),
            due: BTreeMap::from([(
                "sqlite".to_owned(),
                Due { look_us: (20.0, 21.0), work_us: (100.0, 120.0) },
            )]),
            memory: Memory { chains: 1_000_000, start_secs: 5.04, peak_kib: 409_600, kib: 307_200 },
        }
    }

    #[test]
    fn what_is_kept_is_what_was_found() {
        assert_eq!(missed(&sound()), Vec::<String>::new());
        let rates = json!({ "sqlite": { "1": 100.0, "32": 400.0 } });
        let expected = json!({
            "refreshes_per_sec": rates, "store_alone_per_sec": rates,
            "claim_1e6_over_1e4": { "sqlite": 1.2 },
            "due_work": { "sqlite": {
                "look_us": { "1e4": 20.0, "1e6": 21.0 }, "look_and_claims_us": { "1e4": 100.0, "1e6": 120.0 },
            } },
            "memory": { "chains": 1_000_000, "rss_mb": 300.0, "peak_mb": 400.0, "start_secs": 5.0 },
            "waiting_call_adds_ms": {
                "sqlite": { "p50": 2.0, "p99": 4.0 }, "sqlite-slow-disk": { "p50": 9.0, "p99": 12.0 },
            },
            "kill_ms": { "postgres": { "p50": 2.0, "most": 3.0 } },
        });
        assert_eq!(results(&sound()), expected);
    }

    #[test]
    fn each_promise_that_was_missed_is_named() {
        let only = |bend: fn(&mut Found)| {
            let mut found = sound();
            bend(&mut found);
            let missed = missed(&found);
            assert_eq!(missed.len(), 1, "{missed:?}");
            missed.concat()
        };
        let slow = |found: &mut Found| found.due.get_mut("sqlite").unwrap().work_us.1 = 151.0;
        assert!(only(slow).contains("1.51 times as much (sqlite)"));
        assert!(only(|found| found.memory.peak_kib = 524_288).contains("512 MiB at its most"));
        assert!(only(|found| found.memory.kib = 512_001).contains("while it refreshes"));
        assert!(only(|found| found.waits.get_mut("sqlite").unwrap().0 = 2001).contains("2001 µs"));
        assert!(only(|found| found.kills.get_mut("postgres").unwrap().0 = 100_001).contains("(postgres)"));
    }
}
