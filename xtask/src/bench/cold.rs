//! `bench cold`: ten thousand agents call for the first time after a start, and once more.
//!
//! Each has a key, an enrolment, a task and a grant of its own, made through the API and at the gateway's door. Then
//! Nightlatch is started anew, so that it remembers nothing of them: no wake, no lease, no decision, no connection. Each
//! agent calls once over a TLS connection of its own; a wake is proved to the keeper and kept in the database, a lease is
//! sealed and opened, policy is asked, and the tool is dialled, over TLS too. In the second round the same calls are made
//! over new connections again; wakes and leases are remembered, and whatever else has room for so many.
//!
//! Proxy, agents and upstream share one core, as in `bench corridor`, and what a call costs is the proxy's own processor
//! time. So many calls are under way at once that a call waits for others most of its time: p50 and p99 say how long that
//! is, and not what one agent alone would see. A call that fails, or reaches the tool with anything but the credential,
//! or another's thing, fails the run.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    child::{Child, free, last_core, pinned},
    figures::table,
    installation::Installation,
    load::{Crowd, Witness},
    ours::{HOST, manifest, mapped, policies},
    programs::{self, Folder, Programs},
    rivals::CREDENTIAL,
};
use crate::machine::{self, Fault, Outcome};

/// Agents where nobody says how many, and at most: the keeper has room for 16 384 wakes.
pub(super) const AGENTS: usize = 10_000;
pub(super) const AGENTS_MAX: usize = 16_000;
/// How long they may take to be made. Where that is too short, those that were made are measured.
const MADE_WITHIN: Duration = Duration::from_secs(300);
/// In which the gateway has read its directory after a start.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// Calls under way at once.
const AT_ONCE: usize = 64;
/// Statements of the operator, as in `bench corridor`.
const POLICIES: usize = 10;
const TOOL: &str = "bench";

/// Everything that runs.
struct Stage {
    installation: Installation,
    witness: Witness,
    crowd: Crowd,
    core: usize,
}

/// What one round found.
struct Round {
    /// As the crowd says it.
    calls: Value,
    /// As the upstream says it.
    seen: Value,
    /// Wakes that ran before it and after it.
    wakes: (u64, u64),
    cpu_micros: u64,
    /// Resident memory after it.
    resident_kib: u64,
}

/// What a run found.
struct Found {
    agents: u64,
    made_secs: f64,
    first: Round,
    second: Round,
    /// Resident memory before the first call.
    resident_kib: u64,
}

pub(super) fn run(agents: usize) -> Outcome {
    let programs = machine::stage("cold: build", || programs::build("dist"))?;
    let folder = Folder::make()?;
    let mut stage = machine::stage("cold: set the stage", || Stage::set(&programs, &folder))?;
    let (made, made_secs) = machine::stage("cold: make the agents", || stage.gather(agents))?;
    if made < agents as u64 {
        let secs = MADE_WITHIN.as_secs();
        machine::say(&format!("xtask: cold: {made} of {agents} agents were made within {secs} s"));
    }
    machine::stage("cold: start anew", || stage.restart(&programs))?;
    // `health` answers before the gateway has read its directory, and until then a call is told to come back.
    std::thread::sleep(READ_WITHIN);
    let resident_kib = stage.up().resident_kib()?;
    let first = machine::stage("cold: first calls", || stage.round())?;
    let second = machine::stage("cold: second calls", || stage.round())?;
    let found = Found { agents: made, made_secs, first, second, resident_kib };
    print(&found)?;
    Fault::unless_empty("cold", found.findings())?;
    programs::write("cold", &found.results())
}

impl Stage {
    fn set(programs: &Programs, folder: &Folder) -> Outcome<Self> {
        let (core, identity) = (last_core()?, folder.path().join("identity"));
        machine::output(Command::new(&programs.bench).arg("identity").arg(&identity).arg(HOST))?;
        let witness = Witness::start(pinned(core, &programs.bench), &identity, CREDENTIAL)?;
        let (up, place) = (free(&programs.nightlatch), folder.path().join("cold"));
        let files = [("policies/bench.cedar", policies(POLICIES))];
        let mapped = mapped(&witness.https, &identity);
        let installation = Installation::start(up, &programs.nightlatch, &place, &mapped, &files)?;
        installation.add_tool(TOOL, &manifest(TOOL, "https", HOST))?;
        installation.json(&["connect", TOOL, "--key"], CREDENTIAL.trim_start_matches("Bearer "))?;
        Ok(Self { installation, witness, crowd: Crowd::start(free(&programs.bench))?, core })
    }

    fn gather(&mut self, agents: usize) -> Outcome<(u64, f64)> {
        let at = (&*self.installation.data(), &*self.installation.gateway);
        self.crowd.gather(at, TOOL, agents, MADE_WITHIN)
    }

    /// From now on everything is on one core.
    fn restart(&mut self, programs: &Programs) -> Outcome {
        self.crowd.pin(self.core)?;
        self.installation.stopped(pinned(self.core, &programs.nightlatch), |_| Ok(()))?;
        // What was asked until now is no call of the crowd.
        self.witness.tally().map(drop)
    }

    fn round(&mut self) -> Outcome<Round> {
        let (wakes, cpu) = (self.wakes()?, self.up().cpu_micros()?);
        let calls = self.crowd.round(AT_ONCE)?;
        let cpu_micros = self.up().cpu_micros()?.saturating_sub(cpu);
        let (seen, resident_kib) = (self.witness.tally()?, self.up().resident_kib()?);
        Ok(Round { calls, seen, wakes: (wakes, self.wakes()?), cpu_micros, resident_kib })
    }

    fn wakes(&self) -> Outcome<u64> {
        let metrics = machine::output(self.installation.command().arg("metrics"))?;
        let line = metrics.lines().find_map(|line| line.strip_prefix("nightlatch_wakes_live "));
        let number = line.and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| Fault::one("cold: `nightlatch metrics` tells no `nightlatch_wakes_live`"))
    }

    fn up(&self) -> &Child {
        &self.installation.child
    }
}

impl Round {
    fn number(of: &Value, name: &str) -> u64 {
        of.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu_micros as f64 / Self::number(&self.calls, "requests").max(1) as f64
    }

    /// What should have come of it and did not.
    fn findings(&self, name: &str, agents: u64, wakes: (u64, u64)) -> Vec<String> {
        let call = |what| Self::number(&self.calls, what);
        let seen = |what| Self::number(&self.seen, what);
        let why = self.calls.get("why").and_then(Value::as_str).unwrap_or_default();
        let held = [
            (
                (call("requests"), call("failed")) == (agents, 0),
                format!("{} of {agents} {name} calls were answered: {why}", call("requests")),
            ),
            (seen("wrong") == 0, format!("{} {name} calls bore a wrong credential", seen("wrong"))),
            (
                (seen("calls"), seen("things")) == (agents, agents),
                format!("{} {name} calls for {} things reached the tool", seen("calls"), seen("things")),
            ),
            (
                self.wakes == wakes,
                format!("wakes went from {} to {} in the {name} calls", self.wakes.0, self.wakes.1),
            ),
        ];
        held.into_iter().filter(|(holds, _)| !holds).map(|(_, finding)| finding).collect()
    }
}

impl Found {
    fn findings(&self) -> Vec<String> {
        let agents = self.agents;
        let none = (agents == 0).then(|| "no agent was made".to_owned());
        let first = self.first.findings("first", agents, (0, agents));
        let second = self.second.findings("second", agents, (agents, agents));
        none.into_iter().chain(first).chain(second).collect()
    }

    /// Everything, as it is kept.
    fn results(&self) -> Value {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let round = |round: &Round| {
            json!({
                "cpu_us": tenths(round.cpu_us()),
                "p50_us": round.calls.get("p50_us"),
                "p99_us": round.calls.get("p99_us"),
            })
        };
        json!({
            "agents": self.agents,
            "at_once": AT_ONCE,
            "made_secs": tenths(self.made_secs),
            "first": round(&self.first),
            "second": round(&self.second),
            "rss_mb": {
                "before": tenths(mib(self.resident_kib)),
                "after_first": tenths(mib(self.first.resident_kib)),
                "after": tenths(mib(self.second.resident_kib)),
            },
        })
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The same for a reader.
fn print(found: &Found) -> Outcome {
    let row = |name: &str, round: &Round| {
        let millis = |what: &str| format!("{:.1}", Round::number(&round.calls, what) as f64 / 1000.0);
        vec![
            name.to_owned(),
            Round::number(&round.calls, "requests").to_string(),
            format!("{:.0}", round.cpu_us()),
            millis("p50_us"),
            millis("p99_us"),
            format!("{:.1}", mib(round.resident_kib)),
        ]
    };
    let rows = [row("first", &found.first), row("second", &found.second)];
    let heading = ["calls", "answered", "CPU µs a call", "p50 ms", "p99 ms", "MiB afterwards"];
    machine::print(&table(&heading, &rows))?;
    machine::print(&format!(
        "\n{} agents, made in {:.0} s; {AT_ONCE} calls at once; {:.1} MiB before the first",
        found.agents,
        found.made_secs,
        mib(found.resident_kib)
    ))
}

#[cfg(test)]
mod tests {
    //! Proves that a sound run has no finding, and that each fault has its own.

    use super::{Found, Round};
    use serde_json::{Value, json};

    fn round(wakes: (u64, u64)) -> Round {
        Round {
            calls: json!({ "requests": 500, "failed": 0, "why": null, "p50_us": 90_000, "p99_us": 120_000 }),
            seen: json!({ "calls": 500, "wrong": 0, "things": 500 }),
            wakes,
            cpu_micros: 400_000,
            resident_kib: 71_680,
        }
    }

    fn sound() -> Found {
        let (first, second) = (round((0, 500)), round((500, 500)));
        Found { agents: 500, made_secs: 9.04, first, second, resident_kib: 51_200 }
    }

    fn only_finding(bend: impl FnOnce(&mut Found)) -> String {
        let mut found = sound();
        bend(&mut found);
        let findings = found.findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.concat()
    }

    fn set(value: &mut Value, name: &str, to: u64) {
        value[name] = json!(to);
    }

    #[test]
    fn a_sound_run_has_no_finding_and_its_figures_are_those_of_a_call() {
        assert_eq!(sound().findings(), Vec::<String>::new());
        let round = json!({ "cpu_us": 800.0, "p50_us": 90_000, "p99_us": 120_000 });
        let expected = json!({
            "agents": 500, "at_once": 64, "made_secs": 9.0, "first": round, "second": round,
            "rss_mb": { "before": 50.0, "after_first": 70.0, "after": 70.0 },
        });
        assert_eq!(sound().results(), expected);
    }

    #[test]
    fn each_fault_is_found() {
        let first = |name, to| only_finding(|found| set(&mut found.first.calls, name, to));
        assert!(first("requests", 499).contains("499 of 500 first calls"));
        assert!(first("failed", 1).contains("500 of 500 first calls"));
        let second = |name, to| only_finding(|found| set(&mut found.second.seen, name, to));
        assert!(second("wrong", 1).contains("1 second calls bore a wrong credential"));
        assert!(second("calls", 501).contains("501 second calls for 500 things"));
        assert!(second("things", 499).contains("500 second calls for 499 things"));
        let first_wakes = only_finding(|found| found.first.wakes = (3, 500));
        assert!(first_wakes.contains("from 3 to 500 in the first"));
        let second_wakes = only_finding(|found| found.second.wakes = (500, 507));
        assert!(second_wakes.contains("from 500 to 507 in the second"));
    }

    #[test]
    fn a_run_without_agents_or_counts_proves_nothing() {
        let mut found = sound();
        (found.agents, found.first.calls, found.first.seen) = (0, json!({}), json!({}));
        found.first.wakes = (0, 0);
        (found.second.calls, found.second.seen, found.second.wakes) = (json!({}), json!({}), (0, 0));
        assert_eq!(found.findings(), ["no agent was made"]);
        let mut found = sound();
        (found.first.calls, found.first.seen) = (json!({}), json!({}));
        assert_eq!(found.findings().len(), 2);
    }
}
