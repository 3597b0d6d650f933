//! A million expiries and three simulated years over every class of provider, and rounds of kills at real ones: what was
//! lost, counted by those who would know. Writes `bench/results/torture.json`.

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use serde_json::{Map, Value, json};

use crate::{
    bench,
    machine::{self, Fault, Outcome},
    parts, suite,
};

/// One simulated run: seed, expiries, years, keepers, accounts at each provider (none: as many as the time asks for).
type Run = [u64; 5];

/// The runs of a whole torture, the longest first: two run at once.
const RUNS: [Run; 10] = [
    [101, 1, 1, 1, 1],
    [109, 1, 1, 2, 1],
    [110, 1, 1, 3, 1],
    [102, 100_000, 0, 1, 6],
    [103, 100_000, 0, 2, 6],
    [104, 100_000, 0, 3, 6],
    [105, 100_000, 0, 1, 12],
    [106, 100_000, 0, 2, 3],
    [107, 100_000, 0, 3, 3],
    [108, 50_000, 0, 3, 1],
];
/// What is run to see that all of it works.
const FEW: [Run; 2] = [[101, 2_000, 0, 1, 1], [102, 2_000, 0, 2, 1]];

/// Rounds of kills at each of three providers, and the seed that draws them.
const KILLS: &str = "67,1";
const FEW_KILLS: &str = "2,1";

/// Runs all of it, or little with `--quick`, which writes nothing.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let is_quick = match words {
        [] => false,
        ["--quick"] => true,
        ["tests", filter @ ..] => return suite::torture(filter),
        _ => return Err(Fault::one("torture: say `cargo xtask torture [--quick | tests FILTER]`")),
    };
    let simulated = machine::stage("torture: simulated", || simulated(if is_quick { &FEW } else { &RUNS }))?;
    let killed = machine::stage("torture: kills", || killed(if is_quick { FEW_KILLS } else { KILLS }))?;
    let results = results(&simulated, &killed)?;
    machine::print(&serde_json::to_string(&results).unwrap_or_default())?;
    Fault::unless_empty("torture", wrong(&results))?;
    if is_quick {
        return Ok(());
    }
    bench::write("torture", &results)?;
    suite::torture(&[])
}

/// The runs of the simulated world, two at once. One that fails keeps no other from its run: all that is found is told.
fn simulated(runs: &[Run]) -> Outcome<Vec<Value>> {
    machine::run(&mut sim(&["--no-run"])?)?;
    let (left, found) = (Mutex::new(runs.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(run) = next() {
            let ended = simulate(run);
            for line in ended.iter().flatten() {
                machine::say(&format!("xtask: torture: {}", bare(line)));
            }
            found.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let (mut whole, mut faults) = (Vec::new(), Vec::new());
    for ended in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match ended {
            Ok(lines) => whole.extend(lines),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    Fault::unless_empty("torture", faults)?;
    Ok(whole)
}

fn simulate(run: &Run) -> Outcome<Vec<Value>> {
    let mut one = sim(&["--", "--exact", "a_run_that_is_asked_for", "--nocapture"])?;
    one.env("NIGHTLATCH_SIM", run.map(|number| number.to_string()).join(","));
    lines(&mut one)
}

fn sim(words: &[&str]) -> Outcome<Command> {
    let mut cargo = machine::cargo();
    cargo.args(["test", "--release", "--locked", "--workspace", "--test", "sim"]).args(words);
    cargo.current_dir(machine::root()?);
    Ok(cargo)
}

/// Rounds of kills at real providers, over PostgreSQL.
fn killed(rounds: &str) -> Outcome<Vec<Value>> {
    let running = parts::start()?;
    let mut cargo = machine::cargo();
    cargo.args(["test", "--locked", "--workspace", "--test", "it", "--"]);
    cargo.args(["rounds_that_are_asked_for", "--nocapture"]).current_dir(machine::root()?);
    cargo.env("NIGHTLATCH_PARTS_JSON", running.json()).env("NIGHTLATCH_KILLS", rounds);
    let rounds = lines(&mut cargo)?;
    if rounds.is_empty() {
        return Err(Fault::one("torture: no rounds of kills were run"));
    }
    Ok(rounds)
}

/// What a command's tests print for programs to read; its words are shown where it fails.
fn lines(command: &mut Command) -> Outcome<Vec<Value>> {
    command.stderr(Stdio::inherit());
    let ended = command.output().map_err(|error| Fault::one(format!("torture: cannot start it: {error}")))?;
    let said = String::from_utf8_lossy(&ended.stdout);
    if !ended.status.success() {
        return Err(Fault::one(format!("torture: it failed:\n{said}")));
    }
    let objects = said.lines().filter(|line| line.starts_with('{'));
    objects
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|error| Fault::one(format!("torture: no JSON: {error}: {line}")))
        })
        .collect()
}

/// All that was found, in one table.
fn results(simulated: &[Value], killed: &[Value]) -> Outcome<Value> {
    let all = || simulated.iter().chain(killed);
    let days = sum(simulated.iter(), "days")?;
    let most = simulated.iter().map(|run| number(run, "tickets_per_lost_answer_max"));
    let most = most.collect::<Outcome<Vec<u64>>>()?.into_iter().max().unwrap_or_default();
    let seeds = simulated.iter().map(|run| number(run, "seed")).collect::<Outcome<Vec<u64>>>()?;
    Ok(json!({
        "expiries": sum(simulated.iter(), "expiries")?,
        "years": days / 365,
        "seeds": seeds,
        "answers_lost": sum(simulated.iter(), "answers_lost")?,
        "families_lost_with_grace": sum(simulated.iter(), "families_lost_with_grace")?,
        "families_lost_without_answer_lost": sum(simulated.iter(), "families_lost_without_answer_lost")?,
        "families_lost_unavoidable": sum(simulated.iter(), "families_lost_unavoidable")?,
        "tickets_per_lost_answer_max": most,
        "kill_rounds": sum(killed.iter(), "rounds")?,
        "kill_families_lost": sum(killed.iter(), "families_lost")?,
        "kill_families_lost_unavoidable": sum(killed.iter(), "families_lost_unavoidable")?,
        "reuse_declared": sum(all(), "reuse_declared")?,
        "provider_reuse_detected": sum(all(), "provider_reuse_detected")?,
        "late_send": sum(all(), "late_send")?,
        "attempts": {
            "families_lost_unavoidable": attempts(simulated.iter(), "families_lost_unavoidable")?,
            "kill_families_lost_unavoidable": attempts(killed.iter(), "families_lost_unavoidable")?,
            "reuse_declared": attempts(all(), "reuse_declared")?,
            "late_send": attempts(all(), "late_send")?,
        },
        "runs": simulated.iter().chain(killed).map(bare).collect::<Vec<_>>(),
    }))
}

/// A run without its attempts.
fn bare(run: &Value) -> Value {
    let fields = run.as_object().into_iter().flatten().filter(|(name, _)| *name != "attempts");
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

fn number(run: &Value, name: &str) -> Outcome<u64> {
    let number = run.get(name).and_then(Value::as_u64);
    number.ok_or_else(|| Fault::one(format!("torture: a run says no `{name}`: {}", bare(run))))
}

fn sum<'a>(runs: impl Iterator<Item = &'a Value>, name: &str) -> Outcome<u64> {
    runs.map(|run| number(run, name)).sum()
}

/// The attempts that stand under a name, of all runs: as many as each run counts.
fn attempts<'a>(runs: impl Iterator<Item = &'a Value>, name: &str) -> Outcome<Vec<Value>> {
    let mut all = Vec::new();
    for run in runs {
        let list = run.get("attempts").and_then(|lists| lists.get(name)).and_then(Value::as_array);
        let list = list.filter(|list| run.get(name) == Some(&json!(list.len())));
        let missing = || Fault::one(format!("torture: a run does not list its `{name}`: {}", bare(run)));
        all.extend(list.ok_or_else(missing)?.iter().cloned());
    }
    Ok(all)
}

/// What must not be.
fn wrong(results: &Value) -> Vec<String> {
    let bound = |name: &str, most: u64| {
        let found = results.get(name).and_then(Value::as_u64);
        found
            .is_none_or(|found| found > most)
            .then(|| format!("`{name}` is {found:?}, at most {most} is allowed"))
    };
    let none = [
        "families_lost_with_grace",
        "families_lost_without_answer_lost",
        "kill_families_lost",
        "provider_reuse_detected",
    ];
    none.iter().filter_map(|name| bound(name, 0)).chain(bound("tickets_per_lost_answer_max", 1)).collect()
}

#[cfg(test)]
mod tests {
    //! Proves that everything is added up, and that what must not be is a fault.

    use serde_json::{Value, json};

    use super::{results, wrong};

    fn simulated(seed: u64) -> Value {
        json!({"seed": seed, "expiries": 600_000, "days": 600, "answers_lost": 7, "families_lost_with_grace": 0,
            "families_lost_without_answer_lost": 0, "families_lost_unavoidable": 1, "late_send": 0,
            "tickets_per_lost_answer_max": 1, "reuse_declared": 2, "provider_reuse_detected": 0, "attempts": {
                "families_lost_unavoidable": ["att_1"], "late_send": [], "reuse_declared": ["att_2", "att_3"]}})
    }

    fn killed() -> Value {
        json!({"rounds": 100, "families_lost": 0, "families_lost_unavoidable": 1, "late_send": 1,
            "reuse_declared": 0, "provider_reuse_detected": 0, "attempts": {
                "families_lost_unavoidable": ["att_4"], "late_send": ["att_5"], "reuse_declared": []}})
    }

    #[test]
    fn every_run_is_added_up_and_its_attempts_are_listed() {
        let all = results(&[simulated(1), simulated(2)], &[killed(), killed()]).unwrap();
        let shown = |name: &str| all[name].clone();
        assert_eq!((shown("expiries"), shown("years")), (json!(1_200_000), json!(3)));
        assert_eq!((shown("seeds"), shown("kill_rounds")), (json!([1, 2]), json!(200)));
        assert_eq!(
            (shown("families_lost_unavoidable"), shown("kill_families_lost_unavoidable")),
            (json!(2), json!(2))
        );
        assert_eq!((shown("reuse_declared"), shown("late_send")), (json!(4), json!(2)));
        assert_eq!(all["attempts"]["late_send"], json!(["att_5", "att_5"]));
        assert!(wrong(&all).is_empty(), "{all}");
    }

    #[test]
    fn what_must_not_be_is_a_fault_and_so_is_what_nobody_said() {
        for (name, bad) in [
            ("families_lost_with_grace", json!(1)),
            ("families_lost_without_answer_lost", json!(1)),
            ("provider_reuse_detected", json!(1)),
            ("tickets_per_lost_answer_max", json!(2)),
        ] {
            let mut run = simulated(1);
            run[name] = bad;
            assert_eq!(wrong(&results(&[run], &[killed()]).unwrap()).len(), 1, "{name}");
            let mut silent = simulated(1);
            silent.as_object_mut().unwrap().remove(name);
            assert!(results(&[silent], &[killed()]).is_err(), "{name}");
        }
        let mut unlisted = killed();
        unlisted["late_send"] = json!(2);
        assert!(results(&[simulated(1)], &[unlisted]).is_err());
        let mut lost = killed();
        lost["families_lost"] = json!(1);
        assert_eq!(wrong(&results(&[simulated(1)], &[lost]).unwrap()).len(), 1);
    }
}
