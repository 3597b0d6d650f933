//! The one place where xtask touches the machine: environment, clock, output, other programs.
//!
//! The checks themselves are functions of text, which is why they can be tested without a workspace around them.

use std::{
    ffi::OsString,
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// What went wrong, one line for each finding, written for the person who must mend it.
#[derive(Debug)]
pub(crate) struct Fault(Vec<String>);

/// What every task of xtask returns.
pub(crate) type Outcome<T = ()> = Result<T, Fault>;

impl Fault {
    /// A single sentence.
    pub(crate) fn one(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }

    /// A fault if anything was found, under the name of the check that found it.
    pub(crate) fn unless_empty(check: &str, findings: Vec<String>) -> Outcome {
        if findings.is_empty() {
            return Ok(());
        }
        Err(Self(findings.into_iter().map(|finding| format!("{check}: {finding}")).collect()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Says one line to the person at the terminal; standard output stays free for what programs read.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints one line for a program to read.
pub(crate) fn print(line: &str) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    let printed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    printed.map_err(|error| Fault::one(format!("cannot write to standard output: {error}")))
}

/// A variable of the environment, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "this is xtask's one reader of the environment")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The moment, for measuring how long a stage took.
#[expect(clippy::disallowed_methods, reason = "this is xtask's one clock")]
pub(crate) fn moment() -> Instant {
    Instant::now()
}

/// Runs one stage and says how many seconds it took.
pub(crate) fn stage<T>(name: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let begun = moment();
    let outcome = work();
    let ending = if outcome.is_ok() { "done" } else { "failed" };
    say(&format!("xtask: {name}: {ending} in {}", seconds(begun.elapsed())));
    outcome
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// The root of the workspace: the nearest folder upwards that holds `arrows.toml`.
pub(crate) fn root() -> Outcome<PathBuf> {
    let here = std::env::current_dir()
        .map_err(|error| Fault::one(format!("the current folder is gone: {error}")))?;
    let root = here.ancestors().find(|folder| folder.join("arrows.toml").is_file());
    root.map(Path::to_path_buf)
        .ok_or_else(|| Fault::one("no `arrows.toml` here or above: run this inside the workspace"))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| Fault::one(format!("cannot read `{}`: {error}", path.display())))
}

/// Makes a folder, with those above it.
pub(crate) fn make_folder(path: &Path) -> Outcome {
    fs::create_dir_all(path).map_err(|error| Fault::one(format!("cannot make `{}`: {error}", path.display())))
}

/// A TOML file as a table.
pub(crate) fn read_toml(path: &Path) -> Outcome<toml::Table> {
    read(path)?.parse().map_err(|error| Fault::one(format!("`{}` is not TOML: {error}", path.display())))
}

/// Cargo, as the outer cargo started us but without what it set for us alone: a build script that watches such a
/// variable would run again, and with it everything above it.
pub(crate) fn cargo() -> Command {
    let program = variable("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let own = name.to_string_lossy();
        if own.starts_with("CARGO_PKG_") || own.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let name = named(command);
    let output = command.output().map_err(|error| Fault::one(format!("cannot start {name}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::one(format!("{name} failed ({}): {}", output.status, said.trim())));
    }
    String::from_utf8(output.stdout).map_err(|_| Fault::one(format!("{name} printed what is not UTF-8")))
}

/// Runs a command to its end in this terminal.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let name = named(command);
    let status = command.status().map_err(|error| Fault::one(format!("cannot start {name}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Fault::one(format!("{name} failed ({status})"))) }
}

/// The command's program and first word, in backticks: enough to know it by, without its whole line.
fn named(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    match command.get_args().next() {
        Some(word) => format!("`{program} {}`", word.to_string_lossy()),
        None => format!("`{program}`"),
    }
}
