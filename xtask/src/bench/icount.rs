//! `bench icount`: instructions of a call, phase by phase, under callgrind.
//!
//! A processor's time depends on who else uses the machine; how many instructions a call takes does not, or hardly. Two
//! tests of the gateway walk a hundred and six hundred calls through a whole gateway; what the longer walk costs more,
//! over the five hundred calls that it is longer, is a call without any setting up. Each phase counts with everything
//! that it calls. callgrind knows no SHA and no wide vector instructions, so hashing costs more here than it does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::figures::table;
use crate::{
    attacks,
    machine::{self, Fault, Outcome},
    parts::install,
};

/// The walks, and how many calls each makes.
const WALKS: [(&str, u64); 2] = [
    ("walks::a_hundred_calls_over_a_users_socket_each_bear_the_credential", 100),
    ("walks::six_hundred_calls_over_a_users_socket_each_bear_the_credential", 600),
];

/// The phases, and the functions that are theirs: a path's end, without generics.
const PHASES: [(&str, &[&str]); 12] = [
    ("call, whole", &["doors::answer::{{closure}}"]),
    ("strict reader", &["doors::framing::check", "strict::"]),
    ("admit", &["corridor::admit::admit"]),
    ("resolve", &["corridor::resolve::resolve"]),
    ("decide", &["Decider::decide"]),
    ("hold", &["corridor::hold::hold::{{closure}}"]),
    ("confirm", &["Corridor>::confirm", "Corridor::confirm"]),
    ("record", &["Ledger::intent", "Ledger>::intent"]),
    ("attach", &["corridor::attach::attach"]),
    ("forward", &["corridor::forward::forward::{{closure}}"]),
    ("scrub", &["corridor::forward::shown", "Scrubber::push", "Scrubber>::push"]),
    ("outcome", &["Closing::close", "Closing>::close"]),
];

/// Counts differ by what the allocator and the scheduler make of a run.
const NOISE: f64 = 0.02;

/// Counts, shows what changed against the committed file, and writes it anew.
pub(crate) fn check() -> Outcome {
    install::programs(&[(&["valgrind", "--version"], "valgrind")])?;
    let binary = machine::stage("icount: build", build)?;
    let folder = std::env::temp_dir().join(format!("nightlatch-icount-{}", std::process::id()));
    machine::make_folder(&folder)?;
    let counted = machine::stage("icount: count", || count(&binary, &folder));
    // A temporary folder that stays behind harms nobody.
    let _ = fs::remove_dir_all(&folder);
    let counted = counted?;
    let path = machine::root()?.join("bench/results/icount.json");
    let before = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    show(&counted, before.as_ref())?;
    machine::make_folder(path.parent().unwrap_or(&path))?;
    let phases: BTreeMap<&str, u64> = counted.iter().map(|(phase, count)| (*phase, *count)).collect();
    let text = serde_json::to_string_pretty(&json!({ "instructions_per_call": phases })).unwrap_or_default();
    fs::write(&path, text + "\n")
        .map_err(|error| Fault::one(format!("icount: cannot write `{}`: {error}", path.display())))
}

fn build() -> Outcome<PathBuf> {
    let mut cargo = machine::cargo();
    cargo.args(["test", "--locked", "--release", "-p", "nightlatch-gateway", "--test", "it", "--no-run"]);
    let messages = machine::output(cargo.args(["--message-format", "json"]).current_dir(machine::root()?))?;
    attacks::executable(&messages)
        .ok_or_else(|| Fault::one("icount: cargo named no binary of the gateway's tests"))
}

/// Instructions of each phase, a call.
fn count(binary: &Path, folder: &Path) -> Outcome<Vec<(&'static str, u64)>> {
    let [(short, few), (long, many)] = WALKS;
    let (less, more) = (walk(binary, folder, short)?, walk(binary, folder, long)?);
    let of = |counts: &Counts, names: &[&str]| names.iter().map(|name| counts.of(name)).sum::<u64>();
    let per_call = |names: &[&str]| of(&more, names).saturating_sub(of(&less, names)) / (many - few);
    let everything = more.total.saturating_sub(less.total) / (many - few);
    // One that the compiler has put into its caller is counted there, and has no line.
    let phases =
        PHASES.iter().map(|(phase, names)| (*phase, per_call(names))).filter(|(_, count)| *count > 0);
    Ok(phases.chain([("everything, both ends of the wire with it", everything)]).collect())
}

/// Inclusive counts by function.
#[derive(Debug, Default)]
struct Counts {
    total: u64,
    functions: Vec<(String, u64)>,
}

impl Counts {
    /// Of the function whose path ends so; of several, the largest: they are one inside of the other.
    fn of(&self, name: &str) -> u64 {
        let is_own = |path: &str| path.contains(&format!("{name} ")) || path.contains(&format!("{name}<"));
        let own = self.functions.iter().filter(|(path, _)| is_own(&format!("{path} ")));
        own.map(|(_, count)| *count).max().unwrap_or_default()
    }

    fn read(annotated: &str) -> Self {
        let mut counts = Self::default();
        for line in annotated.lines() {
            let Some((number, rest)) = line.trim_start().split_once(' ') else { continue };
            let Ok(count) = number.replace(',', "").parse::<u64>() else { continue };
            let name =
                rest.trim_start().trim_start_matches(|letter: char| "()%. 0123456789".contains(letter));
            if name.starts_with("PROGRAM TOTALS") {
                counts.total = count;
            } else if let Some((_, function)) = name.split_once(':') {
                counts.functions.push((function.split(" [").next().unwrap_or_default().to_owned(), count));
            }
        }
        counts
    }
}

fn walk(binary: &Path, folder: &Path, test: &str) -> Outcome<Counts> {
    let out = folder.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(binary).args(["--exact", test, "--test-threads", "1"]).current_dir(folder);
    machine::output(valgrind.stdin(Stdio::null()))?;
    let mut annotate = Command::new("callgrind_annotate");
    let annotated = machine::output(annotate.args(["--inclusive=yes", "--threshold=100"]).arg(&out))?;
    Ok(Counts::read(&annotated))
}

fn show(counted: &[(&'static str, u64)], before: Option<&Value>) -> Outcome {
    let row = |(phase, count): &(&str, u64)| {
        let was = before.and_then(|file| file.get("instructions_per_call")?.get(*phase)?.as_u64());
        let change = was.filter(|was| *was > 0).map(|was| *count as f64 / was as f64 - 1.0);
        let change = match change {
            None => String::new(),
            Some(change) if change.abs() < NOISE => "as before".to_owned(),
            Some(change) => format!("{:+.0} %", change * 100.0),
        };
        vec![(*phase).to_owned(), count.to_string(), was.map_or(String::new(), |was| was.to_string()), change]
    };
    let rows: Vec<Vec<String>> = counted.iter().map(row).collect();
    machine::print(&table(&["phase", "instructions a call", "committed", "change"], &rows))
}

#[cfg(test)]
mod tests {
    //! Proves that counts are read from what callgrind prints, whatever stands around a function's name.

    use super::Counts;

    const ANNOTATED: &str = "\
--------------------------------------------------------------------------------
Ir
--------------------------------------------------------------------------------
9,000 (100.0%)  PROGRAM TOTALS

--------------------------------------------------------------------------------
Ir               file:function
--------------------------------------------------------------------------------
4,200 (46.67%)  ???:nightlatch_gateway::corridor::admit::admit [/t/it-1]
1,000 (11.11%)  ???:<nightlatch_policy::decide::Decider>::decide [/t/it-1]
   90 ( 1.00%)  ???:nightlatch_gateway::corridor::admit::admit::again [/t/it-1]
";

    #[test]
    fn a_function_is_found_by_the_end_of_its_path() {
        let counts = Counts::read(ANNOTATED);
        assert_eq!(counts.total, 9000);
        assert_eq!(counts.of("corridor::admit::admit"), 4200);
        assert_eq!(counts.of("Decider>::decide"), 1000);
        assert_eq!(counts.of("corridor::attach::attach"), 0);
    }
}
