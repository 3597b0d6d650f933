//! A program that is measured: gone when we are.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
    time::Duration,
};

use crate::machine::{self, Fault, Outcome};

/// How long a program may take until it answers.
const START: Duration = Duration::from_secs(60);
/// How often that is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// What the kernel counts processor time in, whatever it measures it with (time(7), `USER_HZ`).
const TICK_MICROS: u64 = 10_000;
/// How much of its log is shown when it fails.
const LOG_LINES: usize = 20;

/// The last core that we may run on: the first is the one that interrupts most often fall to.
pub(super) fn last_core() -> Outcome<usize> {
    let status = machine::read(Path::new("/proc/self/status"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let last = list.and_then(|list| list.trim().rsplit([',', '-']).next()?.parse().ok());
    last.ok_or_else(|| Fault::one("bench: `/proc/self/status` names no core"))
}

/// A program on one core that everything shares.
pub(super) fn pinned(core: usize, program: &Path) -> Command {
    let core = core.to_string();
    bound(&["taskset", "--cpu-list", &core], program)
}

/// A program on all cores.
pub(super) fn free(program: &Path) -> Command {
    bound(&[], program)
}

/// With room for descriptors, and killed by the kernel when we end however we end.
fn bound(by: &[&str], program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n \"$(ulimit -H -n)\" && exec \"$@\"", "sh"]).args(by);
    command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A child process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: Process,
    log: PathBuf,
}

impl Child {
    /// Starts a command; what it says goes to `NAME.log` in `folder`.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Outcome<Self> {
        let log = folder.join(format!("{name}.log"));
        let failed = |error| Fault::one(format!("bench: cannot start `{name}`: {error}"));
        let file = File::create(&log).map_err(failed)?;
        let errors = file.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let process = command.spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), process, log })
    }

    /// Waits until `ready` says so.
    pub(crate) fn until(&mut self, ready: impl Fn() -> bool) -> Outcome {
        let begun = machine::moment();
        while !ready() {
            let ended = !matches!(self.process.try_wait(), Ok(None));
            if ended || begun.elapsed() > START {
                return Err(self.fault("did not come up"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub(super) fn until_ended(&mut self) -> Outcome {
        let begun = machine::moment();
        while matches!(self.process.try_wait(), Ok(None)) {
            if begun.elapsed() > START {
                return Err(self.fault("did not end"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Nanoseconds that its threads were on a processor, as the scheduler counts them (proc(5), `schedstat`).
    pub(super) fn cpu_nanos(&self) -> Outcome<u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let tasks = tasks.map_err(|_| self.fault("ended by itself"))?;
        let nanos = |task: PathBuf| -> Option<u64> {
            fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        Ok(tasks.flatten().filter_map(|task| nanos(task.path())).sum())
    }

    /// The same with threads that have ended, in microseconds to a hundredth of a second (proc(5), `stat`, fields 14, 15).
    pub(super) fn cpu_micros(&self) -> Outcome<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        ticks(&stat.unwrap_or_default())
            .map(|ticks| ticks * TICK_MICROS)
            .ok_or_else(|| self.fault("ended by itself"))
    }

    /// Resident memory, in KiB.
    pub(super) fn resident_kib(&self) -> Outcome<u64> {
        self.status("VmRSS:")
    }

    /// Threads.
    pub(super) fn threads(&self) -> Outcome<u64> {
        self.status("Threads:")
    }

    /// Open descriptors.
    pub(super) fn descriptors(&self) -> Outcome<u64> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        Ok(open.map_err(|_| self.fault("ended by itself"))?.count() as u64)
    }

    /// A number of proc(5), `status`.
    fn status(&self, name: &str) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.map_err(|_| self.fault("ended by itself"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        // One that has ended and was not waited for has a status without memory.
        number.ok_or_else(|| self.fault("ended by itself"))
    }

    fn fault(&self, what: &str) -> Fault {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
        Fault::one(format!("bench: `{}` {what}; its log ends:\n{last}", self.name))
    }
}

/// User and system time; the name before them may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    // Behind the name the third field comes first.
    let mut times = fields.split(' ').skip(14 - 3).map_while(|field| field.parse::<u64>().ok());
    Some(times.next()? + times.next()?)
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    //! Proves that processor time is read from its fields, whatever a program is called.

    use super::ticks;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let line = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 120 34 13 14 15";
        assert_eq!(ticks(line), Some(154));
        assert_eq!(ticks(""), None);
        assert_eq!(ticks("7 (a) Z 1 2"), None);
    }
}
