//! What a soak found, held against what was promised.

use serde_json::{Map, Value, json};

use super::{Found, KINDS, Sample};
use crate::{
    bench::figures::table,
    machine::{self, Outcome},
};

/// How far apart the first and the last part's memory may be.
const FLAT: f64 = 0.03;
/// Calls that are asked later than they were due make the run longer than it was meant; the last events of a run of
/// a minute do so by a second.
const RATE_KEPT: f64 = 0.98;
/// Between two renewals of a token of 32 s, at least and at most: two thirds of its life, up to a twelfth sooner, and
/// what the keeper's timer and the provider take.
const ROTATION_SECS: (f64, f64) = (18.6, 22.0);

/// What was promised and did not hold, a line each.
pub(super) fn findings(found: &Found) -> Vec<String> {
    let (errors, memory) = (found.errors(), found.memory());
    let held = [
        (errors == 0, format!("{errors} calls failed: {}", found.why())),
        (
            found.rate_kept() >= RATE_KEPT * found.rate as f64,
            format!("{:.0} calls a second were made of {}", found.rate_kept(), found.rate),
        ),
        (found.tally("/tool/dead") == 0, "calls bore a credential that did not live".to_owned()),
        (found.tally("/tool/forbidden") == 0, "calls that no grant covers reached the tool".to_owned()),
        (
            found.rotations_due().contains(&found.tally("/provider/refreshes")),
            format!(
                "{} refreshes where {:?} were due",
                found.tally("/provider/refreshes"),
                found.rotations_due()
            ),
        ),
        (
            found.tally("/provider/token_requests")
                == found.tally("/provider/refreshes") + found.tally("/provider/code_exchanges"),
            "a rotation took more than one token request".to_owned(),
        ),
        (
            found.tally("/provider/reuse_detected") + found.tally("/provider/families_revoked") == 0,
            "a refresh token was presented twice".to_owned(),
        ),
        (
            found.tally("/tool/credentials") >= found.tally("/provider/refreshes"),
            "calls did not use every credential that a rotation brought".to_owned(),
        ),
        (
            (memory.last / memory.first - 1.0).abs() <= FLAT,
            format!("memory went from {:.1} to {:.1} MiB", memory.first, memory.last),
        ),
    ];
    held.into_iter().filter(|(holds, _)| !holds).map(|(_, finding)| finding).collect()
}

/// Mebibytes.
struct Memory {
    first: f64,
    last: f64,
    most: f64,
}

impl Found {
    fn call(&self, kind: &str, what: &str) -> Option<u64> {
        self.calls.get(kind)?.get(what)?.as_u64()
    }

    fn errors(&self) -> u64 {
        KINDS.iter().filter_map(|kind| self.call(kind.name, "failed")).sum()
    }

    /// Why calls failed, the last of each kind.
    fn why(&self) -> String {
        let why = |name: &str| Some(format!("{name}: {}", self.calls.get(name)?.get("why")?.as_str()?));
        KINDS.iter().filter_map(|kind| why(kind.name)).collect::<Vec<_>>().join("; ")
    }

    fn rate_kept(&self) -> f64 {
        let made: u64 = KINDS.iter().filter_map(|kind| self.call(kind.name, "requests")).sum();
        (made + self.errors()) as f64 / self.calls_secs
    }

    fn tally(&self, pointer: &str) -> u64 {
        self.tally.pointer(pointer).and_then(Value::as_u64).unwrap_or(u64::MAX / 4)
    }

    /// How often the credential may have rotated since the login.
    fn rotations_due(&self) -> std::ops::RangeInclusive<u64> {
        let (least, most) = ROTATION_SECS;
        (self.login_secs / most) as u64..=(self.login_secs / least) as u64
    }

    fn memory(&self) -> Memory {
        let third = self.samples.last().map_or(0.0, |last| last.secs / 3.0);
        let mib = |samples: &mut dyn Iterator<Item = &Sample>| {
            let all: Vec<f64> = samples.map(|sample| sample.resident_kib as f64 / 1024.0).collect();
            (all.iter().sum::<f64>() / all.len().max(1) as f64, all.iter().copied().fold(0.0, f64::max))
        };
        Memory {
            first: mib(&mut self.samples.iter().filter(|sample| sample.secs <= third)).0,
            last: mib(&mut self.samples.iter().filter(|sample| sample.secs > third * 2.0)).0,
            most: mib(&mut self.samples.iter()).1,
        }
    }

    /// A figure at the first look and at the last, and the largest.
    fn span(&self, figure: fn(&Sample) -> u64) -> [u64; 3] {
        let all: Vec<u64> = self.samples.iter().map(figure).collect();
        let at = |place: Option<&u64>| place.copied().unwrap_or_default();
        [at(all.first()), at(all.last()), at(all.iter().max())]
    }
}

/// Everything, as it is kept.
pub(super) fn results(found: &Found) -> Value {
    let memory = found.memory();
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let spanned = |[first, last, most]: [u64; 3]| json!({ "first": first, "last": last, "most": most });
    let mut disk = Map::new();
    for (name, before, after) in &found.disk {
        disk.insert((*name).to_owned(), json!({ "before": before, "after": after }));
    }
    let by_minute = found.samples.chunks(super::LOOKS_A_LINE).filter_map(|minute| minute.last());
    json!({
        "minutes": found.minutes,
        "rate": found.rate,
        "rate_kept": rounded(found.rate_kept()),
        "errors": found.errors(),
        "calls": found.calls,
        "provider": found.tally.get("provider"),
        "tool": found.tally.get("tool"),
        "memory_mib": {
            "first_third": rounded(memory.first),
            "last_third": rounded(memory.last),
            "ratio": rounded(memory.last / memory.first),
            "most": rounded(memory.most),
            "by_minute": by_minute.map(|sample| rounded(sample.resident_kib as f64 / 1024.0)).collect::<Vec<_>>(),
        },
        "descriptors": spanned(found.span(|sample| sample.descriptors)),
        "threads": spanned(found.span(|sample| sample.threads)),
        "disk_bytes": disk,
        "findings": findings(found),
    })
}

/// The same for a reader.
pub(super) fn print(found: &Found) -> Outcome {
    let millis = |kind: &str, what: &str| {
        found.call(kind, what).map_or("–".to_owned(), |micros| format!("{:.1}", micros as f64 / 1000.0))
    };
    let count =
        |kind: &str, what: &str| found.call(kind, what).map_or("–".to_owned(), |count| count.to_string());
    let row = |name: &str| {
        let [asked, failed] = ["requests", "failed"].map(|what| count(name, what));
        vec![name.to_owned(), asked, failed, millis(name, "p50_us"), millis(name, "p99_us")]
    };
    let rows: Vec<Vec<String>> = KINDS.iter().map(|kind| row(kind.name)).collect();
    machine::print(&table(&["calls", "answered", "failed", "p50 ms", "p99 ms"], &rows))?;
    let memory = found.memory();
    let spanned = |[first, last, most]: [u64; 3]| vec![first.to_string(), last.to_string(), most.to_string()];
    let mib = |value: f64| format!("{value:.1}");
    let mut rows = vec![
        vec!["memory, MiB".to_owned(), mib(memory.first), mib(memory.last), mib(memory.most)],
        [vec!["descriptors".to_owned()], spanned(found.span(|sample| sample.descriptors))].concat(),
        [vec!["threads".to_owned()], spanned(found.span(|sample| sample.threads))].concat(),
    ];
    rows.extend(found.disk.iter().map(|(name, before, after)| {
        let [before, after] = [before, after].map(|bytes| mib(*bytes as f64 / f64::from(1 << 20)));
        vec![format!("{name}, MiB"), before, after, "–".to_owned()]
    }));
    machine::print(&format!("\n{}", table(&["of `up`", "first", "last", "most"], &rows)))?;
    let tallied = |name: &str, pointer: &str| vec![name.to_owned(), found.tally(pointer).to_string()];
    let rows = [
        vec!["calls a second".to_owned(), format!("{:.1}", found.rate_kept())],
        vec!["rotations due".to_owned(), format!("{:?}", found.rotations_due())],
        tallied("refreshes", "/provider/refreshes"),
        tallied("token requests", "/provider/token_requests"),
        tallied("refreshes refused", "/provider/refreshes_refused"),
        tallied("reuse detected", "/provider/reuse_detected"),
        tallied("credentials at the tool", "/tool/credentials"),
        tallied("calls with a dead one", "/tool/dead"),
    ];
    machine::print(&format!("\n{}", table(&["provider and tool", ""], &rows)))
}

#[cfg(test)]
mod tests {
    //! Proves that each promise is held against what was found: a sound run has no finding, and each fault has its own.

    use super::{Found, Sample, findings};
    use serde_json::{Value, json};

    /// Half an hour in which everything held.
    fn sound() -> Found {
        let call = |requests: u64| json!({ "requests": requests, "failed": 0, "why": null });
        let sample = |look: u32| Sample {
            secs: f64::from(look) * 5.0,
            resident_kib: 60_000 + u64::from(look % 7),
            descriptors: 100,
            threads: 9,
        };
        Found {
            minutes: 30,
            rate: 500,
            calls_secs: 1800.5,
            login_secs: 1803.0,
            calls: json!({
                "read": call(540_000), "read-tls": call(180_000), "write": call(90_000),
                "not-found": call(45_000), "refused": call(36_000), "events": call(9_000),
            }),
            tally: json!({
                "provider": {
                    "token_requests": 91, "code_exchanges": 1, "refreshes": 90, "refreshes_refused": 0,
                    "reuse_detected": 0, "families_revoked": 0, "calls_answered": 864_000,
                },
                "tool": { "calls": 864_000, "dead": 0, "forbidden": 0, "credentials": 91 },
            }),
            samples: (1..=360).map(sample).collect(),
            disk: Vec::new(),
        }
    }

    fn only_finding(bend: impl FnOnce(&mut Found)) -> String {
        let mut found = sound();
        bend(&mut found);
        let findings = findings(&found);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.concat()
    }

    fn set(value: &mut Value, pointer: &str, to: u64) {
        *value.pointer_mut(pointer).unwrap() = json!(to);
    }

    #[test]
    fn a_sound_run_has_no_finding() {
        assert_eq!(findings(&sound()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_found() {
        let of_calls = |pointer, to| only_finding(|found| set(&mut found.calls, pointer, to));
        assert!(of_calls("/events/failed", 1).contains("1 calls failed"));
        assert!(of_calls("/read/requests", 500_000).contains("calls a second"));
        let of_tally = |pointer, to| only_finding(|found| set(&mut found.tally, pointer, to));
        assert!(of_tally("/tool/dead", 1).contains("did not live"));
        assert!(of_tally("/tool/forbidden", 1).contains("no grant"));
        assert!(of_tally("/tool/credentials", 89).contains("every credential"));
        assert!(of_tally("/provider/token_requests", 92).contains("more than one"));
        assert!(of_tally("/provider/reuse_detected", 1).contains("twice"));
        let rotations = |refreshes| {
            only_finding(|found| {
                set(&mut found.tally, "/provider/refreshes", refreshes);
                set(&mut found.tally, "/provider/token_requests", refreshes + 1);
                set(&mut found.tally, "/tool/credentials", refreshes + 1);
            })
        };
        assert!(rotations(40).contains("40 refreshes") && rotations(180).contains("180 refreshes"));
    }

    #[test]
    fn memory_that_grows_or_falls_by_more_than_three_in_a_hundred_is_found() {
        let grown = |kib: u64| {
            let mut found = sound();
            found.samples.iter_mut().skip(240).for_each(|sample| sample.resident_kib = kib);
            findings(&found)
        };
        assert_eq!(grown(61_500), Vec::<String>::new());
        assert!(grown(62_500).concat().contains("memory went from 58.6"));
        assert!(grown(57_500).concat().contains("memory went from 58.6"));
    }

    #[test]
    fn what_nobody_counted_is_no_zero() {
        let mut found = sound();
        found.tally = json!({});
        assert!(findings(&found).len() > 4);
    }
}
